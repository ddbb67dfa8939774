"""Masked silhouette modelling: binary cross-entropy on the pixels of masked patches."""

import dataclasses

import jax
import jax.numpy as jnp

from fgait_jax.objectives.base import Objective
from fgait_jax.typing import Array, Bool, Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruction(Objective):
  """`masked_cross_entropy` per pixel of what the student could not see."""

  def needs(self, key, config):
    hidden = tuple(config.student.masked_fractions)
    return [(any(hidden), f"{key}.weight is above 0, but config.student.masked_fractions={hidden} hide nothing to"
                         f" reconstruct; set {key}.weight to 0, or one of config.student.masked_fractions above 0")]

  def __call__(self, student, teacher, batch, state):
    total, count = masked_cross_entropy(student.logits.astype(jnp.float32), student.targets, student.masked)
    return total / jnp.maximum(count, 1), {"reconstruction": (total, count)}, state


def masked_cross_entropy(
  logits: Float[Array, "b n v"], targets: Float[Array, "b n v"], masked: Bool[Array, "b n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """(total in nats, number of pixels) over masked patches, in float32: the loss per pixel is their quotient.

  Targets are in 0..1, grey edges included: -y log s(x) - (1 - y) log s(-x) = max(x, 0) - x y + log(1 + exp(-|x|)).
  What stands in patches that are not masked has no influence, numbers or not.
  """
  take = masked[..., None]
  x = jnp.where(take, logits.astype(jnp.float32), 0)
  y = jnp.where(take, targets.astype(jnp.float32), 0)
  loss = jax.nn.relu(x) - x * y + jnp.log1p(jnp.exp(-jnp.abs(x)))
  total = jnp.sum(jnp.where(take, loss, 0))
  return total, jnp.sum(masked, dtype=jnp.float32) * logits.shape[-1]
