"""3 x 3 convolution at stride two, one pixel of zeros around, as matrix products over patches; float32 on CPU.

A few frames at a time, so that the patches of a chunk stay in cache; all patches of a batch would be nine times as
large as its activations.
"""

import jax
import jax.numpy as jnp

from fgait_jax.kernels import chunks
from fgait_jax.typing import Array, Float

_PIXELS = 1408  # of the output, per chunk

# Input rows 2r and 2r + 1 as (tap, output row less r) of the outputs that read them; the same for columns.
_READERS = ((1, 0),), ((2, 0), (0, 1))


def convolve(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "n i j d"]:
  """The cross-correlation at every second row and column."""
  _, h, w, c = x.shape
  high, wide = _halved(h), _halved(w)

  def one(frames):
    return (_patches(frames) @ kernel.reshape(9 * c, -1)).reshape(-1, high, wide, kernel.shape[-1])

  return chunks.join(jax.lax.map(one, chunks.split(x, pixels=4 * _PIXELS)))


def gradients(
  x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"], gradient: Float[Array, "n i j d"]
) -> tuple[Float[Array, "n h w c"], Float[Array, "3 3 c d"]]:
  """Gradients of `convolve` by `x` and by `kernel`."""
  _, h, w, c = x.shape
  _, high, wide, d = gradient.shape
  parts = chunks.split(gradient, pixels=_PIXELS)

  def one(g):
    g = jnp.pad(g, ((0, 0), (0, 1), (0, 1), (0, 0)))

    def pixel(rows, columns):  # the gradient of one of the four input pixels per output, by one matrix product
      taps = [(*row, *column) for row in rows for column in columns]
      read = jnp.concatenate([g[:, i : i + high, j : j + wide] for _, i, _, j in taps], axis=-1)
      weights = jnp.concatenate([kernel[y, x].T for y, _, x, _ in taps])
      return (read.reshape(-1, len(taps) * d) @ weights).reshape(-1, high, wide, c)

    pixels = jnp.stack([jnp.stack([pixel(rows, columns) for columns in _READERS], axis=3) for rows in _READERS], axis=2)
    return pixels.reshape(-1, 2 * high, 2 * wide, c)[:, :h, :w]

  def add_chunk(total, part):
    frames, g = part
    return total + _patches(frames).T @ g.reshape(-1, d), None

  start = jnp.zeros((9 * c, d), x.dtype)
  by_kernel, _ = jax.lax.scan(add_chunk, start, (x.reshape(*parts.shape[:2], h, w, c), parts))
  return chunks.join(jax.lax.map(one, parts)), by_kernel.reshape(kernel.shape)


def _halved(size: int) -> int:
  return -(-size // 2)


def _patches(frames: Float[Array, "f h w c"]) -> Float[Array, "fij 9c"]:
  _, h, w, c = frames.shape
  frames = jnp.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)))
  cuts = [frames[:, i : i + h : 2, j : j + w : 2] for i in range(3) for j in range(3)]
  return jnp.concatenate(cuts, axis=-1).reshape(-1, 9 * c)
