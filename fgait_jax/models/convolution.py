"""The three convolutions of the P3D network: within frames, along time, and pointwise; none has a bias.

Held in the layout [b t h w c]. The plain XLA convolution is slow at two things on CPU: kernels that span time together
with space, and the gradient of the weights. So time is convolved apart from space, and the weight gradient on CPU is
a scan of matrix products over chunks of frames. Other platforms take the plain convolution's gradient.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from fgait_jax.typing import Array, Float

SAVED = "convolution"  # name of every convolution's output, for rematerialisation that keeps those
_NHWC = ("NHWC", "HWIO", "NHWC")
_CHUNK = 4  # frames whose patches are held at once by the CPU weight gradient


def convolve(x: Float[Array, "n h w c"], kernel: Float[Array, "i j c d"], *, stride: int, padding) -> Array:
  """The plain cross-correlation, any platform, any gradient: what the others are tested against."""
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=_NHWC)


def frame_convolution(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"], *, stride: int = 1) -> Array:
  """3 x 3 over every frame with one pixel of zeros around it, as torch's `padding=1` (also at stride 2)."""
  return _convolution(x, kernel, stride, ((1, 1), (1, 1)))


def time_convolution(x: Float[Array, "b t h w c"], kernel: Float[Array, "3 c d"]) -> Float[Array, "b t h w d"]:
  """Three frames at each pixel, with one frame of zeros before and after."""
  b, t, h, w, c = x.shape
  y = _convolution(x.reshape(b, t, h * w, c), kernel[:, None], 1, ((1, 1), (0, 0)))
  return y.reshape(b, t, h, w, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(x, kernel, stride, padding):
  return convolve(x, kernel, stride=stride, padding=padding)


def _forward(x, kernel, stride, padding):
  return _convolution(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, residuals, gradient):
  x, kernel = residuals
  plain = functools.partial(convolve, stride=stride, padding=padding)
  (to_input,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(gradient)
  to_kernel = jax.lax.platform_dependent(
    x, gradient,
    cpu=lambda x, g: kernel_gradient(x, g, shape=kernel.shape, stride=stride, padding=padding),
    default=lambda x, g: jax.linear_transpose(lambda k: plain(x, k), kernel)(g)[0],
  )
  return to_input, to_kernel


_convolution.defvjp(_forward, _backward)


def kernel_gradient(
  x: Float[Array, "n h w c"], gradient: Float[Array, "n i j d"], *, shape: tuple[int, ...], stride: int, padding
) -> Float[Array, "y x c d"]:
  """Weight gradient as matrix products of patches with output gradients, a few frames at a time.

  The patches of one chunk stay in cache; all patches of a batch at once would be nine times the activations.
  """
  rows, columns, c, d = shape
  n, out_h, out_w, _ = gradient.shape
  chunk = math.gcd(n, _CHUNK)
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))

  def add_chunk(total, part):
    frames, g = part
    patches = [
      frames[:, i : i + stride * (out_h - 1) + 1 : stride, j : j + stride * (out_w - 1) + 1 : stride]
      for i in range(rows) for j in range(columns)
    ]
    patches = jnp.concatenate(patches, axis=-1).reshape(-1, rows * columns * c)
    return total + jnp.matmul(patches.T, g.reshape(-1, d), preferred_element_type=jnp.float32), None

  split = lambda a: a.reshape(n // chunk, chunk, *a.shape[1:])
  total, _ = jax.lax.scan(add_chunk, jnp.zeros((rows * columns * c, d), jnp.float32), (split(x), split(gradient)))
  return total.reshape(shape).astype(x.dtype)


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
