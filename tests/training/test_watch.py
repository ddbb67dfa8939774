"""What is watched beside the loss: collapse, runs that hang, and which checkpoints are worth keeping."""

import subprocess
import sys
import time

import numpy as np
import pytest

from fgait_jax.errors import ConfigError
from fgait_jax.training import watch
from fgait_jax.training.checkpoints import Checkpoints
from fgait_jax.training.pretraining import Pretraining
from fgait_jax.training.session import Stop, Watchdog


def line(step, rank, cosine, name="walkers"):
  return {"step": step, f"{name}/effective_rank": rank, f"{name}/mean_cosine": cosine}


def warnings(*lines):
  """At each of the evaluations."""
  return [len(watch.collapse(lines[: n + 1])) for n in range(len(lines))]


def test_collapse_is_said_once():
  untrained = line(0, 20.0, 0.9)
  assert warnings(untrained, line(1, 9.0, 0.95), line(2, 3.0, 0.99)) == [0, 1, 0]
  assert warnings(untrained, line(1, 9.0, 0.5), line(2, 11.0, 0.99)) == [0, 0, 0]  # one of both
  assert warnings(line(5, 20.0, 0.9), line(6, 1.0, 1.0)) == [0, 0]  # the untrained network was not looked at
  assert warnings(untrained, {"step": 1}, line(2, None, None), line(3, 1.0, 1.0)) == [0, 0, 0, 1]
  (said,) = watch.collapse([untrained | line(0, 20.0, 0.9, "kth"), line(1, 2.0, 0.99) | line(1, 30.0, 0.1, "kth")])
  assert "step 1: embeddings of walkers collapse: effective rank 2 (untrained 20), mean cosine 0.99" in said


def test_the_best_is_that_of_the_metric_that_is_named(configure):
  def best(keep_best, *scores):
    training = object.__new__(Pretraining)
    object.__setattr__(training, "config", configure(train__keep_best=keep_best))
    return training.best([{"step": i} | ({} if score is None else {"a": score}) for i, score in enumerate(scores)])

  assert best("", 1.0, 2.0) is None
  assert best("a", 1.0, 3.0, 2.0, 3.0) == 1
  assert best("a", 1.0, float("nan"), 2.0, 0.0) == 2  # as the file has it, where it is None
  assert best("-a", 0.0, 2.0, 0.0) == 2  # step 0 is saved nowhere
  assert best("-a", 2.0, None, 1.0) == 2
  assert best("a", None) is None
  with pytest.raises(ConfigError, match=r"config.train.keep_best=-b is not evaluated; known: a"):
    watch.check_best([{"step": 0, "a": 1.0}], "-b", asked=["a"])
  with pytest.raises(ConfigError, match="keep_best=b is not evaluated"):  # asked for at a restart
    watch.check_best([{"step": 0, "a": 1.0}, {"step": 2, "a": 1.0}], "b", asked=["a"])
  first = [{"step": 0, "kth/d1/rank1": 50.0}]
  watch.check_best(first, "walkers/mean/rank1", asked=["kth", "walkers"])  # that of walkers failed
  with pytest.raises(ConfigError, match="keep_best=kth/d9/rank1 is not evaluated; known: kth/d1/rank1"):
    watch.check_best(first, "kth/d9/rank1", asked=["kth", "walkers"])


def test_checkpoints_are_kept_by_age_by_step_and_by_score(tmp_path):
  with Checkpoints(tmp_path, keep=2, every=4, best=lambda: 3) as saved:
    for step in range(1, 10):
      saved.save(step, {"x": np.zeros(1)}, {})
  assert sorted(int(p.name) for p in saved.folder.iterdir()) == [3, 4, 8, 9]


def test_wrong_values_are_refused(run, configure, tmp_path):
  for changes, message in (
    ({"train__keep_every": 3, "train__save_every": 2}, "keep_every=3 must be a multiple of config.train.save_every=2"),
    ({"train__watchdog": 0.0, "train__watchdog_stops": True}, "watchdog_stops=True stops nothing where"),
    ({"train__profile_at": 4}, "config.train.profile_at=4 never comes: it must be below config.train.steps=4"),
    ({"train__watchdog": -1.0}, "config.train.watchdog=-1.0 minutes must be above 0"),
    ({"train__keep_best": "walkers/mean/rank1"}, "evals.walkers.every=0 must be a multiple of config.train.save_"),
    ({"train__keep_best": "-kth/mean/rank1"}, "keep_best=-kth/mean/rank1: config.evals.kth.every=0 must be a multiple"),
  ):
    with pytest.raises(ConfigError, match=message):
      run(configure(**changes), tmp_path)


def test_a_reader_that_hangs_is_left_and_said(tmp_path):
  program = tmp_path / "hangs.py"
  program.write_text(f"""
import sys, threading
sys.path.insert(0, {str(__file__.partition("/tests/")[0])!r})
import numpy as np
from fgait_jax.training.session import Reading, Stop, Watchdog

def stream():
  yield {{"frames": np.zeros((2, 1))}}
  threading.Event().wait()

watchdog = Watchdog(minutes=0.01, stops=True)
blank = {{"frames": np.zeros((2, 1))}}
with watchdog, Stop(watchdog) as asked, Reading(stream(), blank=blank, watchdog=watchdog) as reading:
  while not asked.now() and reading.error is None:
    batch = reading.next()
  print(type(reading.error).__name__, reading.error, batch["readable"], asked.now(), asked.name)
""")
  found = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
  assert found.stdout == ("ReaderHangs nothing was read for 0.01 minutes, the stacks above say where it hangs"
                          " [False False] True the watchdog\n"), found.stderr
  assert "Timeout (0:00:00.600000)!" in found.stderr
  assert "in stream" in found.stderr


def test_what_else_hangs_stops_the_run_when_it_comes_back(capfd):
  watchdog = Watchdog(minutes=0.002, stops=True)
  with watchdog, Stop(watchdog) as asked:
    assert not asked.now()
    time.sleep(1.5)
    assert asked.now()
    assert asked.name == "the watchdog"
  assert "most recent call first" in capfd.readouterr().err


@pytest.mark.parametrize("minutes", [0.0, 0.005])
def test_who_is_alive_in_time_hears_nothing(minutes, capfd):
  watchdog = Watchdog(minutes=minutes, stops=True)
  with watchdog, Stop(watchdog) as asked:
    for _ in range(5):
      assert not asked.now()
      time.sleep(0.1)
  assert capfd.readouterr().err == ""
