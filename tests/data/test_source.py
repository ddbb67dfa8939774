"""What was stored comes back, whole or in part, from any thread or process; what is not there says how to get it."""

import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import builder, shards
from data_prep.datasets.record import Record
from data_prep.sources.base import Walk
from fgait_jax.data import schema, source
from fgait_jax.data.source import find_version, open_split
from fgait_jax.errors import DataError


def make_frames(subject, view):
  """A grey-edged blob, of another width and length in every walk."""
  rng = np.random.default_rng((subject, view))
  shape = (20 + 5 * view, 64, (64, 44)[view % 2], 1)
  return np.clip(rng.normal(128, 400, shape), 0, 255).astype(np.uint8)


class Fake:
  def splits(self):
    return {"train": self.walks((1, 2, 3, 4, 5)), "test": self.walks((6, 7))}

  def walks(self, subjects):
    return [
      Walk(
        subject=str(s), condition="nm", view=str(v), key=f"{s}/nm/{v}",
        attributes={"height": 1 + s, **({"age": 40.5 + v} if s > 5 else {})} if v else {},
        read=lambda s=s, v=v: make_frames(s, v),
      )
      for s in subjects for v in range(3)
    ]  # fmt: skip


RECORD = Record(
  name="fake", title="Fake walks", homepage="", obtain="by hand", licence="none", citation="nobody", kind="synthetic",
  source=lambda raw: Fake(), layout="none", partition=None, conditions={}, frame_rate=None, protocol="none",
  needs_raw=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shards, "MIN_WALKS", 4)
    out = tmp_path_factory.mktemp("built")
    builder.build(RECORD, raw=None, out=out, workers=1, limit_dropped=0.0)
  return out


def test_every_walk_comes_back(built):
  split = open_split(built, "fake", "train")
  assert split.name == "fake/train"
  assert len(split) == 15
  for i in range(len(split)):
    expected = make_frames(int(split.subjects[i]), int(split.views[i]))
    np.testing.assert_array_equal(split.frames(i), expected)
    assert split.num_frames[i] == len(expected)
  assert split.num_frames.dtype == np.int32
  assert split.keys[4] == "2/nm/1"
  assert set(split.conditions) == {"nm"}
  assert split.manifest["splits"]["train"]["subjects"] == 5
  np.testing.assert_array_equal(split.attributes["height"][:3], [np.nan, 2, 2])
  assert np.isnan(split.attributes["age"]).all()  # that of the other split alone is known
  np.testing.assert_array_equal(open_split(built, "fake", "test").attributes["age"], [np.nan, 41.5, 42.5] * 2)
  np.testing.assert_array_equal(open_split(built, "fake", "test").attributes["height"][:3], [np.nan, 7, 7])


@pytest.mark.parametrize("indices", [[3, 4, 5], [0, 19], [7, 7, 2], list(range(20)) * 2, []], ids=str)
def test_only_the_asked_frames_come(built, indices):
  split = open_split(built, "fake", "test")
  np.testing.assert_array_equal(split.frames(3, indices), make_frames(7, 0)[np.array(indices, int)])


def test_frames_and_walks_that_are_not_there_are_refused(built):
  split = open_split(built, "fake", "test")
  for indices in ([20], [-1]):
    with pytest.raises(IndexError, match="of a sequence of 20"):
      split.frames(3, indices)


def test_slices_and_sums_of_splits(built):
  whole, test = open_split(built, "fake", "train"), open_split(built, "fake", "test")
  part = open_split(built, "fake", "train[2:7]+test[:50%]")
  np.testing.assert_array_equal(part.keys, [*whole.keys[2:7], *test.keys[:3]])
  for i, key in enumerate(part.keys):
    subject, _, view = key.split("/")
    np.testing.assert_array_equal(part.frames(i), make_frames(int(subject), int(view)))
  with pytest.raises(DataError, match="split 'train.:0.' is empty"):
    open_split(built, "fake", "train[:0]")


def test_tfds_reads_what_we_wrote(built):
  found = tfds.builder_from_directory(find_version(built, "fake"))
  assert found.info.features["attributes"]["height"].np_dtype == np.float32
  for name in ("num_frames", "height", "width", "channels"):
    assert found.info.features[name].np_dtype == np.int32
  rows = found.as_data_source("test")
  assert len(rows) == 6
  row, expected = rows[1], make_frames(6, 1)
  assert (row["subject"], row["dataset"], row["attributes"]["height"]) == (b"6", b"fake", 7.0)
  shape = {name: int(row[name]) for name in ("num_frames", "height", "width", "channels")}
  np.testing.assert_array_equal(schema.unpack_frames(row["frames"], **shape), expected)


def test_only_the_columns_that_are_used_are_read(built, monkeypatch):
  asked = []
  load = source._load_columns
  monkeypatch.setattr(source, "_load_columns", lambda path, *names: asked.extend(names) or load(path, *names))
  split = pickle.loads(pickle.dumps(open_split(built, "fake", "train")))
  del asked[:]
  split.frames(0, [0])
  assert not asked
  assert split.num_frames[0] > 0
  assert split.num_frames[1] > 0  # kept: the pipeline asks for it walk by walk
  assert sorted(asked) == ["num_frames", "shard"]
  assert set(split.attributes) == set(open_split(built, "fake", "train").attributes)


def test_threads_and_pickles_read_the_same(built):
  split = open_split(built, "fake", "train")
  data = pickle.dumps(split)
  assert b"2/nm/1" not in data
  sent = pickle.loads(data)
  with ThreadPoolExecutor(8) as pool:
    for i, frames in enumerate(pool.map(sent.frames, list(range(15)) * 4)):
      np.testing.assert_array_equal(frames, split.frames(i % 15))
  np.testing.assert_array_equal(sent.keys, split.keys)


def test_unknown_data_set_split_and_version_say_what_is_there(built, tmp_path):
  with pytest.raises(DataError, match=r"no data set 'kth' in .*built there: fake.*data_prep.build kth --out"):
    open_split(built, "kth", "train")
  with pytest.raises(DataError, match="built there: none"):
    find_version(tmp_path, "kth")
  with pytest.raises(DataError, match=r"no split 'validation'; it has test, train"):
    open_split(built, "fake", "validation")
  shutil.copytree(built / "fake" / schema.BUILDER_VERSION, tmp_path / "fake" / "0.9.0")
  with pytest.raises(DataError, match=f"built by builder 0.9.0, this code reads {schema.BUILDER_VERSION}"):
    find_version(tmp_path, "fake")


@pytest.fixture
def damaged(built, tmp_path):
  """A copy that a test may damage, its folder of files, and how to open it."""
  shutil.copytree(built, tmp_path / "built")
  return tmp_path / "built" / "fake" / schema.BUILDER_VERSION, lambda: open_split(tmp_path / "built", "fake", "train")


def test_an_unfinished_or_foreign_build_is_refused(damaged):
  folder, opened = damaged
  path = folder / schema.MANIFEST
  manifest = json.loads(path.read_text())
  path.write_text(json.dumps({**manifest, "builder_version": "9.9.9"}))
  with pytest.raises(DataError, match="manifest.json is of builder 9.9.9.*--overwrite"):
    opened()
  path.write_text("{")
  with pytest.raises(DataError, match="manifest.json is not readable"):
    opened()
  path.unlink()
  with pytest.raises(DataError, match="manifest.json is missing: this data set was not finished"):
    opened()


def test_missing_and_cut_shards_and_indices_are_named_on_opening(damaged):
  folder, opened = damaged
  index = folder / schema.index_name("train")
  kept = index.read_bytes()
  index.write_bytes(kept[:100])
  with pytest.raises(DataError, match="index-train.npz"):
    opened()
  index.write_bytes(kept)
  with np.load(index) as file:
    columns = dict(file)
  np.savez(index, **{name: values[:-1] for name, values in columns.items()})
  with pytest.raises(DataError, match="the index has 14 rows for 15 sequences; build it again"):
    opened()
  index.write_bytes(kept)
  shard = folder / "fake-train.array_record-00001-of-00004"
  shard.write_bytes(shard.read_bytes()[:-1])
  with pytest.raises(DataError, match="fake-train.array_record-00001-of-00004 has .* bytes, the manifest says"):
    opened()
  shard.unlink()
  with pytest.raises(DataError, match="fake-train.array_record-00001-of-00004 is missing.*--overwrite"):
    opened()


def test_an_index_of_objects_is_refused_and_runs_nothing(damaged, tmp_path):
  class Malicious:
    def __reduce__(self):
      return os.mkdir, (str(tmp_path / "made by the index"),)

  folder, opened = damaged
  split = opened()
  index = folder / schema.index_name("train")
  with np.load(index) as file:
    columns = dict(file)
  np.savez(index, **columns | {"key": np.array([Malicious()] * len(split), object)})
  with pytest.raises(DataError, match="index-train.npz"):
    _ = split.keys
  assert not (tmp_path / "made by the index").exists()
  index.write_bytes(b"PK nonsense")  # while it is open
  for column in ("keys", "attributes"):
    with pytest.raises(DataError, match="index-train.npz"):
      getattr(split, column)


def test_a_damaged_record_names_the_walk_and_the_check(damaged):
  folder, opened = damaged
  shard = folder / "fake-train.array_record-00000-of-00004"
  data = bytearray(shard.read_bytes())
  data[1000:30000] = bytes(29000)
  shard.write_bytes(data)
  split = opened()
  with pytest.raises(DataError, match=r"fake/train: sequence 0 \(1/nm/0\) cannot be read from .*fake-train.array_rec"
                     r"ord-00000-of-00004 \(.*data_prep.verify"):
    split.frames(0)
