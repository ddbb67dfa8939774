"""The maximum over an axis, whose gradient goes to one position: the first that is highest, as torch's `max(dim)`.

jax's own gradient is (x == max) / count(x == max), for which XLA may compute x anew and round otherwise: then nothing
is equal (0 / 0), or mask and count differ, on one device as on many (jax-ml/jax#40564 is the same of `jnp.maximum`).
Frames of a silhouette tie at most positions, and what lies below got gradients wrong by a third, or not numbers.
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
