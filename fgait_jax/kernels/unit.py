"""Unit length, with a gradient that is finite everywhere."""

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Float


def unit(x: Float[Array, "..."], *, axis: int = -1) -> Float[Array, "..."]:
  """`x` at unit length along `axis`; the gradient at zero is finite (1e-12 is torch's guard)."""
  squared = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
  return x * jax.lax.rsqrt(jnp.where(squared > 1e-24, squared, 1e-24))  # `maximum`'s gradient compares for equality
