"""Runs that are killed, stopped, doubled, or starved: the same command goes on to the same state, bit for bit."""

import os
import pathlib
import signal
import time

import pytest

from tests.faults.harness import TRIES, digest_of, finish, refusal, saved, start, steps_done, wait_for

pytestmark = pytest.mark.slow
KILLS = 5  # of one run, which then ends


def kill(process) -> None:
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate()


def saving(workdir) -> bool:
  return any("orbax-checkpoint-tmp" in path.name for path in pathlib.Path(workdir, "checkpoints").glob("*"))


@pytest.mark.parametrize("when", ["at a random moment", "while it saves"])
@pytest.mark.parametrize("chain", range(max(1, TRIES // KILLS // 2)))
def test_killed(whole, matrix, chance, tmp_path, when, chain):
  lost = []
  for _ in range(KILLS):
    before = steps_done(tmp_path)
    process = start(tmp_path, "--delay=0.05")
    if when == "while it saves":
      wait_for(process, lambda: saving(tmp_path))
      time.sleep(chance.uniform(0, 0.05))
    else:
      wait_for(process, lambda: steps_done(tmp_path) != before or steps_done(tmp_path) > saved(tmp_path))  # noqa: B023
      time.sleep(chance.uniform(0, 1))
    kill(process)
    lost.append(max(0, steps_done(tmp_path) - saved(tmp_path)))
  same = digest_of(tmp_path) == whole[0]
  for steps in lost:
    matrix(f"SIGKILL {when}", "same" if same else "other", steps)
  assert same
  assert max(lost) <= 6  # between two saves, and while the last of them is written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("chain", range(2))
def test_asked_to_stop(whole, matrix, chance, tmp_path, number, chain):
  process = start(tmp_path, "--delay=0.05")
  wait_for(process, lambda: steps_done(tmp_path) > 1)
  time.sleep(chance.uniform(0, 0.5))
  process.send_signal(number)
  status, output, errors = finish(process)
  assert status == 0, errors
  assert f"stopped by {number.name}" in output
  lost = steps_done(tmp_path) - saved(tmp_path)
  same = digest_of(tmp_path) == whole[0]
  matrix(number.name, "same" if same else "other", lost)
  assert same
  assert lost == 0


def test_asked_twice_it_ends_at_once(whole, matrix, tmp_path):
  process = start(tmp_path, "--at=5", "--fault=hangs")
  wait_for(process, lambda: steps_done(tmp_path) > 2)
  for _ in range(2):
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
  assert finish(process)[0] == -signal.SIGTERM
  lost = steps_done(tmp_path) - saved(tmp_path)
  same = digest_of(tmp_path) == whole[0]
  matrix("SIGTERM twice, the first not heard", "same" if same else "other", lost)
  assert same


def test_two_at_once(whole, matrix, tmp_path):
  first = start(tmp_path, "--delay=1")  # so that it still runs when the second has started, on a busy machine too
  wait_for(first, lambda: steps_done(tmp_path) > 0)
  said = refusal(start(tmp_path, "seed=1"))
  assert "is being written by another run (process " in said
  status, output, errors = finish(first)
  assert status == 0, errors
  matrix("two runs at once: the second", "refused")
  same = whole[0] in output
  matrix("two runs at once: the first", "same" if same else "other")
  assert same


@pytest.mark.parametrize("size", [500, 2000, 100_000])
def test_a_full_disk(whole, matrix, tmp_path, size):
  """Nothing of a run is larger than the state; 500 bytes end it at its first lines, 100 kB at a checkpoint."""
  said = refusal(start(tmp_path, f"--disk={size}"))
  assert "cannot write" in said
  matrix("full disk", "refused", steps_done(tmp_path) - saved(tmp_path))
  same = digest_of(tmp_path) == whole[0]
  matrix("full disk, then mended", "same" if same else "other")
  assert same


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_became_read_only(whole, matrix, tmp_path):
  finish(start(tmp_path, "train.stop_at=3"))
  tmp_path.chmod(0o555)
  try:
    assert "cannot" in refusal(start(tmp_path))
  finally:
    tmp_path.chmod(0o755)
  matrix("read-only folder", "refused")
  assert digest_of(tmp_path) == whole[0]


def test_a_clock_set_back(whole, matrix, tmp_path):
  finish(start(tmp_path, "train.stop_at=10"))
  same = digest_of(tmp_path, "--clock=-86400") == whole[0]
  matrix("clock set back by a day", "same" if same else "other")
  assert same


def test_a_reader_that_raises(whole, matrix, tmp_path):
  said = refusal(start(tmp_path, "--at=10", "--fault=raises"))
  assert "batch 10 cannot be read" in said
  lost = steps_done(tmp_path) - saved(tmp_path)
  same = digest_of(tmp_path) == whole[0]
  matrix("reader that raises", "same" if same else "other", lost)
  assert same
  assert lost == 0


def test_a_reader_that_hangs(whole, matrix, tmp_path):
  words = ("train.watchdog=0.5", "train.watchdog_stops=True")
  said = refusal(start(tmp_path, "--at=10", "--fault=hangs", *words))
  assert "nothing was read for 0.5 minutes" in said
  lost = steps_done(tmp_path) - saved(tmp_path)
  same = digest_of(tmp_path) == whole[0]
  matrix("reader that hangs, with a watchdog that stops", "same" if same else "other", lost)
  assert same
  assert lost == 0


def test_a_reader_that_is_slow(whole, matrix, tmp_path):
  same = digest_of(tmp_path, "--delay=0.3") == whole[0]
  matrix("slow reader", "same" if same else "other")
  assert same
