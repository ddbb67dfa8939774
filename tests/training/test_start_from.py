"""Runs that begin with the weights of others: of a run that broke, of published networks."""

import re

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from fgait_jax.errors import BadBatch, CheckpointError, ConfigError
from fgait_jax.interop import import_opengait, names
from fgait_jax.models.backbones import create_network
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import pretraining, weights
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.metrics import read_lines


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture(scope="module")
def broken(run, configure, tmp_path_factory):
  """A run whose loss is no number at step 2, with its last whole state and what it said."""
  workdir, made, given = tmp_path_factory.mktemp("broken"), pretraining.pretraining_step, []

  def breaking(*args, **kwargs):
    step = made(*args, **kwargs)

    def train_step(state, batch, number):
      if number == 2:
        given.append(jax.device_get(state))
        state = step(state | {"params": jax.tree.map(lambda x: x * np.nan, state["params"])}, batch, number)
        return jax.device_put(given[0]), state[1]
      return step(state, batch, number)

    return train_step

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pretraining, "pretraining_step", breaking)
    with pytest.raises(BadBatch) as raised:
      run(configure(), workdir)
  return workdir, given[0], str(raised.value)


def test_a_run_begins_with_published_weights(run, configure, broken, tmp_path):
  """Student and teacher both, each with arrays of its own: a step donates all of them."""
  teacher = load_network(broken[0], mesh=make_mesh(devices=jax.devices()[:1]))
  weights.save(teacher, tmp_path / "published")
  config = configure(train__start_from=str(tmp_path / "published"), train__stop_at=0)
  held = (tmp_path / "published" / weights.ABOUT).read_bytes()
  with pytest.raises(ConfigError, match=r"--workdir=\S+published holds weights \(model.safetensors\), which would"):
    run(config, tmp_path / "published")
  assert (tmp_path / "published" / weights.ABOUT).read_bytes() == held
  first = run(config, tmp_path / "run")
  for name in ("params", "stats"):
    assert_same(first[name], first["teacher"][name])
    assert_same(first[name], getattr(teacher, name))
  config.train.stop_at = 2
  assert int(run(config, tmp_path / "run")["step"]) == 2


def test_heads_that_were_not_published_begin_anew(run, configure, tmp_path, capsys):
  """The encoder is the published one; what is new is as in a run from nothing, and the run says which that is."""
  small = {"model__discriminant": 6, "discriminant__walks": 32, "discriminant__frames": 4,
           "discriminant__components": 8}
  run(configure(**small), tmp_path / "whole")
  whole = load_network(tmp_path / "whole", mesh=make_mesh(devices=jax.devices()[:1]))
  weights.save(whole, tmp_path / "bare", heads=False)
  config = configure(**small, train__start_from=str(tmp_path / "bare"), train__stop_at=0)
  first, nothing = run(config, tmp_path / "run"), run(configure(**small, train__stop_at=0), tmp_path / "nothing")
  for part in (first, first["teacher"]):
    assert_same(part["params"]["encoder"], whole.params["encoder"])
    assert_same(part["stats"]["encoder"], whole.stats["encoder"])
    assert not np.any(part["stats"]["discriminant"]["kernel"])
    for head in ("decoder", "predictor", "projector"):
      assert_same(part["params"][head], nothing["params"][head])
  assert sorted(first["params"]) == sorted(whole.params)
  capsys.readouterr()
  config.train.stop_at = 2
  assert int(run(config, tmp_path / "run")["step"]) == 2
  assert "bare to begin with, decoder, predictor, projector anew" in capsys.readouterr().out


def test_the_advice_after_a_loss_that_is_no_number_works(run, configure, broken, tmp_path, capsys):
  _, state, message = broken
  advice = re.search(r"new --workdir with --config.train.start_from=(\S+) .* a lower config.optim.peak_rate", message)
  again = configure(train__start_from=advice[1], optim__peak_rate=5e-5, train__stop_at=0)
  first = run(again, tmp_path)
  assert f"weights     of {advice[1]} to begin with" in capsys.readouterr().out
  for name in ("params", "stats", "teacher"):
    assert_same(first[name], state[name])
  assert int(first["step"]) == 0
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.device_get(first["opt"])))
  again.train.stop_at = 2
  run(again, tmp_path)
  assert [line["step"] for line in read_lines(tmp_path) if np.isfinite(line["loss"])] == [1, 2]


def test_where_the_weights_came_from_is_kept(run, configure, broken, tmp_path):
  config = configure(train__start_from=str(broken[0]), train__stop_at=0)
  run(config, tmp_path / "a")
  run(config, tmp_path / "a")  # a restart
  config.train.start_from = str(tmp_path / "a")
  run(config, tmp_path / "b")
  found = load_network(tmp_path / "b")
  assert found.data == {"toy/train": "ellipses"}
  assert found.people == load_network(broken[0]).people
  assert list(found.people) == ["ellipses"]
  assert found.started_from["of"] == load_network(tmp_path / "a").identity
  assert found.started_from["before"]["of"] == load_network(broken[0]).identity
  assert list(found.started_from["before"]["learned"]["sets"]) == ["toy"]
  assert load_network(broken[0]).started_from == {}


def test_a_begun_run_does_not_begin_again_with_other_weights(run, configure, broken, tmp_path):
  run(configure(train__stop_at=0), tmp_path)
  with pytest.raises(CheckpointError, match=r"config.train.start_from: '' -> '/.*'\nSet them back"):
    run(configure(train__start_from=str(broken[0])), tmp_path)


@pytest.mark.parametrize("changes, message", [
  ({"model__stem": "tubelet"}, r"start_from=.* holds another network; to train it, set config.model.stem=conv$"),
  # These change no array's shape.
  ({"model__facing": False, "model__temporal_pooling": "max"},
   r"holds another network; to train it, set config.model.facing=True, config.model.temporal_pooling=mean$"),
  ({"model__variant": "tiny", "student__masked_fractions": (0.0,), "objectives__reconstruction__weight": 0.0},
   r"holds another network; to train it, set config.model.variant=test$"),
  ({"augment__width": 64}, r"holds another network; to train it, set config.augment.width=44$"),
  ({"train__start_from": "/nowhere"}, r"config.train.start_from=/nowhere: there is no folder /nowhere"),
])
def test_weights_that_do_not_fit_are_refused(run, configure, broken, tmp_path, changes, message):
  with pytest.raises(CheckpointError, match=message):
    run(configure(**{"train__start_from": str(broken[0])} | changes), tmp_path)


def test_imported_weights_can_be_trained_further(run, configure, tmp_path):
  variant = "1-1-1-1@4-4-6-8"
  network = create_network(name="p3d", variant=variant, rngs=nnx.Rngs(5))
  state = {}
  for tree in nnx.split(network, nnx.Param, nnx.BatchStat)[1:]:
    state |= names.FOUNDATION_GAIT.export_tree(nnx.to_pure_dict(tree))
  path = tmp_path / "model.safetensors"
  safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, path)
  import_opengait.run(path, out=tmp_path / "imported")
  config = configure(model__name="p3d", model__variant=variant, model__temporal_pooling="max", model__body_heads=0,
                     model__facing=False, student__masked_fractions=(0.0,), objectives__reconstruction__weight=0.0,
                     train__stop_at=0, train__start_from=str(tmp_path / "imported"))
  began = run(config, tmp_path / "run")
  assert load_network(tmp_path / "run").people == {}  # of the imported weights they are not known
  assert_same(began["params"], nnx.to_pure_dict(nnx.state(network, nnx.Param)))
  assert_same(began["teacher"]["params"], began["params"])
