"""Masks of any making: one's own are made binary and counted, those of public data sets are read as officially."""

import cv2
import numpy as np
import pytest

from data_prep import build, datasets
from data_prep.sources.base import Dropped
from data_prep.sources.images import ImageSource
from data_prep.sources.masks import MADE_BINARY, PREPARATIONS, check_background, looks_inverted, read_walk
from fgait_jax.data.normalise import normalise_frame
from fgait_jax.data.source import open_split


def person(step: float = 0.0, size=(240, 320)) -> np.ndarray:
  mask = np.zeros(size, np.uint8)
  cv2.ellipse(mask, (160, 60), (14, 18), 0, 0, 360, 255, -1)
  cv2.ellipse(mask, (160, 115), (24, 45), 0, 0, 360, 255, -1)
  for side in (-1, 1):
    cv2.line(mask, (160, 150), (int(160 + side * (8 + 25 * step)), 220), 255, 14)
  return mask


def encoded(picture: np.ndarray, ending: str = ".png", *options: int) -> bytes:
  return cv2.imencode(ending, picture, list(options))[1].tobytes()


def read(*contents: bytes, frames: str = "own", names: tuple[str, ...] = ()):
  names = names or tuple(f"a/b/c/{i}.png" for i in range(len(contents)))
  return read_walk([lambda content=content: content for content in contents], names, frames=frames, where="a/b/c")


def overlap(one: np.ndarray, other: np.ndarray) -> float:
  return float(((one > 127) & (other > 127)).sum() / ((one > 127) | (other > 127)).sum())


def red(mask: np.ndarray) -> np.ndarray:
  return np.dstack([np.zeros_like(mask), np.zeros_like(mask), mask])


@pytest.mark.parametrize(
  ("make", "least"),
  [
    (lambda mask: encoded(mask, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 75), 0.98),
    (lambda mask: encoded(cv2.GaussianBlur(mask, (0, 0), 2)), 0.96),
    (lambda mask: encoded(np.where(mask, mask, np.eye(*mask.shape, dtype=np.uint8))), 1.0),  # stray values of 1
    (lambda mask: encoded(red(mask)), 1.0),
    (lambda mask: encoded(red(mask // 255 * 128)), 1.0),  # the first colour of a label picture's palette
  ],
  ids=["jpeg", "soft", "stray", "red", "dark red"],
)
def test_own_masks_are_made_binary_before_they_are_cropped(make, least):
  expected = normalise_frame(person())
  reading = read(make(person()))
  assert overlap(reading.frames[0], expected) >= least
  if least == 1.0:
    np.testing.assert_array_equal(reading.frames[0], expected)


def test_what_was_made_binary_is_counted_and_said(tmp_path, capsys):
  for name, blur in (("1", 0), ("2", 2), ("3", 2)):
    mask = cv2.GaussianBlur(person(), (0, 0), blur) if blur else person()
    (tmp_path / "raw" / "01" / "nm" / "090").mkdir(parents=True, exist_ok=True)
    (tmp_path / "raw" / "01" / "nm" / "090" / f"{name}.png").write_bytes(encoded(mask))
  assert build.main(["own", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
  told = capsys.readouterr().out
  assert f"altered 2 frames of 3 in the stored walks: {MADE_BINARY}, such as 01/nm/090/2.png" in told
  manifest = open_split(tmp_path / "out", "own", "test").manifest
  assert manifest["altered_frames"] == {MADE_BINARY: {"count": 2, "examples": ["01/nm/090/2.png", "01/nm/090/3.png"]}}


@pytest.mark.parametrize("columns", [slice(None), slice(10, 54)])
def test_frames_that_are_scaled_already_keep_their_grey_edges(columns):
  scaled = normalise_frame(person())[:, columns]
  assert ((scaled > 0) & (scaled < 255)).any()
  reading = read(encoded(scaled))
  np.testing.assert_array_equal(reading.frames[0], scaled)
  assert not reading.altered


def test_public_masks_are_cropped_as_officially_grey_or_not():
  soft = cv2.GaussianBlur(person(), (0, 0), 2)
  reading = read(encoded(soft), frames="official")
  np.testing.assert_array_equal(reading.frames[0], normalise_frame(soft))
  assert not reading.altered
  coloured = encoded(np.dstack([person(), person() // 2, person()]), ".jpg")
  official = cv2.imdecode(np.frombuffer(coloured, np.uint8), cv2.IMREAD_GRAYSCALE)
  np.testing.assert_array_equal(read(coloured, frames="official").frames[0], normalise_frame(official))


def test_casia_e_is_resized_bilinearly_where_it_is_not_of_64_rows(tmp_path):
  pictures = {
    "scaled": np.pad(person()[40:225, 110:210], 3), "high": normalise_frame(person())[:, 10:54],
  }  # fmt: skip
  for number, picture in enumerate(pictures.values()):
    folder = tmp_path / "forTrain" / "001" / "H" / "scene1" / "nm" / "000" / str(number)
    folder.mkdir(parents=True)
    for frame in ("1", "2", "3", "4", "5", "6", "gei"):
      (folder / f"{frame}.png").write_bytes(encoded(picture))
  source = datasets.get("casia_e").source(tmp_path)
  scaled, high = (walk.read().frames for walk in source.splits()["train"])
  assert len(scaled) == 6
  np.testing.assert_array_equal(scaled[0], cv2.resize(pictures["scaled"], (64, 64)))  # OpenCV's default is bilinear
  np.testing.assert_array_equal(high[0], pictures["high"])
  assert [name.rpartition("/")[2] for name in source.unread()] == ["gei.png", "gei.png"]
  (folder / "6.png").unlink()
  with pytest.raises(Dropped, match=r"fewer than 6 frames: 001/H-scene1-nm-1/000: 5; its official script"):
    datasets.get("casia_e").source(tmp_path).splits()["train"][1].read()


def test_copies_of_frames_are_refused_and_alike_names_are_not():
  one, other = encoded(person(0.2)), encoded(person(0.6))
  names = ("a/000.png", "a/000 - Copy.png", "a/000 (1).png", "a/001 - Kopie.png", "a/001.png", "a/002 (1).png")
  reading = read(one, one, other, one, other, one, names=names)
  # "000 (1)" shows something else, "001 - Kopie" too, and of "002 (1)" there is no original.
  assert reading.refused == {"copy of another frame": ["000 - Copy.png"]}
  assert len(reading.frames) == 5


def test_a_background_is_white_where_it_is_in_most_frames():
  check_background([True, False], "a/b/c")
  with pytest.raises(Dropped, match="background looks white: invert the masks: a/b/c, in 2 of 3 frames"):
    check_background([True, True, False], "a/b/c")


def test_of_several_reasons_the_most_frequent_is_told():
  black, torn = encoded(np.zeros((64, 64), np.uint8)), b"torn"
  for contents, reason in (((black, torn, torn), "unreadable image"), ((black, black, torn), "all black")):
    with pytest.raises(Dropped, match=f"all 3 frames refused, mostly: {reason} "):
      read(*contents)


def test_the_border_of_a_mask_is_its_outermost_pixels():
  mask = np.zeros((120, 20), np.uint8)
  mask[1:-1, 1:-1] = 255
  mask[20:100, 5:15] = 0  # less white than the border would be
  assert not looks_inverted(mask)
  mask[:, [0, -1]] = 255
  assert looks_inverted(mask)


def test_an_energy_image_is_no_frame(tmp_path):
  for name in ("1.png", "2.png", "001-nm-GEI.png", "geiger.png"):
    (tmp_path / "001" / "nm" / "090").mkdir(parents=True, exist_ok=True)
    (tmp_path / "001" / "nm" / "090" / name).write_bytes(encoded(person()))
  source = ImageSource(tmp_path)
  assert source.unread() == ["001/nm/090/001-nm-GEI.png"]
  assert len(source.splits()["test"][0].read().frames) == 3


@pytest.mark.parametrize("frames", PREPARATIONS)
def test_black_frames_are_refused_however_frames_are_prepared(frames):
  picture = normalise_frame(person())
  contents = [encoded(picture)] * 7 + [encoded(np.zeros_like(picture))]
  reading = read(*contents, frames=frames)
  assert len(reading.frames) == 7
  assert reading.refused == {"all black": ["7.png"]}


def test_pictures_that_their_makers_cropped_are_resized_bicubically():
  cropped = np.pad(person()[40:225, 110:210], 3)
  expected = cv2.resize(cropped, (64, 64), interpolation=cv2.INTER_CUBIC)
  np.testing.assert_array_equal(read(encoded(cropped), frames="resize").frames[0], expected)
