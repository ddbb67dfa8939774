"""What a network has seen in pretraining and fine-tuning, whether evaluated walks or people were among it, and whether
the people of two splits are apart."""

import hashlib

import jax
import numpy as np

from fgait_jax.data.schema import population_of
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.results import Pretraining
from fgait_jax.training.pretrained import Pretrained


def seen_by(network: Pretrained, config, split) -> Pretraining:
  """What `network` has seen, and how much of `split`, which `config` evaluates, was among it.

  A data set counts as seen where it, or another of its population, was; people of `split` are counted under whichever
  data set of their population they were seen (None: not recorded).
  """
  datasets, label_use, met = learnt_from(network)
  splits = [part for name, part in met if name == config.dataset]
  known = network.people.get(population_of(split.manifest), [])
  return Pretraining(
    datasets=datasets, label_use=label_use, content_hashes=dict(network.data),
    steps=network.pretrained, evaluated_data_among_them=bool(splits or known),
    evaluated_split_among_them=any(_parts_of(part) & _parts_of(config.split) for part in splits),
    evaluated_people_among_them=len(set(known) & set(map(str, split.subjects))) if network.people else None)


def learnt_from(network: Pretrained) -> tuple[list[str], str, list[tuple[str, str]]]:
  """(data sets of pretraining, as "name (split)"; which labels were used, in words; name and split of each data set
  that the network has met)."""
  datasets, label_use, met = [], [], []

  def learn(sets, stage=""):
    datasets.extend(f"{name} ({taught['split']})" for name, taught in sets.items())
    label_use.append(f"{stage}{_label_use(sets)}")
    met.extend((name, taught["split"]) for name, taught in sets.items())

  for learned, imported_from in _pretraining_stages(network):
    if imported_from:  # its configuration is that of a run to come, not of what it has seen
      datasets.append(f"data not recorded (imported from {imported_from})")
      label_use.append("labels not known")
    else:
      learn(learned["sets"])
  closes = network.embedding == "discriminant" and not network.fine_tune  # that of fine-tuning is its own
  if closes and (sets := network.config.discriminant.sets):
    named = all(taught["positives"] != "sequence" for taught in sets.values())  # then the labels say of which it is
    learn(sets, "given a discriminant fitted " + ("" if named else f"to {' and '.join(sets)} "))
  stages = _fine_tuning_stages(network.fine_tune)
  label_use += [f"fine-tuned for {target} on {name} ({part})" for target, name, part in stages]
  met += [(name, part) for _, name, part in stages]
  return list(dict.fromkeys(datasets)), ", then ".join(label_use), met


def imported(network: Pretrained) -> bool:
  """Whether any of what led to `network` came from elsewhere, with data that nobody recorded here."""
  return any(file for _, file in _pretraining_stages(network))


def check_apart(train, test, *, section: str) -> None:
  """Raises `ConfigError`, which names `section` of the configuration, where a person is in both splits: of one
  population, equal identities are one person."""
  if not same_population(train, test):
    return
  if shared := sorted(set(train.subjects) & set(test.subjects)):
    raise ConfigError(f"{train.name} (config.{section}.train_split) and {test.name} (config.split) share {len(shared)}"
                      f" subjects ({', '.join(map(str, shared[:5]))}, ...): what is learnt would know its test people;"
                      " take splits of other people")


def same_population(one, other) -> bool:
  """Whether people of the same name in both splits are the same people."""
  return population_of(one.manifest) == population_of(other.manifest)


def fingerprint(*trees) -> str:
  """SHA-256 over every array of pytrees: parameters and running statistics, to prove that training left them alone."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
    value = np.asarray(leaf)
    digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
    digest.update(np.ascontiguousarray(value).tobytes())
  return digest.hexdigest()


def _label_use(sets) -> str:
  """Which labels were used, such as "with subject labels of walkers and crowd"."""
  names: dict[str, list[str]] = {}
  for name, taught in sets.items():
    names.setdefault(taught["positives"], []).append(name)
  names.pop("sequence", None)  # both clips of one sequence: no label
  used = [f"{kind} labels of {' and '.join(named)}" for kind, named in names.items()]
  return f"with {' and '.join(used)}" if used else "without labels"


def _pretraining_stages(network: Pretrained) -> list[tuple[dict, str]]:
  """(`config.data`, file it was imported from) of each pretraining that led to `network`, the first first."""
  stages, before = [(network.config.data, network.imported_from)], network.started_from
  while before:
    stages.append((before["learned"], before["imported_from"]))
    before = before["before"]
  return stages[::-1]


def _fine_tuning_stages(fine_tune: dict) -> list[tuple[str, str, str]]:
  """(target, data set, split) of each fine-tuning of a network, the first first."""
  if not fine_tune:
    return []
  name, _, split = fine_tune["dataset"].partition("/")
  return [*_fine_tuning_stages(fine_tune.get("before", {})), (fine_tune["settings"]["target"], name, split)]


def _parts_of(split: str) -> set[str]:
  """The splits that a TFDS expression such as "train[2:7]+test[:50%]" takes from."""
  return {part.partition("[")[0].strip() for part in split.split("+")}
