"""Packing loses nothing, whatever the pixels, and damage is told."""

import pathlib
import re

import numpy as np
import pytest

from fgait_jax.data import schema
from fgait_jax.errors import DataError

RNG = np.random.default_rng(0)


def unpack(packed, frames, **options):
  names = ("num_frames", "height", "width", "channels")
  return schema.unpack_frames(packed, **dict(zip(names, frames.shape, strict=True)), **options)


@pytest.mark.parametrize(
  "frames",
  [
    np.zeros((2, 64, 64, 1), np.uint8),
    np.full((1, 64, 44, 1), 255, np.uint8),
    RNG.integers(0, 256, (3, 64, 44, 3), np.uint8),
    RNG.choice([0, 255, 7], (30, 64, 64, 1), p=[0.6, 0.35, 0.05]).astype(np.uint8),
    np.pad(RNG.integers(0, 256, (5, 64, 3, 2), np.uint8), [(0, 0), (0, 0), (58, 3), (0, 0)]),
    np.pad(np.full((2, 1, 1, 1), 1, np.uint8), [(0, 0), (0, 63), (0, 63), (0, 0)]),
  ],
  ids=["black", "white", "noise in three channels", "silhouettes", "few columns", "one corner"],
)
def test_frames_come_back_whole_and_in_part(frames):
  packed = schema.pack_frames(frames)
  np.testing.assert_array_equal(unpack(packed.tobytes(), frames), frames)
  last = len(frames) - 1
  for indices in ([], [0], [last], [last, 0, 0], [0, last], list(range(len(frames)))[::-1]):
    np.testing.assert_array_equal(unpack(packed, frames, indices=indices), frames[np.array(indices, int)])


def test_still_frames_pack_small():
  assert len(schema.pack_frames(np.zeros((10, 64, 64, 1), np.uint8))) < 0.01 * 10 * 64 * 64


def test_a_width_that_is_no_number_of_words_is_told():
  with pytest.raises(ValueError, match="42 wide, not a multiple of 4"):
    schema.pack_frames(np.zeros((1, 64, 42, 1), np.uint8))


def test_damage_and_other_shapes_are_told():
  frames = RNG.choice([0, 255], (4, 64, 64, 1)).astype(np.uint8)
  packed = schema.pack_frames(frames)
  for damaged in (packed[:-2], packed[:3], np.append(packed, 0).astype(np.uint8)):
    with pytest.raises(DataError, match="not 4 x 64 x 64 x 1"):
      unpack(damaged, frames)
  with pytest.raises(DataError, match="packed"):
    unpack(packed, frames[:3])
  with pytest.raises(DataError, match="do not fill 4 x 64 x 44 x 1"):
    unpack(packed, frames[:, :, :44])
  with pytest.raises(IndexError, match="frames 4 to 4 are asked of a sequence of 4"):
    unpack(packed, frames, indices=[4])


def test_the_documented_decoder_needs_numpy_only_and_gives_the_same():
  text = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
  (code,) = re.findall(r"```python\n(import numpy.*?)```", text, re.DOTALL)
  assert re.findall(r"^\s*(?:import|from) .*", code, re.MULTILINE) == ["import numpy as np"]
  names = {}
  exec(code, names)
  rng = np.random.default_rng(0)
  for shape in ((1, 64, 44, 1), (7, 64, 64, 1), (3, 64, 64, 2), (2, 64, 44, 1)):
    frames = np.zeros(shape, np.uint8)
    if shape[0] > 2:
      frames[:, 5:60, 20:30] = rng.integers(0, 3, (shape[0], 55, 10, shape[3])) * 127
    packed = schema.pack_frames(frames).tobytes()
    np.testing.assert_array_equal(names["decode"](packed, *shape), frames)


def test_a_cut_frame_is_set_back_where_it_was_cut_from():
  whole = RNG.integers(0, 256, (2, 3, 64, 64, 2), np.uint8)
  canvas = schema.to_canvas(whole[..., 10:54, :])
  np.testing.assert_array_equal(canvas[..., 10:54, :], whole[..., 10:54, :])
  assert not canvas[..., :10, :].any()
  assert not canvas[..., 54:, :].any()
  assert schema.to_canvas(whole) is whole
