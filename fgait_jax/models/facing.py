"""Every walk centred and facing one way, before the encoder sees it: the first step of a network with `model.facing`.

People walk to both sides, and one who walks to the right shows the camera another side than one who walks to the left:
without this step a network must learn both. The mean silhouette of a walk tells which it is. A linear map of its
asymmetry gives the sine of the camera's azimuth, 1 where the left side is seen (the person walks to the left of the
image), -1 where the right side is seen, 0 from ahead and behind; a walk below `-UNSURE` is mirrored. The map was fitted
to synthetic people of the crowd, whose cameras are known (`benchmarks/facing.py`, docs/choices.md). The reference
has no such step.

Walks are mirrored about the column in which the normalisation of frames puts the median of the body (`data_prep`), the
one right of the middle. Mirrored about the middle itself, as `frames[..., ::-1, :]`, they are one pixel off, which
costs a network four points of AUC on KTH; so walks are centred on it too.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.typing import Array, Bool, Float

UNSURE = 0.1  # of the sine: from so near ahead or behind, walks stay as they are
REACH = 20  # columns on either side of the median that the map sees
# Rows: eighths of the body from the head down. Columns: four pixels each, from the middle outwards.
AZIMUTH = np.array([
  [-1.07, -0.70, 0.15, 0.05, 0.00],
  [0.72, 0.20, -0.43, 0.08, 0.00],
  [0.01, 0.42, 0.84, 0.07, -0.27],
  [0.90, 1.09, -0.14, -0.43, -0.41],
  [0.05, 0.11, -0.13, -0.32, -0.09],
  [-0.09, -1.38, -0.24, 0.25, 0.04],
  [-0.31, 0.53, 0.81, 0.76, 0.28],
  [0.14, 0.03, -0.06, -0.07, -0.23],
], np.float32)


def face(frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b t h w c"]:
  """Walks with the median column of the body at column w // 2, those that are seen from the right mirrored. Frames that
  are not valid have no influence. What is moved in from outside the frame is zero; a walk without body stays as it is.
  """
  count = jnp.maximum(jnp.sum(valid, axis=1), 1)[:, None, None]
  seen = jnp.where(valid[:, :, None, None], jnp.mean(frames, axis=4), 0)
  mean = jnp.sum(seen, axis=1, dtype=jnp.float32) / count
  middle = median_column(mean)
  side = jnp.where(azimuth_sine(mean, middle) < -UNSURE, -1, 1)
  offsets = jnp.arange(frames.shape[3]) - frames.shape[3] // 2
  return _columns(frames, middle[:, None] + side[:, None] * offsets)


def median_column(image: Float[Array, "b h w"]) -> Array:
  """The column [b] that holds the median of the body, counted from the left; w // 2 of an empty image."""
  sums = jnp.cumsum(jnp.sum(image, axis=1), axis=1)
  half = sums[:, -1] / 2
  return jnp.where(half > 0, jnp.argmax(sums > half[:, None], axis=1), image.shape[2] // 2)


def azimuth_sine(image: Float[Array, "b h w"], middle: Array) -> Float[Array, " b"]:
  """The sine of the camera's azimuth, estimated from the mean silhouette [b, h, w], h a multiple of 8, whose median
  column is `middle` [b]."""
  return jnp.einsum("brc,rc->b", asymmetry(image, middle), AZIMUTH, precision=jax.lax.Precision.HIGHEST)


def asymmetry(image: Float[Array, "b h w"], middle: Array) -> Float[Array, "b 8 5"]:
  """Half the difference of the sides right and left of the column `middle`, mean over fields of h / 8 rows and four
  columns, from the middle outwards."""
  offsets = jnp.arange(1, REACH + 1)
  right, left = (_columns(image[:, None, :, :, None], middle[:, None] + side * offsets)[:, 0, ..., 0]
                 for side in (1, -1))
  return ((right - left) / 2).reshape(image.shape[0], 8, image.shape[1] // 8, REACH // 4, 4).mean(axis=(2, 4))


def _columns(frames: Float[Array, "b t h w c"], columns: Array) -> Float[Array, "b t h v c"]:
  """The columns [b, v] of the frames of each walk; zero where there is no such column."""
  width = frames.shape[3]
  taken = jnp.take_along_axis(frames, jnp.clip(columns, 0, width - 1)[:, None, None, :, None], axis=3)
  return jnp.where(((columns >= 0) & (columns < width))[:, None, None, :, None], taken, 0)
