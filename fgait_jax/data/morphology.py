"""Dilation and blur inside a band of rows, on the device, with a different band and element for every clip.

Equal to `cv2.dilate` and `cv2.GaussianBlur` on a copy of the band's rows: pixels outside the band have no influence.
Bands hold at least two rows and end within the frame.
"""

import jax.numpy as jnp
import numpy as np

from fgait_jax.typing import Array, Bool, Float, Int, UInt8

# (shape, (width, height)) as OpenCV names structuring elements; three of each shape. The reference's choice.
ELEMENTS = (
  ("rect", (5, 3)),
  ("rect", (5, 5)),
  ("rect", (3, 5)),
  ("cross", (3, 3)),
  ("cross", (3, 5)),
  ("cross", (5, 3)),
  ("ellipse", (3, 3)),
  ("ellipse", (3, 5)),
  ("ellipse", (5, 3)),
)
NO_ELEMENT = len(ELEMENTS)  # leaves the frames as they are

# How far an element reaches to either side in its middle row, one row away and two rows away; -1: not at all. Elements
# are symmetric, and every row of one is a single run.
_REACH = np.array(
  [(2, 2, -1), (2, 2, 2), (1, 1, 1), (1, 0, -1), (1, 0, 0), (2, 0, -1), (1, 0, -1), (1, 1, 0), (2, 0, -1), (0, -1, -1)]
)


def in_band(rows: Int[Array, "b 2"], height: int) -> Bool[Array, "b 1 h 1 1"]:
  """True in rows first..end-1 of each clip."""
  y = jnp.arange(height)
  return ((y >= rows[:, :1]) & (y < rows[:, 1:]))[:, None, :, None, None]


def dilate(
  frames: UInt8[Array, "b t h w c"], element: Int[Array, " b"], rows: Int[Array, "b 2"]
) -> UInt8[Array, "b t h w c"]:
  """Greatest grey level under `ELEMENTS[element]`, within rows first..end-1 of each clip."""
  height, width = frames.shape[2:4]
  band = in_band(rows, height)
  seen = jnp.pad(jnp.where(band, frames, jnp.uint8(0)), [(0, 0), (0, 0), (2, 2), (2, 2), (0, 0)])
  away = [seen[:, :, 2:-2]]  # greatest of the two pixels 0, 1 and 2 rows away
  away += [jnp.maximum(seen[:, :, 2 - i : height + 2 - i], seen[:, :, 2 + i : height + 2 + i]) for i in (1, 2)]

  def column(offset):
    """Greatest pixel of the element's column at `offset` and, by symmetry, at its mirror image."""
    included = jnp.asarray(np.where(offset <= _REACH, 255, 0).astype(np.uint8))[element][:, :, None, None, None, None]
    parts = [away[i] & included[:, i] for i in range(3)]
    return jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])

  result = column(0)[:, :, :, 2:-2]
  for offset in (1, 2):
    both = column(offset)
    left, right = both[:, :, :, 2 - offset : width + 2 - offset], both[:, :, :, 2 + offset : width + 2 + offset]
    result = jnp.maximum(result, jnp.maximum(left, right))
  return jnp.where(band, result, frames)


def blur(frames: Float[Array, "b t h w c"], rows: Int[Array, "b 2"]) -> Float[Array, "b t h w c"]:
  """3x3 Gaussian (1/4, 1/2, 1/4 in both directions) within rows first..end-1, mirrored at its edges.

  Those weights are what `cv2.GaussianBlur(..., (3, 3), 0)` uses, although it names the width as sigma 0.8.
  """
  height, width = frames.shape[2:4]
  row = jnp.arange(height)[None, :]
  first, last = ((row == edge)[:, None, :, None, None] for edge in (rows[:, :1], rows[:, 1:] - 1))
  tall = jnp.pad(frames, [(0, 0), (0, 0), (1, 1), (0, 0), (0, 0)])
  above, below = tall[:, :, :height], tall[:, :, 2:]
  blurred = 0.5 * frames + 0.25 * (jnp.where(first, below, above) + jnp.where(last, above, below))
  wide = jnp.pad(blurred, [(0, 0), (0, 0), (0, 0), (1, 1), (0, 0)], mode="reflect")
  blurred = 0.5 * blurred + 0.25 * (wide[:, :, :, :width] + wide[:, :, :, 2:])
  return jnp.where(in_band(rows, height), blurred, frames)
