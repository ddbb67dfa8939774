"""Batch normalisation that ignores padding and keeps torch's running statistics.

Differs from `flax.nnx.BatchNorm` in two ways the reference needs: entries can be declared not valid, and the running
variance is the unbiased one (N / (N - 1)), as torch stores it. Under `jax.jit` with a sharded batch the statistics are
those of the global batch, because the mean over the batch axis is.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.typing import Array, Bool, Float


class BatchNorm(nnx.Module):
  """Normalises the last axis over all others. `model.train()` uses batch statistics, `model.eval()` running ones.

  `scale_std` > 0 draws the scale from N(1, scale_std), as the reference does (0.02); 0 starts it at one.
  """

  def __init__(
    self, features: int, *, momentum: float = 0.9, epsilon: float = 1e-5, scale_std: float = 0.0, rngs: nnx.Rngs
  ):
    scale = jnp.ones(features)
    if scale_std:
      scale += scale_std * jax.random.normal(rngs.params(), (features,))
    self.scale = nnx.Param(scale)
    self.bias = nnx.Param(jnp.zeros(features))
    self.mean = nnx.BatchStat(jnp.zeros(features))
    self.var = nnx.BatchStat(jnp.ones(features))
    self.momentum = momentum
    self.epsilon = epsilon
    self.use_running_average = False

  def __call__(self, x: Float[Array, "*lead d"], *, valid: Bool[Array, "..."] | None = None) -> Array:
    """Statistics in float32 whatever the dtype of `x`, which is also the dtype returned.

    `valid` covers all leading axes of `x`, or the first of them: [b, t] says which frames of [b, t, h, w, d] count.
    """
    if self.use_running_average:
      mean, var = self.mean[...], self.var[...]
    else:
      mean, var = self._batch_statistics(x.astype(jnp.float32), valid)
    scale = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
    return (x.astype(jnp.float32) * scale + (self.bias[...] - mean * scale)).astype(x.dtype)

  def _batch_statistics(self, x: Array, valid: Array | None) -> tuple[Array, Array]:
    axes = tuple(range(x.ndim - 1))
    entries = x.size // x.shape[-1]
    if valid is None:
      count = jnp.float32(entries)
      mean = jnp.mean(x, axis=axes)
      var = jnp.mean(jnp.square(x - mean), axis=axes)  # two passes: no cancellation in float32
    else:
      weight = valid.astype(jnp.float32).reshape(valid.shape + (1,) * (x.ndim - valid.ndim))
      count = jnp.maximum(jnp.sum(weight) * (entries // valid.size), 1)
      mean = jnp.sum(x * weight, axis=axes) / count
      var = jnp.sum(jnp.square(x - mean) * weight, axis=axes) / count
    unbiased = var * count / jnp.maximum(count - 1, 1)
    keep = self.momentum
    self.mean[...] = keep * self.mean[...] + (1 - keep) * jax.lax.stop_gradient(mean)
    self.var[...] = keep * self.var[...] + (1 - keep) * jax.lax.stop_gradient(unbiased)
    return mean, var
