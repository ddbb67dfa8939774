"""The program as a user starts it: errors in one line, signals, and several processes."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from fgait_jax.training.metrics import read_lines

ROOT = pathlib.Path(__file__).parents[1]
# The program with a toy population in the place of a built data set, and an evaluation that all processes must enter.
WITH_TOYS = """
import runpy, sys
sys.path[:0] = [{root!r}, {root!r} + "/tests/training"]
import numpy as np
import conftest
from fgait_jax.evaluation import during_training
from fgait_jax.evaluation.features import extraction
from fgait_jax.training import pretraining

class Meeting:
  name = "meeting"
  def __init__(self, every):
    self.every = every
  def due(self, step):
    return step % self.every == 0
  def run(self, pretrained, step, between):
    split = conftest.ToySplit(torn={torn[0]})
    found = extraction.extract(pretrained.embed, split, max_frames=6, batch_frames=48, mesh=pretrained.mesh,
                             between=between)
    total = float(np.abs(found.embeddings).sum())
    return {{"meeting/sum": total, "meeting/read": float(split.readings)}}

pretraining.open_split = lambda *_: conftest.ToySplit(delay={delay}, torn={torn[1]})
during_training.TASKS["zero_shot"] = lambda name, config: Meeting(config.evals[name].every)
sys.argv[0] = "run_pretrain.py"
runpy.run_path({root!r} + "/run_pretrain.py", run_name="__main__")
"""
WHOLE = (1e9, 1e9)  # after so many readings of an evaluation, and of training, they fail
OFF = [f"--config.augment.{name}=0" for name in ("affine", "perspective", "flip", "dilate", "blur")]


def start(*words, toys=False, devices=1, delay=0.0, torn=WHOLE):
  env = os.environ | {
    "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={devices}"),
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"), "PYTHONUNBUFFERED": "1",
  }
  program = ["-c", WITH_TOYS.format(root=str(ROOT), delay=delay, torn=torn)] if toys else ["run_pretrain.py"]
  command = [sys.executable, *program, "--config=configs/pretrain.py:test", *words]
  return subprocess.Popen(
    command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
  )


@pytest.mark.parametrize(
  "words, message",
  [
    (["--config.data.bacth_size=4"], "error: unknown key config.data.bacth_size; did you mean config.data.batch_size?"),
    (["--config.data.dir={tmp}/nowhere"], "error: no data set 'walkers' in {tmp}/nowhere/"),
    (["--config.mesh.fsdp=3"], "error: config.mesh.data=-1, config.mesh.fsdp=3, config.mesh.tensor=1 need a multiple"),
  ],
)
def test_a_mistake_ends_in_one_message_and_status_1(tmp_path, words, message):
  process = start(f"--workdir={tmp_path}/run", *(word.format(tmp=tmp_path) for word in words))
  _, errors = process.communicate(timeout=120)
  assert process.returncode == 1
  assert message.format(tmp=tmp_path) in errors
  assert "Traceback" not in errors


def losses(workdir):
  return {line["step"]: line["loss"] for line in read_lines(workdir) if line["kind"] == "train"}


def assert_nobody_is_left(group):
  for _ in range(100):  # what Python starts to watch over reader processes ends a little later
    try:
      os.killpg(group, 0)
    except ProcessLookupError:
      return
    time.sleep(0.2)
  pytest.fail(f"processes of group {group} are left")


@pytest.mark.slow
def test_sigterm_saves_and_exits_143_and_the_same_command_goes_on(tmp_path):
  """The signal reaches the whole process group, as those of terminals and schedulers do: the readers too, while the
  program waits for them."""
  words = [f"--workdir={tmp_path}/run", "--config.train.steps=1000", "--config.train.save_every=1000",
           "--config.data.workers=1", *OFF]
  process = start(*words, toys=True, delay=0.05)
  while process.poll() is None and len(losses(tmp_path / "run")) < 3:
    time.sleep(0.2)
  os.killpg(process.pid, signal.SIGTERM)
  out, errors = process.communicate(timeout=300)
  assert process.returncode == 143, errors
  stopped = max(losses(tmp_path / "run"))
  assert f"stopped by SIGTERM at step {stopped} of 1000, saved in" in out
  assert_nobody_is_left(process.pid)
  process = start(*words, f"--config.train.stop_at={stopped + 2}", toys=True)
  out, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert f"steps       {stopped} to 1000 (continuing)" in out
  assert sorted(losses(tmp_path / "run")) == list(range(1, stopped + 3))


def start_two(*words, torn=WHOLE):
  """`torn` in the second of them."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  join = [f"--coordinator=127.0.0.1:{port}", "--processes=2", *OFF, *words]
  return [start(*join, f"--process={i}", toys=True, torn=torn if i else WHOLE) for i in range(2)]


def finish(processes, status=0):
  for process in processes:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == status, errors


@pytest.mark.slow
def test_two_processes_are_one_run(tmp_path):
  """Stopped at a step that was evaluated, and started again."""
  two = [f"--workdir={tmp_path}/two", "--config.evals.walkers.every=2"]
  whole = start(f"--workdir={tmp_path}/one", "--config.evals.walkers.every=2", *OFF, toys=True, devices=2)
  finish([*start_two(*two, "--config.train.stop_at=2"), whole])
  finish(start_two(*two))
  two, one = ([line for line in read_lines(tmp_path / run) if line["kind"] == "evaluate"] for run in ("two", "one"))
  assert [line["step"] for line in two] == [0, 2, 4]
  assert two[0]["meeting/sum"] == pytest.approx(one[0]["meeting/sum"], rel=1e-5)
  # each reads its half, and one walk to see its shape
  assert (one[0]["meeting/read"], two[0]["meeting/read"]) == (24, 13)
  two, one = losses(tmp_path / "two"), losses(tmp_path / "one")
  assert sorted(two) == [1, 2, 3, 4]
  for step in (1, 2, 3):  # as in tests/training/test_loop.py
    assert two[step] == pytest.approx(one[step], rel=2e-3)


@pytest.mark.slow
def test_two_processes_stop_together_soon_after_one_was_asked(tmp_path):
  words = [f"--workdir={tmp_path}/run", "--config.train.steps=1000", "--config.train.save_every=1000",
           "--config.train.log_every=500", "--config.evals.walkers.every=1"]
  first, second = start_two(*words)
  while first.poll() is None and len(read_lines(tmp_path / "run")) < 3:
    time.sleep(0.2)
  second.send_signal(signal.SIGTERM)
  out, errors = first.communicate(timeout=300)
  assert first.returncode == 143, errors
  stopped = re.search(r"stopped by a signal to another process at step (\d+) of 1000, saved in", out)
  assert 2 <= int(stopped[1]) < 200
  assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()] == [stopped[1]]
  finish([second], status=143)


@pytest.mark.slow
def test_what_one_of_two_processes_cannot_read_stops_both_saved_and_named(tmp_path):
  """An evaluation with an unreadable walk is left out; training with one ends, in both, within seconds and not after
  the minutes that processes wait for each other."""
  words = [f"--workdir={tmp_path}/run", "--config.train.steps=1000", "--config.train.save_every=1000",
           "--config.evals.walkers.every=2", "--config.data.threads=0"]
  processes = start_two(*words, torn=(3, 1 + 3 * 4 + 2))  # one to look at, three batches of four, half of the next
  outputs = [process.communicate(timeout=300) for process in processes]
  for process, (_, errors) in zip(processes, outputs, strict=True):
    assert process.returncode == 1
    assert "error: batch 3 cannot be read: toy/train: sequence walk" in errors
    assert f"saved as step 3 in {tmp_path}/run/checkpoints" in errors
    assert "Traceback" not in errors
  assert "step 2: the evaluation meeting failed and is left out, training goes on" in outputs[0][0]
  assert sorted(losses(tmp_path / "run")) == [1, 2, 3]
  assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()] == ["3"]
