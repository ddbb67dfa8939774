"""The program as a user starts it: errors in one line, signals, and several processes."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from fgait_jax.training.metrics import read_lines

ROOT = pathlib.Path(__file__).parents[1]
# The program with a toy population in the place of a built data set.
WITH_TOYS = """
import runpy, sys
sys.path[:0] = [{root!r}, {root!r} + "/tests/training"]
import conftest
from fgait_jax.training import loop
loop.open_split = lambda *_: conftest.ToySplit()
sys.argv[0] = "run_pretrain.py"
runpy.run_path({root!r} + "/run_pretrain.py", run_name="__main__")
"""
OFF = [f"--config.augment.{name}=0" for name in ("affine", "perspective", "flip", "dilate", "blur")]


def start(*words, toys=False, devices=1):
  env = os.environ | {
    "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"), "PYTHONUNBUFFERED": "1",
  }
  program = ["-c", WITH_TOYS.format(root=str(ROOT))] if toys else ["run_pretrain.py"]
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


@pytest.mark.slow
def test_sigterm_saves_and_exits_0_and_the_same_command_goes_on(tmp_path):
  words = [f"--workdir={tmp_path}/run", "--config.train.steps=1000", "--config.train.save_every=1000", *OFF]
  process = start(*words, toys=True)
  while process.poll() is None and len(losses(tmp_path / "run")) < 3:
    time.sleep(0.2)
  process.send_signal(signal.SIGTERM)
  out, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  stopped = max(losses(tmp_path / "run"))
  assert f"stopped by SIGTERM at step {stopped} of 1000, saved in" in out
  process = start(*words, f"--config.train.stop_at={stopped + 2}", toys=True)
  out, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert f"steps       {stopped} to 1000 (continuing)" in out
  assert sorted(losses(tmp_path / "run")) == list(range(1, stopped + 3))


@pytest.mark.slow
def test_two_processes_are_one_run(tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  join = [f"--workdir={tmp_path}/two", f"--coordinator=127.0.0.1:{port}", "--processes=2", *OFF]
  processes = [start(*join, f"--process={i}", toys=True) for i in range(2)]
  processes.append(start(f"--workdir={tmp_path}/one", *OFF, toys=True, devices=2))
  for process in processes:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
  two, one = losses(tmp_path / "two"), losses(tmp_path / "one")
  assert sorted(two) == [1, 2, 3, 4]
  for step in (1, 2, 3):  # as in tests/training/test_loop.py
    assert two[step] == pytest.approx(one[step], rel=2e-3)
