"""The last linear map of a network: projects all parts of a walk, as one vector, onto the directions that separate
people. It is fitted in closed form at the end of pretraining (training/discriminant.py), not trained by gradients, so
its arrays are statistics, not parameters.
"""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.kernels.unit import unit
from fgait_jax.typing import Array, Float


def is_fitted(stats) -> bool:
  """Whether a network's running statistics hold a fitted discriminant."""
  return "discriminant" in stats and bool(jnp.any(stats["discriminant"]["kernel"]))


class Discriminant(nnx.Module):
  """unit((x - mean) @ kernel), where x is all pooled parts, each at unit length; zero until it is fitted."""

  def __init__(self, parts: int, features_in: int, features_out: int):
    self.mean = nnx.BatchStat(jnp.zeros(parts * features_in))
    self.kernel = nnx.BatchStat(jnp.zeros((parts * features_in, features_out)))

  def __call__(self, pooled: Float[Array, "b p d"]) -> Float[Array, "b 1 f"]:
    x = unit(pooled.astype(jnp.float32)).reshape(pooled.shape[0], -1)
    return unit((x - self.mean[...]) @ self.kernel[...])[:, None]
