"""Small decisions of readers that change what is stored, each by itself."""

import pickle
import zipfile

import numpy as np
import pytest

from data_prep import datasets
from data_prep.sources import masks, rates
from data_prep.sources.base import Reading, Walk
from data_prep.sources.images import ImageSource
from data_prep.sources.modalities import read_walk
from data_prep.sources.trees import fingerprint, natural
from fgait_jax.data.schema import HEIGHT
from fgait_jax.errors import DataError
from tests.data_prep.test_images import body, png


def test_zeros_before_a_number_do_not_make_it_longer():
  assert sorted(["11.png", "010.png", "2.png"], key=natural) == ["2.png", "010.png", "11.png"]


def test_another_preparation_is_another_build(tmp_path):
  (tmp_path / "001" / "nm" / "0").mkdir(parents=True)
  (tmp_path / "001" / "nm" / "0" / "1.png").write_bytes(png(body()))
  kinds = ("official", "own", "casia_e", "resize")
  found = {frames: ImageSource(tmp_path, frames=frames).fingerprint() for frames in kinds}
  assert len(set(found.values())) == len(kinds)
  first = {frames: fingerprint(tmp_path, "id/type/view", frames) for frames in kinds}
  # What once was read otherwise is none of the builds of then.
  assert {frames for frames in kinds if found[frames] != first[frames]} == {"own", "casia_e"}


def test_a_mask_with_a_margin_is_not_scaled_yet():
  """Of 64 x 64 pixels only a body from first to last row was scaled, and may be grey at its edges."""
  grey = np.zeros((HEIGHT, HEIGHT), np.uint8)
  grey[8:56, 20:40], grey[8:56, 19] = 255, 90
  assert set(np.unique(masks.made_binary(grey))) == {0, 255}
  grey[:, 20:40] = 255
  np.testing.assert_array_equal(masks.made_binary(grey), grey)


def test_a_refused_stretch_is_not_filled_by_its_neighbours():
  numbers = [*range(10), *range(20, 30)]  # at 50 frames a second, of which every second is taken
  reading = Reading(np.zeros((20, 64, 64), np.uint8), numbers=numbers)
  assert rates.thinned(reading, 50.0).numbers == [*range(0, 10, 2), *range(20, 30, 2)]


def test_a_frame_that_is_black_in_every_channel_is_refused():
  lit, black = np.full((64, 64), 9, np.uint8), np.zeros((64, 64), np.uint8)
  frames = {name: {kind: (lambda image=image: png(image)) for kind, image in images.items()} for name, images in {
    "1": {"dep": lit, "par": black}, "2": {"dep": black, "par": black}}.items()}
  reading = read_walk(frames, ("dep", "par"), where="a/b/c")
  assert (len(reading.frames), reading.refused) == (1, {"all black": ["2"]})


def test_views_named_like_pictures_are_views_where_there_are_others(tmp_path):
  for view in ("mask", "side"):
    folder = tmp_path / "raw" / "001" / "slow" / view
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(png(body()))
  walks = datasets.choose("own", {}).source(tmp_path).splits()["test"]
  assert sorted(walk.view for walk in walks) == ["mask", "side"]


@pytest.mark.parametrize("name", ["ccgr", "ccgr_mini"])
def test_of_ccgr_the_pickle_of_silhouettes_is_read(tmp_path, name):
  folder = tmp_path / "1" / "NTG1_NM1" / "0_0"
  folder.mkdir(parents=True)
  for number, kind in enumerate(("par", "sil", "pose")):
    (folder / f"0{number}-{kind}.pkl").write_bytes(pickle.dumps(np.full((3, 64, 64), 100 + 50 * number, np.uint8)))
  source = datasets.get(name).source(tmp_path)
  walks: list[Walk] = [walk for each in source.splits().values() for walk in each]
  assert [int(walk.read().frames.max()) for walk in walks] == [150]


@pytest.mark.parametrize("names", [
  ["1700000000.04.png", "1700000000.16.png", "1700000000.2.png", "1700000001.0.png"],
  ["1700000000.png", "170000000016.png", "17000000002.png", "1700000001.png"],
  ["1.9.png", "1.10.png", "2.1.png"],
], ids=["with a point", "without", "no clock"])
def test_the_fraction_of_a_second_is_no_number_of_its_own(names):
  turned = names[::-1]
  assert sorted(turned, key=natural) == names


def test_an_archive_in_an_archive_is_told(tmp_path):
  with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
    archive.writestr("silh/001.tar.gz", b"")
  with pytest.raises(DataError, match=r"found silh/001\.tar\.gz; silh/001\.tar\.gz is an archive in an"):
    datasets.get("casia_b").source(tmp_path / "raw.zip").splits()
