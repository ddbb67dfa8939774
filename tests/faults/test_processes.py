"""A run of two processes: one is lost, and the other ends too; or the folder is not theirs, and both say so."""

import os
import signal
import socket

import pytest

from fgait_jax.training import folders
from tests.faults.harness import finish, refusal, saved, start, steps_done, wait_for

pytestmark = pytest.mark.slow


def start_two(workdir, *words):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  return [start(workdir, *words, "--join", address, 2, process) for process in range(2)]


def digests(processes):
  ended = [finish(process) for process in processes]
  assert [status for status, *_ in ended] == [0, 0], [errors for *_, errors in ended]
  return [output.split("digest ")[1].split()[0] for _, output, _ in ended]


def test_one_process_of_two_is_lost(matrix, tmp_path):
  expected = digests(start_two(tmp_path / "whole"))
  processes = start_two(tmp_path / "run", "--delay=0.05")
  wait_for(processes[0], lambda: saved(tmp_path / "run") >= 3)
  os.killpg(processes[1].pid, signal.SIGKILL)
  processes[1].communicate()
  assert finish(processes[0])[0] != 0  # jax ends it, within its two minutes
  lost = steps_done(tmp_path / "run") - saved(tmp_path / "run")
  same = digests(start_two(tmp_path / "run")) == expected
  matrix("one process of two lost", "same" if same else "other", max(0, lost))
  assert same


@pytest.mark.parametrize("why", ["is being written by another run", "Is a directory"])
def test_two_processes_may_not_write_there(matrix, tmp_path, why):
  """The first of them alone takes the lock; the second must not wait for it."""
  if why.startswith("is being"):
    with folders.locked(tmp_path):
      said = [refusal(process) for process in start_two(tmp_path)]
  else:
    (tmp_path / folders.LOCK).mkdir()
    said = [refusal(process) for process in start_two(tmp_path)]
  assert all(why in words for words in said), said
  matrix("two processes, a folder that is not theirs", "refused")
