"""Batch normalisation that ignores padding and keeps torch's running statistics.

Differs from `flax.nnx.BatchNorm` in what the reference needs: entries can be marked as not valid, and the running
variance is the unbiased one (N / (N - 1)), as torch stores it. Under `jax.jit` with a sharded batch the statistics are
those of the global batch, because the sums over the batch axis are. For the gradient it saves its input in the input's
own dtype, and a mean and deviation per channel; jax's own differentiation would save float32 copies of the input.
"""

import functools

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
    scale, bias, mean, var = self.scale[...], self.bias[...], self.mean[...], self.var[...]
    if self.use_running_average:
      return _affine(x, scale, bias, mean, jax.lax.rsqrt(var + self.epsilon))
    y, batch_mean, unbiased = _normalise(x, scale, bias, valid, mean, self.epsilon)
    keep = self.momentum
    self.mean[...] = keep * mean + (1 - keep) * batch_mean
    self.var[...] = keep * var + (1 - keep) * unbiased
    return y


@jax.checkpoint  # keeps `x` as it is, not in float32
def _affine(x, scale, bias, mean, inverse):
  factor = scale * inverse
  return (x.astype(jnp.float32) * factor + (bias - mean * factor)).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _normalise(x, scale, bias, valid, shift, epsilon: float):
  """(normalised `x`, mean, unbiased variance), of which the last two pass no gradient.

  Moments are taken about `shift`, the running mean. About zero, the variance would lose precision where the mean is
  large; about the batch's own mean, the second moment could be summed over devices only after the first.
  """
  return _forward(x, scale, bias, valid, shift, epsilon)[0]


def _forward(x, scale, bias, valid, shift, epsilon):
  weight, count = _weights(x, valid)
  shifted = x.astype(jnp.float32) - shift
  first, second = _sums(shifted * weight, jnp.square(shifted) * weight) / count
  mean, var = shift + first, jnp.maximum(second - jnp.square(first), 0)
  inverse = jax.lax.rsqrt(var + epsilon)
  y = _affine(x, scale, bias, mean, inverse)
  return (y, mean, var * count / jnp.maximum(count - 1, 1)), (x, scale, valid, mean, inverse)


def _backward(epsilon, residuals, gradients):
  x, scale, valid, mean, inverse = residuals
  gradient = gradients[0].astype(jnp.float32)
  standard = (x.astype(jnp.float32) - mean) * inverse
  by_bias, by_scale = _sums(gradient, gradient * standard)
  weight, count = _weights(x, valid)
  by_x = (scale * inverse) * (gradient - weight * ((by_bias + standard * by_scale) / count))
  return by_x.astype(x.dtype), by_scale, by_bias, None, None


_normalise.defvjp(_forward, _backward)


def _weights(x: Array, valid: Array | None) -> tuple[Array, Array]:
  """Weights, 1 where valid and else 0, that broadcast to `x`, and the number of valid entries per channel."""
  entries = x.size // x.shape[-1]
  if valid is None:
    return jnp.float32(1), jnp.float32(entries)
  weight = valid.astype(jnp.float32).reshape(valid.shape + (1,) * (x.ndim - valid.ndim))
  return weight, jnp.maximum(jnp.sum(weight) * (entries // valid.size), 1)


def _sums(one: Float[Array, "n *lead d"], other: Float[Array, "n *lead d"]) -> Float[Array, "2 d"]:
  """Both arrays summed over all axes but the last. Each sample is summed first, which needs no communication; then both
  sums over samples are one, so that devices communicate once and not twice."""
  within = jnp.stack([jnp.sum(x, axis=tuple(range(1, x.ndim - 1))) for x in (one, other)])
  return jnp.sum(within, axis=1)
