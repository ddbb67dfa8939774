"""Random augmentation of silhouette clips, on the device and inside the jitted step.

The six steps of FoundationGait (arXiv 2512.00691; DA4GaitSSB in its code): affine and perspective warp, cut to the
model's width and scale to 0..1, flip, dilation and blur of a band of rows; plus the rotation of its fine-tuning recipe;
plus errors of segmentation and holes, which are our additions (see `segmentation`, `holes`). All frames and channels of
a clip share one draw. Drawing parameters (`draw`) is separate from applying them (`apply`), so that `apply` can be
tested against OpenCV.

Ways we differ: a 44-wide source is warped on its 64-wide canvas, where the reference warps the 44 columns; the rotation
turns about the middle of the cut frame, where the reference swaps x and y and turns about (32, 22), and its result is
rounded to grey levels like the other warps'.
"""

import itertools
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp

from fgait_jax.data import morphology, warps
from fgait_jax.data.holes import draw_holes
from fgait_jax.data.segmentation import Segmenter, draw_segmenter, resegment
from fgait_jax.errors import ConfigError
from fgait_jax.typing import Array, Bool, Float, Int, PRNGKeyArray, UInt8

SIZE = 64  # pixels, height and width of the canvas
SHIFT = 10  # corners move by 0..SHIFT-1 pixels
DEGREES = 10.0  # greatest rotation
FIRST_ROWS = (9, 20)  # the band of rows starts at one of these, both included ...
END_ROWS = (39, 50)  # ... and ends before one of these
THRESHOLD = 0.2  # above it a blurred pixel is body

# How many uniform numbers the draw of a clip takes, by purpose. A step that is added draws from a key of its own, as
# segmenters and holes do: one more number here would change what all others draw.
_COLUMNS = {
  "chances": 6,
  "affine": 12,
  "perspective": 4,
  "rotate": 1,
  "element": 1,
  "dilate_rows": 2,
  "blur_rows": 2,
}
_ENDS = tuple(itertools.accumulate(_COLUMNS.values()))[:-1]


@flax.struct.dataclass
class AugmentParameters:
  """The augmentation of each clip. A step that is None is left out of the program; the others hold a value per clip,
  neutral where the step was not drawn. Matrices map output to input pixels, see `warps`."""

  affine: Float[Array, "b 3 3"] | None = None
  perspective: Float[Array, "b 3 3"] | None = None
  flip: Bool[Array, " b"] | None = None
  rotate: Float[Array, "b 3 3"] | None = None  # in pixels of the cut frame
  dilate: Int[Array, " b"] | None = None  # index into morphology.ELEMENTS, or NO_ELEMENT
  dilate_rows: Int[Array, "b 2"] | None = None
  blur: Bool[Array, " b"] | None = None
  blur_rows: Int[Array, "b 2"] | None = None
  segmenter: Segmenter | None = None
  holes: Bool[Array, "b t 64 width 1"] | None = None


def augment(
  key: PRNGKeyArray, frames: UInt8[Array, "b t 64 64 c"], *, width: int, **probabilities: float
) -> Float[Array, "b t 64 width c"]:
  """Clips as the model sees them in training: each step of `draw` is applied to each clip with its probability.

  Probabilities are Python floats: a step of probability 0 costs nothing. With all at 0 the result equals `prepare`'s.
  Raises `ConfigError` for a probability outside 0..1 and a width that does not leave equal margins.
  """
  drawn = draw(key, clips=frames.shape[0], frames=frames.shape[1], width=width, **probabilities)
  return apply(frames, drawn, width=width)


def prepare(frames: UInt8[Array, "*b 64 64 c"], *, width: int = 44) -> Float[Array, "*b 64 width c"]:
  """Frames as the model sees them in evaluation: the middle `width` columns, scaled to 0..1."""
  first, end = _columns(width)
  return _scale(jnp.asarray(frames)[..., first:end, :])


def draw(
  key: PRNGKeyArray,
  *,
  clips: int,
  frames: int = 1,
  affine: float = 0.0,
  perspective: float = 0.0,
  flip: float = 0.0,
  dilate: float = 0.0,
  blur: float = 0.0,
  rotate: float = 0.0,
  segmenter: float = 0.0,
  holes: float = 0.0,
  width: int = 44,
) -> AugmentParameters:
  """Parameters for `clips` clips of `frames` frames. Steps are drawn independently: turning one on or off changes no
  other. Raises `ConfigError` for a probability outside 0..1."""
  names = ("affine", "perspective", "flip", "dilate", "blur", "rotate")
  steps = dict(zip(names, (affine, perspective, flip, dilate, blur, rotate), strict=True))
  ours = {"segmenter": segmenter, "holes": holes}
  if bad := {f"augment.{name}": p for name, p in {**steps, **ours}.items() if not 0 <= p <= 1}:
    raise ConfigError(f"{bad}: these are probabilities, from 0 (never) to 1 (every clip)")
  # One call for all numbers, each in its own column: every further call would add seconds of compilation.
  uniform = jax.random.uniform(key, (clips, sum(_COLUMNS.values())))
  number = dict(zip(_COLUMNS, jnp.split(uniform, _ENDS, axis=1), strict=True))
  done = {name: number["chances"][:, i] < p if p else None for i, (name, p) in enumerate(steps.items())}

  def matrices(name, build):
    return None if done[name] is None else jnp.where(done[name][:, None, None], build(number[name]), jnp.eye(3)[None])

  shape = (clips, frames, SIZE, width)
  of_segmenter = jax.random.fold_in(key, 2)
  elements = jnp.floor(number["element"][:, 0] * len(morphology.ELEMENTS)).astype(jnp.int32)
  return AugmentParameters(
    affine=matrices("affine", _affine),
    perspective=matrices("perspective", _perspective),
    flip=done["flip"],
    rotate=matrices("rotate", partial(_rotation, width=width)),
    dilate=jnp.where(done["dilate"], elements, morphology.NO_ELEMENT) if dilate else None,
    dilate_rows=_rows(number["dilate_rows"]) if dilate else None,
    blur=done["blur"],
    blur_rows=_rows(number["blur_rows"]) if blur else None,
    segmenter=draw_segmenter(of_segmenter, clips=clips, width=width, probability=segmenter) if segmenter else None,
    holes=draw_holes(jax.random.fold_in(key, 1), shape, probability=holes) if holes else None,
  )


def apply(
  frames: UInt8[Array, "b t 64 64 c"], parameters: AugmentParameters, *, width: int = 44
) -> Float[Array, "b t 64 width c"]:
  """Clips changed as `parameters` say, cut to the middle `width` columns and scaled to 0..1.

  Affine and perspective warps sample separately, not once by the product of their matrices: pixels that the first moves
  off the canvas must not come back by the second. All steps before the blur work on grey levels as bytes, which is
  exact because cutting, flipping and dilating commute with the scaling.
  """
  p = parameters
  first, end = _columns(width)

  def cut(frames):
    return frames[..., first:end, :]

  if p.affine is not None:
    frames = _if_any(_moved(p.affine), lambda f: warps.warp(f, p.affine), lambda f: f, frames)
  if p.perspective is not None:
    warp_and_cut = partial(warps.warp, matrix=p.perspective, columns=(first, end))
    frames = _if_any(_moved(p.perspective), warp_and_cut, cut, frames)
  else:
    frames = cut(frames)
  if p.flip is not None:
    frames = jnp.where(_per_clip(p.flip), frames[..., ::-1, :], frames)
  if p.rotate is not None:
    frames = _if_any(_moved(p.rotate), lambda f: warps.warp(f, p.rotate), lambda f: f, frames)
  if p.dilate is not None:
    drawn = p.dilate != morphology.NO_ELEMENT
    frames = _if_any(drawn, lambda f: morphology.dilate(f, p.dilate, p.dilate_rows), lambda f: f, frames)
  if p.segmenter is not None:
    frames = resegment(frames, p.segmenter)
  scaled = _scale(frames)
  if p.blur is not None:
    binary = (morphology.blur(scaled, p.blur_rows) > THRESHOLD).astype(jnp.float32)
    scaled = jnp.where(_per_clip(p.blur) & morphology.in_band(p.blur_rows, SIZE), binary, scaled)
  if p.holes is not None:
    scaled = jnp.where(p.holes, 0, scaled)
  return scaled


def _if_any(drawn: Bool[Array, " b"], step, otherwise, frames: Array) -> Array:
  """`step` if at least one clip of the batch drew it, else `otherwise`.

  The branch also stops XLA on CPU from fusing each warp into the operations that read its pixels, which would sample
  every pixel again for each of them, 20 times in all. `lax.optimization_barrier` is dropped before the fusion.
  """
  return jax.lax.cond(jnp.any(drawn), step, otherwise, frames)


def _moved(matrices: Float[Array, "b 3 3"]) -> Bool[Array, " b"]:
  return jnp.any(matrices != jnp.eye(3)[None], axis=(1, 2))


def _affine(number: Float[Array, "b 12"]) -> Float[Array, "b 3 3"]:
  """Maps a triangle to a triangle: both are three corners of the canvas, moved inwards independently."""
  inwards = jnp.floor(number * SHIFT).reshape(-1, 2, 3, 2)
  corners = jnp.array([(0.0, 0.0), (SIZE, 0.0), (0.0, SIZE)])
  signs = jnp.array([(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0)])
  moved = corners[None, None] + signs[None, None] * inwards
  return warps.affine_between(moved[:, 0], moved[:, 1])


def _perspective(number: Float[Array, "b 4"]) -> Float[Array, "b 3 3"]:
  """The four corners move inwards along the top and bottom edge; their trapezoid is stretched over the canvas."""
  inwards = jnp.floor(number * SHIFT)
  return warps.trapezoid_to_canvas(inwards[:, :2], SIZE - SHIFT + inwards[:, 2:], size=SIZE)


def _rotation(number: Float[Array, "b 1"], *, width: int) -> Float[Array, "b 3 3"]:
  return warps.rotation((2 * number[:, 0] - 1) * DEGREES, centre=(width / 2, SIZE / 2))


def _rows(number: Float[Array, "b 2"]) -> Int[Array, "b 2"]:
  low, high = (jnp.array(ends)[None] for ends in zip(FIRST_ROWS, END_ROWS, strict=True))
  return low + jnp.floor(number * (high - low + 1)).astype(jnp.int32)


def _columns(width: int) -> tuple[int, int]:
  if not 0 < width <= SIZE or (SIZE - width) % 2:
    raise ConfigError(f"augment.width is {width}; expected an even number of columns from 2 to {SIZE}, such as 44")
  return (SIZE - width) // 2, (SIZE + width) // 2


def _scale(frames: Array) -> Array:
  """0..255 to 0..1. A product and not a quotient, which jit turns into a product: the same bits inside and outside."""
  return frames.astype(jnp.float32) * jnp.float32(1 / 255)


def _per_clip(values: Array) -> Array:
  return values[:, None, None, None, None]
