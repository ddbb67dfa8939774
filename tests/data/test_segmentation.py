"""Errors of another segmenter are those that are said, the same in every frame of a clip."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.data import segmentation
from fgait_jax.data.segmentation import Segmenter, draw_segmenter, resegment

RESEGMENT = jax.jit(resegment)
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def neutral(clips, **errors):
  zero = np.zeros(clips, np.int32)
  fields = {"moved": zero, "coarse": zero > 0, "ground_rows": zero, "ground_left": zero + 10, "ground_right": zero + 30}
  return Segmenter(**{**fields, **{name: np.asarray(value) for name, value in errors.items()}})


def clips(number):
  """Grey noise, uint8 [number, 2, 64, 44, 1]."""
  return np.random.default_rng(0).integers(0, 256, (number, 2, 64, 44, 1), np.uint8)


def test_a_neutral_segmenter_changes_no_bit():
  np.testing.assert_array_equal(RESEGMENT(clips(3), neutral(3)), clips(3))
  drawn = draw_segmenter(jax.random.key(0), clips=50, width=44, probability=0.0)
  np.testing.assert_array_equal(RESEGMENT(clips(50), drawn), clips(50))


def test_an_outline_moves_as_opencv_moves_it():
  frames, moved = clips(5), np.array([-2, -1, 0, 1, 2])
  ours = np.asarray(RESEGMENT(frames, neutral(5, moved=moved)))
  for clip, by, found in zip(frames, moved, ours, strict=True):
    operation = cv2.dilate if by > 0 else cv2.erode
    for frame, one in zip(clip, found, strict=True):
      wide = cv2.copyMakeBorder(frame[..., 0], 4, 4, 4, 4, cv2.BORDER_REPLICATE)
      theirs = operation(wide, CROSS, iterations=int(abs(by))) if by else wide
      np.testing.assert_array_equal(one[..., 0], theirs[4:-4, 4:-4])


def test_coarse_pixels_are_means_of_four():
  frames = clips(2)
  ours = np.asarray(RESEGMENT(frames, neutral(2, coarse=[True, False])))
  means = frames[0].reshape(2, 32, 2, 22, 2).mean(axis=(2, 4))
  np.testing.assert_array_equal(ours[0, ..., 0], means.repeat(2, 1).repeat(2, 2))
  np.testing.assert_array_equal(ours[1], frames[1])


def test_ground_fills_the_lowest_rows_beside_the_feet():
  frames = clips(2) // 2
  ours = np.asarray(RESEGMENT(frames, neutral(2, ground_rows=[3, 0], ground_left=[12, 0], ground_right=[40, 44])))
  expected = frames.copy()
  expected[0, :, 61:, 12:40] = 255
  np.testing.assert_array_equal(ours, expected)


def test_segmenters_are_drawn_as_said():
  number, probability = 20_000, 0.5
  drawn = jax.tree.map(np.asarray, draw_segmenter(jax.random.key(1), clips=number, width=44, probability=probability))
  count = 2 * segmentation.MOST_MOVED + 1
  shares = np.bincount(drawn.moved + segmentation.MOST_MOVED, minlength=count) / number
  expected = np.full(count, probability / count)
  expected[segmentation.MOST_MOVED] += 1 - probability
  np.testing.assert_allclose(shares, expected, atol=0.0142)
  np.testing.assert_allclose(drawn.coarse.mean(), probability * segmentation.COARSE, atol=0.0142)
  rows = np.bincount(drawn.ground_rows, minlength=segmentation.MOST_ROWS + 1) / number
  np.testing.assert_allclose(rows[1:], probability * segmentation.GROUND / segmentation.MOST_ROWS, atol=0.0142)
  low, high = np.rint(np.array(segmentation.REACH) * 44)
  for reach in (22 - drawn.ground_left, drawn.ground_right - 22):
    assert (reach.min(), reach.max()) == (low, high)
  assert abs(np.corrcoef(drawn.ground_left, drawn.ground_right)[0, 1]) < 0.03  # a shadow falls to one side


def test_every_frame_and_channel_has_the_same_errors():
  frames = np.broadcast_to(clips(8)[:, :1], (8, 3, 64, 44, 2))
  drawn = draw_segmenter(jax.random.key(2), clips=8, width=44, probability=1.0)
  found = np.asarray(RESEGMENT(jnp.asarray(frames), drawn))
  np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, ..., :1], found.shape))
