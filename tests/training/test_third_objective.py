"""An objective that only this file knows is registered, trained, checkpointed and resumed, and changes nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from fgait_jax import defaults, objectives
from fgait_jax.errors import CheckpointError, ConfigError
from fgait_jax.objectives.base import Objective
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints, configuration
from fgait_jax.training import state as states
from fgait_jax.training.metrics import read_lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class Centring(Objective):
  """Squared distance of predictions from a running mean of the teacher's projections: its state."""

  momentum: float

  def needs(self, key, config):
    return [(0 <= self.momentum < 1, f"{key}.momentum={self.momentum} must be at least 0 and below 1")]

  def init(self, shapes):
    return {"mean": jnp.zeros(shapes.projection.shape[1:])}

  def __call__(self, student, teacher, batch, state):
    loss = jnp.mean(jnp.square(student.prediction - state["mean"]))
    mean = self.momentum * state["mean"] + (1 - self.momentum) * jnp.mean(teacher.projection, axis=0)
    return loss, {"centring": (loss, 1.0)}, {"mean": mean}


@pytest.fixture
def config_of(configure, monkeypatch):
  """`config_of(weight=, momentum=)`: the test size, with the objective beside the usual ones."""
  monkeypatch.setitem(objectives.OBJECTIVES, "centring", Centring)

  def make(**section):
    config = configure().unlock()
    config.objectives.centring = ConfigDict({"weight": 0.5, "momentum": 0.9} | section)
    return config.lock()

  return make


def test_it_is_trained_checkpointed_and_resumed(run, config_of, tmp_path):
  config = config_of()
  whole = run(config, tmp_path / "whole")
  lines = [line for line in read_lines(tmp_path / "whole") if line["kind"] == "train"]
  for line in lines:
    expected = line["contrastive"] + line["reconstruction"] + 0.5 * line["centring"]
    assert line["loss"] == pytest.approx(expected, rel=1e-6)
  assert whole["objectives"].keys() == {"centring", "contrastive", "reconstruction"}
  assert np.abs(whole["objectives"]["centring"]["mean"]).max() > 0

  config.train.stop_at = 2
  half = run(config, tmp_path / "half")
  _, saved, _ = _restored(tmp_path / "half", config, half)
  np.testing.assert_array_equal(saved["objectives"]["centring"]["mean"], half["objectives"]["centring"]["mean"])
  config.train.stop_at = -1
  resumed = run(config, tmp_path / "half")
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), jax.device_get(whole))


def test_a_run_from_before_it_goes_on(run, configure, config_of, monkeypatch, tmp_path):
  whole = run(configure(), tmp_path / "whole")
  run(configure(train__stop_at=2), tmp_path / "half")
  with pytest.raises(CheckpointError, match=r"config.objectives.centring.momentum: 'absent' -> 0.9"):
    run(config_of(weight=0.0), tmp_path / "half")
  monkeypatch.setattr(defaults, "EARLIER", defaults.EARLIER | {
    "objectives.centring.weight": 0.0, "objectives.centring.momentum": 0.9})
  resumed = run(config_of(weight=0.0), tmp_path / "half")
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), jax.device_get(whole))


def test_a_metric_that_the_step_gives_itself_is_refused(run, config_of, monkeypatch, tmp_path):
  loss = jnp.float32(1)
  monkeypatch.setattr(Centring, "__call__", lambda self, student, teacher, batch, state: (
    loss, {"loss": (loss, 1.0), "finite": (loss, 1.0)}, state))
  with pytest.raises(ValueError, match="an objective gives metrics that the step gives itself: finite, loss"):
    run(config_of(momentum=0.5), tmp_path)  # `run` keeps the compiled steps of the tests before


def _restored(folder, config, like):
  target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
  with checkpoints.Checkpoints(folder, keep=3) as saved:
    return config, saved.restore(2, target), saved.meta(2)


def test_without_weight_it_is_not_there(config_of):
  config = config_of(weight=0.0)
  assert "centring" not in objectives.build(config.objectives)
  _, target, _ = states.abstract(config, make_mesh(devices=jax.devices()[:1]))
  assert target["objectives"].keys() == {"contrastive", "reconstruction"}


@pytest.mark.parametrize("section, message", [
  ({"momentum": 1.0}, "config.objectives.centring.momentum=1.0 must be at least 0 and below 1"),
  ({"weight": -1.0}, "config.objectives.centring.weight=-1.0 must be at least 0; 0 turns it off"),
])
def test_it_checks_its_own_section(config_of, section, message):
  with pytest.raises(ConfigError, match=message):
    configuration.check(config_of(**section), make_mesh(devices=jax.devices()[:1]))


def test_nothing_to_learn_is_refused(configure):
  config = configure(objectives__contrastive__weight=0.0, objectives__reconstruction__weight=0.0)
  with pytest.raises(ConfigError, match="objectives.contrastive.weight, .* are all 0: there is nothing"):
    configuration.check(config, make_mesh(devices=jax.devices()[:1]))


def test_two_of_one_metric_are_refused():
  class Same(Objective):
    def __call__(self, student, teacher, batch, state):
      return jnp.zeros(()), {"same": (0.0, 1.0)}, state

  with pytest.raises(ValueError, match="objective 'b' gives metrics that another one gives: same"):
    objectives.total({"a": (1.0, Same()), "b": (1.0, Same())}, None, None, {}, {"a": {}, "b": {}})
