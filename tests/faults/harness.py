"""Starts runs of program.py, waits for the moment to break them, and says how they ended."""

import os
import pathlib
import re
import subprocess
import sys
import time

from fgait_jax.training.metrics import read_lines

ROOT = pathlib.Path(__file__).parents[2]
TRIES = int(os.environ.get("FAULT_TRIES", "50"))  # of the kills at random moments


# What the library below Orbax prints, now and then, for each array whose writing failed.
_TENSORSTORE = re.compile(r"Traceback \(most recent call last\):\n(?:  .*\n)+RuntimeError: Event loop is closed\n")


def start(workdir, *words) -> subprocess.Popen:
  """A run of program.py in a process group of its own."""
  env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
  command = [sys.executable, "tests/faults/program.py", str(workdir), *map(str, words)]
  return subprocess.Popen(
    command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
  )


def finish(process) -> tuple[int, str, str]:
  """(status, output, errors)."""
  output, errors = process.communicate(timeout=600)
  return process.returncode, output, errors


def digest_of(workdir, *words) -> str:
  """That of the state when the run has ended; it must end well."""
  status, output, errors = finish(start(workdir, *words))
  assert status == 0, errors
  return re.search(r"^digest (\w+)$", output, re.MULTILINE)[1]


def refusal(process) -> str:
  """The one line of errors with which a run ends; notes and stacks aside, there must be no traceback."""
  status, _, errors = finish(process)
  assert status == 1, errors
  errors = _TENSORSTORE.sub("", errors)
  assert "Traceback" not in errors, errors
  said = [line for line in errors.splitlines() if line.startswith("error: ")]
  assert len(said) == 1, errors
  return said[0]


def steps_done(workdir) -> int:
  return max((line["step"] for line in read_lines(workdir) if line["kind"] == "train"), default=0)


def saved(workdir) -> int:
  """The newest complete checkpoint, 0 for none."""
  folder = pathlib.Path(workdir) / "checkpoints"
  return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


def wait_for(process, reached) -> bool:
  """Whether `reached()` became true while the process ran."""
  while process.poll() is None:
    if reached():
      return True
    time.sleep(0.001)
  return False
