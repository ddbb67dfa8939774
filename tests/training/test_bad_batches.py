"""Batches with a bad loss stop a run or are left out, and can be run again alone."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, ConfigError, DataError
from fgait_jax.parallel.mesh import make_mesh, replicated
from fgait_jax.training import configuration, pretraining
from fgait_jax.training import step as steps
from fgait_jax.training.metrics import read_lines
from fgait_jax.training.optimizers import make_optimizer
from fgait_jax.training.state import WINDOW, new_guard
from fgait_jax.training.step import make_step


def train(losses, *, steep=(), spike=0.0, optimizer=optax.sgd(1.0), **mishaps):  # noqa: B008 - it holds no state
  """(steps of the state, number of updates, metrics by batch) after batches of these losses, those numbered `steep`
  with a gradient that is infinite."""

  def loss_of(params, state, batch, number, _):
    moved = params["w"] - jax.lax.stop_gradient(params["w"])
    root = jnp.sqrt(jnp.where(batch["steep"][0], moved, 1.0))
    return batch["loss"][0] + params["w"] + jnp.where(batch["steep"][0], root, 0.0), ({}, {})

  mesh = make_mesh(devices=jax.devices()[:1])
  step = make_step(
    loss_of, optimizer, schedule=lambda number: 1.0, mesh=mesh, shardings=replicated(mesh),
    mishaps=types.SimpleNamespace(**{"on_nonfinite": "stop", "skip_at_most": 1, "spike": spike} | mishaps))
  state = {"step": jnp.int32(0), "params": {"w": jnp.float32(0)}, "guard": new_guard()}
  state["opt"] = optimizer.init(state["params"])
  found = []
  for number, loss in enumerate(losses):
    batch = {"loss": jnp.float32([loss + number_of_updates(state)]), "steep": jnp.array([number in steep]),
             "readable": jnp.array([True])}
    state, metrics = step(state, batch, np.int32(number))
    found.append({name: float(value) for name, (value, _) in metrics.items()})
  return int(state["step"]), number_of_updates(state), found


def number_of_updates(state):
  return -float(state["params"]["w"])  # each takes 1 off, which the loss above adds again


NAN = float("nan")


@pytest.mark.parametrize("losses, mishaps, step, updates, skipped", [
  ([1, NAN, 1, 1], {}, 1, 1, []),  # all after it are of other numbers than the state's
  ([1, NAN, 1, 1], {"on_nonfinite": "skip"}, 4, 3, [1]),
  ([1, NAN, NAN, 1], {"on_nonfinite": "skip"}, 2, 1, [1]),  # one in a row at most
  ([1, NAN, NAN, 1], {"on_nonfinite": "skip", "skip_at_most": 2}, 4, 2, [1, 2]),
  ([NAN, 1, NAN, 1], {"on_nonfinite": "skip"}, 4, 2, [0, 2]),  # but not in a row
  ([1, float("inf"), 1], {"on_nonfinite": "skip"}, 3, 2, [1]),
])
def test_a_loss_that_is_no_number_stops_or_is_left_out(losses, mishaps, step, updates, skipped):
  found = train(losses, **mishaps)
  assert found[:2] == (step, updates)
  assert [number for number, metrics in enumerate(found[2]) if metrics["skipped"]] == skipped


def test_a_gradient_that_is_no_number_is_a_bad_batch_though_its_loss_is_one():
  step, updates, found = train([1, 1, 1], steep=[1], on_nonfinite="skip")
  assert (step, updates, found[1]["loss"]) == (3, 2, 1)
  assert train([1, 1, 1], steep=[1])[:2] == (1, 1)


def test_after_a_skipped_batch_the_rate_is_that_of_the_batchs_number():
  """The schedule, what is logged and the optimizer agree, so that the run ends at its final rate."""
  rates = np.float32([1, 2, 4, 8, 16])
  optimizer = make_optimizer(
    {"w": jnp.float32(0)}, name="sgd", rate=lambda number: jnp.asarray(rates)[number], momentum=0.0, beta1=0.0,
    beta2=0.0, weight_decay=0.0, clip_norm=0.0, rules=((".*", 1.0, 1.0),))
  _, moved, found = train([1, NAN, NAN, 1, 1], optimizer=optimizer, on_nonfinite="skip", skip_at_most=2)
  assert moved == rates[[0, 3, 4]].sum()
  assert found[4]["rate"] == 1.0  # of `train`'s own schedule


def test_a_spike_is_judged_by_the_median_once_half_of_the_window_is_known():
  half = WINDOW // 2
  losses = [1.0, 50.0] + [1.0] * (half + 1) + [2.9, 3.2, 1.0]
  stopped, updates, found = train(losses, spike=3.0)
  assert [number for number, metrics in enumerate(found) if metrics["spike"]] == [half + 4]  # not 50: too early
  assert stopped == updates == half + 4
  stopped, updates, found = train(losses, spike=3.0, on_nonfinite="skip")
  assert (stopped, updates) == (len(losses), len(losses) - 1)


def test_losses_of_skipped_batches_are_no_part_of_the_median():
  """One that is no number would make it none, and every later spike a good batch."""
  half = WINDOW // 2
  found = train([1.0] * (half + 1) + [NAN, 50.0, 1.0], spike=3.0, on_nonfinite="skip", skip_at_most=2)
  assert found[0] == half + 4
  assert [number for number, metrics in enumerate(found[2]) if metrics["skipped"]] == [half + 1, half + 2]


@pytest.fixture(scope="module")
def breaking():
  """Images of batch 2 are not numbers."""
  made = steps.augmented

  def augmented(frames, purpose, number, **options):
    return made(frames, purpose, number, **options) * jnp.where(number == 2, jnp.nan, 1)

  steps.augmented = augmented
  yield
  steps.augmented = made


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def test_a_run_goes_on_without_a_bad_batch_and_says_which_it_was(breaking, run, configure, toy, tmp_path, capsys):
  skip = {"train__on_nonfinite": "skip", "train__skip_at_most": 3, "train__save_every": 2}
  whole = run(configure(**skip), tmp_path / "whole")
  assert int(whole["step"]) == 4
  file = tmp_path / "whole" / "bad_batches" / "2.json"
  assert f"skipped: loss nan with gradient norm nan at step 2, in batch number 2; {file}" in capsys.readouterr().out
  about = json.loads(file.read_text())
  assert (about["batch"], about["loss"], len(about["sequences"])) == (2, None, 8)
  lines = read_lines(tmp_path / "whole")
  assert [(line["step"], line["kind"]) for line in lines] == [
    (1, "train"), (2, "train"), (2, "skipped"), (3, "train"), (4, "train")]
  assert ["loss" in line for line in lines] == [True, True, True, False, True]
  run(configure(**skip, train__stop_at=3), tmp_path / "stopped")
  assert_same(run(configure(**skip), tmp_path / "stopped"), whole)

  again = pretraining.replay(file, splits={"toy": toy}, devices=jax.devices()[:1])
  assert again[0] == "batch 2 on the weights of step 2, as the run met it: a number is missing"
  assert [name for line in again for name in line.split() if name.startswith("toy/train/walk")] == about["sequences"]
  assert any(line.split() == ["loss", "nan"] for line in again)
  about["config"]["mesh"]["fsdp"] = 64  # of a larger machine
  elsewhere = file.with_name("3.json")
  elsewhere.write_text(json.dumps(about))
  with pytest.raises(ConfigError, match="config.mesh.fsdp=64"):
    pretraining.replay(elsewhere, splits={"toy": toy}, devices=jax.devices()[:1])
  here = configure(optim__peak_rate=1.0)  # whose mesh is taken, and nothing that is learnt by
  assert pretraining.replay(elsewhere, here, splits={"toy": toy}, devices=jax.devices()[:1]) == again
  (tmp_path / "whole" / "checkpoints" / "2").rename(tmp_path / "gone")
  with pytest.raises(CheckpointError, match=r"holds no checkpoint of step 2 or before, .* it has \[4\]"):
    pretraining.replay(file, splits={"toy": toy}, devices=jax.devices()[:1])


def test_a_run_that_a_bad_batch_has_stopped_may_go_on_without_it(configure):
  changed = configure(train__on_nonfinite="skip", train__skip_at_most=3, train__spike=4.0, train__watchdog=1.0)
  assert configuration.changes(configure(), changed) == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"batch": "2", "config": {}}', '{"batch": -1, "config": {}}'])
def test_a_file_that_is_no_bad_batch_is_refused(tmp_path, content):
  (tmp_path / "2.json").write_text(content)
  with pytest.raises(DataError, match=f"--replay={tmp_path}/2.json is no batch that a run wrote"):
    pretraining.replay(tmp_path / "2.json")
  (tmp_path / "2.json").write_text('{"batch": 2, "config": {"model": 1}}')
  with pytest.raises(DataError, match="its config has augment.affine, .* not or of another kind"):
    pretraining.replay(tmp_path / "2.json")
  config = defaults.pretrain().to_dict()
  del config["augment"]["holes"]
  (tmp_path / "2.json").write_text(json.dumps({"batch": 2, "config": config}))
  with pytest.raises(DataError, match="its config has augment.holes not or of another kind; use the version that"):
    pretraining.replay(tmp_path / "2.json")


@pytest.mark.parametrize("key, value, message", [
  ("on_nonfinite", "ignore", 'config.train.on_nonfinite=.ignore.; known: "stop", "skip"'),
  ("skip_at_most", 0, "config.train.skip_at_most=0 must be at least 1"),
  ("spike", 0.5, "config.train.spike=0.5 must be above 1, or 0"),
  ("on_damage", "x", 'config.train.on_damage=.x.; known: "stop", "previous"'),
])
def test_wrong_values_are_refused(run, configure, tmp_path, key, value, message):
  with pytest.raises(ConfigError, match=message):
    run(configure(**{f"train__{key}": value}), tmp_path)
