"""OpenGait's layout is read as it lies; another layout is told from it by name."""

import dataclasses
import pickle

import cv2
import numpy as np
import pytest

from data_prep import datasets, partitions
from data_prep.sources.base import Dropped, some
from data_prep.sources.opengait import OpenGaitSource
from data_prep.sources.recordings import holds_pickles
from data_prep.sources.trees import open_tree
from fgait_jax.errors import DataError

PARTITION = {"train": ["001", "002"], "test": ["003"]}


def put(root, key, frames, name="sils.pkl"):
  path = root / key / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(pickle.dumps(frames))


def frames(value=255, shape=(3, 64, 64), dtype=np.uint8):
  return np.full(shape, value, dtype)


def test_walks_come_sorted_and_by_partition(tmp_path):
  for key in ("003/nm-01/090", "001/bg-01/090", "001/nm-01/000", "999/nm-01/090"):
    put(tmp_path, key, frames())
  source = OpenGaitSource(root=tmp_path, partition=PARTITION)
  splits = source.splits()
  assert [walk.key for walk in splits["train"]] == ["001/bg-01/090", "001/nm-01/000"]
  (walk,) = splits["test"]
  assert (walk.subject, walk.condition, walk.view) == ("003", "nm-01", "090")
  assert source.subjects() == {"001", "003", "999"}
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(walk)).read().frames, frames())


def test_narrow_and_many_channelled_frames_are_taken_as_they_are(tmp_path):
  put(tmp_path, "001/nm/0", frames(shape=(2, 64, 44)))
  put(tmp_path, "001/nm/1", frames(shape=(2, 64, 64, 3)))
  shapes = [walk.read().frames.shape for walk in OpenGaitSource(root=tmp_path, partition=PARTITION).splits()["train"]]
  assert shapes == [(2, 64, 44), (2, 64, 64, 3)]


@pytest.mark.parametrize("shape", [(2, 64, 44, 3), (2, 3, 64, 44), (2, 64, 64, 16), (2, 1, 64, 64)])
def test_channels_may_stand_last_or_after_time(tmp_path, shape):
  array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
  put(tmp_path, "001/nm/0", array)
  (walk,) = OpenGaitSource(root=tmp_path, partition=None).splits()["test"]
  expected = array if shape[1] == 64 else array.transpose(0, 2, 3, 1)
  np.testing.assert_array_equal(walk.read().frames, expected)


def test_pickles_with_a_white_background_are_dropped_by_name(tmp_path):
  body = frames(0)
  body[:, :, 25:40] = 255
  put(tmp_path, "001/nm/0", 255 - body)
  put(tmp_path, "001/nm/1", body)
  white, black = OpenGaitSource(root=tmp_path, partition=None).splits()["test"]
  with pytest.raises(Dropped, match=r"background looks white: invert the masks: 001/nm/0/sils.pkl, in 3 of 3 frames"):
    white.read()
  assert len(black.read().frames) == 3


def test_black_frames_are_left_out_and_counted(tmp_path):
  black = frames()
  black[1] = 0
  put(tmp_path, "001/nm/0", black)
  put(tmp_path, "001/nm/1", frames(0))
  some, none = OpenGaitSource(root=tmp_path, partition=None).splits()["test"]
  assert some.read().frames.shape == (2, 64, 64)
  assert some.read().refused == {"all black": [1]}
  with pytest.raises(Dropped, match="no usable frame: 001/nm/1/sils.pkl: all 3 frames are black"):
    none.read()
  maps = frames(shape=(3, 64, 64, 2))
  maps[1], maps[2, ..., 0] = 0, 0  # a frame that is black, and one of which a channel is
  put(tmp_path, "002/nm/0", maps)
  *_, walk = OpenGaitSource(root=tmp_path, partition=None).splits()["test"]
  np.testing.assert_array_equal(walk.read().frames, maps[[0, 2]])


def test_several_pickles_are_stacked_as_channels(tmp_path):
  for key in ("001/nm/0", "001/nm/1", "001/nm/2"):
    put(tmp_path, key, frames(1), "0-sil.pkl")
  put(tmp_path, "001/nm/0", frames(2, shape=(3, 2, 64, 64)), "1-heatmap.pkl")
  put(tmp_path, "001/nm/1", frames(2, shape=(4, 2, 64, 64)), "1-heatmap.pkl")
  source = OpenGaitSource(root=tmp_path, partition=None, pickles=("*heatmap*.pkl", "*sil*.pkl"))
  whole, longer, missing = pickle.loads(pickle.dumps(source.splits()["test"]))
  assert (whole.read().frames == np.array([2, 2, 1])).all()
  assert whole.file == "001/nm/0/0-sil.pkl"
  with pytest.raises(Dropped, match=r"do not fit each other: 001/nm/1/1-heatmap.pkl \(4, 64, 64\), .*sil.pkl \(3, 64"):
    longer.read()
  with pytest.raises(Dropped, match=r"a modality is missing: 001/nm/2/\*heatmap\*.pkl"):
    missing.read()


@pytest.mark.parametrize(
  ("array", "reason"),
  [
    (frames(shape=(3, 64, 64, 64)), r"wrong shape: .*\[frames, channels, 64, 64 or 44\] of at most 16 channels"),
    (frames(shape=(3, 0, 64, 64)), "wrong shape"),
    (frames(shape=(3, 128, 96)), r"wrong shape: 001/nm/0/sils.pkl: \(3, 128, 96\), expected \[frames, 64, 64 or 44\],"),
    (frames(1), "not a mask of 0 and 255: 001/nm/0/sils.pkl: no value above 1"),
    (frames(shape=(64, 64)), "wrong shape: 001/nm/0/sils.pkl"),
    (frames(1, dtype=np.float32), "wrong dtype: 001/nm/0/sils.pkl: float32"),
    (frames(shape=(0, 64, 64)), "no frames: 001/nm/0/sils.pkl"),
  ],
  ids=["axes", "no channel", "size", "dark", "flat", "float", "none"],
)
def test_a_bad_walk_is_dropped_by_reason(tmp_path, array, reason):
  put(tmp_path, "001/nm/0", array)
  (walk,) = OpenGaitSource(root=tmp_path, partition=PARTITION).splits()["train"]
  with pytest.raises(Dropped, match=reason):
    walk.read()


def test_one_of_several_pickles_is_chosen_by_name(tmp_path):
  put(tmp_path, "001/nm/0", frames(255), "0-sils.pkl")
  put(tmp_path, "001/nm/0", frames(254), "0-pose.pkl")
  for pickles in ("*-sils.pkl", "*.pkl"):  # by default that of the silhouettes
    (walk,) = OpenGaitSource(root=tmp_path, partition=PARTITION, pickles=pickles).splits()["train"]
    assert walk.read().frames.max() == 255
  put(tmp_path, "001/nm/0", frames(253), "1-sil.pkl")
  with pytest.raises(DataError, match=r"001/nm/0 holds several pickles .*0-sils.pkl, .*1-sil.pkl; leave one of them"):
    OpenGaitSource(root=tmp_path, partition=PARTITION).splits()


def test_a_folder_around_the_pickle_is_looked_into_where_a_record_says_so(tmp_path):
  """FreeGait is handed out as <id>/<device>/<sequence>/image/image.pkl, beside folders of other modalities."""
  person = partitions.load("freegait")["test"][0]
  put(tmp_path, f"{person}/phone/seq1/image", frames(), "image.pkl")
  put(tmp_path, f"{person}/phone/seq1/smpl", frames(), "smpl.pkl")
  put(tmp_path, f"{person}/phone/seq2", frames(), "image.pkl")  # as OpenGait rearranges it
  source = datasets.get("freegait").source(tmp_path)
  walks = source.splits()["test"]
  assert [walk.key for walk in walks] == [f"{person}/phone/seq1", f"{person}/phone/seq2"]
  assert len(walks[0].read().frames) == len(frames())
  assert source.unread() == [f"{person}/phone/seq1/smpl/smpl.pkl"]
  put(tmp_path, f"{person}/phone/seq1", frames(), "image.pkl")
  with pytest.raises(DataError, match="seq1/image.pkl and .*/seq1/image/image.pkl are two files of one walk; remove"):
    datasets.get("freegait").source(tmp_path).splits()


def test_another_layout_says_what_was_expected_and_found(tmp_path):
  put(tmp_path, "kth/001/nm/0", frames())
  put(tmp_path, "002/nm/0", frames())
  with pytest.raises(DataError, match=r"expected <id>/<type>/<view>/<name>.pkl, found kth/001/nm/0/sils.pkl"):
    OpenGaitSource(root=tmp_path, partition=PARTITION).splits()
  with pytest.raises(DataError, match=r"no walks found: expected <id>.*found 002/nm/0/sils.pkl, kth/001"):
    OpenGaitSource(root=tmp_path, partition=PARTITION, pickles="*.npy").splits()
  with pytest.raises(DataError, match=r"kth: none of its ids \(001\) is in the partition \(a\)"):
    OpenGaitSource(root=tmp_path / "kth", partition={"train": ["a"]}).splits()
  (tmp_path / "empty").mkdir()
  with pytest.raises(DataError, match="empty: no walks found.*found nothing"):
    OpenGaitSource(root=tmp_path / "empty", partition=PARTITION).splits()


def test_of_many_names_some_are_told():
  assert some(iter("abc"), 3) == "a, b, c"
  assert some(iter("abcd"), 3) == "a, b, c, ... (4 in all)"


def test_one_folder_may_stand_before_all_ids(tmp_path):
  for key in ("SUSTech1K-pkl/001/nm/0", "SUSTech1K-pkl/003/nm/0", "__MACOSX/001/nm/0"):
    put(tmp_path, key, frames())
  source = OpenGaitSource(root=tmp_path, partition=PARTITION, pickles="sils.pkl")
  assert {split: [walk.key for walk in walks] for split, walks in source.splits().items()} == {
    "train": ["001/nm/0"], "test": ["003/nm/0"]}
  assert source.subjects() == {"001", "003"}
  assert source.unread() == []
  put(tmp_path, "SUSTech1K-pkl/001/nm/0", frames(), name="pose.pkl")
  assert dataclasses.replace(source).unread() == ["SUSTech1K-pkl/001/nm/0/pose.pkl"]


def test_an_archive_in_a_folder_may_stand_before_all_ids():
  tree = dict.fromkeys(("data/pkl/001/nm/0/a.pkl", "data/pkl/003/nm/0/a.pkl"), bytes)
  source = OpenGaitSource(root="raw", partition=PARTITION, tree=tree)
  assert {split: [walk.key for walk in walks] for split, walks in source.splits().items()} == {
    "train": ["001/nm/0"], "test": ["003/nm/0"]}
  assert source.subjects() == {"001", "003"}


@pytest.mark.parametrize("folder", "abcdef")
def test_two_trees_of_walks_are_not_read_as_one(folder):
  tree = dict.fromkeys(("001/nm/0/sils.pkl", f"{folder}/002/nm/0/sils.pkl"), bytes)
  source = OpenGaitSource(root="raw", partition=None, tree=tree)
  with pytest.raises(DataError, match=f"found {folder}/002/nm/0/sils.pkl; --raw must name the folder that holds the"):
    source.splits()


def test_silhouettes_of_128_rows_are_halved(tmp_path):
  large = np.zeros((2, 128, 128), np.uint8)
  large[:, 21:100, 40:91] = 255
  put(tmp_path, "001/nm/0", large)
  (walk,) = OpenGaitSource(root=tmp_path, partition=None).splits()["test"]
  small = walk.read().frames
  expected = cv2.resize(large[0], (64, 64), interpolation=cv2.INTER_CUBIC)
  np.testing.assert_array_equal(small, np.stack([expected, expected]))


def test_fingerprint_follows_files_not_places(tmp_path):
  for place in ("a", "b"):
    put(tmp_path / place, "001/nm/0", frames())
  one, other = (OpenGaitSource(root=tmp_path / place, partition=PARTITION).fingerprint() for place in ("a", "b"))
  assert one == other
  put(tmp_path / "b", "001/nm/0", frames(shape=(4, 64, 64)))
  assert OpenGaitSource(root=tmp_path / "b", partition=PARTITION).fingerprint() != one
  chosen = [OpenGaitSource(root=tmp_path / "a", partition=None, pickles=p) for p in ("*.pkl", ("*.pkl",), "*s.pkl")]
  assert len({source.fingerprint() for source in chosen}) == 2


@pytest.mark.parametrize("pictures", [["gei"], ["gei", "overview"]])
def test_pictures_beside_pickles_are_not_the_recordings(tmp_path, pictures):
  """One of what a frame could be in each folder, and energy images, which no frame can be."""
  folder = tmp_path / "001" / "nm-01" / "090"
  folder.mkdir(parents=True)
  (folder / "090.pkl").write_bytes(pickle.dumps(np.full((3, 64, 64), 255, np.uint8)))
  for name in pictures:
    (folder / f"{name}.png").write_bytes(b"")
  assert holds_pickles(open_tree(tmp_path))
  assert not holds_pickles({})
