"""The fast convolutions against XLA's own, values and both gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.kernels import convolution


def relative(ours, expected):
  return float(jnp.max(jnp.abs(ours - expected)) / jnp.max(jnp.abs(expected)))


def draw(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def with_gradients(function, x, kernel):
  y, pull = jax.vjp(function, x, kernel)
  return y, *pull(draw(*y.shape, seed=9).astype(y.dtype))


@pytest.mark.parametrize(
  "shape,features,stride",
  [
    ((6, 16, 11, 32), 48, 1),  # Winograd, tiles of four outputs, an odd width
    ((3, 5, 7, 32), 32, 1),  # odd height, chunks of one frame
    ((3, 2, 6, 32), 32, 1),  # tiles of two outputs, chunks of one frame
    ((4, 8, 6, 8), 16, 1),  # too narrow for the fast paths
    ((4, 8, 6, 32), 48, 2),  # patches
    ((3, 5, 7, 32), 32, 2),  # odd sizes
    ((5, 9, 7, 1), 8, 1),
  ],
)
def test_frame_convolution_and_gradients_equal_the_plain_ones(shape, features, stride):
  x, kernel = draw(*shape), draw(3, 3, shape[-1], features, seed=1)
  fast = with_gradients(functools.partial(convolution.frame_convolution, stride=stride), x, kernel)
  slow = with_gradients(
    lambda x, k: convolution.plain(x, k, stride=stride), x, kernel
  )
  for ours, expected in zip(fast, slow, strict=True):
    assert ours.shape == expected.shape
    assert relative(ours, expected) < 5e-6


def test_time_convolution_is_a_three_dimensional_one_along_time():
  x, kernel = draw(2, 5, 4, 3, 32), draw(3, 32, 33, seed=1)
  def volume(x, k):
    return jax.lax.conv_general_dilated(
      x, k[:, None, None], (1, 1, 1), ((1, 1), (0, 0), (0, 0)), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )
  ours = with_gradients(convolution.time_convolution, x, kernel)
  for a, b in zip(ours, with_gradients(volume, x, kernel), strict=True):
    assert relative(a, b) < 5e-6


def test_symbolic_sizes_take_the_plain_path():
  n, w = jax.export.symbolic_shape("n, w")
  spec = jax.ShapeDtypeStruct((n, 4, 4, 32), jnp.float32)
  kernel = draw(3, 3, 32, 32)
  exported = jax.export.export(jax.jit(lambda x: convolution.frame_convolution(x, kernel)))(spec)
  x = draw(3, 4, 4, 32, seed=2)
  assert relative(exported.call(x), convolution.frame_convolution(x, kernel)) < 5e-6


def test_bfloat16_stays_bfloat16_in_value_and_gradient():
  x, kernel = draw(2, 4, 4, 32).astype(jnp.bfloat16), draw(3, 3, 32, 32).astype(jnp.bfloat16)
  for array in with_gradients(convolution.frame_convolution, x, kernel):
    assert array.dtype == jnp.bfloat16


def test_kernels_are_drawn_within_the_bound_of_torch():
  kernel = convolution.xavier(jax.random.key(0), (3, 3, 64, 128))
  bound = np.sqrt(6 / (9 * 64 + 9 * 128))
  assert 0.99 * bound < float(jnp.max(jnp.abs(kernel))) <= bound
  np.testing.assert_allclose(jnp.std(kernel), bound / np.sqrt(3), rtol=0.01)


def test_a_strided_product_is_kept_from_its_slice():
  """XLA on GPU aborts where it fuses the two (openxla/xla#47381)."""
  layer = convolution.PointConv(8, 16, stride=2, rngs=nnx.Rngs(0))
  x = draw(2, 3, 6, 4, 8)
  np.testing.assert_allclose(layer(x), jnp.einsum("bthwc,cd->bthwd", x[:, :, ::2, ::2], layer.kernel[...]), rtol=1e-5)
  program = str(jax.make_jaxpr(jax.grad(lambda x: layer(x).sum()))(x))
  assert program.index("slice") < program.index("optimization_barrier") < program.index("dot_general")
