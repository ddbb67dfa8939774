"""Geometric warps of silhouette clips as 3x3 matrices, on the device: building the matrices and sampling by them.

Every matrix here maps an *output* pixel (x, y, 1) to the *input* position it shows: the inverse of the matrices that
OpenCV's `getAffineTransform` and `getPerspectiveTransform` return. Pixel centres have integer coordinates; sampling is
bilinear, zero outside, and rounds to grey levels, as `cv2.warpAffine` and `cv2.warpPerspective` do on uint8.
"""

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Float, UInt8


def affine_between(source: Float[Array, "*b 3 2"], target: Float[Array, "*b 3 2"]) -> Float[Array, "*b 3 3"]:
  """Output-to-input matrix of the affine warp that moves triangle `source` (x, y corners) onto `target`.

  The inverse of `cv2.getAffineTransform(source, target)`. Triangles must have an area.
  """
  return _matmul(_homogeneous(source), _inverse(_homogeneous(target)))


def trapezoid_to_canvas(
  left: Float[Array, "*b 2"], right: Float[Array, "*b 2"], *, size: int
) -> Float[Array, "*b 3 3"]:
  """Output-to-input matrix of the perspective warp that spreads a trapezoid over the whole `size` x `size` canvas.

  `left` and `right` hold the x of its (top, bottom) corners, at y = 0 and y = `size`. The closed form of a square's
  homography to a quadrilateral (Heckbert 1989, section 2.2.3) where two sides are horizontal.
  """
  top, bottom = right[..., 0] - left[..., 0], right[..., 1] - left[..., 1]
  ratio = top / bottom
  zero, one = jnp.zeros_like(ratio), jnp.ones_like(ratio)
  rows = (
    (top / size, (ratio * left[..., 1] - left[..., 0]) / size, left[..., 0]),
    (zero, ratio, zero),
    (zero, (ratio - 1) / size, one),
  )
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def rotation(degrees: Float[Array, "*b"], *, centre: tuple[float, float]) -> Float[Array, "*b 3 3"]:
  """Output-to-input matrix of a counter-clockwise rotation about `centre` (x, y), as `cv2.getRotationMatrix2D`."""
  x, y = centre
  angle = jnp.deg2rad(degrees)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
  rows = ((cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y), (zero, zero, one))
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def warp(
  frames: UInt8[Array, "b t h w c"], matrix: Float[Array, "b 3 3"], *, columns: tuple[int, int] | None = None
) -> UInt8[Array, "b t h q c"]:
  """Frames sampled bilinearly at `matrix` @ (x, y, 1), zero outside the input, rounded to the nearest grey level.

  `columns` (first, end) computes only these columns of the output. Positions and weights are computed once per clip and
  used for all its frames and channels; the identity matrix returns the frames unchanged.
  """
  columns = columns or (0, frames.shape[-2])
  return jax.vmap(lambda f, m: _warp_clip(f, m, columns=columns))(frames, matrix)


def _warp_clip(frames: UInt8[Array, "t h w c"], matrix: Float[Array, "3 3"], *, columns: tuple[int, int]):
  time, height, width, channels = frames.shape
  y, x = jnp.mgrid[:height, columns[0] : columns[1]].astype(jnp.float32).reshape(2, -1)
  depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
  # The border of zeros is one pixel wide, so positions further out are moved onto it.
  x, y = (
    jnp.clip((row[0] * x + row[1] * y + row[2]) / depth, -1.0, size)
    for row, size in ((matrix[0], width), (matrix[1], height))
  )
  left, top = jnp.minimum(jnp.floor(x), width - 1.0), jnp.minimum(jnp.floor(y), height - 1.0)
  across, down = (x - left)[:, None], (y - top)[:, None]
  position = (top.astype(jnp.int32) + 1) * (width + 1) + left.astype(jnp.int32) + 1
  # The four neighbours of a position are packed as the bytes of one word: one gather instead of four.
  words = _neighbourhoods(frames).reshape(time, -1, channels).at[:, position].get(mode="promise_in_bounds")
  grey = [((words >> shift) & 255).astype(jnp.float32) for shift in (0, 8, 16, 24)]
  upper = grey[0] + (grey[1] - grey[0]) * across
  lower = grey[2] + (grey[3] - grey[2]) * across
  rounded = jnp.floor(upper + (lower - upper) * down + 0.5).astype(jnp.uint8)
  return rounded.reshape(time, height, columns[1] - columns[0], channels)


def _neighbourhoods(frames: UInt8[Array, "t h w c"]) -> Array:
  """uint32 [t, h + 1, w + 1, c]: the 2x2 pixels around every corner of the zero-bordered pixel grid."""
  p = jnp.pad(frames, [(0, 0), (1, 1), (1, 1), (0, 0)]).astype(jnp.uint32)
  return p[:, :-1, :-1] | p[:, :-1, 1:] << 8 | p[:, 1:, :-1] << 16 | p[:, 1:, 1:] << 24


def _homogeneous(points: Float[Array, "*b 3 2"]) -> Float[Array, "*b 3 3"]:
  """Columns (x, y, 1) of the three points."""
  return jnp.swapaxes(jnp.concatenate([points, jnp.ones_like(points[..., :1])], axis=-1), -1, -2)


def _inverse(m: Float[Array, "*b 3 3"]) -> Float[Array, "*b 3 3"]:
  """By cofactors: exact to rounding for 3x3, and element-wise, where a batched solver would call a library."""
  a, b, c = m[..., 0, :], m[..., 1, :], m[..., 2, :]
  cofactors = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=-1)
  return cofactors / jnp.sum(a * jnp.cross(b, c), axis=-1)[..., None, None]


def _matmul(a: Array, b: Array) -> Array:
  """Element-wise on purpose: accelerators round the operands of a matrix product to fewer bits."""
  return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)
