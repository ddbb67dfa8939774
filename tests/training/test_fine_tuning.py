"""Fine-tuning by the one loop: stopped at any step and gone on with, it gives what it would have given."""

import os
import signal

import jax
import numpy as np
import pytest

from configs import pretrain
from fgait_jax import defaults
from fgait_jax.data.subset import Subset
from fgait_jax.errors import BadBatch, CheckpointError, ConfigError, DataError
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints, fine_tuning, supervised
from fgait_jax.training import state as states
from fgait_jax.training.metrics import read_lines
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.session import Stopped

STEPS, EVERY = 7, 2  # validations at 2, 4, 6 and the last
SCORES = {2: 10.0, 4: 30.0, 6: 30.0, 7: 20.0}


def config_of(**values):
  config = defaults.evaluation().unlock()
  c = config.fine_tune
  c.subjects, c.per_subject, c.clip_frames, c.window_frames, c.crop_list = 4, 2, 4, 4, ()
  c.steps, c.validate_every, c.log_every, c.threads = STEPS, EVERY, 1, 1
  c.augment.update({step: 0.0 for step in c.augment if step != "width"})
  c.optim.warmup_steps = 0
  config.update_from_flattened_dict({f"fine_tune.{key}": value for key, value in values.items()})
  return config.lock()


@pytest.fixture(scope="module")
def walks(toy):
  """Eight people of three walks."""
  split = Subset(toy, np.arange(24), name="toy/train (fit)")
  split.__dict__["subjects"] = np.repeat([f"person{i}" for i in range(8)], 3)
  return split


@pytest.fixture(scope="module")
def fitter_of():
  """`fitter_of(**values of config.fine_tune)`, of a network before its first step; compiled once a configuration."""
  config, made = pretrain.get_config("test"), {}
  weights = jax.jit(lambda: states.initial_weights(config))()
  network = Pretrained(graph=states.make_graph(config), **weights, config=config, step=0, path=None, identity="none",
                       mesh=make_mesh(devices=jax.devices()[:1]))
  learner = supervised.create(
    network, head="identity", reads="projection", classes=8, features=8, method="full", statistics="frozen", rank=2,
    lora_scale=1.0, prompt_tokens=0, prompt_pixels=0, rules_of_rates=defaults.fine_tune().optim.rules, seed=0)

  def of(**values):
    key = str(values)
    made[key] = made[key] if key in made else fine_tuning.Fitter(learner, config_of(**values), identity="none")
    return made[key]

  return of


@pytest.fixture
def fit(fitter_of, walks):
  """`fit(folder, scores=..., then=..., **values)`: trains, validated by `scores`; `then(step)` runs in a validation."""
  def of(folder, *, split=walks, scores=SCORES, then=lambda step: None, factor=1.0, **values):
    fitter, seen = fitter_of(**values), []

    def score(network, between):
      step = max((line["step"] for line in read_lines(folder)), default=0)
      seen.append(step)
      then(step)
      between()
      return scores[step]

    found = fitter.fit(split, np.repeat(np.arange(8), 3), folder, factor=factor, score=scores and score)
    return found, seen

  return of


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  return tmp_path_factory.mktemp("whole")


@pytest.fixture
def uninterrupted(fit, whole):
  return fit(whole)[0]  # trained by the first that asks


def kept(folder):
  return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, (a.trainable, a.stats), (b.trainable, b.stats))
  assert (a.step, a.score, a.factor, a.curve) == (b.step, b.score, b.factor, b.curve)


def test_the_best_step_is_kept_the_earliest_among_equals(uninterrupted, whole):
  assert (uninterrupted.step, uninterrupted.score) == (4, 30.0)
  assert kept(whole) == [4, 6, 7]
  assert [line["step"] for line in uninterrupted.curve] == list(range(1, STEPS + 1))
  assert [line["validation"] for line in uninterrupted.curve if "validation" in line] == list(SCORES.values())
  assert {"loss", "triplet", "cross_entropy", "accuracy", "rate"} <= uninterrupted.curve[0].keys()
  assert list((whole / "tensorboard").glob("events*"))
  assert (whole / "config.json").is_file()


def test_where_the_start_is_a_solution_it_is_judged_too_and_may_be_the_best(fit, fitter_of, tmp_path):
  """Stopped, and taken up when it is the best although no checkpoint is of it."""
  solved = {"reads": "discriminant"}
  for name, start, best in (("first", 40.0, 0), ("later", 5.0, 4)):
    found, seen = fit(tmp_path / name, scores=SCORES | {0: start}, **solved)
    assert (found.step, found.score, seen) == (best, max(start, 30.0), [0, 2, 4, 6, 7])
    assert_same(fit(tmp_path / name, scores={}, **solved)[0], found)
    assert (found.curve[0]["step"], found.curve[0]["validation"]) == (0, start)
    begun = fitter_of(**solved).begin()["params"]
    assert (best == 0) == all(np.array_equal(found.trainable[name], begun[name]) for name in begun)


def test_a_finished_run_is_not_trained_again(fit, uninterrupted, whole):
  found, seen = fit(whole)
  assert seen == []
  assert_same(found, uninterrupted)


def signalled(monkeypatch, at):
  """Sends SIGTERM as batch number `at` is read."""
  made = fine_tuning.batches

  def batches(splits, *, start, **options):
    for number, batch in enumerate(made(splits, start=start, **options), start=start):
      if number == at:
        os.kill(os.getpid(), signal.SIGTERM)
      yield batch

  monkeypatch.setattr(fine_tuning, "batches", batches)


@pytest.mark.parametrize("at", range(STEPS - 1))
def test_stopped_at_any_step_it_goes_on_as_if_never_stopped(fit, uninterrupted, tmp_path, monkeypatch, at):
  with monkeypatch.context() as patched:
    signalled(patched, at)
    with pytest.raises(Stopped, match="SIGTERM"):
      fit(tmp_path)
  assert kept(tmp_path)[-1] == at + 1
  assert_same(fit(tmp_path)[0], uninterrupted)


def test_a_signal_while_the_last_checkpoint_is_written_is_heard(fit, uninterrupted, tmp_path, monkeypatch, capsys):
  """All is done and saved, but other rates and the test would follow."""
  made = checkpoints.Checkpoints.__exit__

  def signalled(saved, *given):
    os.kill(os.getpid(), signal.SIGTERM)
    made(saved, *given)

  with monkeypatch.context() as patched:
    patched.setattr(checkpoints.Checkpoints, "__exit__", signalled)
    with pytest.raises(Stopped, match="SIGTERM"):
      fit(tmp_path)
  assert f"SIGTERM came when all was done; it is saved in {tmp_path}" in capsys.readouterr().out
  found, seen = fit(tmp_path)
  assert seen == []
  assert_same(found, uninterrupted)


@pytest.mark.parametrize("at", [1, 3, 4, 6])
def test_killed_it_goes_on_from_the_last_validation(fit, fitter_of, uninterrupted, tmp_path, monkeypatch, at):
  fitter = fitter_of()
  made = fitter.step

  def killed(state, batch, number, *rest):
    if number == at:
      raise SystemExit("killed")  # nothing is saved
    return made(state, batch, number, *rest)

  with monkeypatch.context() as patched:
    patched.setattr(fitter, "step", killed)
    with pytest.raises(SystemExit, match="killed"):
      fit(tmp_path)
  assert [step for step in kept(tmp_path) if step > at] == []
  found, seen = fit(tmp_path)
  assert seen == [step for step in SCORES if step > at // EVERY * EVERY]
  assert_same(found, uninterrupted)


@pytest.mark.parametrize("at", [2, 4, 7])
def test_a_validation_that_is_left_is_done_after_the_restart(fit, uninterrupted, tmp_path, at):
  def stop(step):
    if step == at:
      os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(Stopped):
    fit(tmp_path, then=stop)
  found, seen = fit(tmp_path)
  assert seen == [step for step in SCORES if step >= at]
  assert_same(found, uninterrupted)


def test_patience_ends_a_run_and_a_restart_keeps_to_it(fit, tmp_path):
  scores = {2: 30.0, 4: 20.0, 6: 25.0}
  found, seen = fit(tmp_path, scores=scores, patience=2)
  assert (found.step, found.score, seen) == (2, 30.0, [2, 4, 6])
  assert kept(tmp_path) == [2, 4, 6]
  again, seen = fit(tmp_path, scores=scores, patience=2)
  assert seen == []
  assert_same(again, found)


def test_without_people_kept_back_the_last_step_is_taken(fit, fitter_of, walks, tmp_path):
  found, _ = fit(tmp_path, scores=None)
  assert (found.step, found.score) == (STEPS, None)
  short = fitter_of().fit(walks, np.repeat(np.arange(8), 3), tmp_path / "short", end=3)
  assert (short.step, short.curve) == (3, found.curve[:3])  # the schedule is that of all steps


def test_a_rate_has_a_folder_of_its_own(fit, uninterrupted, whole):
  with pytest.raises(CheckpointError, match=r"config.factor: 1.0 -> 0.1\nSet them back .*--out"):
    fit(whole, factor=0.1)
  with pytest.raises(CheckpointError, match="config.fine_tune.patience: 0 -> 1"):
    fit(whole, patience=1)


def test_a_validation_that_fails_ends_the_run_with_its_step_saved(fit, uninterrupted, tmp_path):
  def fail(step):
    if step == 4:
      raise DataError("no mates")

  with pytest.raises(DataError, match="no mates"):
    fit(tmp_path, then=fail)
  assert kept(tmp_path) == [2, 4]
  assert_same(fit(tmp_path)[0], uninterrupted)


def test_a_walk_that_cannot_be_read_ends_the_run_saved_and_named(fit, uninterrupted, toy, walks, tmp_path):
  torn = Subset(type(toy)(torn=3 * 8 + 2), np.arange(24), name=walks.name)
  torn.__dict__["subjects"] = walks.subjects
  with pytest.raises(DataError, match=rf"batch 3 cannot be read: .*bad sector.* saved as step 3 in {tmp_path}"):
    fit(tmp_path, split=torn)
  assert_same(fit(tmp_path)[0], uninterrupted)


def test_a_loss_that_is_no_number_ends_the_run_with_the_state_before(fit, fitter_of, tmp_path, monkeypatch):
  fitter = fitter_of()
  step = fitter.step

  def breaking(state, batch, number, *rest):
    if number == 3:
      state = state | {"params": jax.tree.map(lambda x: x * np.nan, state["params"])}
    return step(state, batch, number, *rest)

  monkeypatch.setattr(fitter, "step", breaking)
  with pytest.raises(BadBatch) as raised:
    fit(tmp_path)
  message = str(raised.value)
  for words in ("loss nan", "at step 3", f"saved as step 3 in {tmp_path}/checkpoints", "config.fine_tune.optim"):
    assert words in message
  assert message.count("toy/train (fit)/walk") == 8


def test_one_rate_twice_is_refused():
  with pytest.raises(ConfigError, match=r"rates=\(1.0, 1.0\) names one of them twice"):
    fine_tuning.check_settings(config_of(rates=(1.0, 1.0)), defaults.pretrain(), make_mesh(devices=jax.devices()[:1]))


def test_the_loop_is_told_what_to_do_when_something_goes_wrong(fitter_of, walks, tmp_path, monkeypatch):
  told = []

  def run(training, folder):
    told.append(training.limits)
    raise Stopped

  monkeypatch.setattr(fine_tuning.loop, "run", run)
  for damage, minutes, stops in (("previous", 7.0, True), ("stop", 0.0, False)):
    fitter = fitter_of(on_damage=damage, watchdog=minutes, watchdog_stops=stops)
    with pytest.raises(Stopped):
      fitter.fit(walks, np.repeat(np.arange(8), 3), tmp_path)
    assert (told[-1].on_damage, told[-1].watchdog, told[-1].watchdog_stops) == (damage, minutes, stops)
