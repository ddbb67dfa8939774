"""What every evaluation of a checkpoint starts from: data opened, network loaded, embeddings at hand, all of it
described.

Reads a checkpoint and never writes to it.
"""

import dataclasses
import os
import pathlib

import jax
import numpy as np

from fgait_jax.data.schema import population_of
from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.features import baselines, extraction
from fgait_jax.evaluation.features.extraction import Features
from fgait_jax.evaluation.metrics.distances import check_centring, check_metric
from fgait_jax.evaluation.protocols.trials import trials_of
from fgait_jax.evaluation.report import layout
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.pretrained import Pretrained


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
  """What every task on a checkpoint starts from."""

  config: object
  out: pathlib.Path
  split: object
  trained: Pretrained
  untrained: Pretrained | None

  def embeddings_of(self, network: Pretrained, title: str, split=None) -> Features:
    """Of the whole split (default: the evaluated one), from the cache where they are there."""
    config, split = self.config, self.split if split is None else split
    options = {"max_frames": config.max_frames, "embedding": embedding_of(config, network),
               "mirror": list(config.mirror_views)}
    identity = {"weights": network.identity, "code": extraction.code(), "data": split.manifest["content_hash"],
                "split": split.name} | options
    folder = {"": self.out / "features", "off": None}.get(config.cache, config.cache)
    return extraction.cached(folder, identity, lambda: self.embed(network, title, split))[0]

  def embed(self, network: Pretrained, title: str, split) -> Features:
    """Of the whole `split`, computed and kept nowhere."""
    config, embedding = self.config, embedding_of(self.config, network)
    return extraction.extract(
      network.embed, split, max_frames=config.max_frames, batch_frames=config.batch_frames, mesh=network.mesh,
      embedding=embedding, mirror=config.mirror_views, stride=network.stride, progress=f"{title} on {split.name}",
      normalise=embedding != "recognition")  # its lengths were learnt

  def claim(self, name: str) -> pathlib.Path:
    """Where the result `name` goes; raises `ConfigError` where one of something else is there (`results.claim`)."""
    return results.claim(self.out / name, self.config, self.described())

  def check_roles(self, protocol) -> None:
    """Raises `DataError` or `ConfigError`, before anything is embedded, where `protocol` cannot use these walks."""
    text = (np.asarray(getattr(self.split, name)).astype(np.str_) for name in ("subjects", "conditions", "views"))
    trials_of(protocol, *text, origin=self.origin)

  def silhouettes_of(self, split=None) -> Features:
    split = self.split if split is None else split
    return baselines.mean_silhouettes(split, max_frames=self.config.max_frames, mirror=self.config.mirror_views,
                                      progress=f"mean silhouettes of {split.name}")

  def described(self) -> dict:
    """`data`, `checkpoint`, `pretraining`, `config` and `pictures` of a result file: what the figures are figures
    of."""
    return describe(self.config, self.split, self.trained)

  @property
  def origin(self) -> str:
    """The data in an error."""
    return f"{self.config.data_dir}/{self.config.dataset}"

  @property
  def title(self) -> str:
    """The model in a table's row."""
    model, network = self.trained.config.model, self.trained
    taught = "imported" if network.imported_from and not network.step else f"{network.step} steps"
    return f"{model.name} {model.variant}, {'tuned ' if network.fine_tune else ''}{taught}"

  @property
  def data_title(self) -> str:
    """The data in a picture's subtitle."""
    kind = layout.KINDS.get(self.split.manifest["kind"], self.split.manifest["kind"])
    return f"{self.config.dataset} ({kind}), {self.config.split} split"


def prepare(config, out: pathlib.Path, *, untrained: bool = True) -> Setup:
  """Checks the configuration, opens the data and loads the network, cheapest first; `untrained` False spares the
  untrained network that baselines want."""
  if not config.checkpoint:
    raise ConfigError("config.checkpoint is empty; give --config.checkpoint=FOLDER, the --workdir of a pretraining run")
  if config.embedding not in ("", *extraction.EMBEDDINGS):
    raise ConfigError(f"config.embedding is {config.embedding!r}; known: {', '.join(extraction.EMBEDDINGS)}, and \"\""
                      " for the last of them that was learnt")
  if min(config.max_frames, config.batch_frames) < 1:
    raise ConfigError(f"config.max_frames={config.max_frames} and config.batch_frames={config.batch_frames} must be"
                      " at least 1")
  if min(config.bootstrap, config.pictures) < 0:
    raise ConfigError(f"config.bootstrap={config.bootstrap} and config.pictures={config.pictures} must be 0 or more")
  check_metric(config.metric)
  check_centring(config.centre_by)
  split = open_split(config.data_dir, config.dataset, config.split)
  mesh = make_mesh()
  trained = load_network(config.checkpoint, mesh=mesh, which=config.network)
  if config.embedding in ("recognition", "discriminant") and embedding_of(config, trained) != config.embedding:
    made = {"recognition": "was not fine-tuned to tell people apart", "discriminant": "did not end in a discriminant"}
    raise ConfigError(f"config.embedding is {config.embedding!r}, but the network of {config.checkpoint}"
                      f" {made[config.embedding]}; take prediction, projection or pooled")
  channels = split.frames(0, np.arange(1)).shape[-1]
  if channels != trained.config.model.channels:
    raise ConfigError(
      f"config.dataset {config.dataset!r} has frames of {channels} channels, the network of {config.checkpoint} was"
      f" pretrained on {trained.config.model.channels}; choose another data set or checkpoint")
  untrained = load_network(config.checkpoint, mesh=mesh, trained=False) if untrained and config.baselines else None
  return Setup(config=config, out=out, split=split, trained=trained, untrained=untrained)


def embedding_of(config, network: Pretrained) -> str:
  """Which of `extraction.EMBEDDINGS` of `network` is evaluated: `config.embedding`, or where that is "" (or what the
  network does not have) the last that was learnt."""
  return network.embedding if config.embedding in ("", "recognition", "discriminant") else config.embedding


def describe(config, split, network: Pretrained) -> dict:
  """`data`, `checkpoint`, `pretraining` and `config` of a result file."""
  model = network.config.model
  return {
    "data": {
      "name": config.dataset, "split": config.split, "kind": split.manifest["kind"], "walks": len(split),
      "subjects": len(np.unique(split.subjects)), "content_hash": split.manifest["content_hash"],
      "one_frame": int((np.minimum(split.num_frames, config.max_frames) == 1).sum()),
    },
    "checkpoint": {
      "path": str(config.checkpoint), "step": network.step, "identity": network.identity,
      "model": f"{model.name} {model.variant}", "network": config.network,
      "embedding": embedding_of(config, network),
    },
    "pretraining": seen_in_pretraining(config, network, split),
    "config": config.to_dict(),
    "pictures": [],
  }


def seen_in_pretraining(config, network: Pretrained, split) -> dict:
  """What the network had seen: `datasets` of pretraining, `content_hashes` of all, in words which `labels` were used in
  pretraining and fine-tuning, whether the evaluated data set (or another of its population), or the split of it, was
  among them, and how many people of `split` were, under whichever data set of their population (None: not recorded).
  """
  datasets, labels, splits = [], [], []

  def learnt_from(sets, stage=""):
    datasets.extend(f"{name} ({taught['split']})" for name, taught in sets.items())
    labels.append(f"{stage}{_label_use(sets)}")
    splits.extend(taught["split"] for name, taught in sets.items() if name == config.dataset)

  for learned, imported_from in _schooling(network):
    if imported_from:  # its configuration is that of a run to come, not of what it has seen
      datasets.append(f"data not recorded (imported from {imported_from})")
      labels.append("labels not known")
    else:
      learnt_from(learned["sets"])
  if network.embedding == "discriminant" and network.config.discriminant.sets:
    learnt_from(network.config.discriminant.sets, "its last map ")
  lessons = _lessons(network.fine_tune)
  labels += [f"fine-tuned for {target} on {name} ({part})" for target, name, part in lessons]
  splits += [part for _, name, part in lessons if name == config.dataset]
  known = network.people.get(population_of(split.manifest), [])
  return {
    "labels": ", then ".join(labels), "datasets": list(dict.fromkeys(datasets)),
    "content_hashes": dict(network.data), "steps": network.step, "evaluated_data_among_them": bool(splits or known),
    "evaluated_split_among_them": any(_named(part) & _named(config.split) for part in splits),
    "evaluated_people_among_them": len(set(known) & set(map(str, split.subjects))) if network.people else None,
  }


def _label_use(sets) -> str:
  told = [f"the {taught['positives']} of every sequence of {name}" for name, taught in sets.items()
          if taught["positives"] != "sequence"]
  return f"told {' and '.join(told)}" if told else "without labels"


def _schooling(network: Pretrained) -> list[tuple[dict, str]]:
  """(`config.data`, file it was imported from) of each pretraining that led to `network`, the first first."""
  stages, before = [(network.config.data, network.imported_from)], network.started_from
  while before:
    stages.append((before["learned"], before["imported_from"]))
    before = before["before"]
  return stages[::-1]


def _lessons(fine_tune: dict) -> list[tuple[str, str, str]]:
  """(target, data set, split) of each fine-tuning of a network, the first first."""
  if not fine_tune:
    return []
  name, _, split = fine_tune["dataset"].partition("/")
  return [*_lessons(fine_tune.get("before", {})), (fine_tune["settings"]["target"], name, split)]


def _named(split: str) -> set[str]:
  """The splits that a TFDS expression such as "train[2:7]+test[:50%]" takes from."""
  return {part.partition("[")[0].strip() for part in split.split("+")}


def one_process() -> None:
  """Raises `ConfigError` where several processes run: each would embed everything and write the same files."""
  processes = jax.process_count()
  started = [f"{name}={os.environ[name]}" for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
             if os.environ.get(name, "1") not in ("", "1")]
  if processes > 1 or started:
    came = f"{processes} processes" if processes > 1 else f"a launcher of several processes ({', '.join(started)})"
    raise ConfigError(f"run_eval.py runs in one process, over all devices of one host; found {came}. Start it once, as"
                      " with srun --ntasks=1; a checkpoint of any number of hosts is restored onto one")
