"""Random holes in silhouettes, on the device: as a segmenter leaves them in noise, rain, snow, darkness or low
resolution.

Not part of the reference's recipe. A clip loses squares of one size, other ones in every frame or the same throughout.
Deliberately coarser than the corruptions of `evaluation/features/corruption.py`, which are for testing.
"""

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Bool, PRNGKeyArray

SIDES = (1, 2, 4, 8)  # pixels
MOST = 0.4  # share of the squares that is lost, at most
STILL = 0.5  # share of clips that lose the same squares in every frame


def draw_holes(
  key: PRNGKeyArray, shape: tuple[int, int, int, int], *, probability: float
) -> Bool[Array, "b t h w 1"]:
  """True where clips of `shape` [b, t, h, w] lose a pixel. A clip has holes with the given probability."""
  clips, _, height, width = shape
  of_clip, of_square = jax.random.split(key)
  done, share, side, still = jnp.moveaxis(jax.random.uniform(of_clip, (clips, 4)), 1, 0)[..., None, None, None]
  levels = jax.random.bits(of_square, shape, jnp.uint8)  # one random byte per square is precise enough
  levels = jnp.where(still < STILL, levels[:, :1], levels)
  field = levels
  for number, size in enumerate(SIDES[1:], start=1):
    squares = levels[:, :, : -(-height // size), : -(-width // size)]
    squares = jnp.repeat(jnp.repeat(squares, size, axis=2), size, axis=3)[:, :, :height, :width]
    field = jnp.where(side * len(SIDES) >= number, squares, field)
  return ((done < probability) & (field < share * (MOST * 256)))[..., None]
