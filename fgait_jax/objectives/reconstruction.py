"""Masked silhouette modelling: binary cross-entropy on the pixels of masked patches."""

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Bool, Float


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
