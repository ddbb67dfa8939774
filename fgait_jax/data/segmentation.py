"""The same body as another segmenter leaves it, on the device: a thinner or thicker outline, coarse pixels, and ground
or shadow merged with the feet.

Not part of the reference's recipe. All frames of a clip have the same errors, as those of one recording have; what
changes from frame to frame is `holes`. What differs is what the crowd's segmenters and the two grounds of USF HumanID
differ in (docs/choices.md), drawn on masks that are normalised already: the body keeps its height.
"""

import flax.struct
import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Bool, Float, Int, PRNGKeyArray, UInt8

MOST_MOVED = 2  # pixels by which the outline moves, at most
COARSE = 0.4  # share of clips with pixels of twice the size
GROUND = 0.6  # share of clips with ground at the feet ...
MOST_ROWS = 5  # ... of so many rows at most ...
REACH = (0.1, 0.45)  # ... that reaches so far to either side of the middle, as a share of the width


@flax.struct.dataclass
class Segmenter:
  """The errors of each clip. Neutral: 0 pixels, not coarse, 0 rows."""

  moved: Int[Array, " b"]  # pixels outwards
  coarse: Bool[Array, " b"]
  ground_rows: Int[Array, " b"]
  ground_left: Int[Array, " b"]  # first column
  ground_right: Int[Array, " b"]  # beyond the last


def draw_segmenter(key: PRNGKeyArray, *, clips: int, width: int, probability: float) -> Segmenter:
  """A segmenter for each of `clips` clips, neutral but with the given probability."""
  done, moved, coarse, ground, rows, left, right = jnp.moveaxis(jax.random.uniform(key, (clips, 7)), 1, 0)
  done = done < probability
  low, high = REACH

  def reach(number):
    return jnp.round((low + number * (high - low)) * width).astype(jnp.int32)

  return Segmenter(
    moved=jnp.where(done, jnp.floor(moved * (2 * MOST_MOVED + 1)).astype(jnp.int32) - MOST_MOVED, 0),
    coarse=done & (coarse < COARSE),
    ground_rows=jnp.where(done & (ground < GROUND), 1 + jnp.floor(rows * MOST_ROWS).astype(jnp.int32), 0),
    ground_left=width // 2 - reach(left),
    ground_right=width // 2 + reach(right),
  )


def resegment(frames: UInt8[Array, "b t h w c"], segmenter: Segmenter) -> Float[Array, "b t h w c"]:
  """Frames with the errors of `segmenter`, in 0..255; h and w must be even.

  All steps are exact in float32, so that the same clip gives the same bits in whatever program.
  """
  frames = frames.astype(jnp.float32)
  inside_out = _per_clip(segmenter.moved < 0)
  frames = jnp.where(inside_out, 255 - frames, frames)  # to thin the body is to thicken what is not body
  for pixels in range(1, MOST_MOVED + 1):
    moves = jnp.abs(segmenter.moved) >= pixels
    # The branch keeps XLA on CPU from computing every pixel anew for each of its neighbours of the next step.
    frames = jax.lax.cond(
      jnp.any(moves), lambda f, m: jnp.where(_per_clip(m), _outwards(f), f), lambda f, m: f, frames, moves)
  frames = jnp.where(inside_out, 255 - frames, frames)
  b, t, h, w, c = frames.shape
  cells = frames.reshape(b, t, h // 2, 2, w // 2, 2, c).mean(axis=(3, 5))
  cells = jnp.repeat(jnp.repeat(cells, 2, axis=2), 2, axis=3)
  frames = jnp.where(_per_clip(segmenter.coarse), cells, frames)
  low = jnp.arange(h)[None, :, None] >= h - segmenter.ground_rows[:, None, None]
  column = jnp.arange(w)[None, None, :]
  beside = (column >= segmenter.ground_left[:, None, None]) & (column < segmenter.ground_right[:, None, None])
  return jnp.where((low & beside)[:, None, :, :, None], 255, frames)


def _outwards(frames: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
  """The greatest of each pixel and its four neighbours; beyond the frame its own edge continues."""
  wide = jnp.pad(frames, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
  height, width = frames.shape[2:4]
  near = [wide[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in ((-1, 0), (1, 0), (0, -1), (0, 1))]
  for other in near:
    frames = jnp.maximum(frames, other)
  return frames


def _per_clip(values: Array) -> Array:
  return values[:, None, None, None, None]
