"""Per-part InfoNCE between a student's predictions and a teacher's projections, and a queue of past projections.

One batch of a small machine compares a walk with a few dozen others. The queue keeps the teacher's last projections, so
that every prediction meets a thousand candidates, and several of its own kind, at the cost of one matrix product (MoCo,
He et al. 2020, arXiv 1911.05722; the published method has no queue).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from fgait_jax.kernels.unit import unit
from fgait_jax.objectives.base import Objective
from fgait_jax.parallel.mesh import batch_sharding
from fgait_jax.typing import Array, Float, Int

_product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)  # GPU and TPU round factors by default
NOBODY = -1  # group of a row that holds no projection yet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrastive(Objective):
  """`part_info_nce` of the student's predictions among the teacher's projections of the batch and, where `queue` is
  above 0, of the batches before it. The state is that queue, newest first: `empty_queue`, or {} without one."""

  temperature: float
  label_smoothing: float
  queue: int

  def needs(self, key, config):
    size = config.data.batch_size
    return [
      (self.queue >= 0 and self.queue % size == 0,
       f"{key}.queue={self.queue} must be 0 or a multiple of config.data.batch_size={size}"),
      (0 <= self.label_smoothing <= 1, f"{key}.label_smoothing={self.label_smoothing} must be from 0 to 1"),
      (self.temperature > 0, f"{key}.temperature={self.temperature} must be above 0"),
    ]

  def init(self, shapes):
    return empty_queue(self.queue, *shapes.projection.shape[1:]) if self.queue else {}

  def shardings(self, state, mesh):
    return jax.tree.map(lambda _: batch_sharding(mesh), state)

  def __call__(self, student, teacher, batch, state):
    candidates = {"projection": teacher.projection.astype(jnp.float32), "group": batch["group"]}
    if self.queue:
      candidates = jax.tree.map(lambda new, old: jnp.concatenate([new, old]), candidates, state)
      state = jax.tree.map(lambda rows: rows[: self.queue], candidates)
    loss, accuracy = part_info_nce(
      student.prediction.astype(jnp.float32), candidates["projection"], group=candidates["group"],
      temperature=self.temperature, label_smoothing=self.label_smoothing,
    )
    return loss, {"contrastive": (loss, 1.0), "contrastive_accuracy": (accuracy, 1.0)}, state


def part_info_nce(
  prediction: Float[Array, "b p e"], projection: Float[Array, "m p e"], *, temperature: float, label_smoothing: float,
  group: Int[Array, " m"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Loss in nats and accuracy in 0..1, means over samples and parts, in float32.

  Row i of `prediction` belongs to row i of `projection`; all other rows, and any beyond b, are negatives (m >= b).
  Both are L2-normalised per part; logits are cosines / temperature; the target has 1 - eps on the own row plus eps / m
  everywhere, as torch's cross-entropy smooths (MoCo's loss in one direction, FoundationGait A2). The caller stops the
  gradient of the teacher.

  With `group`, every row of the own group is a positive and all share the 1 - eps (SupCon, L_out of Khosla et al. 2020,
  arXiv 2004.11362, eq. 2); rows of `NOBODY` are not there. Accuracy is the share whose nearest row is a positive.
  Without groups, as in the reference, another walk of the same person is a negative like any other.
  """
  if projection.shape[0] < prediction.shape[0]:
    raise ValueError(f"{prediction.shape[0]} predictions have only {projection.shape[0]} projections to match")
  prediction, projection = (unit(rows.astype(jnp.float32)) for rows in (prediction, projection))
  logits = _product("bpe,mpe->bpm", prediction, projection) / temperature
  own = jnp.arange(prediction.shape[0])
  if group is None:
    group = jnp.arange(projection.shape[0])
  there = group != NOBODY
  positive = group[own][:, None] == group
  logits = jnp.where(there, logits, -jnp.inf)
  scores = jnp.where(there, jax.nn.log_softmax(logits, axis=-1), 0)
  target = (1 - label_smoothing) * positive / jnp.sum(positive, axis=1, keepdims=True)
  target += label_smoothing * there / jnp.sum(there)
  loss = -jnp.mean(_product("bpm,bm->bp", scores, target))
  hit = jnp.take_along_axis(positive, jnp.argmax(logits, axis=-1), axis=1)
  return loss, jnp.mean(hit.astype(jnp.float32))


def empty_queue(rows: int, parts: int, features: int) -> dict[str, Array]:
  """A queue of `rows` places: `projection` float32 [rows, parts, features] and `group` int32 [rows], all `NOBODY`."""
  return {
    "projection": jnp.zeros((rows, parts, features), jnp.float32), "group": jnp.full(rows, NOBODY, jnp.int32)
  }
