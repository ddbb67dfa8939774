"""Builds are whole or not there, the same bytes on any number of workers, and say what they left out."""

import dataclasses
import functools
import json
import os
import pickle
import shutil

import numpy as np
import pytest

from data_prep import build, builder, datasets, manifest, partitions, shards
from data_prep.datasets.record import Record
from data_prep.sources.base import Dropped, Reading, Walk
from data_prep.sources.opengait import OpenGaitSource
from fgait_jax.data import schema
from fgait_jax.errors import DataError

PARTITION = {"train": [f"{i:03d}" for i in range(1, 6)], "test": ["006", "007"]}


@dataclasses.dataclass
class Fake:
  walks: dict

  def splits(self):
    return self.walks


def record(source, partition=None, needs_raw=False):
  return Record(
    name="fake", title="Fake walks", homepage="", obtain="by hand", licence="none", citation="nobody", kind="synthetic",
    source=source, layout="id/type/view", partition=partition, conditions={}, frame_rate=None, protocol="none",
    needs_raw=needs_raw,
  )  # fmt: skip


def walk(key, read=None, **attributes):
  subject, condition, view = key.split("/")
  read = read or functools.partial(np.full, (3 + len(key) % 3, 64, 64), int(subject), np.uint8)
  return Walk(subject=subject, condition=condition, view=view, key=key, read=read, attributes=attributes)


def walks(subjects, count=2):
  return [walk(f"{s}/nm/{v:03d}", height=1.5 + v) for s in subjects for v in range(count)]


def run(out, splits, *, workers=1, limit_dropped=0.01, **options):
  return builder.build(
    record(lambda raw: Fake(splits)), raw=None, out=out, workers=workers, limit_dropped=limit_dropped, **options
  )


def fail(reason="wrong shape", where="008/nm/0"):
  raise Dropped(reason, where)


def contents(folder):
  return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def small_shards(monkeypatch):
  monkeypatch.setattr(shards, "MIN_WALKS", 2)


@pytest.fixture
def raw(tmp_path):
  rng = np.random.default_rng(0)
  for i in range(1, 8):
    for view in ("000", "090"):
      path = tmp_path / "raw" / f"{i:03d}" / "nm-01" / view / f"{view}.pkl"
      path.parent.mkdir(parents=True)
      frames = rng.choice([0, 255, 99], (4, 64, 44 if view == "000" else 64)).astype(np.uint8)
      path.write_bytes(pickle.dumps(frames))
  return tmp_path / "raw"


def test_same_bytes_on_any_number_of_workers(tmp_path, raw, small_shards):
  made = record(lambda raw: OpenGaitSource(root=raw, partition=PARTITION), needs_raw=True)
  done = []
  options = {"limit_dropped": 0.01, "progress": lambda *now: done.append(now)}
  one = builder.build(made, raw=raw, out=tmp_path / "one", workers=1, **options)
  moved = shutil.copytree(raw, tmp_path / "elsewhere")
  two = builder.build(made, raw=moved, out=tmp_path / "two", workers=2, **options)
  assert contents(one.folder) == contents(two.folder)
  assert len(one.manifest["shards"]) == 7
  assert done[0] == (0, 14)
  assert done[-1] == (14, 14)
  assert [p.name for p in two.folder.parent.iterdir() if p.name != ".lock"] == [schema.BUILDER_VERSION]


def test_manifest_says_what_is_stored(tmp_path):
  built = run(tmp_path, {"train": walks(["1", "2"]), "test": walks(["3"])})
  manifest = json.loads((built.folder / schema.MANIFEST).read_text())
  assert manifest == built.manifest
  assert manifest["splits"]["train"] == {"sequences": 4, "subjects": 2, "frames": 4 * 5}
  assert manifest["kind"] == "synthetic"
  assert manifest["citation"] == "nobody"
  assert manifest["dropped"] == {}
  index = np.load(built.folder / schema.index_name("test"))
  np.testing.assert_array_equal(index["key"], ["3/nm/000", "3/nm/001"])
  np.testing.assert_array_equal(index["attribute.height"], [1.5, 2.5])


def test_content_hash_follows_frames_and_labels_not_shards(tmp_path, monkeypatch):
  whole = run(tmp_path / "a", {"train": walks(["1", "2"])}).manifest
  monkeypatch.setattr(shards, "MIN_WALKS", 1)
  cut = run(tmp_path / "b", {"train": walks(["1", "2"])}).manifest
  other = run(tmp_path / "c", {"train": [*walks(["1", "2"])[:-1], walk("2/nm/001", height=9.0)]}).manifest
  assert len(cut["shards"]) == 4
  assert cut["content_hash"] == whole["content_hash"] != other["content_hash"]


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path, small_shards):
  reads = []

  def read(i, stop):
    reads.append(i)
    if i == stop:
      raise KeyboardInterrupt
    return np.full((2, 64, 64), i, np.uint8)

  def splits(stop):
    return {"train": [walk(f"1/nm/{i}", functools.partial(read, i, stop)) for i in range(6)]}

  source = functools.partial(type("Same", (Fake,), {"fingerprint": lambda self: "same"}))
  options = {"raw": None, "workers": 1, "limit_dropped": 0.0}
  with pytest.raises(KeyboardInterrupt):
    builder.build(record(lambda raw: source(splits(stop=4))), out=tmp_path / "a", **options)
  assert not (tmp_path / "a" / "fake" / schema.BUILDER_VERSION).exists()
  del reads[:]
  resumed = builder.build(record(lambda raw: source(splits(stop=None))), out=tmp_path / "a", **options)
  assert reads == [4, 5]
  straight = builder.build(record(lambda raw: source(splits(stop=None))), out=tmp_path / "b", **options)
  assert contents(resumed.folder) == contents(straight.folder)


def test_a_matching_build_is_found_and_another_is_not_overwritten_unasked(tmp_path):
  first = run(tmp_path, {"train": walks(["1"])})
  again = run(tmp_path, {"train": walks(["1"])})
  assert first.fresh
  assert not again.fresh
  with pytest.raises(DataError, match="holds another build of fake, .*--overwrite replaces it"):
    run(tmp_path, {"train": walks(["2"])})
  other = run(tmp_path, {"train": walks(["2"])}, overwrite=True)
  assert other.manifest["content_hash"] != first.manifest["content_hash"]
  shard = next(first.folder.glob("*.array_record*"))
  whole = shard.read_bytes()
  shard.unlink()
  with pytest.raises(DataError, match="or it is damaged; --overwrite"):
    run(tmp_path, {"train": walks(["2"])})
  shard.write_bytes(whole[:-1])
  with pytest.raises(DataError, match="or it is damaged; --overwrite"):
    run(tmp_path, {"train": walks(["2"])})
  shard.write_bytes(bytes(len(whole)))
  run(tmp_path, {"train": walks(["2"])}, overwrite=True)
  assert shard.read_bytes() == whole
  (first.folder / "features.json").unlink()  # without it no reader opens the rest
  with pytest.raises(DataError, match="or it is damaged; --overwrite"):
    run(tmp_path, {"train": walks(["2"])})


def test_one_bad_walk_among_many_is_dropped_counted_and_named(tmp_path):
  many = walks(["1"], count=120)
  many.insert(7, walk("8/nm/0", fail))
  built = run(tmp_path, {"train": many})
  assert built.manifest["dropped"] == {"wrong shape": {"count": 1, "examples": ["008/nm/0"]}}
  assert built.manifest["splits"]["train"]["sequences"] == 120


def test_frames_refused_within_stored_walks_are_counted_by_reason(tmp_path, small_shards):
  def splits():
    refused = [{"all black": [4, 5]}, {}, {"unreadable image": ["a.png"]}, {"all black": [0], "too narrow": [1]}]
    many = [
      walk(f"{i}/nm/0", functools.partial(Reading, np.zeros((2, 64, 64), np.uint8), r)) for i, r in enumerate(refused)
    ]
    return {"train": many[:3], "test": many[3:]}

  one, two = run(tmp_path / "one", splits()), run(tmp_path / "two", splits(), workers=2)
  assert list(one.manifest["refused_frames"].items()) == [
    ("all black", {"count": 3, "examples": ["0/nm/0, frame 4", "0/nm/0, frame 5", "3/nm/0, frame 0"]}),
    ("too narrow", {"count": 1, "examples": ["3/nm/0, frame 1"]}),
    ("unreadable image", {"count": 1, "examples": ["2/nm/0/a.png"]}),
  ]
  assert one.manifest["dropped"] == {}
  assert contents(one.folder) == contents(two.folder)


def test_too_many_bad_walks_are_an_error_unless_allowed(tmp_path):
  flat = functools.partial(np.zeros, (2, 3))
  splits = {"train": [*walks(["1"], count=8), walk("8/nm/0", fail), walk("8/nm/1", flat)]}
  message = r"2 of 10 walks \(20.0%\) cannot be stored, more than the allowed 1.0%: .*wrong shape, such as 008/nm/0"
  with pytest.raises(DataError, match=message) as error:
    run(tmp_path, splits)
  assert "--limit-dropped 0.2" in str(error.value)
  built = run(tmp_path, splits, limit_dropped=0.2)
  assert {reason: facts["count"] for reason, facts in built.manifest["dropped"].items()} == {
    "frames do not fit the contract": 1,
    "wrong shape": 1,
  }
  with pytest.raises(DataError, match="no walk of split test can be stored"):
    run(tmp_path / "b", {**splits, "test": [walk("9/nm/0", fail)]}, limit_dropped=1.0)


def test_a_walk_that_does_not_fit_into_memory_is_dropped_by_name():
  def read():
    raise MemoryError

  with pytest.raises(Dropped, match="not enough memory: 001/nm/0|not enough memory: 1/nm/0"):
    shards.read_walk(walk("1/nm/0", read))


def test_a_build_takes_the_cores_that_it_is_given(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7})
  assert builder.usable_cores() == 3
  monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
  assert builder.usable_cores() == os.cpu_count()


def test_what_is_dropped_most_is_told_first():
  dropped = [["torn", "a"], ["empty", "b"], ["dark", "c"], ["dark", "d"]]
  found = manifest.count_dropped([{"dropped": dropped[:2]}, {"dropped": dropped[2:]}])
  assert list(found) == ["dark", "empty", "torn"]
  assert found["dark"] == {"count": 2, "examples": ["c", "d"]}
  (many,) = manifest.count_dropped([{"dropped": [["dark", str(i)] for i in range(30)]}]).values()
  assert (many["count"], len(many["examples"])) == (30, shards.EXAMPLES)


def test_all_refused_frames_are_counted_and_some_are_named(tmp_path, small_shards):
  names = [f"{i}.png" for i in range(shards.EXAMPLES - 1)]
  read = functools.partial(Reading, np.full((3, 64, 64), 1, np.uint8), {"all black": names})
  built = run(tmp_path, {"train": [walk(f"1/nm/{i}", read) for i in range(8)]})  # in four shards
  (facts,) = built.manifest["refused_frames"].values()
  assert (facts["count"], len(facts["examples"])) == (8 * len(names), shards.EXAMPLES)


def test_walks_that_were_too_many_to_drop_are_read_again_next_time(tmp_path):
  mended = tmp_path / "mended"
  later = walk("8/nm/0", lambda: np.full((3, 64, 64), 8, np.uint8) if mended.exists() else fail())
  splits = {"train": [*walks(["1"]), later]}
  with pytest.raises(DataError, match="1 of 3 walks"):
    run(tmp_path, splits)
  mended.touch()
  built = run(tmp_path, splits)
  assert built.manifest["splits"]["train"]["sequences"] == 3
  assert built.manifest["dropped"] == {}


@pytest.mark.parametrize(
  ("error", "reason"),
  [(OSError("disk"), "unreadable file"), (ZeroDivisionError("oh"), r"reader failed \(ZeroDivisionError\)")],
)
def test_a_reader_that_fails_drops_its_walk_and_no_more(error, reason):
  def read():
    raise error

  with pytest.raises(Dropped, match=f"{reason}: 1/nm/0: "):
    shards.read_walk(walk("1/nm/0", read))


def test_splits_that_share_a_subject_or_a_key_are_refused(tmp_path):
  with pytest.raises(DataError, match="1 subjects are in two splits .2 in train and test.*correct the partition"):
    run(tmp_path, {"train": walks(["1", "2"]), "test": walks(["2"], count=1)})
  with pytest.raises(DataError, match="1 keys are used by several walks .1/nm/000"):
    run(tmp_path, {"train": [*walks(["1"]), walk("1/nm/000")]})
  with pytest.raises(DataError, match="fake: no walks found"):
    run(tmp_path, {"train": []})


def test_names_that_are_not_utf8_are_named(tmp_path):
  name = b"M\xfcller".decode(errors="surrogateescape")
  latin = walk("1/nm/0")
  splits = {"train": [dataclasses.replace(latin, subject=name, key=f"{name}/nm/0")]}
  with pytest.raises(DataError, match="fake: names are not UTF-8: M\ufffdller, M\ufffdller/nm/0; rename"):
    run(tmp_path, splits)


def test_the_advised_share_of_bad_walks_is_enough(tmp_path):
  splits = {"train": [*walks(["1"], count=71), *(walk(f"8/nm/{i}", fail) for i in range(29))]}
  assert run(tmp_path, splits, limit_dropped=0.29).manifest["splits"]["train"]["sequences"] == 71
  with pytest.raises(DataError, match=r"29 of 100 walks .* more than the allowed 28.5%"):
    run(tmp_path / "less", splits, limit_dropped=0.285)


def test_a_place_that_cannot_be_written_is_one_clean_line(tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(datasets.RECORDS, "fake", record(lambda raw: Fake({"train": walks(["1"])})))
  (tmp_path / "file").write_text("")
  assert build.main(["fake", "--out", str(tmp_path / "file"), "--workers", "1"]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")
  assert str(tmp_path / "file") in line

  class Full:
    def __init__(self, *_):
      pass

    def write(self, _):
      raise RuntimeError("No space left on device")

    def close(self):
      pass

  monkeypatch.setattr(shards, "ArrayRecordWriter", Full)
  with pytest.raises(DataError, match=r"array_record-00000-of-00001 cannot be written \(No space left"):
    run(tmp_path / "full", {"train": walks(["1"])})


def test_an_interrupted_build_by_other_code_is_begun_anew(tmp_path, small_shards, monkeypatch):
  monkeypatch.setattr(builder, "_check_dropped", lambda *_, **__: fail())
  with pytest.raises(Dropped):
    run(tmp_path, {"train": walks(["1", "2"])})
  monkeypatch.undo()
  written = []
  monkeypatch.setattr(builder, "write_shard", lambda job, told: written.append(job) or shards.write_shard(job, told))
  monkeypatch.setattr(schema, "__file__", os.devnull)  # another version of how frames are packed
  monkeypatch.setattr(shards, "MIN_WALKS", 2)
  run(tmp_path, {"train": walks(["1", "2"])})
  assert len(written) == 2


def test_absent_and_unlisted_subjects_are_named(tmp_path, raw, monkeypatch):
  listed = {**PARTITION, "test": ["006", "100", "101"]}
  monkeypatch.setattr(partitions, "load", lambda name: listed)
  made = record(lambda raw: OpenGaitSource(root=raw, partition=listed), partition="fake", needs_raw=True)
  built = builder.build(made, raw=raw, out=tmp_path, workers=1, limit_dropped=0.0)
  assert built.manifest["absent_subjects"] == {"test": ["100", "101"]}
  assert built.manifest["subjects_outside_partition"] == ["007"]
  assert built.warnings[0] == "2 subjects of the test partition are absent: 100, 101"
  assert built.warnings[1].startswith("1 subjects are in no split")


def test_a_build_under_way_is_not_disturbed(tmp_path):
  folder = tmp_path / "fake" / schema.BUILDER_VERSION
  with builder._work_folder(folder, "x", None), pytest.raises(DataError, match="being built by another process"):
    run(tmp_path, {"train": walks(["1"])})


def test_command_line_errors_are_one_clean_line(tmp_path, capsys):
  def error_of(*argv):
    assert build.main([*argv, "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line

  assert "no data set 'kht'; did you mean kth?" in error_of("kht")
  assert "name their folder with --raw" in error_of("kth")
  assert f"--raw {tmp_path}/nowhere: no such folder" in error_of("kth", "--raw", f"{tmp_path}/nowhere")
  (tmp_path / "empty").mkdir()
  assert "no walks found" in error_of("kth", "--raw", f"{tmp_path}/empty")
  assert "leave out --raw" in error_of("walkers", "--raw", str(tmp_path))
  assert not (tmp_path / "out").exists()


def test_command_line_builds_and_tells(tmp_path, raw, monkeypatch, capsys):
  (raw / "001" / "nm-01" / "000" / "000.pkl").write_bytes(b"")
  made = record(lambda raw: OpenGaitSource(root=raw, partition=PARTITION), needs_raw=True)
  monkeypatch.setitem(datasets.RECORDS, "fake", made)
  argv = ["fake", "--raw", str(raw), "--out", str(tmp_path / "out"), "--limit-dropped", "0.1", "--workers", "1"]
  assert build.main(argv) == 0
  told = capsys.readouterr().out
  assert "dropped 1: empty file, such as 001/nm-01/000/000.pkl" in told
  assert "sequences/s" in told
  assert build.main(argv) == 0
  assert "is built already from recordings of the same names and sizes" in capsys.readouterr().out


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
  now = iter([0.0, 1.0, 12.0])
  monkeypatch.setattr(build.time, "monotonic", lambda: next(now))
  lines = build._Lines("fake")
  lines(100, 1000)
  lines(340, 1000)
  assert capsys.readouterr().out == "fake: 340 of 1,000 sequences, 20.0 sequences/s, 33 s left\n"


def test_kth_builds(tmp_path, shared_data, capsys):
  argv = ["kth", "--raw", str(shared_data / "kth" / "opengait"), "--out", str(tmp_path), "--workers", "1"]
  assert build.main(argv) == 0
  assert capsys.readouterr().err == ""
  manifest = json.loads((tmp_path / "kth" / schema.BUILDER_VERSION / schema.MANIFEST).read_text())
  assert {split: facts["sequences"] for split, facts in manifest["splits"].items()} == {"train": 113, "test": 124}
  assert sum(facts["frames"] for facts in manifest["splits"].values()) == 12_742
  assert manifest["dropped"] == {}
