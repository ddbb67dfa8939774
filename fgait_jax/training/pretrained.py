"""A network with its weights, as evaluation sees it: frames in, embedding out."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fgait_jax.data.augment import prepare
from fgait_jax.models import discriminant
from fgait_jax.models.network import Embedding, GaitNetwork
from fgait_jax.parallel import rules
from fgait_jax.parallel.hosts import cut_rows
from fgait_jax.parallel.mesh import batch_divisor, batch_sharding, replicated
from fgait_jax.training.state import Graph
from fgait_jax.typing import Array, Bool, UInt8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """`identity` names the weights exactly: caches of embeddings are kept under it. `data` maps each data set they have
  seen to the content hash of its manifest, `people` each population (data/schema.py) to its subjects among them
  ({}: not recorded).

  `sources` says of each of these data sets what its manifest does: kind, licence, citation, sequences, subjects.
  `code` is the version that trained it.

  `config` is that of pretraining. `fine_tune`, {} where there was none, says of labelled training after it on which
  `dataset` ("name/split") and with which `settings`, and as `before` the same of what was fine-tuned
  (training/tuned.py writes it). `started_from`, {} for a run that began from nothing, says the same of the
  pretraining whose weights it began with: `of` which network, its `data`, `imported_from`, and `learned`, its
  `config.data`. `imported_from` names the file of weights that came from elsewhere, "" of our own.
  """

  graph: Graph
  params: dict
  stats: dict
  config: ConfigDict
  step: int
  path: pathlib.Path | None
  identity: str
  mesh: Mesh
  data: dict[str, str] = dataclasses.field(default_factory=dict)
  people: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  fine_tune: dict = dataclasses.field(default_factory=dict)
  imported_from: str = ""
  started_from: dict = dataclasses.field(default_factory=dict)
  sources: dict[str, dict] = dataclasses.field(default_factory=dict)
  code: str = ""

  @property
  def pretrained(self) -> int | None:
    """Steps of pretraining: None where fine-tuning came after it and did not write them down, as it once did not."""
    return self.fine_tune.get("pretrained") if self.fine_tune else self.step

  @property
  def stride(self) -> int:
    """Frames between neighbours in the clips it was last trained on."""
    return stride_of(self.fine_tune["settings"] if self.fine_tune else self.config.data)

  @property
  def embedding(self) -> str:
    """Which field of `Embedding` was learnt last: what tasks compare unless told otherwise."""
    if "recognition" in self.params:
      return "recognition"
    if discriminant.is_fitted(self.stats):  # fine-tuning drops it, or makes it its own
      return "discriminant"
    if "projector" not in self.params:
      return "pooled"
    return "projection" if self.fine_tune else "prediction"  # fine-tuning leaves the predictor behind

  def network(self) -> GaitNetwork:
    """The Flax module with its weights, in evaluation mode (running statistics)."""
    network = self.graph.merge(self.params, self.stats)
    network.eval()
    return network

  def embed(self, frames: UInt8[Array, "b t 64 64 c"], valid: Bool[Array, "b t"]) -> Embedding:
    """Cut, scale and embed in evaluation mode; jitted. A batch that divides over the mesh is cut over it, and each
    process needs no more than its own rows (`hosts.own_rows`); the result is whole on every device."""
    even = len(frames) % batch_divisor(self.mesh) == 0
    where = batch_sharding(self.mesh) if even else replicated(self.mesh)
    frames, valid = (cut_rows(np.asarray(x), where) for x in (frames, valid))
    return _embed(self.params, self.stats, frames, valid, self.graph, self.config.augment.width, self.mesh)


def stride_of(settings) -> int:
  """Frames between neighbours at test, window over clip, rounded: 8 for 4 frames out of 30, 4 for 8, 1 for 16 of 20. In
  training neighbours lie somewhat closer, 6.2, 3.4 and 1.2 frames on average."""
  return max(1, round(settings["window_frames"] / settings["clip_frames"]))


@functools.partial(jax.jit, static_argnames=("graph", "width", "mesh"))
def _embed(params, stats, frames, valid, graph: Graph, width: int, mesh: Mesh) -> Embedding:
  network = graph.merge(rules.unsharded(params, mesh, table=graph.table), stats)
  network.eval()
  embedding = network.embed(prepare(frames, width=width), valid)
  return jax.lax.with_sharding_constraint(embedding, replicated(mesh))
