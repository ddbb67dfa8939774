"""Convolution by Winograd's minimal filtering: 3 x 3 over frames, or 3 along one axis; float32 on CPU.

F(4, 3) makes four outputs of a row from 6 products instead of 12; nested over two axes, 16 from 36 instead of 144
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308). F(2, 3) is used where four
outputs would be mostly padding. Stride one, zeros around, output as large as input. A few frames at a time: tiles take
2.25 to 4 times the bytes of frames.

The usual points 0, 1, -1, 2, -2 lose a digit of float32; ours lose little more than F(2, 3). With 256 channels, the
largest error over the largest output is 9.8e-6 (usual points), 2.3e-6 (ours) and 1.8e-6 (F(2, 3)).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.kernels import chunks
from fgait_jax.typing import Array, Float

_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.6875, -0.6875, 1.5, -1.5)}  # and infinity, by outputs a tile
_PIXELS = 6144  # of a chunk, 34 frames of 16 x 11. A quarter and twice as many were slower


@dataclasses.dataclass(frozen=True)
class _Axis:
  """One axis: `count` tiles of `outputs` pixels each, and the matrices A^T, G and B^T of the paper (outputs x n,
  window x n and n x n), n = outputs + window - 1. With a window of 1 all are the identity."""

  size: int
  outputs: int
  count: int
  from_products: np.ndarray
  from_kernel: np.ndarray
  from_inputs: np.ndarray

  @property
  def before(self) -> int:
    return (self.from_kernel.shape[1] - 1) // 2


def convolve(x: Float[Array, "n h w c"], kernel: Float[Array, "i j c d"]) -> Float[Array, "n h w d"]:
  """The cross-correlation of every frame with `kernel`, whose window is 3 or 1 along each axis."""
  rows, columns = _axes(x.shape, kernel.shape[:2])
  transformed = _kernel_matrix(rows, columns) @ kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
  transformed = transformed.reshape(-1, *kernel.shape[2:])

  def one(frames):
    tiles = _input_tiles(frames, rows, columns)
    products = jax.lax.dot_general(tiles, transformed, (((2,), (1,)), ((0,), (0,))))
    return _outputs(products, rows, columns, frames=len(frames))

  return chunks.join(jax.lax.map(one, chunks.split(x, pixels=_PIXELS)))


def gradients(
  x: Float[Array, "n h w c"], kernel: Float[Array, "i j c d"], gradient: Float[Array, "n h w d"]
) -> tuple[Float[Array, "n h w c"], Float[Array, "i j c d"]]:
  """Gradients of `convolve` by `x`, the convolution with the turned kernel, and by `kernel`, the adjoint of the same
  transforms."""
  rows, columns = _axes(x.shape, kernel.shape[:2])
  matrix = _kernel_matrix(rows, columns)

  def add_chunk(total, part):
    frames, g = part
    g = _tiles(g, rows, columns, rows.from_products.T, columns.from_products.T, before=(0, 0))
    return total + jax.lax.dot_general(_input_tiles(frames, rows, columns), g, (((1,), (1,)), ((0,), (0,)))), None

  start = jnp.zeros((len(matrix), *kernel.shape[2:]), x.dtype)
  total, _ = jax.lax.scan(add_chunk, start, [chunks.split(a, pixels=_PIXELS) for a in (x, gradient)])
  by_kernel = (matrix.T @ total.reshape(len(matrix), -1)).reshape(kernel.shape)
  return convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3)), by_kernel


def _axes(shape: tuple[int, ...], windows: tuple[int, int]) -> tuple[_Axis, _Axis]:
  return tuple(_axis(size, window) for size, window in zip(shape[1:3], windows, strict=True))


@functools.cache
def _axis(size: int, window: int) -> _Axis:
  """The tiles of an axis, with the number of outputs that needs the fewest products."""
  if window == 1:
    return _Axis(size, 1, size, *[np.ones((1, 1), np.float32)] * 3)
  outputs = min((4, 2), key=lambda m: -(-size // m) * (m + window - 1))
  n = outputs + window - 1

  def powers(count):  # of every point; the point at infinity has the highest power alone
    finite = np.array(_POINTS[outputs])[:, None] ** np.arange(count)
    return np.concatenate([finite, np.eye(count)[-1:]])

  from_kernel, from_inputs = powers(window), np.linalg.inv(powers(n)).T
  from_inputs[np.abs(from_inputs) < 1e-9] = 0
  balance = 2.0 ** np.round(np.log2(np.abs(from_inputs).sum(1) / np.abs(from_kernel).sum(1)) / 2)[:, None]
  matrices = powers(outputs).T, from_kernel * balance, from_inputs / balance
  return _Axis(size, outputs, -(-size // outputs), *[matrix.astype(np.float32) for matrix in matrices])


def _kernel_matrix(rows: _Axis, columns: _Axis) -> Float[Array, "nn ij"]:
  """Both axes as one matrix: a product with each in turn would write a wide kernel three times."""
  return jnp.asarray(np.kron(rows.from_kernel, columns.from_kernel))


def _input_tiles(x: Float[Array, "f h w c"], rows: _Axis, columns: _Axis) -> Float[Array, "nn m c"]:
  return _tiles(x, rows, columns, rows.from_inputs, columns.from_inputs, before=(rows.before, columns.before))


def _tiles(
  x: Float[Array, "f h w c"], rows: _Axis, columns: _Axis, by_row: np.ndarray, by_column: np.ndarray, *, before
) -> Float[Array, "nn m c"]:
  """Overlapping tiles, one per tile of outputs, transformed along both axes.

  Rows are transformed by a matrix product, columns by sums. With sums for both, XLA would compute each row again for
  every column that reads it; with products for both, it would write all data once more.
  """
  f, h, w, c = x.shape
  high = rows.outputs * (rows.count - 1) + by_row.shape[1]
  wide = columns.outputs * (columns.count - 1) + by_column.shape[1]
  x = jnp.pad(x, ((0, 0), (before[0], high - h - before[0]), (before[1], wide - w - before[1]), (0, 0)))
  last = rows.outputs * (rows.count - 1) + 1
  lines = jnp.stack([x[:, i : i + last : rows.outputs].reshape(-1) for i in range(by_row.shape[1])])
  lines = _along_rows(by_row, lines).reshape(len(by_row), f, rows.count, wide, c)
  last = columns.outputs * (columns.count - 1) + 1
  cut = [lines[:, :, :, j : j + last : columns.outputs] for j in range(by_column.shape[1])]
  tiles = jnp.stack([_weighted(weights, cut) for weights in by_column], axis=1)
  return tiles.reshape(-1, f * rows.count * columns.count, c)


def _outputs(
  products: Float[Array, "nn m d"], rows: _Axis, columns: _Axis, *, frames: int
) -> Float[Array, "f h w d"]:
  shape = rows.outputs, len(columns.from_inputs), frames, rows.count, columns.count, products.shape[-1]
  lines = _along_rows(rows.from_products, products.reshape(len(rows.from_inputs), -1)).reshape(shape)
  pixels = [_weighted(weights, [lines[:, j] for j in range(shape[1])]) for weights in columns.from_products]
  y = jnp.stack(pixels, axis=4).transpose(1, 2, 0, 3, 4, 5)  # frame, tile row, row in tile, tile column, column in tile
  y = y.reshape(frames, rows.count * rows.outputs, columns.count * columns.outputs, -1)
  return y[:, : rows.size, : columns.size]


def _along_rows(matrix: np.ndarray, lines: Float[Array, "i m"]) -> Float[Array, "k m"]:
  return lines if matrix.size == 1 else jnp.asarray(matrix) @ lines


def _weighted(weights: np.ndarray, arrays: list[Array]) -> Array:
  """The weighted sum, without terms of weight zero."""
  terms = [array if weight == 1 else weight * array for weight, array in zip(weights, arrays, strict=True) if weight]
  return functools.reduce(jnp.add, terms)
