"""The three convolutions of the P3D network: within frames, along time, and pointwise; none has a bias.

Held in the layout [b t h w c]. XLA's own convolution is slow on CPU where a kernel spans time and space at once, and in
the gradient of the weights. So time is convolved apart from space; on CPU, in float32, wide 3 x 3 kernels go by
Winograd's products and other weight gradients by matrix products over a few frames' patches. Elsewhere all is plain.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from fgait_jax.models import winograd
from fgait_jax.typing import Array, Float

SAVED = "convolution"  # name of every convolution's output, for rematerialisation that keeps those
_PIXELS = 1408  # whose patches the CPU weight gradient holds at once
_WIDE = 32  # channels in and out from which the fast paths pay for their transforms, and for their compilation


def plain(x: Float[Array, "n h w c"], kernel: Float[Array, "i j c d"], *, stride: int, padding) -> Array:
  """XLA's cross-correlation, any platform, any gradient: what the others are tested against."""
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def frame_convolution(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"], *, stride: int = 1) -> Array:
  """3 x 3 over every frame with one pixel of zeros around it, as torch's `padding=1` (also at stride 2)."""
  return _convolution(x, kernel, stride, ((1, 1), (1, 1)))


def time_convolution(x: Float[Array, "b t h w c"], kernel: Float[Array, "3 c d"]) -> Float[Array, "b t h w d"]:
  """Three frames at each pixel, with one frame of zeros before and after."""
  b, t, h, w, c = x.shape
  y = _convolution(x.reshape(b, t, h * w, c), kernel[:, None], 1, ((1, 1), (0, 0)))
  return y.reshape(b, t, h, w, -1)


def _by_winograd(x, kernel, stride: int) -> bool:
  counted = all(isinstance(size, int) for size in x.shape)  # an export with symbolic sizes cannot cut chunks
  wide = min(kernel.shape[2:]) >= _WIDE and kernel.shape[:2] == (3, 3)
  return counted and wide and stride == 1 and x.dtype == kernel.dtype == jnp.float32


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(x, kernel, stride, padding):
  default = functools.partial(plain, stride=stride, padding=padding)
  if not _by_winograd(x, kernel, stride):
    return default(x, kernel)
  return jax.lax.platform_dependent(x, kernel, cpu=winograd.convolve, default=default)


def _forward(x, kernel, stride, padding):
  return _convolution(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, residuals, gradient):
  x, kernel = residuals
  default = functools.partial(plain, stride=stride, padding=padding)
  def input_gradient(g, k):
    return jax.linear_transpose(lambda x: default(x, k), x)(g)[0]
  by_matrices = functools.partial(kernel_gradient, window=kernel.shape[:2], stride=stride, padding=padding)
  if _by_winograd(x, kernel, stride):
    def turned(g, k):
      return winograd.convolve(g, k[::-1, ::-1].swapaxes(2, 3))
    to_input = jax.lax.platform_dependent(gradient, kernel, cpu=turned, default=input_gradient)
    by_matrices = winograd.kernel_gradient
  else:
    to_input = input_gradient(gradient, kernel)
  def by_transpose(x, g):
    return jax.linear_transpose(lambda k: default(x, k), kernel)(g)[0]
  if min(kernel.shape[2:]) < _WIDE:
    return to_input, by_transpose(x, gradient)
  return to_input, jax.lax.platform_dependent(x, gradient, cpu=by_matrices, default=by_transpose)


_convolution.defvjp(_forward, _backward)


def kernel_gradient(
  x: Float[Array, "n h w c"], gradient: Float[Array, "n i j d"], *, window: tuple[int, int], stride: int, padding
) -> Float[Array, "y x c d"]:
  """Weight gradient as matrix products of patches with output gradients, a few frames at a time.

  The patches of one chunk stay in cache; all patches of a batch at once would be nine times the activations.
  """
  n, out_h, out_w, d = gradient.shape
  c = x.shape[-1]
  chunk = math.gcd(n, 2 ** int(math.log2(max(1, _PIXELS // (out_h * out_w)))))
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))

  def add_chunk(total, part):
    frames, g = part
    patches = [
      frames[:, i : i + stride * (out_h - 1) + 1 : stride, j : j + stride * (out_w - 1) + 1 : stride]
      for i in range(window[0]) for j in range(window[1])
    ]
    patches = jnp.concatenate(patches, axis=-1).reshape(-1, len(patches) * c)
    return total + jnp.matmul(patches.T, g.reshape(-1, d), preferred_element_type=jnp.float32), None

  def split(a):
    return a.reshape(n // chunk, chunk, *a.shape[1:])
  start = jnp.zeros((window[0] * window[1] * c, d), jnp.float32)
  total, _ = jax.lax.scan(add_chunk, start, (split(x), split(gradient)))
  return total.reshape(*window, c, d).astype(x.dtype)


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
    y = self.apply(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
    return checkpoint_name(y, SAVED)


class FrameConv(_Convolution):
  """3 x 3 within every frame."""

  window = (3, 3)

  def apply(self, x: Array, kernel: Array) -> Array:
    y = frame_convolution(x.reshape(-1, *x.shape[2:]), kernel, stride=self.stride)
    return y.reshape(*x.shape[:2], *y.shape[1:])


class TimeConv(_Convolution):
  """Three frames at each pixel."""

  window = (3,)

  def apply(self, x: Array, kernel: Array) -> Array:
    return time_convolution(x, kernel)


class PointConv(_Convolution):
  """One pixel, every `stride`-th row and column."""

  def apply(self, x: Array, kernel: Array) -> Array:
    return x[:, :, :: self.stride, :: self.stride] @ kernel
