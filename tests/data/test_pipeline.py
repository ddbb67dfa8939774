"""Batch n is a pure function of (arguments, n), whoever reads it and from wherever it starts."""

import contextlib
import multiprocessing
import os
import select
import signal
import threading
import time

import numpy as np
import pytest

from fgait_jax.data.pipeline import batches
from fgait_jax.errors import ConfigError, DataError

ARGUMENTS = {
  "seed": 3,
  "batch_size": 6,
  "clips": 2,
  "clip_frames": 4,
  "window_frames": 6,
  "factors": (1.0, 1.0),
  "exponent": 1 / 3,
  "mix": "per_batch",
  "start": 0,
  "stop": 8,
  "threads": 0,
  "workers": 0,
  "prefetch": 2,
}


@pytest.fixture
def splits(memory_split):
  return [memory_split("long", tuple(range(3, 33))), memory_split("cut", (12,) * 8, width=44)]


def read(splits, **changes):
  return list(batches(splits, **{**ARGUMENTS, **changes}))


def assert_equal(ours, theirs):
  assert len(ours) == len(theirs)
  for a, b in zip(ours, theirs, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_arrays_are_those_of_the_contract(splits):
  for batch in read(splits):
    shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert shapes == {
      "frames": ((6, 2, 4, 64, 64, 1), np.uint8),
      "valid": ((6, 2, 4), bool),
      "subject": ((6,), np.int32),
      "dataset": ((6,), np.int32),
      "index": ((6,), np.int64),
      "positive": ((6,), np.int64),
      "group": ((6,), np.int32),
    }
    assert batch["valid"].all()


def test_frames_are_the_sequences_own_and_in_order(splits):
  """The fake's frames hold their number and their row."""
  seen = set()
  for batch in read(splits):
    assert len(set(batch["dataset"])) == 1
    for d, row, subject, frames in zip(*(batch[k] for k in ("dataset", "index", "subject", "frames")), strict=True):
      assert (frames[:, :, 0, 32, 0] == row).all()
      times = frames[:, :, 5, 32, 0].astype(int)
      assert times.max() < splits[d].num_frames[row]
      if splits[d].num_frames[row] >= 6:
        assert (np.diff(times, axis=1) > 0).all()
        assert (times[:, -1] - times[:, 0] < 6).all()
      assert subject == row // 2 + 15 * d  # the first split has 15 subjects
      seen.add(int(d))
  assert seen == {0, 1}


@pytest.mark.parametrize("clips", [1, 3])
def test_there_are_as_many_clips_as_asked_for(splits, clips):
  for batch in read(splits, clips=clips, stop=2):
    assert batch["frames"].shape == (6, clips, 4, 64, 64, 1)
    assert batch["valid"].shape == (6, clips, 4)
    assert (batch["frames"][:, :, :, 0, 32, 0] == batch["index"][:, None, None]).all()


def test_a_cut_source_lies_in_the_middle_of_the_canvas(splits):
  for batch in read(splits):
    if batch["dataset"][0] == 1:
      assert not batch["frames"][..., :10, :].any()
      assert not batch["frames"][..., 54:, :].any()
      assert (batch["frames"][..., 5, 10:54, :] == batch["frames"][..., 5, 32:33, :]).all()


def test_a_clip_may_be_its_whole_window(memory_split):
  for batch in read([memory_split("long", (40,) * 8)], factors=(1.0,), clip_frames=6, window_frames=6):
    assert np.all(np.diff(batch["frames"][..., 5, 5, 0], axis=-1) == 1)


def test_the_two_clips_of_a_sequence_are_drawn_apart(memory_split):
  frames = np.stack([b["frames"] for b in read([memory_split("a", (200,) * 20)], factors=(1.0,))])
  same = (frames[:, :, 0] == frames[:, :, 1]).all((2, 3, 4, 5))
  assert same.mean() < 0.05


@pytest.mark.parametrize("mix", ["per_batch", "per_sequence"])
def test_start_threads_and_hosts_do_not_change_a_batch(splits, mix):
  reference = read(splits, mix=mix)
  assert_equal(read(splits, mix=mix, start=5), reference[5:])
  assert_equal(read(splits, mix=mix, threads=3, prefetch=4), reference)
  hosts = [read(splits, mix=mix, process_index=i, process_count=3) for i in range(3)]
  for parts, batch in zip(zip(*hosts, strict=True), reference, strict=True):
    assert_equal([{name: np.concatenate([part[name] for part in parts]) for name in batch}], [batch])


def test_worker_processes_do_not_change_a_batch(splits):
  reference = read(splits, start=1, stop=6)
  arguments = ARGUMENTS | {"workers": 2, "threads": 1, "prefetch": 8, "start": 1, "stop": 6}
  with contextlib.closing(batches(splits, **arguments)) as iterator:
    found = [next(iterator), next(iterator)]  # of either worker: both have started
    for worker in multiprocessing.active_children():  # what stops a program is for its main process to answer
      os.kill(worker.pid, signal.SIGINT)
      os.kill(worker.pid, signal.SIGTERM)
    found += iterator
  assert_equal(found, reference)


def read_with_a_worker(split):
  with contextlib.closing(batches([split], **ARGUMENTS | {"factors": (1.0,), "workers": 1, "prefetch": 4})) as iterator:
    next(iterator)
    time.sleep(60)


def test_a_killed_program_leaves_no_worker(memory_split, tmp_path):
  os.mkfifo(tmp_path / "held")
  split = memory_split("long", (9,) * 30, held=str(tmp_path / "held"))
  program = multiprocessing.get_context("spawn").Process(target=read_with_a_worker, args=(split,))
  program.start()
  with open(tmp_path / "held", "rb", buffering=0) as held:  # as soon as the worker reads
    assert held.read(1) == b"."
    program.kill()
    assert select.select([held], [], [], 30)[0]
    assert held.read(1) == b""


@pytest.mark.parametrize("reading, ahead", [
  ({"threads": 3, "prefetch": 4}, 4),
  ({"threads": 4, "prefetch": 2}, 2),
  ({"threads": 4, "workers": 2, "prefetch": 12}, 12),
  ({"threads": 4, "workers": 1, "prefetch": 5}, 5),
  ({"threads": 1, "workers": 1, "prefetch": 4}, 4),
])
def test_no_more_batches_are_read_ahead_than_prefetch_says(memory_split, tmp_path, reading, ahead):
  log = tmp_path / "readings"
  split = memory_split("long", (9,) * 30, log=str(log))
  arguments = ARGUMENTS | {"factors": (1.0,), "stop": 1000} | reading
  with contextlib.closing(batches([split], **arguments)) as iterator:
    for _ in range(3):
      next(iterator)
    before, now = -1, log.stat().st_size
    while now > before:  # until nothing more is read
      time.sleep(1.0)
      before, now = now, log.stat().st_size
  assert now == 6 * (3 + ahead)


def test_another_seed_gives_other_batches(splits):
  a, b = read(splits), read(splits, seed=4)
  assert any(not np.array_equal(x["index"], y["index"]) for x, y in zip(a, b, strict=True))


def test_closing_ends_the_reader_threads(splits):
  before = threading.active_count()
  with contextlib.closing(batches(splits, **{**ARGUMENTS, "stop": 10_000, "threads": 3})) as iterator:
    next(iterator)
    assert threading.active_count() > before
  for thread in threading.enumerate():
    if thread.name.startswith("grain"):
      thread.join(timeout=10)
  assert threading.active_count() <= before
  with pytest.raises(StopIteration):
    next(iterator)


@pytest.mark.parametrize("reading", [{"threads": 0}, {"threads": 2}, {"threads": 1, "workers": 1, "prefetch": 4}])
def test_a_sequence_that_cannot_be_read_is_named(memory_split, reading):
  broken = memory_split("torn", (9,) * 6, broken=4)
  with pytest.raises(DataError, match=r"torn: sequence 002/nm/4 cannot be read.*bad sector"):
    read([broken], factors=(1.0,), **reading)


def test_what_a_data_set_says_of_its_record_is_told_as_it_is(memory_split):
  split = memory_split("torn", (9,) * 6)

  def frames(row, indices):
    raise DataError("cannot be read; check the shards")

  split.frames = frames
  with pytest.raises(DataError) as caught:
    read([split], factors=(1.0,), threads=0)
  assert str(caught.value) == "cannot be read; check the shards"  # `match` reads notes of Grain's, too


def test_sequences_of_other_channels_are_named(memory_split):
  mixed = [memory_split("grey", (9,) * 6), memory_split("parsed", (9,) * 6, channels=3)]
  with pytest.raises(DataError, match=r"sequence 00\d/nm/\d has \d channels.*model\.channels"):
    read(mixed, mix="per_sequence")


@pytest.mark.parametrize(
  "change, message",
  [
    ({"process_count": 4}, r"config\.data\.batch_size is 6, not divisible by the 4 processes"),
    ({"process_count": 2, "process_index": 2}, r"process_index is 2 of 2"),
    ({"clip_frames": 7}, r"data\.clip_frames is 7, more than config\.data\.window_frames, 6"),
    ({"clips": 0}, r"data\.clips is 0"),
    ({"start": 9}, r"batches 9 to 8"),
    ({"threads": -1}, r"data\.threads is -1"),
    ({"workers": -1}, r"data\.workers is -1"),
    ({"prefetch": 0}, r"data\.prefetch is 0"),
    ({"workers": 2, "prefetch": 5}, r"data\.prefetch is 5, but 2 config.data.workers read 8 .* or fewer workers"),
    ({"mix": "none"}, r"mix is 'none'"),
  ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(splits, change, message):
  with pytest.raises(ConfigError, match=message):
    batches(splits, **{**ARGUMENTS, **change})


@pytest.mark.parametrize("kind", ["sequence", "walk", "subject"])
def test_positives_are_of_the_same_group_and_read_from_their_own_row(splits, kind):
  cut = splits[1]
  cut.lengths = (3, 40, 5, 40, 40, 3, 40, 9)  # a frame of the other one would not be there
  cut.num_frames = np.array(cut.lengths, np.int32)
  cut.subjects = np.array(["1"] * 4 + ["11"] * 4)
  cut.conditions = np.array(["3", "3", "12", "12", "2", "2", "3", "3"])  # "1" + "12" is "11" + "2"
  together = {
    "sequence": np.arange(8), "walk": np.array([0, 0, 1, 1, 2, 2, 3, 3]), "subject": np.array([0] * 4 + [1] * 4),
  }[kind]  # fmt: skip
  seen, read_batches = set(), read(splits, positives=("sequence", kind), stop=24)
  for batch in read_batches:
    middle = batch["frames"][:, :, 0, 0, 32, 0]  # the row that every clip was read from
    np.testing.assert_array_equal(middle, np.stack([batch["index"], batch["positive"]], axis=1))
    same = np.equal.outer(batch["group"], batch["group"])
    if batch["dataset"][0] == 0:
      np.testing.assert_array_equal(batch["positive"], batch["index"])
    else:
      np.testing.assert_array_equal(together[batch["positive"]], together[batch["index"]])
      np.testing.assert_array_equal(same, np.equal.outer(together[batch["index"]], together[batch["index"]]))
      seen |= set(zip(batch["index"].tolist(), batch["positive"].tolist(), strict=True))
  assert len(seen) > {"sequence": 7, "walk": 13, "subject": 24}[kind]  # of 8, 16 and 32 ordered pairs
  hosts = [read(splits, positives=("sequence", kind), stop=24, process_index=i, process_count=2) for i in range(2)]
  for whole, *parts in zip(read_batches, *hosts, strict=True):
    for name in whole:
      np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in parts]))


@pytest.mark.parametrize("kind", ["sequence", "subject"])
def test_no_group_is_of_two_data_sets(splits, kind):
  found = read(splits, mix="per_sequence", exponent=0.0, positives=(kind, kind), stop=60)
  groups = {pair for batch in found for pair in zip(batch["group"].tolist(), batch["dataset"].tolist(), strict=True)}
  assert len({group for group, _ in groups}) == len(groups) == {"sequence": 38, "subject": 19}[kind]  # all were drawn


@pytest.fixture
def related(memory_split):
  """People 0 to 2, strangers, and people 0 to 3: of each of the first three, one walk of two is in both data sets."""
  few, strangers, many = (memory_split(name, (9,) * rows) for name, rows in (("few", 6), ("strangers", 6), ("many", 8)))
  for split, conditions in ((few, ["nm-1", "nm-2"] * 3), (many, ["nm-1", "nm-3"] * 4)):
    split.manifest["population"] = "crowd"
    split.conditions = np.array(conditions)
    split.keys = np.array([f"{s}/{c}/090" for s, c in zip(split.subjects, conditions, strict=True)])
  return [few, strangers, many]


def numbers_of(batches, split, name):
  """Row of data set number `split` -> its number `name`, int [rows]."""
  found = {}
  for batch in batches:
    rows = batch["dataset"] == split
    found |= dict(zip(batch["index"][rows].tolist(), batch[name][rows].tolist(), strict=True))
  return np.array([found[row] for row in range(len(found))])


@pytest.mark.parametrize("kind, few, strangers, many", [
  ("sequence", [0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [0, 13, 2, 15, 4, 17, 18, 19]),
  ("walk", [0, 1, 2, 3, 4, 5], [6, 6, 7, 7, 8, 8], [0, 13, 2, 15, 4, 17, 18, 19]),
  ("subject", [0, 0, 1, 1, 2, 2], [6, 6, 7, 7, 8, 8], [0, 0, 1, 1, 2, 2, 15, 15]),
])
def test_nobody_is_his_own_negative_in_two_data_sets_of_a_population(related, kind, few, strangers, many):
  drawing = {"factors": (1.0,) * 3, "exponent": 0.0, "mix": "per_sequence", "stop": 40}
  found = read(related, positives=(kind,) * 3, **drawing)
  for split, expected in enumerate((few, strangers, many)):
    np.testing.assert_array_equal(numbers_of(found, split, "group"), expected)
  for split, expected in enumerate(([0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5], [0, 0, 1, 1, 2, 2, 9, 9])):
    np.testing.assert_array_equal(numbers_of(found, split, "subject"), expected)
  for split in related:
    split.manifest = {"name": split.name}
  for batch, apart in zip(found, read(related, positives=(kind,) * 3, **drawing), strict=True):
    for name in batch.keys() - {"group", "subject"}:  # a population changes numbers alone
      np.testing.assert_array_equal(batch[name], apart[name])


def test_different_positives_of_the_same_people_are_warned_of(related, capsys):
  drawing = {"factors": (1.0,) * 3, "batch_size": 2, "stop": 0}
  read(related, positives=("subject", "sequence", "walk"), **drawing)
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("warning: few and many hold 3 of the same people, but their positives are 'subject' and 'walk'"
                         ": in a batch or queue of both")
  read(related, positives=("subject", "sequence", "subject"), **drawing)
  related[2].subjects = np.char.add("new", related[2].subjects)
  read(related, positives=("subject", "sequence", "walk"), **drawing)
  assert not capsys.readouterr().err


def test_unknown_positives_are_refused(splits):
  with pytest.raises(ConfigError, match=r"positives has 'person'; known: sequence, walk, subject"):
    read(splits, positives=("sequence", "person"))
  with pytest.raises(ConfigError, match=r"positives \('walk',\) for 2 data sets; give one for each"):
    read(splits, positives=("walk",))


def test_a_data_set_smaller_than_a_batch_is_warned_of_once(memory_split, capsys):
  splits = [memory_split("long/train", (9,) * 30), memory_split("mine/train", (9,) * 4)]
  read(splits)
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("warning: mine/train has 4 sequences, fewer than its part of a batch of 6, which repeats each")
  assert "1.5 times on average" in line
  assert "choose a smaller config.data.batch_size" in line
  read(splits, process_index=1, process_count=2)
  read(splits, clips=1)
  read(splits[:1], factors=(1.0,))
  assert not capsys.readouterr().err
