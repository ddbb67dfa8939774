"""Frame normalisation: geometry by hand, refusals by name, and the official result bit for bit on real masks."""

import cv2
import numpy as np
import pytest

from fgait_jax.data import normalise
from fgait_jax.data.normalise import SIZE, FrameRefused, normalise_frame


def body(height=100, width=200, top=10, bottom=90, left=60, right=100) -> np.ndarray:
  mask = np.zeros((height, width), np.uint8)
  mask[top:bottom, left:right] = 255
  return mask


def test_a_box_fills_the_height_and_is_centred():
  frame = normalise_frame(body())
  assert frame.shape == (64, 64)
  assert frame.dtype == np.uint8
  columns = np.flatnonzero(frame.sum(axis=0) > 64 * 128)
  # 40 columns of 80 rows, at 64 rows; the first column beyond half of the mass, the 17th of 32, comes to column 32.
  np.testing.assert_array_equal(columns, np.arange(16, 48))
  assert (frame[:, 31] == 255).all()


def test_the_place_in_the_picture_does_not_matter():
  np.testing.assert_array_equal(normalise_frame(body(left=60, right=100)), normalise_frame(body(left=90, right=130)))


def test_a_body_at_the_border_is_padded_not_shifted():
  frame = normalise_frame(body(left=0, right=40))
  columns = np.flatnonzero(frame.sum(axis=0) > 64 * 128)
  assert len(columns) == 32
  assert abs(columns.mean() - 32) <= 1


@pytest.mark.parametrize(
  ("mask", "reason"),
  [
    (np.zeros((100, 80), np.uint8), "all black"),
    (body(top=10, bottom=15, left=60, right=66), "too little body"),
    (np.tri(300, 200, dtype=np.uint8), "values of 0 and 1 in place of 0 and 255: multiply by 255"),
    (np.ones((200, 100), np.uint8), "values of 0 and 1 in place of 0 and 255"),
    *((np.zeros(shape, np.uint8), "all black") for shape in ((0, 5), (5, 0), (0, 0))),
    (np.zeros((100, 80, 3), np.uint8), "not an 8-bit grey image"),
    (np.zeros((100, 80), np.uint16), "not an 8-bit grey image"),
    (np.full((100, 1), 255, np.uint8), "too narrow"),
  ],
)
def test_refusals_are_named(mask, reason):
  with pytest.raises(FrameRefused, match=reason):
    normalise_frame(mask, min_sum=10_000)


def test_the_least_body_is_more_than_the_least_sum():
  mask = np.zeros((100, 80), np.uint8)
  mask[10:49, 40] = 255
  mask[49, 40] = 55
  with pytest.raises(FrameRefused, match="too little body"):
    normalise_frame(mask)
  mask[49, 40] = 56
  assert normalise_frame(mask).any()


def test_a_sequence_counts_what_it_refuses():
  frames, refused = normalise.normalise([body(), np.zeros((100, 80), np.uint8), body(), np.zeros((9, 9), np.uint8)])
  assert frames.shape == (2, 64, 64)
  assert refused == {"all black": [1, 3]}
  none, refused = normalise.normalise([np.zeros((9, 9), np.uint8)] * 2)
  assert (none.shape, none.dtype, refused) == ((0, 64, 64), np.uint8, {"all black": [0, 1]})


def test_real_masks_equal_the_official_result(shared_data):
  official = np.load(shared_data / "golden" / "normalise_kth_masks.npz")
  assert official.files
  for key in official.files:
    files = sorted((shared_data / "kth" / "masks" / key).glob("*.png"))
    frames, _ = normalise.normalise(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files)
    np.testing.assert_array_equal(frames, official[key], err_msg=key)


@pytest.mark.parametrize("width", [40, 63, 64, 65, 66, 96, 127, 128])
def test_a_body_in_any_column_is_cut_as_the_official_script_cuts(width):
  """64 rows, so that nothing is scaled: the window of the mask with half a frame of black on both sides."""
  for centre in range(1, width):
    mask = np.zeros((SIZE, width), np.uint8)
    mask[:, centre] = 255
    mask[::3, (centre * 7) % width] = 9  # off the middle, so that a shift shows
    padded = np.pad(mask, ((0, 0), (SIZE // 2, SIZE // 2)))
    np.testing.assert_array_equal(normalise_frame(mask), padded[:, centre : centre + SIZE])
