"""Runs that stop and go on, on any devices; what they write; how they end."""

import json
import os
import signal
import sys
import time

import jax
import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import BadBatch, CheckpointError, ConfigError, DataError
from fgait_jax.training import loop, pretraining
from fgait_jax.training.metrics import read_lines

STEPS = 4


def losses(workdir):
  lines = [line for line in read_lines(workdir) if line["kind"] == "train"]
  return {line["step"]: (line["loss"], line["reconstruction"], line["gradient_norm"]) for line in lines}


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


class Each:
  """An evaluator at every step; `then` is called with the step."""

  def __init__(self, then=lambda step: None, every=1, name="each"):
    self.then, self.every, self.name, self.seen = then, every, name, []

  def due(self, step):
    return step % self.every == 0

  def run(self, pretrained, step, between):
    self.then(step)
    between()
    self.seen.append((step, pretrained.step, pretrained.identity))
    return {f"{self.name}/norm": float(sum(np.square(x).sum() for x in jax.tree.leaves(pretrained.params)))}


@pytest.fixture(scope="session")
def uninterrupted(run, configure, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("uninterrupted")
  return workdir, run(configure(), workdir)


@pytest.mark.parametrize("stop_at", range(STEPS))
def test_stopped_and_started_again_is_bit_for_bit_the_same(run, configure, uninterrupted, tmp_path, stop_at):
  stopped = run(configure(train__stop_at=stop_at), tmp_path)
  assert int(stopped["step"]) == stop_at
  state = run(configure(), tmp_path)
  assert_same(state, uninterrupted[1])  # parameters, statistics, teacher, optimizer, step
  assert losses(tmp_path) == losses(uninterrupted[0])
  assert sorted(losses(tmp_path)) == [1, 2, 3, 4]


def test_where_stop_at_stopped_the_command_told_goes_on(run, configure, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(sys, "argv", ["run_pretrain.py", "--config.train.stop_at=2", "--workdir=here"])
  run(configure(train__stop_at=2), tmp_path)
  told = capsys.readouterr().out.strip().rpartition("To continue as if never stopped: ")[2]
  assert told.endswith("run_pretrain.py --workdir=here --config.train.stop_at=-1")


def test_a_finished_run_started_again_does_nothing(run, configure, uninterrupted):
  before = losses(uninterrupted[0])
  assert_same(run(configure(), uninterrupted[0]), uninterrupted[1])
  assert losses(uninterrupted[0]) == before


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(run, configure, uninterrupted, tmp_path, capsys, which):
  handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  stop = Each(lambda step: step == 2 and os.kill(os.getpid(), which))
  state = run(configure(train__save_every=100), tmp_path, evaluators=[stop])
  assert int(state["step"]) == 2
  assert f"stopped by {which.name} at step 2 of 4, saved in" in (out := capsys.readouterr().out)
  assert "To continue as if never stopped:" in out
  assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
  again = Each()
  assert_same(run(configure(), tmp_path, evaluators=[again]), uninterrupted[1])
  assert [step for step, *_ in stop.seen + again.seen] == [0, 1, 2, 3, 4]  # the evaluation that was left is done
  assert sorted(losses(tmp_path)) == [1, 2, 3, 4]
  lines = [(line["step"], line["kind"]) for line in read_lines(tmp_path)]
  assert len(set(lines)) == len(lines)


def test_the_watchdog_stops_a_run_once_what_hung_comes_back(run, configure, uninterrupted, tmp_path, capfd):
  slow = Each(lambda step: step == 2 and time.sleep(3))
  run(configure(train__watchdog=1 / 60, train__watchdog_stops=True), tmp_path, evaluators=[slow])
  out, errors = capfd.readouterr()
  assert "stopped by the watchdog at step" in out
  assert "most recent call first" in errors
  assert_same(run(configure(), tmp_path), uninterrupted[1])


def test_an_evaluation_that_fails_is_said_and_training_goes_on(run, configure, tmp_path, capsys):
  def fail(step):
    saved = [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith("2")]
    assert step != 2, f"no walks; {saved} begun"

  each = Each(fail, every=2)
  assert int(run(configure(), tmp_path, evaluators=[each])["step"]) == STEPS
  assert [step for step, *_ in each.seen] == [0, 4]
  assert "step 2: the evaluation each failed and is left out, training goes on;" in (out := capsys.readouterr().out)
  assert "AssertionError: no walks; ['2" in out  # saved, or being saved, before it was evaluated
  (line,) = [line for line in read_lines(tmp_path) if line["kind"] == "failed"]
  assert line["step"] == 2
  assert "Traceback" in line["error"]


def test_a_walk_that_cannot_be_read_ends_the_run_saved_and_named(run, configure, uninterrupted, toy, tmp_path):
  torn = type(toy)(torn=1 + 2 * 8 + 3)  # one to look at, two batches, and part of the third
  with pytest.raises(DataError, match=r"batch 2 cannot be read: toy/train: sequence walk\d\d cannot be read:"
                     rf".*bad sector.* saved as step 2 in {tmp_path}/checkpoints; mend or leave out"):
    run(configure(train__save_every=100, data__threads=0), tmp_path, splits={"toy": torn})
  assert sorted(losses(tmp_path)) == [1, 2]
  assert_same(run(configure(), tmp_path), uninterrupted[1])


def test_a_first_batch_that_cannot_be_read_leaves_no_checkpoint(run, configure, toy, tmp_path):
  with pytest.raises(DataError, match="batch 0 cannot be read: .*bad sector.*. Mend or leave out"):
    run(configure(), tmp_path, splits={"toy": type(toy)(torn=1)})
  assert [p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()] == []


def test_a_batch_that_is_not_readable_changes_nothing(run, configure, uninterrupted, toy, tmp_path, monkeypatch):
  """As one of several processes would, this one takes the step with a blank batch."""
  monkeypatch.setattr(loop, "alone", lambda: False)
  with pytest.raises(DataError, match=r"batch 1 cannot be read: .*bad sector.* saved as step 1 in"):
    run(configure(data__threads=0), tmp_path, splits={"toy": type(toy)(torn=1 + 8 + 3)})
  monkeypatch.undo()
  assert_same(run(configure(), tmp_path), uninterrupted[1])


def test_what_is_written_and_printed(run, configure, tmp_path, capsys):
  each = Each(every=2)
  run(configure(), tmp_path, evaluators=[each])
  out = capsys.readouterr().out
  for words in (
    "devices     1 x cpu", "mesh        data 1, fsdp 1, tensor 1", "parameters (",
    "toy/train: 24 sequences, without labels", f"written to  {tmp_path}",
    "step 4/4  loss", "evaluation  each/norm", "done: 4 steps",
  ):
    assert words in out
  assert [step for step, *_ in each.seen] == [0, 2, 4]
  assert [step for _, step, _ in each.seen] == [0, 2, 4]
  assert len({identity for *_, identity in each.seen}) == 3
  config = json.loads((tmp_path / "config.json").read_text())
  assert config["data"]["batch_size"] == 8
  train = [line for line in read_lines(tmp_path) if line["kind"] == "train"]
  assert train[-1].keys() >= {
    "loss", "reconstruction", "contrastive", "contrastive_accuracy", "gradient_norm", "rate", "ema",
    "seconds_per_step", "clips_per_second", "waiting_share", "host_peak_bytes",
  }
  assert 0 <= train[-1]["waiting_share"] <= 1
  assert [line["step"] for line in read_lines(tmp_path) if line["kind"] == "evaluate"] == [0, 2, 4]
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()) == ["2", "4"]
  assert list((tmp_path / "tensorboard").glob("events*"))


def test_of_several_evaluations_one_that_fails_leaves_the_others(run, configure, tmp_path):
  def fail(step):
    assert step != 2, "no walks"

  run(configure(), tmp_path, evaluators=[Each(fail, every=2, name="one"), Each(every=2, name="other")])
  lines = {line["step"]: sorted(k for k in line if "/" in k) for line in read_lines(tmp_path)
           if line["kind"] == "evaluate"}
  assert lines == {0: ["one/norm", "other/norm"], 2: ["other/norm"], 4: ["one/norm", "other/norm"]}


def test_a_stop_leaves_all_evaluations_of_the_step_to_the_restart(run, configure, tmp_path):
  stop = Each(lambda step: step == 2 and os.kill(os.getpid(), signal.SIGTERM), every=2, name="stop")
  first = Each(every=2, name="first")
  run(configure(), tmp_path, evaluators=[first, stop])
  assert [step for step, *_ in first.seen] == [0, 2]
  assert [line["step"] for line in read_lines(tmp_path) if line["kind"] == "evaluate"] == [0]
  again = Each(every=2, name="first"), Each(every=2, name="stop")
  run(configure(), tmp_path, evaluators=again)
  assert [[step for step, *_ in each.seen] for each in again] == [[2, 4], [2, 4]]


def test_an_evaluation_on_file_is_not_done_again(run, configure, tmp_path):
  run(configure(train__stop_at=2), tmp_path, evaluators=[Each(every=2)])
  each = Each(every=2)
  run(configure(), tmp_path, evaluators=[each])
  assert [step for step, *_ in each.seen] == [4]
  assert [line["step"] for line in read_lines(tmp_path) if line["kind"] == "evaluate"] == [0, 2, 4]


def test_an_evaluation_that_a_finished_run_is_asked_for_is_done(run, configure, tmp_path):
  run(configure(), tmp_path, evaluators=[Each(every=2, name="one")])
  each = Each(every=2, name="one"), Each(every=2, name="other")
  run(configure(), tmp_path, evaluators=each)
  assert [[step for step, *_ in one.seen] for one in each] == [[], [4]]


def test_batches_are_those_of_the_configuration(configure, monkeypatch):
  given = {}
  monkeypatch.setattr(pretraining, "open_batches", lambda splits, **values: given.update(values))
  values = {"batch_size": 24, "clip_frames": 5, "window_frames": 7, "exponent": 0.75, "mix": "per_sequence",
            "threads": 3, "workers": 2, "prefetch": 17}
  config = configure(seed=11, **{f"data__{key}": value for key, value in values.items()})
  pretraining.batches(config, {"toy": None}, start=2, stop=9)
  assert {key: given[key] for key in (*values, "seed", "start", "stop", "clips")} == values | {
    "seed": 11, "start": 2, "stop": 9, "clips": 2}


def test_wrong_data_keys_are_refused_before_anything_is_read_or_evaluated(configure, toy):
  with pytest.raises(ConfigError, match=r"data.workers is -1; it must be at least 0"):
    pretraining.batches(configure(data__workers=-1), {"toy": toy}, start=0, stop=4)


def test_what_is_said_of_a_data_set_follows_its_name(configure, monkeypatch):
  """Whatever the order: one that is open already comes first, as the walkers of the main job's discriminant do."""
  given = {}
  monkeypatch.setattr(pretraining, "open_batches", lambda splits, **values: given.update(values, splits=splits))
  monkeypatch.setattr(pretraining, "open_split", lambda folder, name, split: f"{name}/{split}")
  config = configure(data__sets=defaults.data_sets("b:2:subject,c:3:walk:test,a"))
  pretraining.batches(config, pretraining.opened("built", config.data.sets, first={"b": None}), start=0, stop=4)
  assert given["splits"] == ("b/train", "a/train", "c/test")
  assert given["factors"] == (2, 1, 3)
  assert given["positives"] == ("subject", "sequence", "walk")


def test_means_over_several_steps(run, configure, uninterrupted, tmp_path):
  run(configure(train__log_every=3), tmp_path)
  every, each = losses(tmp_path), losses(uninterrupted[0])
  assert sorted(every) == [3, 4]
  np.testing.assert_allclose(every[3][0], np.mean([each[step][0] for step in (1, 2, 3)]), rtol=1e-6)


def test_a_loss_that_is_no_number_stops_and_keeps_the_state_before(run, configure, monkeypatch, tmp_path):
  """The state is broken between batches 1 and 2: loss 2 is not a number, and nothing of that step may be kept."""
  made, given = pretraining.pretraining_step, []

  def breaking(*args, **kwargs):
    step = made(*args, **kwargs)

    def train_step(state, batch, number):
      if number == 2:
        state = state | {"params": jax.tree.map(lambda x: x * np.nan, state["params"])}
        given.append(jax.device_get(state))
      return step(state, batch, number)

    return train_step

  monkeypatch.setattr(pretraining, "pretraining_step", breaking)
  with pytest.raises(BadBatch) as raised:
    run(configure(train__save_every=100), tmp_path)
  message = str(raised.value)
  for words in (
    "loss nan", "at step 2, in batch number 2", f"saved as step 2 in {tmp_path}/checkpoints", "toy/train/walk",
    "config.optim.peak_rate", f"{tmp_path}/bad_batches/2.json", "--config.train.on_nonfinite=skip goes on without such",
  ):
    assert words in message
  assert message.count("toy/train/walk") == 8
  assert [p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()] == ["2"]
  assert sorted(losses(tmp_path)) == [1, 2]
  monkeypatch.undo()
  assert_same(run(configure(train__stop_at=2, train__save_every=100), tmp_path), given[0])


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"optim__peak_rate": 0.5}, r"holds step 1 of a run with other settings:\n  config.optim.peak_rate: 0.0001 -> 0.5"),
    ({"seed": 3, "train__steps": 9}, r"config.seed: 0 -> 3\n  config.train.steps: 4 -> 9\nSet them back"),
  ],
)
def test_a_restart_with_other_settings_is_refused(run, configure, tmp_path, changes, message):
  run(configure(train__stop_at=1), tmp_path)
  with pytest.raises(CheckpointError, match=message):
    run(configure(**changes), tmp_path)


def test_a_restart_with_other_data_is_refused(run, configure, toy, tmp_path):
  run(configure(train__stop_at=1), tmp_path)
  other = type(toy)()
  other.manifest = {"name": "circles", "content_hash": "circles"}
  with pytest.raises(CheckpointError, match="data set toy/train: built anew, its content differs"):
    run(configure(), tmp_path, splits={"toy": other})


@pytest.mark.parametrize(
  "devices, mesh",
  [
    pytest.param(8, {"mesh__fsdp": 2, "mesh__tensor": 2}, id="data2-fsdp2-tensor2"),
    pytest.param(8, {}, id="data8", marks=pytest.mark.slow),
    pytest.param(8, {"mesh__fsdp": 8}, id="fsdp8", marks=pytest.mark.slow),
    pytest.param(2, {"mesh__tensor": 2}, id="tensor2", marks=pytest.mark.slow),
  ],
)
def test_any_mesh_gives_the_same_numbers_to_rounding(run, configure, uninterrupted, tmp_path, devices, mesh):
  run(configure(**mesh), tmp_path, devices=devices)
  ours, theirs = losses(tmp_path), losses(uninterrupted[0])
  for step in range(1, STEPS + 1):  # the last two have seen an update of cut parameters
    *loss, norm = ours[step]
    np.testing.assert_allclose(loss, theirs[step][:2], rtol=1e-5)
    np.testing.assert_allclose(norm, theirs[step][2], rtol=1e-4)


def test_a_checkpoint_of_eight_devices_goes_on_with_two_and_one(run, configure, tmp_path):
  eight = run(configure(mesh__fsdp=2, mesh__tensor=2, train__stop_at=1), tmp_path, devices=8)
  two = run(configure(train__stop_at=1), tmp_path, devices=2)
  one = run(configure(train__stop_at=1), tmp_path, devices=1)
  assert_same(eight, two)
  assert_same(eight, one)
  assert int(run(configure(train__stop_at=2), tmp_path)["step"]) == 2
