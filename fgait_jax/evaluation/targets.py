"""What fine-tuning learns: labels of walks, and training identities kept back to choose by. No frames here."""

import contextlib
import dataclasses

import numpy as np
from sklearn.metrics import f1_score

from fgait_jax.data.schema import population_of
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.features.extraction import Features
from fgait_jax.evaluation.metrics import retrieval
from fgait_jax.evaluation.protocols.base import check
from fgait_jax.evaluation.protocols.classify import Classify
from fgait_jax.evaluation.protocols.trials import trials_of

ACROSS = ("view", "condition", "protocol")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """Rows of the training split: those that teach, and those of identities kept back (none: nothing is chosen)."""

  fit: np.ndarray
  validation: np.ndarray


def labels_of(split, target: str, protocol) -> np.ndarray:
  """The label of every walk as text, "" where it has none.

  `target` is "subject", "condition", "class" (what `protocol`, one of classes, reads off subject and condition) or an
  attribute's name. Raises `ConfigError` for any other.
  """
  if target in ("subject", "condition"):
    return (split.subjects if target == "subject" else split.conditions).astype(np.str_)
  if target == "class":
    if not isinstance(protocol, Classify):
      raise ConfigError(f"config.fine_tune.target=class takes the classes of config.protocol, and {protocol.name} has"
                        " none; take scoliosis1k or d_gait, or name another target")
    return np.asarray(list(protocol.classes))[_truth(split, protocol)]
  if target not in split.attributes:
    raise ConfigError(f'config.fine_tune.target is {target!r}; {split.name} has "subject", "condition", "class" and the'
                      f" attributes {sorted(split.attributes) or 'none'}")
  return np.array(["" if np.isnan(v) else f"{v:g}" for v in split.attributes[target]], np.str_)


def _truth(split, protocol: Classify) -> np.ndarray:
  columns = (np.asarray(getattr(split, name)).astype(np.str_) for name in ("subjects", "conditions", "views"))
  walks = check(np.arange(len(split), dtype=np.float32)[:, None, None], *columns, origin=split.name)
  return protocol._truth(walks)


def classes_of(labels: np.ndarray, target: str, protocol) -> list[str]:
  """The classes in the order of their scores: the protocol's, else by number, else by name."""
  if target == "class":
    return list(protocol.classes)
  names = np.unique(labels[labels != ""])
  with contextlib.suppress(ValueError):
    names = names[np.argsort(names.astype(float), kind="stable")]
  return names.tolist()


def keep_back(
  subjects: np.ndarray, labels: np.ndarray, *, target: str, fraction: float, seed: int, section: str = "fine_tune"
) -> Parts:
  """Draws identities to validate on, the same share of every class (by a subject's first walk); unlabelled walks are in
  neither part. `section` of the configuration is what errors name.

  Raises `ConfigError` unless at least two identities remain on either side.
  """
  if not 0 <= fraction < 1:
    raise ConfigError(f"config.{section}.validation_fraction={fraction} must be at least 0 and below 1")
  known = np.flatnonzero(labels != "")
  names, first = np.unique(subjects[known], return_index=True)
  strata = np.zeros(len(names)) if target == "subject" else labels[known][first]
  generator = np.random.default_rng((seed, 0x7A11D))
  kept = []
  for stratum in np.unique(strata):
    members = np.flatnonzero(strata == stratum)
    count = max(round(fraction * len(members)), 1 if len(members) > 1 else 0) if fraction else 0
    kept.append(generator.permutation(members)[:count])
  kept = np.concatenate(kept) if kept else np.zeros(0, int)
  if len(names) - len(kept) < 2 or (fraction and len(kept) < 2):
    raise ConfigError(f"config.{section}.validation_fraction={fraction} of {len(names)} training identities leaves"
                      f" {len(names) - len(kept)} to learn from and {len(kept)} to validate on; two of each are needed")
  held = np.isin(subjects, names[kept])
  return Parts(fit=known[~held[known]], validation=known[held[known]])


def check_apart(train, test, *, section: str = "fine_tune") -> None:
  """Raises `ConfigError` where a person is in both splits: of one population, equal identities are one person."""
  if population_of(train.manifest) != population_of(test.manifest):
    return
  if shared := sorted(set(train.subjects) & set(test.subjects)):
    raise ConfigError(f"{train.name} (config.{section}.train_split) and {test.name} (config.split) share {len(shared)}"
                      f" subjects ({', '.join(map(str, shared[:5]))}, ...): what is learnt would know its test people;"
                      " take splits of other people")


def check_across(split, rows: np.ndarray, *, across: str, protocol, section: str = "fine_tune") -> None:
  """Raises `ConfigError` or `DataError`, before anything is learnt, unless `rank1` can be asked of these rows."""
  if across not in ACROSS:
    raise ConfigError(f"config.{section}.validate_across is {across!r}; known: {', '.join(ACROSS)}")
  if across == "protocol":
    columns = (np.asarray(getattr(split, name))[rows].astype(np.str_) for name in ("subjects", "conditions", "views"))
    trials_of(protocol, *columns, origin=f"{split.name} (config.{section}.validate_across=protocol)")


def rank1(found: Features, *, across: str, metric: str, protocol, section: str = "fine_tune") -> float:
  """Rank-1 in per cent among validation people, each walk sought `across` one of `ACROSS`.

  "protocol": what `protocol` says of these walks, in its galleries. "view", "condition": the share of walks whose
  nearest neighbour is the same person, itself and its view (as the protocol tells cameras apart) or condition left out
  of its own mates; walks without a mate left are not counted, and `DataError` is raised where none has one.
  """
  if across not in ACROSS:
    raise ConfigError(f"config.{section}.validate_across is {across!r}; known: {', '.join(ACROSS)}")
  if across == "protocol":
    scored = protocol.evaluate(found.embeddings, found.subjects, found.conditions, found.views, metric=metric,
                               bootstrap=0, origin=f"config.{section}.validate_across=protocol")
    return scored["summary"]["rank1"]
  cameras = protocol.cameras(found.views) if across == "view" else found.conditions
  ranking = retrieval.rank(found.embeddings, found.embeddings, probe_labels=found.subjects,
                           gallery_labels=found.subjects, probe_cameras=cameras, gallery_cameras=cameras, metric=metric)
  counted = ranking.mates[:, 0] > 0
  if not counted.any():
    raise DataError(f"no walk of the validation identities has a mate in another {across}; change"
                    f" config.{section}.validate_across")
  return 100 * float(ranking.hits(1)[counted, 0].mean())


def macro_f1(logits: np.ndarray, truth: np.ndarray) -> float:
  """Macro F1 in per cent of logits [n, classes], over the classes that are there."""
  return 100 * float(f1_score(truth, logits.argmax(axis=1), labels=np.unique(truth), average="macro", zero_division=0))
