"""The augmentations do what OpenCV does for the same parameters, and are drawn as the recipe says."""

import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.data import augment, holes, morphology, warps
from fgait_jax.data.holes import draw_holes
from fgait_jax.errors import ConfigError

STEPS = ("affine", "perspective", "flip", "dilate", "blur", "rotate", "segmenter", "holes")
NONE = dict.fromkeys(STEPS, 0.0)
# Compiled as in training; op by op every test would compile dozens of small programs.
WARP = jax.jit(warps.warp, static_argnames="columns")
DRAW = jax.jit(augment.draw, static_argnames=("clips", "frames", "width", *STEPS))
APPLY = jax.jit(augment.apply, static_argnames="width")
AUGMENT = jax.jit(augment.augment, static_argnames=("width", *STEPS))
SHAPES = {"rect": cv2.MORPH_RECT, "cross": cv2.MORPH_CROSS, "ellipse": cv2.MORPH_ELLIPSE}


def clips(*, number=4, frames=2, width=64, channels=1, seed=0):
  """Grey noise: every mistake of a pixel shows."""
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (number, frames, 64, width, channels), np.uint8)


def per_frame(function, frames):
  """`function`(image [h, w], number of the clip) on every channel of every frame."""
  result = [
    [np.stack([function(np.ascontiguousarray(f[..., c]), i) for c in range(f.shape[-1])], -1) for f in clip]
    for i, clip in enumerate(frames)
  ]
  return np.asarray(result)


def assert_same_grey_levels(ours, theirs):
  """Equal but for values half-way between two grey levels, which rounding errors of 1e-3 levels send either way.

  OpenCV 5 interpolates uint8 in float32. Its older releases round positions to 1/32 pixel first: up to 255/32 levels
  off in each direction on such noise. On walkers' grey edges that is less, but no bound below it would be honest.
  """
  difference = np.abs(np.asarray(ours, int) - theirs)
  if int(cv2.__version__.split(".")[0]) >= 5:
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.002
  else:
    assert difference.max() <= 2 * 255 / 32 + 1


def triangles(rng, number):
  inwards = rng.integers(0, 10, (number, 3, 2))
  corners, signs = np.array([(0, 0), (64, 0), (0, 64)]), np.array([(1, 1), (-1, 1), (1, -1)])
  return (corners + signs * inwards).astype(np.float32)


def test_affine_warp_is_opencvs():
  rng, frames = np.random.default_rng(1), clips(channels=2)
  source, target = triangles(rng, 4), triangles(rng, 4)
  ours = WARP(frames, warps.affine_between(jnp.asarray(source), jnp.asarray(target)))
  matrices = [cv2.getAffineTransform(s, t) for s, t in zip(source, target, strict=True)]
  assert_same_grey_levels(ours, per_frame(lambda f, i: cv2.warpAffine(f, matrices[i], (64, 64)), frames))


def test_perspective_warp_is_opencvs():
  rng, frames = np.random.default_rng(2), clips(channels=2)
  left, right = rng.integers(0, 10, (4, 2)), rng.integers(54, 64, (4, 2))
  canvas = np.float32([(0, 0), (64, 0), (64, 64), (0, 64)])
  matrices = []
  for (tl, bl), (tr, br) in zip(left, right, strict=True):
    matrices.append(cv2.getPerspectiveTransform(np.float32([(tl, 0), (tr, 0), (br, 64), (bl, 64)]), canvas))
  ours = warps.trapezoid_to_canvas(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32), size=64)
  np.testing.assert_allclose(ours, [np.linalg.inv(m) / np.linalg.inv(m)[2, 2] for m in matrices], atol=1e-5)
  warped = WARP(frames, ours)
  assert_same_grey_levels(warped, per_frame(lambda f, i: cv2.warpPerspective(f, matrices[i], (64, 64)), frames))


def test_rotation_of_the_cut_frame_is_opencvs():
  frames, degrees = clips(width=44), np.array([-10.0, -3.3, 0.0, 9.0], np.float32)
  ours = WARP(frames, warps.rotation(jnp.asarray(degrees), centre=(22.0, 32.0)))
  turn = [cv2.getRotationMatrix2D((22, 32), float(d), 1.0) for d in degrees]
  assert_same_grey_levels(ours, per_frame(lambda f, i: cv2.warpAffine(f, turn[i], (44, 64)), frames))


def test_warp_of_some_columns_is_the_cut_of_the_whole():
  frames = clips()
  matrix = warps.rotation(jnp.array([5.0, 0.0, 33.0, -90.0]), centre=(32.0, 32.0))
  whole = WARP(frames, matrix)
  np.testing.assert_array_equal(WARP(frames, matrix, columns=(10, 54)), whole[..., 10:54, :])
  np.testing.assert_array_equal(whole[1], frames[1])  # the identity leaves every bit


def test_what_is_moved_far_outside_leaves_zeros():
  shift = jnp.eye(3)[None].at[0, 0, 2].set(jnp.array(1000.0))
  assert not WARP(clips(number=1), shift).any()


def test_dilation_is_opencvs_for_every_element():
  frames, rng = clips(number=len(morphology.ELEMENTS) + 1, width=44, channels=2), np.random.default_rng(3)
  rows = np.stack([rng.integers(9, 21, len(frames)), rng.integers(39, 51, len(frames))], -1)
  ours = jax.jit(morphology.dilate)(frames, jnp.arange(len(frames)), jnp.asarray(rows))

  def theirs(frame, i):
    shape, size = morphology.ELEMENTS[i]
    band = np.ascontiguousarray(frame[rows[i][0] : rows[i][1]])
    frame[rows[i][0] : rows[i][1]] = cv2.dilate(band, cv2.getStructuringElement(SHAPES[shape], size))
    return frame

  np.testing.assert_array_equal(ours[:-1], per_frame(theirs, frames[:-1].copy()))
  np.testing.assert_array_equal(ours[-1], frames[-1])


def test_blur_is_opencvs_inside_its_band():
  frames = clips(width=44).astype(np.float32) / 255
  rows = np.array([(9, 39), (20, 50), (0, 64), (30, 32)])
  ours = jax.jit(morphology.blur)(frames, jnp.asarray(rows))

  def theirs(frame, i):
    band = slice(*rows[i])
    frame[band] = cv2.GaussianBlur(np.ascontiguousarray(frame[band]), (3, 3), 0)
    return frame

  np.testing.assert_allclose(ours, per_frame(theirs, frames.copy()), atol=1e-6)


def test_all_steps_in_the_recipes_order():
  """One clip through every step against the recipe written out in OpenCV."""
  frames, rng = clips(number=1, frames=1), np.random.default_rng(4)
  frames = np.where(np.arange(64)[:, None, None] > 30, frames, 0).astype(np.uint8)
  source, target = triangles(rng, 1), triangles(rng, 1)
  left, right = np.array([[3, 7]]), np.array([[60, 55]])
  lost = rng.random((64, 44)) < 0.2
  parameters = augment.AugmentParameters(
    affine=warps.affine_between(jnp.asarray(source), jnp.asarray(target)),
    perspective=warps.trapezoid_to_canvas(jnp.asarray(left, float), jnp.asarray(right, float), size=64),
    flip=jnp.array([True]),
    rotate=warps.rotation(jnp.array([7.0]), centre=(22.0, 32.0)),
    dilate=jnp.array([1]),
    dilate_rows=jnp.array([[9, 45]]),
    blur=jnp.array([True]),
    blur_rows=jnp.array([[20, 39]]),
    holes=jnp.asarray(lost)[None, None, ..., None],
  )
  ours = np.asarray(APPLY(frames, parameters, width=44))[0, 0, ..., 0]

  image = cv2.warpAffine(frames[0, 0, ..., 0], cv2.getAffineTransform(source[0], target[0]), (64, 64))
  corners = np.float32([(3, 0), (60, 0), (55, 64), (7, 64)])
  canvas = np.float32([(0, 0), (64, 0), (64, 64), (0, 64)])
  image = cv2.warpPerspective(image, cv2.getPerspectiveTransform(corners, canvas), (64, 64))
  image = np.ascontiguousarray(image[:, 10:54][:, ::-1])
  image = cv2.warpAffine(image, cv2.getRotationMatrix2D((22, 32), 7.0, 1.0), (44, 64)).astype(np.float32) / 255
  image[9:45] = cv2.dilate(image[9:45].copy(), np.ones((5, 5), np.uint8))
  image[20:39] = cv2.GaussianBlur(image[20:39].copy(), (3, 3), 0) > 0.2
  image[lost] = 0
  np.testing.assert_allclose(ours, image, atol=3.01 / 255)  # a grey level from each warp's rounding


def test_without_any_step_it_is_the_cut():
  frames = clips(channels=3)
  result = augment.augment(jax.random.key(0), frames, **NONE, width=44)
  np.testing.assert_array_equal(result, augment.prepare(frames))
  np.testing.assert_allclose(result, frames[..., 10:54, :] / 255.0, rtol=2e-7)
  assert augment.prepare(np.full((1, 64, 64, 1), 255, np.uint8)).min() == 1
  assert augment.prepare(frames, width=64).shape == frames.shape


def test_steps_not_drawn_change_no_bit():
  """All steps are in the program, none is done: the neutral parameters are neutral."""
  frames = clips(number=1)
  parameters = DRAW(jax.random.key(0), clips=1, **dict.fromkeys(STEPS, 1e-9))
  np.testing.assert_array_equal(APPLY(frames, parameters), augment.prepare(frames))


def test_one_draw_serves_all_frames_and_channels_of_a_clip_and_clips_differ():
  frames = np.broadcast_to(clips(number=1, frames=1), (16, 3, 64, 64, 2))
  steps = {**dict.fromkeys(STEPS, 0.5), "holes": 0.0, "width": 44}  # holes may differ from frame to frame
  once = np.asarray(AUGMENT(jax.random.key(1), frames, **steps))
  np.testing.assert_array_equal(once, np.broadcast_to(once[:, :1, :, :, :1], once.shape))
  assert len(np.unique(once.reshape(16, -1), axis=0)) > 12
  np.testing.assert_array_equal(once, AUGMENT(jax.random.key(1), frames, **steps))
  assert once.dtype == np.float32
  assert once.min() >= 0
  assert once.max() <= 1


@pytest.fixture(scope="module")
def drawn():
  steps = dict.fromkeys(STEPS, 0.0) | {
    "affine": 0.2, "perspective": 0.2, "flip": 0.5, "dilate": 0.2, "blur": 0.2, "rotate": 0.3}
  return jax.tree.map(np.asarray, DRAW(jax.random.key(5), clips=20_000, **steps))


def test_steps_are_drawn_with_their_probabilities(drawn):
  def moved(matrix):
    return (matrix != np.eye(3)).any((1, 2))

  done = [moved(drawn.affine), moved(drawn.perspective), drawn.flip, drawn.dilate != morphology.NO_ELEMENT, drawn.blur]
  done.append(moved(drawn.rotate))
  # Four standard errors of a share of 20,000 are at most 0.0142.
  np.testing.assert_allclose(np.mean(done, axis=1), [0.2, 0.2, 0.5, 0.2, 0.2, 0.3], atol=0.0142)
  together = np.corrcoef(np.array(done, float)) - np.eye(len(done))
  assert np.abs(together).max() < 0.03  # independent of each other


def test_bands_and_elements_cover_their_ranges_evenly(drawn):
  for rows in (drawn.dilate_rows, drawn.blur_rows):
    for column, low in ((0, 9), (1, 39)):
      values, counts = np.unique(rows[:, column], return_counts=True)
      np.testing.assert_array_equal(values, np.arange(low, low + 12))
      np.testing.assert_allclose(counts / len(rows), 1 / 12, atol=0.01)
  assert abs(np.corrcoef(drawn.dilate_rows[:, 0], drawn.blur_rows[:, 0])[0, 1]) < 0.03
  values, counts = np.unique(drawn.dilate, return_counts=True)
  np.testing.assert_array_equal(values, np.arange(10))
  np.testing.assert_allclose(counts[:9] / counts[:9].sum(), 1 / 9, atol=0.02)


def test_warps_stay_in_their_ranges(drawn):
  """Corners move by 0..9 pixels: seen where the matrices send known points."""
  left, right = drawn.perspective @ np.array([0, 0, 1.0]), drawn.perspective @ np.array([64, 0, 1.0])
  moved = (drawn.perspective != np.eye(3)).any((1, 2))
  assert set(np.rint(left[moved, 0])) == set(range(10))
  assert set(np.rint(right[moved, 0])) == set(range(54, 64))
  low_left = drawn.perspective @ np.array([0, 64, 1.0])
  assert set(np.rint(low_left[moved, 0] / low_left[moved, 2])) == set(range(10))
  np.testing.assert_allclose(low_left[moved, 1] / low_left[moved, 2], 64, rtol=1e-5)
  angle = np.rad2deg(np.arcsin(drawn.rotate[:, 1, 0]))
  assert np.abs(angle).max() <= 10
  assert np.abs(angle).max() > 9.9
  np.testing.assert_allclose(drawn.rotate @ np.array([22, 32, 1.0]), np.tile([22, 32, 1.0], (20_000, 1)), atol=1e-4)
  # An affine map of the canvas by triangles moved up to 9 pixels: no corner of theirs goes further than 18 or so.
  corner = drawn.affine @ np.array([0, 0, 1.0])
  assert np.abs(corner[:, :2]).max() < 20
  assert np.linalg.det(drawn.affine).min() > 0.4


def test_corners_move_inwards_by_at_most_nine_pixels(monkeypatch):
  """Of the affine warp's draw: the corners stay where they are before it and move furthest after it."""
  def uniform(key, shape):
    return jnp.zeros(shape).at[:, 12:18].set(0.999)  # after six chances and the first triangle

  monkeypatch.setattr(jax.random, "uniform", uniform)
  matrix = np.asarray(augment.draw(jax.random.key(0), clips=1, affine=1.0).affine[0])
  corners = np.array([(0, 0, 1), (64, 0, 1), (0, 64, 1)])
  inwards = np.array([(9, 9, 1), (55, 9, 1), (9, 55, 1)])
  np.testing.assert_allclose(inwards @ matrix.T, corners, atol=1e-4)


def test_turning_a_step_off_changes_no_other_draw():
  everything = DRAW(jax.random.key(6), clips=50, **dict.fromkeys(STEPS, 0.5))
  some = DRAW(jax.random.key(6), clips=50, **{**dict.fromkeys(STEPS, 0.5), "affine": 0.0, "dilate": 0.0})
  assert some.affine is None
  np.testing.assert_array_equal(some.perspective, everything.perspective)
  np.testing.assert_array_equal(some.blur_rows, everything.blur_rows)


def test_holes_are_squares_of_the_sides_and_shares_that_are_said():
  number, spared = 400, 0.25
  drawn = jax.jit(draw_holes, static_argnums=1)(jax.random.key(2), (number, 3, 64, 44), probability=1 - spared)
  lost = np.asarray(drawn)
  share = lost.mean((1, 2, 3, 4))
  assert abs(np.mean(share == 0) - spared) < 4 * np.sqrt(spared * (1 - spared) / number) + 0.02  # few lose under 1/256
  assert share.max() < holes.MOST + 0.2  # of 48 squares of 8 x 8 more may be lost than their probability says
  assert abs(share[share > 0].mean() - holes.MOST / 2) < 0.03
  hit = lost[share > 0.02]
  still = (hit == hit[:, :1]).all((1, 2, 3, 4))
  assert abs(still.mean() - holes.STILL) < 0.12
  fits = []
  for side in holes.SIDES:  # constant within each square of that side
    squares = hit[:, :, :, : 44 // side * side].reshape(len(hit), 3, 64 // side, side, 44 // side, side)
    fits.append((squares == squares[:, :, :, :1, :, :1]).all((1, 2, 3, 4, 5)))
  largest = np.sum(fits, axis=0)
  np.testing.assert_allclose(np.bincount(largest, minlength=5)[1:] / len(hit), 0.25, atol=0.1)


def test_what_is_lost_is_background_and_the_rest_untouched():
  frames = clips()
  lost = np.random.default_rng(0).random((4, 2, 64, 44, 1)) < 0.3
  ours = APPLY(frames, augment.AugmentParameters(holes=jnp.asarray(lost)))
  np.testing.assert_array_equal(ours, np.where(lost, 0, augment.prepare(frames)))


def test_sharded_clips_give_the_same_result_without_moving_frames():
  """Clips cut over eight devices: bit for bit the one-device result, and no device sees another's frames."""
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  frames = clips(number=8, frames=1)
  steps = {**dict.fromkeys(STEPS, 0.5), "width": 44}
  one = AUGMENT(jax.random.key(7), frames, **steps)
  many = AUGMENT(jax.random.key(7), jax.device_put(frames, sharding), **steps)
  np.testing.assert_array_equal(one, many)
  assert many.sharding.is_equivalent_to(sharding, many.ndim)
  program = AUGMENT.lower(jax.random.key(7), jax.device_put(frames, sharding), **steps).compile().as_text()
  exchanges = [line for line in program.splitlines() if re.search(r"all-(gather|to-all)|collective-permute", line)]
  assert not [line for line in exchanges if "u8[" in line]


@pytest.mark.parametrize(
  "change, message",
  [({"flip": 1.5}, r"augment\.flip.*probabilities"), ({"width": 43}, r"augment\.width is 43"), ({"width": 66}, "66")],
)
def test_impossible_arguments_are_refused(change, message):
  with pytest.raises(ConfigError, match=message):
    augment.augment(jax.random.key(0), clips(), **{**NONE, "width": 44, **change})
