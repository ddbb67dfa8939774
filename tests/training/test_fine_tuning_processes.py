"""Fine-tuning in two processes is the one run that it is in one."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from fgait_jax.training.metrics import read_lines

PROGRAM = pathlib.Path(__file__).with_name("toy_fine_tuning.py")
ROOT = PROGRAM.parents[2]


def start(folder, *words, devices=1):
  env = os.environ | {
    "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={devices}"),
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"), "PYTHONUNBUFFERED": "1",
  }
  return subprocess.Popen([sys.executable, str(PROGRAM), str(folder), *words], cwd=ROOT, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def start_two(folder, *, second=("-1", "inf")):
  """`second`: batch at which the second process signals itself, and readings after which its walks fail."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  join = (f"127.0.0.1:{port}", "2")
  return [start(folder, *join, "0"), start(folder, *join, "1", *second)]


def finish(processes, *, status=0):
  outputs = [process.communicate(timeout=600) for process in processes]
  for process, (_, errors) in zip(processes, outputs, strict=True):
    assert process.returncode == status, errors
  return outputs


def logged(folder, kind, name):
  return {line["step"]: line[name] for line in read_lines(folder) if line["kind"] == kind}


def checkpoints(folder):
  return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


@pytest.mark.slow
def test_two_processes_are_one_run_stopped_by_one_of_them_and_started_again(tmp_path):
  one, two = tmp_path / "one", tmp_path / "two"
  whole = start(one, devices=2)
  outputs = finish(start_two(two, second=("2", "inf")))
  assert "stopped by a signal to another process at step" in outputs[0][0]
  stopped = checkpoints(two)[-1]
  assert 2 <= stopped < 6
  (out, _), *_ = outputs = finish(start_two(two))
  assert f"steps       {stopped} to 6 (continuing)" in out
  assert outputs[0][0].splitlines()[-1] == outputs[1][0].splitlines()[-1]  # both have the same best step and score
  finish([whole])
  for kind, name in (("train", "loss"), ("evaluate", "validation")):
    ours, theirs = logged(two, kind, name), logged(one, kind, name)
    assert ours.keys() == theirs.keys()
    assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=2e-3)
  assert checkpoints(two) == checkpoints(one)


@pytest.mark.slow
def test_what_one_of_two_cannot_read_ends_both_saved_and_named(tmp_path):
  outputs = finish(start_two(tmp_path, second=("-1", str(3 * 4 + 2))), status=1)  # half of its share of batch 3
  for _, errors in outputs:
    assert "error: batch 3 cannot be read: toy/train" in errors
    assert f"saved as step 3 in {tmp_path}/checkpoints" in errors
    assert "Traceback" not in errors
  assert checkpoints(tmp_path)[-1] == 3
