"""What every evaluation of a checkpoint starts from: data opened, network loaded, embeddings at hand.

Reads a checkpoint and never writes to it.
"""

import dataclasses
import os
import pathlib

import jax
import numpy as np

from fgait_jax.data import schema
from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import provenance, registry
from fgait_jax.evaluation.features import baselines, extraction, files
from fgait_jax.evaluation.labels import Features, Labels
from fgait_jax.evaluation.metrics import statistics
from fgait_jax.evaluation.metrics.distances import check_centring, check_metric
from fgait_jax.evaluation.plain import encoded
from fgait_jax.evaluation.protocols.trials import trials_of
from fgait_jax.evaluation.results import Checkpoint, Data, Result
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import pixels
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

  def embeddings_of(
    self, network: Pretrained, title: str, split=None, *, embedding: str = "", stride: int = 0
  ) -> Features:
    """Of the whole split (default: the evaluated one), from the cache where they are there; `embedding` "" is what the
    configuration says, `stride` 0 what the network was taught."""
    config, split = self.config, self.split if split is None else split
    embedding, stride = embedding or embedding_of(config, network), stride or network.stride
    options = {"max_frames": config.max_frames, "embedding": embedding, "mirror": list(config.mirror_views),
               "width": network.config.augment.width, "stride": stride}  # of untrained weights, not in the name
    identity = {"weights": network.identity, "code": extraction.code(), "data": split.manifest["content_hash"],
                "split": split.name} | options
    folder = {"": self.out / "features", "off": None}.get(config.cache, config.cache)
    return files.cached(
      folder, identity, lambda: self.embed(network, title, split, embedding=embedding, stride=stride))[0]

  def embed(self, network: Pretrained, title: str, split, *, embedding: str = "", stride: int = 0) -> Features:
    """Of the whole `split`, computed and kept nowhere."""
    config, embedding = self.config, embedding or embedding_of(self.config, network)
    return extraction.extract_by(
      network, split, embedding=embedding, max_frames=config.max_frames, batch_frames=config.batch_frames,
      mirror=config.mirror_views, progress=f"{title} on {split.name}", stride=stride)

  def claim(self) -> pathlib.Path:
    """Where the result goes; raises `ConfigError` where one of something else is there (`registry.claim`)."""
    return registry.claim(self.config, self.out, (self.trained.identity, self.data.content_hash))

  def only_silhouettes(self, what: str) -> None:
    """Raises `ConfigError` where the frames are no silhouettes, on which alone `what`."""
    found, channels = pixels.of(self.split)
    if found != schema.SILHOUETTES:
      raise ConfigError(f"config.dataset {self.config.dataset!r} holds {found} of {channels} channel"
                        f"{'s' * (channels > 1)}; {what} on silhouettes alone")

  def trials(self, protocol, rows: np.ndarray | None = None) -> list:
    """Its trials among the walks (of `rows`); raises `DataError` or `ConfigError`, before anything is embedded, where
    `protocol` cannot use them."""
    return trials_of(protocol, Labels.of(self.split, rows, origin=self.origin))

  def silhouettes_of(self, split=None) -> Features:
    """The raw GEI of the whole split (default: the evaluated one)."""
    split = self.split if split is None else split
    return baselines.mean_silhouettes(split, max_frames=self.config.max_frames, mirror=self.config.mirror_views,
                                      progress=f"mean silhouettes of {split.name}")

  @property
  def data(self) -> Data:
    """What is evaluated."""
    config, split = self.config, self.split
    return Data(name=config.dataset, split=config.split, kind=split.manifest["kind"], walks=len(split),
                subjects=len(np.unique(split.subjects)), content_hash=split.manifest["content_hash"],
                one_frame=int((np.minimum(split.num_frames, config.max_frames) == 1).sum()),
                mirrored_views=list(config.mirror_views))

  @property
  def checkpoint(self) -> Checkpoint:
    """The network that is evaluated."""
    model, network = self.trained.config.model, self.trained
    return Checkpoint(path=str(self.config.checkpoint), step=network.step, identity=network.identity,
                      model=f"{model.name} {model.variant}", network=self.config.network,
                      embedding=embedding_of(self.config, network))

  def identity(self, **changes) -> dict:
    """What a file of this evaluation's embeddings says of their origin (features/files.py), but for `changes`."""
    return {
      "weights": self.trained.identity, "data": self.data.content_hash, "split": self.split.name,
      "kind": self.data.kind, "embedding": embedding_of(self.config, self.trained), "salt": "",
      "max_frames": self.config.max_frames, "mirror": list(self.config.mirror_views),
      "pretraining": encoded(provenance.seen_by(self.trained, self.config, self.split))} | changes

  def result(self, **fields) -> Result:
    """The result of this evaluation; `fields` are those that the setup does not know."""
    return Result(task=self.config.task, data=self.data, checkpoint=self.checkpoint, config=self.config.to_dict(),
                  pretraining=provenance.seen_by(self.trained, self.config, self.split), **fields)

  @property
  def notes(self) -> list[str]:
    """What tasks that embed whole walks say of them: where they were cut."""
    if self.config.max_frames >= np.max(self.split.num_frames):
      return []
    return [f"Of each walk its first {self.config.max_frames} frames alone (config.max_frames)."]

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
    return f"{self.config.dataset} ({self.data.kind_title}), {self.config.split} split"


def prepare(config, out: pathlib.Path, *, untrained: bool = True) -> Setup:
  """Checks the configuration, opens the data and loads the network, cheapest first; `untrained` False spares the
  untrained network that baselines want."""
  check_embedding(config)
  statistics.check_resamples(config.bootstrap)
  if config.pictures < 0:
    raise ConfigError(f"config.pictures={config.pictures} must be 0 or more")
  check_metric(config.metric)
  check_centring(config.centre_by)
  split = open_split(config.data_dir, config.dataset, config.split)
  mesh = make_mesh()
  trained = load_network(config.checkpoint, mesh=mesh, which=config.network)
  check_fits(config, trained, split, name=f"config.dataset {config.dataset!r}")
  untrained = load_network(config.checkpoint, mesh=mesh, trained=False) if untrained and config.baselines else None
  return Setup(config=config, out=out, split=split, trained=trained, untrained=untrained)


def check_embedding(config) -> None:
  """Raises `ConfigError` for settings of embedding that no network could follow."""
  if config.embedding not in ("", *extraction.EMBEDDINGS):
    raise ConfigError(f"config.embedding is {config.embedding!r}; known: {', '.join(extraction.EMBEDDINGS)}, and \"\""
                      " for the last of them that was learnt")
  if min(config.max_frames, config.batch_frames) < 1:
    raise ConfigError(f"config.max_frames={config.max_frames} and config.batch_frames={config.batch_frames} must be"
                      " at least 1")


def check_fits(config, network: Pretrained, split, *, name: str) -> None:
  """Raises `ConfigError` where `network` does not make `config.embedding`, or takes other frames than those of `split`,
  which the error calls `name`."""
  if config.embedding in ("recognition", "discriminant") and embedding_of(config, network) != config.embedding:
    made = {"recognition": "was not fine-tuned to tell people apart", "discriminant": "did not end in a discriminant"}
    raise ConfigError(f"config.embedding is {config.embedding!r}, but the network of {config.checkpoint}"
                      f" {made[config.embedding]}; take {network.embedding} or pooled")
  heads = {"prediction": "predictor", "projection": "projector"}
  if config.embedding in heads and heads[config.embedding] not in network.params:
    raise ConfigError(f"config.embedding is {config.embedding!r}, but the network of {config.checkpoint} has no"
                      f" {heads[config.embedding]}; take {network.embedding} or pooled")
  if misfit := pixels.misfit(split, network.config.model):
    raise ConfigError(f"{name} does not fit {config.checkpoint}: {misfit}; choose other data or another checkpoint")


def embedding_of(config, network: Pretrained) -> str:
  """Which of `extraction.EMBEDDINGS` of `network` is evaluated: `config.embedding`, or where that is "" (or what the
  network does not have) the last that was learnt."""
  return network.embedding if config.embedding in ("", "recognition", "discriminant") else config.embedding


def one_process() -> None:
  """Raises `ConfigError` where several processes run: each would embed everything and write the same files."""
  processes = jax.process_count()
  started = [f"{name}={os.environ[name]}" for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
             if os.environ.get(name, "1") not in ("", "1")]
  if processes > 1 or started:
    came = f"{processes} processes" if processes > 1 else f"a launcher of several processes ({', '.join(started)})"
    raise ConfigError(f"run_eval.py runs in one process, over all devices of one host; found {came}. Start it once, as"
                      " with srun --ntasks=1; a checkpoint of any number of hosts is restored onto one")
