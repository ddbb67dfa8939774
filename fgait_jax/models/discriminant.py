"""The last linear map of a network: all parts of a walk as one vector, seen along the directions that tell people
apart. Its numbers are not trained by gradients; they are solved for at the end of pretraining
(training/discriminant.py), and so are statistics, not parameters.
"""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.models.heads import unit
from fgait_jax.typing import Array, Float


def learnt(stats) -> bool:
  """Whether a network's running statistics hold a discriminant that was solved for."""
  return "discriminant" in stats and bool(jnp.any(stats["discriminant"]["kernel"]))


class Discriminant(nnx.Module):
  """(x - mean) @ kernel of pooled parts at unit length, at unit length again; all zero until it is learnt."""

  def __init__(self, parts: int, features_in: int, features_out: int):
    self.mean = nnx.BatchStat(jnp.zeros(parts * features_in))
    self.kernel = nnx.BatchStat(jnp.zeros((parts * features_in, features_out)))

  def __call__(self, pooled: Float[Array, "b p d"]) -> Float[Array, "b 1 f"]:
    x = unit(pooled.astype(jnp.float32)).reshape(pooled.shape[0], -1)
    return unit((x - self.mean[...]) @ self.kernel[...])[:, None]
