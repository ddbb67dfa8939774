"""A build that ended early goes on from what is whole and still of the same recordings, whoever else writes."""

import errno
import fcntl
import functools
import json
import os
import pickle

import numpy as np
import pytest

from data_prep import builder, shards
from data_prep.sources.base import Reading, Walk
from data_prep.sources.opengait import OpenGaitSource
from fgait_jax.errors import DataError
from tests.data_prep.test_build import contents, record, run, walk

MADE = record(lambda raw: OpenGaitSource(root=raw, partition=None), needs_raw=True)
build = functools.partial(builder.build, MADE, workers=1, limit_dropped=0.01)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
  monkeypatch.setattr(shards, "MIN_WALKS", 2)


def segmented(raw, width, bad=()):
  """Eight walks whose bodies are `width` wide, masks of 0 and 1 for those in `bad`; files of one size."""
  for i in range(8):
    path = raw / f"{i:03d}" / "nm-01" / "000" / "000.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.zeros((4, 64, 64), np.uint8)
    frames[:, :, 20 : 20 + width] = 1 if i in bad else 255
    path.write_bytes(pickle.dumps(frames))


def test_recordings_that_were_made_anew_are_read_anew_though_their_sizes_are_the_same(tmp_path):
  raw = tmp_path / "raw"
  segmented(raw, 20, bad=(5,))
  with pytest.raises(DataError, match="1 of 8 walks .* Repair the recordings"):
    build(raw=raw, out=tmp_path / "out")
  for path in raw.rglob("*.pkl"):
    os.utime(path, ns=(1, 1))  # whatever the clock's ticks
  segmented(raw, 30)
  mended = build(raw=raw, out=tmp_path / "out")
  straight = build(raw=raw, out=tmp_path / "other")
  assert mended.manifest["content_hash"] == straight.manifest["content_hash"]


def test_what_a_lost_power_left_empty_is_written_again(tmp_path, monkeypatch):
  """A shard or a report of no bytes, as a rename that outlived its content leaves it."""
  splits = {"train": [walk(f"{i}/nm/0") for i in range(1, 9)]}
  straight = run(tmp_path / "straight", splits)
  check = builder._check_dropped

  def killed(*args, **options):
    raise KeyboardInterrupt

  for ending in ("report.json", "of-00004"):
    monkeypatch.setattr(builder, "_check_dropped", killed)
    with pytest.raises(KeyboardInterrupt):
      run(tmp_path / ending, splits)
    first = min(tmp_path.glob(f"{ending}/fake/.*.building/*00001*{ending}"))
    first.write_bytes(b"")
    monkeypatch.setattr(builder, "_check_dropped", check)
    assert contents(run(tmp_path / ending, splits).folder) == contents(straight.folder)


def test_two_attempts_at_one_shard_do_not_meet(tmp_path):
  """An engine starts a second one where the first is slow: both end well, and the report is of the shard."""
  job, attempts = None, []

  def read():
    attempts.append(None)
    if len(attempts) == 1:  # the second attempt begins and ends while the first one reads
      shards.write_shard(job, lambda: None)
    return np.full((2, 64, 64), 255, np.uint8)

  one = Walk(subject="1", condition="nm", view="0", key="1/nm/0", read=read)
  (job,) = builder.plan("fake", {"train": [one]}, tmp_path)["train"]
  shards.write_shard(job, lambda: None)
  report = json.loads(job.report_path.read_text())
  assert report["sha256"] == shards.hash_file(job.path)
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted([job.path.name, job.report_path.name])


def test_a_shard_that_fails_leaves_nothing(tmp_path):
  def read():
    raise KeyboardInterrupt

  (job,) = builder.plan("fake", {"train": [walk("1/nm/0", read)]}, tmp_path)["train"]
  with pytest.raises(KeyboardInterrupt):
    shards.write_shard(job, lambda: None)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number, message", [
  (errno.EAGAIN, "is being built by another process"), (errno.ENOLCK, r"\.lock cannot be locked \(No locks avail")])
def test_a_file_system_without_locks_is_told_from_another_build(tmp_path, monkeypatch, number, message):
  def refuse(*_):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, "flock", refuse)
  with pytest.raises(DataError, match=message):
    run(tmp_path, {"train": [walk("1/nm/0")]})


@pytest.mark.parametrize("reason, lost, told", [("unreadable image", 2, True), ("unreadable image", 1, False),
                                                ("all black", 9, False)])
def test_a_damaged_copy_is_told(tmp_path, reason, lost, told):
  """Of a walk with ten frames left."""
  read = functools.partial(Reading, np.full((10, 64, 64), 255, np.uint8), {reason: [f"{n}.png" for n in range(lost)]})
  warnings = run(tmp_path, {"train": [walk("1/nm/0", read)]}).warnings
  words = f"{lost} of {10 + lost} frames (17%) of the stored walks could not be used, mostly: {reason}, such as 1/nm/0"
  assert [words in warning for warning in warnings] == [True] * told
