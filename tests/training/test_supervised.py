"""The supervised step on small networks: what trains moves, what is frozen stays to the bit, and B = 0 is the base."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from configs import baselines, pretrain
from fgait_jax import defaults, objectives
from fgait_jax.errors import ConfigError
from fgait_jax.models import swingait
from fgait_jax.models.backbones import BACKBONES
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import state as states
from fgait_jax.training import supervised
from fgait_jax.training.optimizers import make_schedule
from fgait_jax.training.pretrained import Pretrained

RULES = defaults.fine_tune().optim.rules
OFF = dict.fromkeys(defaults.augment(), 0.0) | {"width": 44}
OPTIONS = {"name": "sgd", "momentum": 0.9, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "clip_norm": 0.0}


def network(variant) -> Pretrained:
  return untrained(pretrain.get_config(variant))


def untrained(config: ConfigDict) -> Pretrained:
  weights = jax.jit(lambda: states.initial_weights(config))()
  return Pretrained(graph=states.make_graph(config), **weights, config=config, step=0, path=None, identity="none",
                    mesh=make_mesh(devices=jax.devices()[:1]))


@pytest.fixture(scope="module")
def networks():
  return {"transformer": network("test"), "p3d": network("p3d_test")}


def learner_of(pretrained, **changes):
  options = {"head": "identity", "reads": "projection", "classes": 4, "features": 8, "method": "full",
             "statistics": "frozen", "rank": 2, "lora_scale": 1.0, "prompt_tokens": 2, "prompt_pixels": 0,
             "rules_of_rates": RULES, "seed": 0}
  return supervised.create(pretrained, **(options | changes))


def batch():
  rng = np.random.default_rng(0)
  return {"frames": 255 * rng.integers(0, 2, (8, 1, 4, 64, 64, 1), np.uint8), "valid": np.ones((8, 1, 4), bool),
          "label": np.repeat(np.arange(4, dtype=np.int32), 2), "readable": np.ones(8, bool)}


def step_of(learner, *, crop_list=(), augment=()):
  """(function that makes the first state, a step of SGD at rate 0.1)."""
  schedule = make_schedule(schedule="step", peak_rate=0.1, final_rate=0.0, warmup_steps=0, step_at=(), step_factor=0.1,
                           steps=2)
  optimizer = supervised.optimizer_of(
    learner.trainable, backbone=learner.graph.backbone, rules_of_rates=RULES, layer_decay=0.5, schedule=schedule,
    options=OPTIONS)
  settings = defaults.fine_tune()
  settings.crop_list = crop_list
  settings.augment.update(OFF | dict(augment))
  active = objectives.build(settings.objectives)
  start, _, shardings = supervised.abstract(learner, optimizer, active)
  return start, supervised.supervised_step(
    learner, optimizer, active, settings=settings, seed=0, schedule=schedule, shardings=shardings)


def trained(learner, steps=2, crop_list=()):
  """The state after some steps."""
  start, step = step_of(learner, crop_list=crop_list)
  state = start()
  for number in range(steps):
    state, metrics = step(state, batch(), np.int32(number), learner.frozen, np.float32(1.0))
  assert metrics["finite"][0] == 1
  return state


def same(a, b):
  return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_low_rank_updates_start_as_the_network_and_leave_it_alone(networks):
  pretrained = networks["transformer"]
  learner = learner_of(pretrained, method="lora")
  assert {k.split("/")[0] for k in learner.trainable} == {"lora", "head"}
  start = learner.params(learner.trainable)
  for module in ("encoder", "projector"):
    assert same(start[module], pretrained.params[module])
  before = jax.device_get(learner.frozen)
  state = trained(learner)
  assert same(before, learner.frozen)
  assert same(state["stats"]["projector"], pretrained.stats["projector"])
  after = learner.params(state["params"])
  kernel = ("blocks", "attention", "query", "kernel")
  moved, base_kernel = after["encoder"], pretrained.params["encoder"]
  assert same(moved["norm"], base_kernel["norm"])
  for name in kernel:
    moved, base_kernel = moved[name], base_kernel[name]
  assert not np.array_equal(moved, base_kernel)
  assert not same(state["stats"]["head"], learner.stats["head"])  # the neck learns its statistics
  assert all(isinstance(x.sharding, NamedSharding) for x in jax.tree.leaves(state))


def test_stages_of_rate_zero_and_running_statistics_stay_to_the_bit(networks):
  pretrained = networks["p3d"]
  learner = learner_of(pretrained)
  assert {k.split("/")[1] for k in learner.frozen} == {"stem", "stem_norm", "stage1", "stage2"}
  state = trained(learner, crop_list=(2,))
  for module in ("encoder", "projector"):
    assert same(state["stats"][module], pretrained.stats[module])
  after = learner.params(state["params"])
  for stage in ("stem", "stem_norm", "stage1", "stage2"):
    assert same(after["encoder"][stage], pretrained.params["encoder"][stage])
  for stage in ("stage3", "stage4"):
    assert not np.array_equal(after["encoder"][stage]["first"]["conv1"]["kernel"],
                              pretrained.params["encoder"][stage]["first"]["conv1"]["kernel"])


@pytest.mark.parametrize("method, prompts, modules", [
  ("head", {}, {"head"}),
  ("prompt", {}, {"head", "encoder/prompt_tokens"}),
  ("prompt", {"prompt_tokens": 0, "prompt_pixels": 3}, {"head", "border/prompt_pixels"}),
  ("full", {}, {"head", "encoder", "projector"}),
])
def test_a_method_says_what_trains(networks, method, prompts, modules):
  learner = learner_of(networks["transformer"], method=method, **prompts)
  assert not learner.trainable.keys() & learner.frozen.keys()
  assert {m for m in modules if any(k == m or k.startswith(f"{m}/") for k in learner.trainable)} == modules
  assert all(any(k == m or k.startswith(f"{m}/") for m in modules) for k in learner.trainable)


def test_blocks_below_learn_slower():
  name = "encoder/blocks/mlp/up/kernel"
  params = {name: np.ones((3, 2, 2), np.float32), "head/x": np.ones(3, np.float32)}
  optimizer = supervised.optimizer_of(
    params, backbone=BACKBONES["transformer"], rules_of_rates=((r".*", 0.0, 1.0),), layer_decay=0.5,
    schedule=lambda _: 1.0, options=OPTIONS)
  updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params, number=0)
  np.testing.assert_allclose(updates[name][:, 0, 0], [-0.25, -0.5, -1])
  np.testing.assert_allclose(updates["head/x"], -1)


@pytest.mark.parametrize("changes, message", [
  ({"method": "lorra"}, "config.fine_tune.method is 'lorra'; known: full, lora, prompt, head"),
  ({"statistics": "moving"}, "config.fine_tune.statistics is 'moving'; known: frozen, batch"),
  ({"method": "prompt", "prompt_tokens": 0}, "needs config.fine_tune.prompt_tokens or prompt_pixels above 0"),
  ({"rules_of_rates": RULES[4:]}, "parameter encoder/.* matches no rule"),
])
def test_what_cannot_work_is_refused(networks, changes, message):
  with pytest.raises(ConfigError, match=message):
    learner_of(networks["transformer"], **changes)


def test_what_swingait_leaves_out_is_a_function_of_the_batch_number(monkeypatch):
  monkeypatch.setattr(swingait, "DROPPED", 0.9)
  config = baselines.get_config("swingait")
  config.model.variant = "1-1-2-2@4-4-16"
  learner = learner_of(untrained(config), reads="pooled", statistics="batch", rules_of_rates=((".*", 1.0, 1.0),))
  start, step = step_of(learner)

  def loss(number):
    return float(step(start(), batch(), np.int32(number), learner.frozen, np.float32(1.0))[1]["loss"][0])

  first, second = loss(0), loss(1)
  assert first != second
  assert loss(0) == first
