"""A program that a signal stopped before all was done ends with the signal's status, so that what waits for it to be
done (`make`, a shell's &&, a cluster) does not go on; tests/test_run_pretrain.py sends real signals."""

import pathlib
import subprocess
import sys
import types

import pytest

from fgait_jax.commands import pretrain
from fgait_jax.evaluation import during_training
from fgait_jax.interop import publish
from fgait_jax.parallel import hosts
from fgait_jax.training import pretraining
from fgait_jax.training.loop import Ended

ROOT = pathlib.Path(__file__).parents[2]
# Both programs have a flag --config, so one process holds one of them.
STOPPED_EVALUATION = """
from fgait_jax.commands import evaluate
from fgait_jax.evaluation import program
from fgait_jax.training.session import Stopped

def stopped(config, out):
  raise Stopped("SIGINT")

program.run = stopped
evaluate.run()
"""


def flag(value):
  return types.SimpleNamespace(value=value)


@pytest.fixture
def pretrained(monkeypatch):
  """The exit status of `run_pretrain.py` after a run that ended as given, 0 for a plain return, and whether it wrote
  the run's weights."""
  for name, value in (("CONFIG", "any"), ("WORKDIR", "run"), ("REPLAY", None)):
    monkeypatch.setattr(pretrain, name, flag(value))
  for name, value in (("DISTRIBUTED", False), ("COORDINATOR", ""), ("PROCESSES", 0), ("PROCESS", -1)):
    monkeypatch.setattr(pretrain, name, flag(value))
  monkeypatch.setattr(hosts, "initialize", lambda **_: None)
  monkeypatch.setattr(during_training, "evaluators", lambda config: [])
  written = []
  monkeypatch.setattr(publish, "at_end", lambda config, workdir: written.append(workdir))

  def status(*, complete, stopped):
    ended = Ended(state={}, step=3, evaluations=[], complete=complete, stopped=stopped)
    monkeypatch.setattr(pretraining, "run", lambda *_, **__: ended)
    try:
      return pretrain.main([]) or 0, written == ["run"]
    except SystemExit as raised:
      return raised.code, written == ["run"]

  return status


@pytest.mark.parametrize(("stopped", "expected"), [
  ("SIGTERM", 143), ("SIGINT", 130), ("a signal to another process", 143), ("the watchdog", 143),
])
def test_pretraining_that_was_stopped_ends_with_the_signals_status(pretrained, stopped, expected):
  assert pretrained(complete=False, stopped=stopped) == (expected, False)


@pytest.mark.parametrize(("complete", "stopped"), [
  (True, ""),
  (True, "SIGTERM"),  # it came when all was done
  (False, ""),  # config.train.stop_at
])
def test_pretraining_that_did_as_asked_ends_with_0_and_leaves_weights_when_complete(pretrained, complete, stopped):
  assert pretrained(complete=complete, stopped=stopped) == (0, complete)


def test_an_evaluation_that_was_stopped_ends_with_the_signals_status(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", STOPPED_EVALUATION, "--config=configs/score.py", f"--out={tmp_path}"],
    cwd=ROOT, capture_output=True, text=True, check=False,
  )
  assert done.returncode == 130, done.stderr
  assert (done.stdout, done.stderr) == ("", "")
