"""Products with weights, whose gradients by the weights are float32 whatever the activations are.

The gradient of a weight is a sum over all entries of a batch, and over devices. A product of bfloat16 arrays is
accumulated in float32, but its result is rounded to bfloat16 before the sum over devices; here it stays float32. With
float32 arrays nothing differs.
"""

import functools

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def einsum(equation: str, x: Float[Array, "..."], kernel: Float[Array, "..."]) -> Float[Array, "..."]:
  """`jnp.einsum` in the dtype of `x`, as is the gradient by `x`; the gradient by `kernel` has the kernel's dtype.

  Every letter of `equation` must occur in two of its three terms, as in "nd,de->ne".
  """
  return jnp.einsum(equation, x, kernel.astype(x.dtype))


def _forward(equation, x, kernel):
  # Not `einsum` itself: rematerialisation picks what it keeps by primitive, and would see one that it does not know.
  return jnp.einsum(equation, x, kernel.astype(x.dtype)), (x, kernel)


def _backward(equation, residuals, gradient):
  x, kernel = residuals
  terms, of_result = equation.split("->")
  of_x, of_kernel = terms.split(",")
  by_x = jnp.einsum(f"{of_result},{of_kernel}->{of_x}", gradient, kernel.astype(x.dtype))
  return by_x, jnp.einsum(f"{of_x},{of_result}->{of_kernel}", x, gradient, preferred_element_type=kernel.dtype)


einsum.defvjp(_forward, _backward)


def add(x: Float[Array, "..."], bias: Float[Array, "..."]) -> Float[Array, "..."]:
  """`x + bias` in the dtype of `x`; `bias` is added, and its gradient summed, in its own dtype."""
  return (x.astype(bias.dtype) + bias).astype(x.dtype)
