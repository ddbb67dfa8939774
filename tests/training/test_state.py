"""Where every array of the state lies, recorded for each size. UPDATE_GOLDEN=1 rewrites."""

import jax
import pytest
from flax import nnx

from configs import pretrain
from fgait_jax.errors import ConfigError
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.parallel.rules import path_name
from fgait_jax.training import state as states
from tests.recorded import check_recorded


@pytest.mark.parametrize("variant", pretrain.VARIANTS)
def test_shardings_are_as_recorded(variant):
  """Also: every parameter of every size is under one sharding rule and one optimizer rule, and divides by 2 x 2."""
  config = pretrain.get_config(variant)
  _, target, _ = states.abstract(config, make_mesh(data=2, fsdp=2, tensor=2))
  leaves = jax.tree_util.tree_flatten_with_path(target)[0]
  text = "".join(f"{path_name(path)} {leaf.shape} {tuple(leaf.sharding.spec)}\n" for path, leaf in leaves)
  check_recorded(f"shardings/{variant}_2x2x2.txt", text)


@pytest.mark.parametrize("variant, windows", [("tiny", 4), ("tiny_long", 16), ("tiny_masked", 16), ("base", 16)])
def test_windows_of_attention_are_those_of_the_configuration(variant, windows):
  config = pretrain.get_config(variant)
  network = nnx.eval_shape(lambda: states.new_network(config, jax.random.key(0)))
  assert network.encoder.window_frames == windows == config.model.attention_frames
  assert network.decoder.window_slots == windows // network.encoder.patch_time


def test_state_holds_student_teacher_and_optimizer():
  config = pretrain.get_config("base")
  _, target, _ = states.abstract(config, make_mesh())
  assert target.keys() == {"step", "params", "stats", "teacher", "opt", "objectives", "guard"}
  assert jax.tree.structure(target["teacher"]["params"]) == jax.tree.structure(target["params"])
  assert 0.12e9 < states.count_parameters(target["params"]) < 0.15e9
  assert all(leaf.dtype == "float32" for leaf in jax.tree.leaves(target["params"]))


def test_the_optimizer_is_that_of_the_configuration(monkeypatch):
  config, given = pretrain.get_config("test").unlock(), {}
  values = {"name": "sgd", "momentum": 0.1, "beta1": 0.2, "beta2": 0.3, "weight_decay": 0.4, "clip_norm": 0.5}
  config.optim.update(values)
  monkeypatch.setattr(states, "make_optimizer", lambda params, **found: given.update(found))
  states.optimizer_of(config, {})
  assert {key: given[key] for key in values} == values
  assert given["rules"] == config.optim.rules


def test_sizes_that_do_not_divide_name_parameter_and_key():
  with pytest.raises(ConfigError, match=r"parameter .* does not divide over config.mesh.fsdp=8"):
    states.abstract(pretrain.get_config("p3d_test"), make_mesh(fsdp=8))


@pytest.mark.parametrize("variant", ["test", "p3d_test"])
def test_a_new_state_is_of_the_types_of_a_restored_one(variant):
  """Of a weak type, which no checkpoint keeps, a restart would compile its step anew."""
  config, mesh = pretrain.get_config(variant), make_mesh(devices=jax.devices()[:1])
  graph, _, shardings = states.abstract(config, mesh)
  leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(states.initialiser(config, graph, shardings)))
  assert not [path_name(path) for path, leaf in leaves if leaf.weak_type]
