"""A run of two processes of which one is lost: the other ends too, and both go on from the last checkpoint."""

import os
import signal
import socket

import pytest

from tests.faults.harness import finish, saved, start, steps_done, wait_for

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
