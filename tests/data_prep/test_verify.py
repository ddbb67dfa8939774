"""Every kind of damage to a built data set is found and named, and a sound one passes."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
import types

import numpy as np
import pytest

from data_prep import builder, datasets, partitions, shards, verify
from data_prep.datasets.record import Record
from data_prep.sources.base import Dropped, Walk
from fgait_jax.data import schema
from fgait_jax.data.source import open_split
from fgait_jax.errors import DataError


class Fake:
  def splits(self):
    return {"train": self.walks("12"), "test": self.walks("3")}

  def walks(self, subjects):
    return [
      Walk(
        subject=s, condition="nm", view=str(v), key=f"{s}/nm/{v}", attributes={"height": 1.7} if v else {},
        read=functools.partial(np.random.default_rng(v).integers, 0, 256, (3, 64, 44), np.uint8),
      )
      for s in subjects for v in range(4)
    ]  # fmt: skip


RECORD = Record(
  name="fake", title="Fake walks", homepage="", obtain="by hand", licence="none", citation="nobody", kind="synthetic",
  source=lambda raw: Fake(), layout="none", partition=None, conditions={}, frame_rate=None, protocol="none",
  needs_raw=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shards, "MIN_WALKS", 2)
    out = tmp_path_factory.mktemp("built")
    builder.build(RECORD, raw=None, out=out, workers=1, limit_dropped=0.0)
  return out


@pytest.fixture
def folder(built, tmp_path):
  """A copy that a test may damage."""
  shutil.copytree(built, tmp_path / "built")
  return tmp_path / "built" / "fake" / schema.BUILDER_VERSION


def shard(folder, number=0):
  return sorted(folder.glob("fake-train.array_record-*"))[number]


def problems(folder):
  return verify.verify(folder)[1]


def test_a_sound_build_passes_and_is_summed_up(folder, capsys):
  assert verify.main([str(folder.parent), "--workers", "1"]) == 0
  told = capsys.readouterr().out
  assert "train 8 sequences, test 4 sequences, 6 shards" in told
  assert verify.main([str(folder), "--workers", "2"]) == 0


def test_hashes_are_those_of_any_other_program(folder):
  manifest = json.loads((folder / schema.MANIFEST).read_text())
  listed = manifest["shards"] | manifest["indices"] | manifest["metadata"]
  assert len(listed) == 10
  for name, facts in listed.items():
    content = (folder / name).read_bytes()
    assert (facts["bytes"], facts["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("place", [0.01, 0.5, 0.999])
def test_a_flipped_bit_is_found(folder, capsys, place):
  data = bytearray(shard(folder).read_bytes())
  data[int(place * len(data))] ^= 1
  shard(folder).write_bytes(data)
  assert verify.main([str(folder.parent), "--workers", "1"]) == 1
  told = capsys.readouterr().out
  assert f"wrong: {shard(folder)} was changed" in told
  assert "1 problems" in told


def test_a_missing_a_cut_and_a_foreign_shard_are_found(folder):
  shard(folder, 1).write_bytes(shard(folder, 1).read_bytes()[:-1000])
  shard(folder, 2).rename(folder / "fake-train.array_record-00000-of-00009")
  found = "\n".join(problems(folder))
  assert "fake-train.array_record-00000-of-00009 is foreign" in found
  assert "fake-train.array_record-00002-of-00004 is missing" in found
  assert "fake-train.array_record-00001-of-00004 has" in found
  assert len(problems(folder)) == 3


def test_a_swapped_shard_is_found(folder):
  shutil.copy(shard(folder, 1), shard(folder, 0))
  (problem,) = problems(folder)
  assert "00000-of-00004 was changed" in problem or "00000-of-00004 has" in problem


def test_a_changed_index_is_found(folder):
  path = folder / schema.index_name("train")
  index = dict(np.load(path))
  index["subject"][0] = "2"
  np.savez_compressed(path, **index)
  found = "\n".join(problems(folder))
  assert f"{path} was changed" in found or f"{path} has" in found
  assert "walk 0 is ['1', 'nm', '0', '1/nm/0'] of 3 frames, the index says ['2'" in found


def test_an_index_of_other_lengths_is_found(folder):
  path = folder / schema.index_name("train")
  index = dict(np.load(path))
  index["num_frames"][0] = 4
  np.savez_compressed(path, **index)
  told = "walk 0 is ['1', 'nm', '0', '1/nm/0'] of 3 frames, the index says ['1', 'nm', '0', '1/nm/0'] of 4 frames"
  assert told in "\n".join(problems(folder))


def test_a_missing_index_is_found(folder):
  (folder / schema.index_name("test")).unlink()
  assert problems(folder) == [f"{folder / schema.index_name('test')} is missing"]


def test_changed_metadata_and_manifest_are_found(folder):
  path = folder / "dataset_info.json"
  path.write_text(path.read_text().replace('"2"', '"3"', 1))
  assert "counts walks by shard" in "".join(problems(folder))
  path.unlink()
  assert "dataset_info.json cannot be read" in "".join(problems(folder))


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_files_of_tfds_are_checked_and_their_loss_is_a_clear_error(folder, name):
  (folder / name).write_text((folder / name).read_text()[:-9])
  assert f"{name} has" in "".join(problems(folder))
  with pytest.raises(DataError, match="TFDS cannot read its own files there"):
    open_split(folder.parents[1], "fake", "train")
  (folder / name).unlink()
  assert f"{folder / name} is missing" in problems(folder)
  with pytest.raises(DataError, match="TFDS cannot read its own files there"):
    open_split(folder.parents[1], "fake", "train")


def test_a_manifest_of_other_content_is_found(folder):
  manifest = json.loads((folder / schema.MANIFEST).read_text())
  manifest["content_hash"] = "0" * 64
  manifest["splits"]["test"]["sequences"] = 5
  (folder / schema.MANIFEST).write_text(json.dumps(manifest))
  found = "\n".join(problems(folder))
  assert "split test holds 4 walks, not 5" in found
  assert "the content hash is not that of the stored walks" in found


def test_a_changed_partition_is_found(folder, monkeypatch):
  monkeypatch.setitem(datasets.RECORDS, "fake", dataclasses.replace(RECORD, partition="fake"))
  monkeypatch.setattr(partitions, "load", lambda name: {"train": ["1"], "test": ["2", "3"]})
  monkeypatch.chdir(folder)
  for place in (folder, pathlib.Path()):  # by its own name, whatever the folder is called from here
    (problem,) = problems(place)
    assert "subject 2 is stored in train, the partition fake has it in test" in problem


def test_a_person_in_two_splits_is_found(folder):
  for split in ("train", "test"):
    path = folder / schema.index_name(split)
    index = dict(np.load(path))
    index["subject"][-2:] = ["9", "8"]
    np.savez_compressed(path, **index)
  told = [f"{folder}: subject {subject} is in both train and test" for subject in "89"]
  assert [problem for problem in problems(folder) if "in both" in problem] == told


def test_a_foreign_index_is_found_and_other_files_are_nobodys(folder):
  (folder / "index-other.npz").touch()
  (folder / "notes.txt").touch()
  assert problems(folder) == [f"{folder / 'index-other.npz'} is foreign: the manifest does not list it"]


def test_shards_are_compared_with_their_own_rows_on_any_number_of_workers(folder):
  path = folder / schema.index_name("train")
  index = dict(np.load(path))
  index["view"][5] = "7"  # the second walk of the third shard
  np.savez_compressed(path, **index)
  one, two = (verify.verify(folder, workers=workers)[1] for workers in (1, 2))
  assert one == two
  assert [problem for problem in one if "walk" in problem] == [
    f"{shard(folder, 2)}: walk 1 is ['2', 'nm', '1', '2/nm/1'] of 3 frames, the index says ['2', 'nm', '7', '2/nm/1']"
    " of 3 frames"
  ]


def test_a_shard_of_dropped_walks_is_sound(tmp_path, monkeypatch):
  def dropped():
    raise Dropped("torn", "a")

  walks = [dataclasses.replace(walk, read=dropped) if i < 2 else walk for i, walk in enumerate(Fake().walks("1"))]
  monkeypatch.setattr(shards, "MIN_WALKS", 2)
  record = dataclasses.replace(RECORD, source=lambda raw: types.SimpleNamespace(splits=lambda: {"test": walks}))
  built = builder.build(record, raw=None, out=tmp_path, workers=1, limit_dropped=0.5)
  assert [facts["sequences"] for facts in built.manifest["shards"].values()] == [0, 2]
  assert problems(built.folder) == []


def test_a_manifest_of_another_form_is_told(folder, capsys):
  (folder / schema.MANIFEST).write_text("{}")
  assert verify.main([str(folder)]) == 1
  assert "manifest.json is not a manifest of this builder" in capsys.readouterr().err


def test_what_is_no_data_set_is_told_in_one_line(tmp_path, capsys):
  assert verify.main([str(tmp_path)]) == 1
  assert "not a finished data set" in capsys.readouterr().err
