"""3 x 3 convolution by Winograd's minimal filtering F(2x2, 3x3): 16 products for four outputs instead of 36.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308). Stride one, one pixel of zeros
around, float32 on CPU. A few frames at a time, so that the transformed tiles (four times the frames) stay in cache.
"""

import math

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Float

_PIXELS = 1408  # of a chunk of frames; 8 frames of 16 x 11. Half and twice as many were slower


def convolve(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "n h w d"]:
  """The cross-correlation of every frame with `kernel`."""
  n, h, w, c = x.shape
  d = kernel.shape[-1]
  transformed = _kernel_to_tiles(kernel)

  def one(frames):
    products = jax.lax.dot_general(_frames_to_tiles(frames), transformed, (((2,), (1,)), ((0,), (0,))))
    products = products.reshape(4, 4, -1, *_tiles(h, w), d)
    columns = [_outputs(*products[i]) for i in range(4)]
    pixels = [_outputs(*[columns[i][j] for i in range(4)]) for j in range(2)]  # [column][row]
    y = jnp.stack([jnp.stack([pixels[0][i], pixels[1][i]], axis=3) for i in range(2)], axis=2)
    y = y.reshape(frames.shape[0], y.shape[1] * 2, y.shape[3] * 2, d)
    return y[:, :h, :w]

  return jax.lax.map(one, _chunks(x)).reshape(n, h, w, d)


def kernel_gradient(x: Float[Array, "n h w c"], gradient: Float[Array, "n h w d"]) -> Float[Array, "3 3 c d"]:
  """Gradient of `convolve` by its kernel: the adjoint of the same transforms."""
  _, h, w, c = x.shape
  high, wide = _tiles(h, w)

  def add_chunk(total, part):
    frames, g = part
    g = jnp.pad(g, ((0, 0), (0, 2 * high - h), (0, 2 * wide - w), (0, 0)))
    rows = _outputs_transposed(g[:, 0::2], g[:, 1::2])
    g = jnp.stack([y for row in rows for y in _outputs_transposed(row[:, :, 0::2], row[:, :, 1::2])])
    g = g.reshape(16, -1, g.shape[-1])
    return total + jax.lax.dot_general(_frames_to_tiles(frames), g, (((1,), (1,)), ((0,), (0,)))), None

  start = jnp.zeros((16, c, gradient.shape[-1]), x.dtype)
  total, _ = jax.lax.scan(add_chunk, start, (_chunks(x), _chunks(gradient)))
  columns = [_kernel_transposed(*total[4 * i : 4 * i + 4]) for i in range(4)]
  rows = [_kernel_transposed(*[columns[i][j] for i in range(4)]) for j in range(3)]  # [column][row]
  return jnp.stack([jnp.stack([rows[j][i] for j in range(3)]) for i in range(3)])


def _tiles(h: int, w: int) -> tuple[int, int]:
  return (h + 1) // 2, (w + 1) // 2


def _chunks(x: Array) -> Array:
  n, h, w, c = x.shape
  frames = math.gcd(n, 2 ** int(math.log2(max(1, _PIXELS // (h * w)))))
  return x.reshape(n // frames, frames, h, w, c)


def _frames_to_tiles(x: Float[Array, "n h w c"]) -> Float[Array, "16 m c"]:
  """Overlapping 4 x 4 tiles, two pixels apart, transformed along rows and columns."""
  _, h, w, c = x.shape
  high, wide = _tiles(h, w)
  x = jnp.pad(x, ((0, 0), (1, 1 + 2 * high - h), (1, 1 + 2 * wide - w), (0, 0)))
  rows = _inputs(*[x[:, i : i + 2 * high - 1 : 2] for i in range(4)])
  tiles = [y for row in rows for y in _inputs(*[row[:, :, j : j + 2 * wide - 1 : 2] for j in range(4)])]
  return jnp.stack(tiles).reshape(16, -1, c)


def _kernel_to_tiles(kernel: Float[Array, "3 3 c d"]) -> Float[Array, "16 c d"]:
  return jnp.stack([y for row in _kernel(*kernel) for y in _kernel(*row)])


# The transforms of the paper along one axis: B^T d, A^T m, A y, G g and G^T u.
def _inputs(a, b, c, d):
  return a - c, b + c, c - b, b - d


def _outputs(a, b, c, d):
  return a + b + c, b - c - d


def _outputs_transposed(a, b):
  return a, a + b, a - b, -b


def _kernel(a, b, c):
  half = (a + c) / 2
  return a, half + b / 2, half - b / 2, c


def _kernel_transposed(a, b, c, d):
  half = (b + c) / 2
  return a + half, (b - c) / 2, half + d
