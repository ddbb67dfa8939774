"""Per-part InfoNCE between a student's predictions and a teacher's projections of the same sequences."""

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Float, Int


def part_info_nce(
  prediction: Float[Array, "b p e"], projection: Float[Array, "m p e"], *, temperature: float, label_smoothing: float,
  group: Int[Array, "m"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Loss in nats and accuracy in 0..1, means over samples and parts, in float32.

  Row i of `prediction` belongs to row i of `projection`; all other rows, and any beyond b, are negatives (m >= b).
  Both are L2-normalised per part; logits are cosines / temperature; the target has 1 - eps on the own row plus eps / m
  everywhere, as torch's cross-entropy smooths (MoCo's loss in one direction, FoundationGait A2). The caller stops the
  gradient of the teacher.

  Rows of one `group` are no negatives of each other: they are left out of numerator and denominator. Without groups,
  as in the reference, another walk of the same person is a negative like any other.
  """
  if projection.shape[0] < prediction.shape[0]:
    raise ValueError(f"{prediction.shape[0]} predictions have only {projection.shape[0]} projections to match")
  logits = jnp.einsum("bpe,mpe->bpm", _unit(prediction), _unit(projection)) / temperature
  own = jnp.arange(prediction.shape[0])
  rival = jnp.ones(logits.shape[::2], bool)
  if group is not None:
    rival = (group[own][:, None] != group) | (own[:, None] == jnp.arange(len(group)))
    logits = jnp.where(rival[:, None], logits, -jnp.inf)
  scores = jax.nn.log_softmax(logits, axis=-1)
  positive = scores[own, :, own]
  smooth = jnp.mean(scores, axis=-1, where=jnp.broadcast_to(rival[:, None], scores.shape))
  loss = -jnp.mean((1 - label_smoothing) * positive + label_smoothing * smooth)
  hit = jnp.argmax(logits, axis=-1) == own[:, None]
  return loss, jnp.mean(hit.astype(jnp.float32))


def _unit(x: Float[Array, "b p e"]) -> Float[Array, "b p e"]:
  """Unit length, with a finite gradient at zero (1e-12 is torch's guard)."""
  x = x.astype(jnp.float32)
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-24))
