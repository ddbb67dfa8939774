"""The maximum over an axis, whose gradient goes to one position: the first that is highest, as torch's `max(dim)`.

jax's own gradient is (x == max) / count(x == max), for which XLA may recompute x and round it differently. Then no
entry is equal (0 / 0), or mask and count disagree, on one device and on many (jax-ml/jax#40564 is the same for
`jnp.maximum`). Frames of a silhouette are equal at most positions; the layers below got gradients that were wrong by a
third, or NaN.
"""

import functools

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Float


def maximum(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
  """`jnp.max(x, axis)`."""
  return _maximum(x, axis, x.shape[axis])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _maximum(x, axis, size):
  del size
  return jnp.max(x, axis=axis)


def _forward(x, axis, size):
  # The place and not a mask of `size` entries: it is kept until the backward pass.
  return _maximum(x, axis, size), jnp.argmax(x, axis=axis).astype(jnp.uint8 if size <= 256 else jnp.int32)


def _backward(axis, size, place, gradient):
  chosen = jax.nn.one_hot(place, size, axis=axis, dtype=bool)
  return (jnp.where(chosen, jnp.expand_dims(gradient, axis), 0),)


_maximum.defvjp(_forward, _backward)
