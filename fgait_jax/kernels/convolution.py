"""Convolutions of frames: within each, along time, over both, and pointwise; none has a bias.

The layout is [b t h w c]. XLA's own convolution is slow on CPU where a kernel spans time and space at once, and in the
gradient of the weights. So time and space are convolved separately; on CPU, in float32, wide kernels use Winograd's
algorithm, or at stride two matrix products over patches. All other cases use XLA's convolution.
"""

import contextlib
import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from fgait_jax.kernels import patches, products, winograd
from fgait_jax.typing import Array, Float

SAVED = "convolution"  # name of every convolution's output, for rematerialisation that saves those
_WIDE = 32  # input and output channels from which the fast paths repay their transforms and their compilation


def plain(x: Float[Array, "n h w c"], kernel: Float[Array, "i j c d"], *, stride: int = 1) -> Array:
  """XLA's cross-correlation with half a window of zeros around, in the dtype of `x`, on any platform. The fast paths
  are tested against it."""
  padding = [(window // 2, window // 2) for window in kernel.shape[:2]]
  return jax.lax.conv_general_dilated(
    x, kernel.astype(x.dtype), (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def plain_kernel_gradient(
  x: Float[Array, "n h w c"], gradient: Float[Array, "n i j d"], *, shape: tuple[int, ...], stride: int, dtype
) -> Float[Array, "i j c d"]:
  """The gradient of `plain` by a kernel of `shape`: the convolution of `x` with the gradient, summed over samples.

  Its dtype is `dtype`, float32 even where the operands are bfloat16; jax's own has theirs (see `kernels.products`).
  """
  padding = []
  for size, window, count in zip(x.shape[1:3], shape[:2], gradient.shape[1:3], strict=True):
    before, reached = window // 2, stride * (count - 1) + window
    padding.append((before, reached - size - before))
  return jax.lax.conv_general_dilated(
    x, gradient, (1, 1), padding, rhs_dilation=(stride, stride), dimension_numbers=("CHWN", "IHWO", "HWNC"),
    preferred_element_type=dtype,
  )


def frame_convolution(x: Float[Array, "n h w c"], kernel: Float[Array, "i j c d"], *, stride: int = 1) -> Array:
  """Windows of 3 x 3 (or another odd size) over every frame with half a window of zeros around it, as torch's
  `padding=1` (also at stride 2).

  Computed in the dtype of `x`; the gradient by `kernel` has the kernel's dtype, so pass the stored kernel uncast.
  """
  return _convolution(x, kernel, stride)


def time_convolution(x: Float[Array, "b t h w c"], kernel: Float[Array, "3 c d"]) -> Float[Array, "b t h w d"]:
  """Three frames at each pixel, with one frame of zeros before and after; dtypes as in `frame_convolution`."""
  b, t, h, w, c = x.shape
  y = _convolution(x.reshape(b, t, h * w, c), kernel[:, None], 1)
  return y.reshape(b, t, h, w, -1)


@contextlib.contextmanager
def plainly():
  """Inside, programs are traced with XLA's convolution alone, on CPU too."""
  global _WIDE
  before, _WIDE = _WIDE, math.inf
  try:
    yield
  finally:
    _WIDE = before


def _fast(x, kernel, stride: int):
  """The module that convolves faster than XLA on CPU, or None."""
  concrete = all(isinstance(size, int) for size in x.shape)  # an export with symbolic sizes cannot cut chunks
  if not concrete or min(kernel.shape[2:]) < _WIDE or not x.dtype == kernel.dtype == jnp.float32:
    return None
  if max(kernel.shape[:2]) > 3:
    return None
  return winograd if stride == 1 else patches


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolution(x, kernel, stride):
  default = functools.partial(plain, stride=stride)
  fast = _fast(x, kernel, stride)
  return jax.lax.platform_dependent(x, kernel, cpu=fast.convolve, default=default) if fast else default(x, kernel)


def _forward(x, kernel, stride):
  return _convolution(x, kernel, stride), (x, kernel)


def _backward(stride, residuals, gradient):
  def default(x, kernel, gradient):
    by_x, = jax.vjp(lambda x: plain(x, kernel, stride=stride), x)[1](gradient)
    return by_x, plain_kernel_gradient(x, gradient, shape=kernel.shape, stride=stride, dtype=kernel.dtype)

  fast = _fast(*residuals, stride)
  if fast is None:
    return default(*residuals, gradient)
  return jax.lax.platform_dependent(*residuals, gradient, cpu=fast.gradients, default=default)


_convolution.defvjp(_forward, _backward)


def xavier(key, shape: tuple[int, ...]) -> Array:
  """Uniform within sqrt(6 / (fan in + fan out)), as torch draws a kernel whose last two axes are (in, out)."""
  receptive = math.prod(shape[:-2])
  bound = math.sqrt(6 / (receptive * (shape[-2] + shape[-1])))
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


class _Convolution(nnx.Module):
  """Holds a kernel whose shape begins with `window`."""

  window: tuple[int, ...] = ()

  def __init__(self, features_in: int, features_out: int, *, stride: int = 1, dtype=jnp.float32, rngs: nnx.Rngs):
    self.kernel = nnx.Param(xavier(rngs.params(), (*self.window, features_in, features_out)))
    self.stride = stride
    self.dtype = dtype

  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t i j d"]:
    y = self.apply(x.astype(self.dtype), self.kernel[...])
    return checkpoint_name(y, SAVED)


class FrameConv(_Convolution):
  """3 x 3 within every frame."""

  window = (3, 3)

  def apply(self, x: Array, kernel: Array) -> Array:
    y = frame_convolution(x.reshape(-1, *x.shape[2:]), kernel, stride=self.stride)
    return y.reshape(*x.shape[:2], *y.shape[1:])


class WideFrameConv(FrameConv):
  """5 x 5 within every frame."""

  window = (5, 5)


class VolumeConv(_Convolution):
  """3 x 3 x 3 over time, rows and columns, every `stride`-th row and column; zeros before, after and around.

  It is a convolution within frames, over the channels of a frame and of its two neighbours.
  """

  window = (3, 3, 3)

  def apply(self, x: Array, kernel: Array) -> Array:
    b, t, h, w, c = x.shape
    around = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    neighbours = jnp.concatenate([around[:, i : i + t] for i in range(3)], axis=-1)
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, 3 * c, -1)
    y = frame_convolution(neighbours.reshape(b * t, h, w, 3 * c), kernel, stride=self.stride)
    return y.reshape(b, t, *y.shape[1:])


class TimeConv(_Convolution):
  """Three frames at each pixel."""

  window = (3,)

  def apply(self, x: Array, kernel: Array) -> Array:
    return time_convolution(x, kernel)


class PointConv(_Convolution):
  """One pixel, every `stride`-th row and column."""

  def apply(self, x: Array, kernel: Array) -> Array:
    if self.stride > 1:
      # Unless they are kept apart, XLA aborts on GPU when it fuses the slice with the product (openxla/xla#47381).
      x = jax.lax.optimization_barrier(x[:, :, :: self.stride, :: self.stride])
    return products.einsum("bthwc,cd->bthwd", x, kernel)
