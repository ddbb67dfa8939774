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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def maximum(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
  """`jnp.max(x, axis)`."""
  return jnp.max(x, axis=axis)


def _forward(x, axis):
  chosen = jax.nn.one_hot(jnp.argmax(x, axis=axis), x.shape[axis], axis=axis, dtype=bool)
  return maximum(x, axis), chosen


def _backward(axis, chosen, gradient):
  return (jnp.where(chosen, jnp.expand_dims(gradient, axis), 0),)


maximum.defvjp(_forward, _backward)
