"""Schedules and optimizers against closed forms and by-hand updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fgait_jax.errors import ConfigError
from fgait_jax.training.optimizers import factors, make_optimizer, make_schedule, scale_by_depth

RULES = ((r".*/bias", 0.0, 1.0), (r".*/kernel", 1.0, 0.5))
SCHEDULE = {
  "schedule": "cosine", "peak_rate": 1.0, "final_rate": 0.1, "warmup_steps": 0, "step_at": (), "step_factor": 0.1,
  "steps": 11,
}
OPTIMIZER = {
  "name": "sgd", "rate": lambda _: 0.1, "momentum": 0.9, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.01,
  "clip_norm": 0.0, "rules": RULES,
}


def params():
  return {"a": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}}


def gradients():
  return {"a": {"kernel": jnp.array([0.5, 0.5]), "bias": jnp.array([-1.0])}}


def updated(optimizer, p, *, steps):
  state = optimizer.init(p)
  for number in range(steps):
    updates, state = optimizer.update(gradients(), state, p, number=number)
    p = optax.apply_updates(p, updates)
  return jax.tree.map(np.asarray, p)


def test_cosine_ends_at_the_final_rate_in_the_last_step():
  rate = make_schedule(**SCHEDULE)
  expected = [0.1 + 0.9 * (1 + np.cos(np.pi * t / 10)) / 2 for t in range(11)]
  np.testing.assert_allclose([rate(t) for t in range(11)], expected, rtol=1e-6)


def test_warm_up_is_linear_from_zero():
  rate = make_schedule(**SCHEDULE | {"warmup_steps": 4})
  np.testing.assert_allclose([rate(t) for t in (0, 1, 2, 4, 10)], [0, 0.25, 0.5, 1, 0.1], rtol=1e-6)


@pytest.mark.parametrize("warmup_steps", [0, 2])
def test_steps_drop_where_asked(warmup_steps):
  rate = make_schedule(**SCHEDULE | {"schedule": "step", "step_at": (4, 8), "warmup_steps": warmup_steps})
  np.testing.assert_allclose([rate(t) for t in (3, 5, 9)], [1, 0.1, 0.01], rtol=1e-6)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"schedule": "linear"}, r"config.optim.schedule='linear'; known: \"cosine\", \"step\""),
    ({"peak_rate": 0.0}, r"config.optim.peak_rate=0.0 must be above 0"),
    ({"final_rate": -1e-5}, r"config.optim.final_rate=-1e-05 from 0 to that"),
    ({"final_rate": 2.0}, r"config.optim.peak_rate=1.0 must be above 0, config.optim.final_rate=2.0 from 0 to that"),
    ({"schedule": "step", "step_factor": -1.0}, r"config.optim.step_factor=-1.0 must be 0 or more"),
    ({"step_factor": float("nan")}, r"config.optim.step_factor=nan must be 0 or more"),
  ],
)
def test_schedules_that_cannot_be_are_refused(change, message):
  with pytest.raises(ConfigError, match=message):
    make_schedule(**SCHEDULE | change)


def test_sgd_is_torch_sgd():
  """buffer = momentum * buffer + gradient + decay * p; p -= rate * buffer."""
  after = updated(make_optimizer(params(), **OPTIMIZER), params(), steps=2)
  kernel, buffer = np.array([1.0, -2.0]), 0.0
  for _ in range(2):
    buffer = 0.9 * buffer + 0.5 + 0.01 * kernel
    kernel = kernel - 0.1 * 0.5 * buffer
  np.testing.assert_allclose(after["a"]["kernel"], kernel, rtol=1e-6)
  np.testing.assert_allclose(after["a"]["bias"], [3.0 + 0.1 + 0.19], rtol=1e-6)


def test_adamw_first_step_is_the_sign_and_the_decay():
  after = updated(make_optimizer(params(), **OPTIMIZER | {"name": "adamw"}), params(), steps=1)
  expected = np.array([1.0, -2.0]) - 0.1 * 0.5 * (1 + 0.01 * np.array([1.0, -2.0]))
  np.testing.assert_allclose(after["a"]["kernel"], expected, rtol=1e-5)
  np.testing.assert_allclose(after["a"]["bias"], [3.1], rtol=1e-5)


def test_adamw_remembers_gradients_by_beta1_and_their_squares_by_beta2():
  """Kingma and Ba 2015, two steps by hand with a second gradient three times the first."""
  optimizer = make_optimizer(params(), **OPTIMIZER | {"name": "adamw", "weight_decay": 0.0})
  state = optimizer.init(params())
  for factor in (1, 3):
    updates, state = optimizer.update(jax.tree.map(lambda g, f=factor: f * g, gradients()), state, params(), number=0)
  first = (0.9 * 0.1 * 1 + 0.1 * 3) / (1 - 0.9**2)
  second = (0.95 * 0.05 * 1 + 0.05 * 9) / (1 - 0.95**2)
  np.testing.assert_allclose(updates["a"]["bias"], [0.1 * first / np.sqrt(second)], rtol=1e-5)


def test_the_gradient_is_clipped_before_the_decay_joins_it():
  after = updated(make_optimizer(params(), **OPTIMIZER | {"momentum": 0.0, "clip_norm": 0.1}), params(), steps=1)
  kernel = np.array([1.0, -2.0])
  expected = kernel - 0.1 * 0.5 * (0.5 * 0.1 / np.sqrt(1.5) + 0.01 * kernel)
  np.testing.assert_allclose(after["a"]["kernel"], expected, rtol=1e-6)


def test_clipping_scales_the_global_norm():
  free = OPTIMIZER | {"weight_decay": 0.0, "momentum": 0.0}
  whole = updated(make_optimizer(params(), **free), params(), steps=1)
  clipped = updated(make_optimizer(params(), **free | {"clip_norm": 0.1}), params(), steps=1)
  norm = np.sqrt(1.5)
  np.testing.assert_allclose(3.0 - clipped["a"]["bias"], (3.0 - whole["a"]["bias"]) * 0.1 / norm, rtol=1e-4)


def test_every_parameter_has_its_factors():
  decay, rate = factors(params(), RULES)
  assert decay == {"a": {"kernel": 1.0, "bias": 0.0}}
  assert rate == {"a": {"kernel": 0.5, "bias": 1.0}}


@pytest.mark.parametrize(
  "rules, message",
  [
    (RULES[:1], r"parameter a/kernel matches no rule of config.optim.rules; it must match exactly one"),
    ((*RULES, (r"a/k.*", 1.0, 1.0)), r"parameter a/kernel matches 2 rules \(\.\*/kernel, a/k\.\*\) of config"),
  ],
)
def test_a_parameter_under_no_rule_or_two_is_refused(rules, message):
  with pytest.raises(ConfigError, match=message):
    make_optimizer(params(), **OPTIMIZER | {"rules": rules})


@pytest.mark.parametrize(
  "change, message",
  [
    ({"name": "lion"}, r"config.optim.name='lion'; known: \"adamw\", \"sgd\""),
    ({"weight_decay": -0.05}, r"config.optim.weight_decay=-0.05 must be at least 0: a negative one lets weights grow"),
    ({"weight_decay": float("nan")}, r"config.optim.weight_decay=nan must be at least 0"),
    ({"clip_norm": -1.0}, r"config.optim.clip_norm=-1.0 must be at least 0"),
    ({"momentum": -0.9, "beta2": 1.0}, r"config.optim.momentum=-0.9, config.optim.beta2=1.0: must be"),
    *(({"rules": (*RULES[:1], rule)}, r"config.optim.rules: .* is no rule; expected \(pattern of parameters, factor")
      for rule in ((r".*/kernel", -1.0, 0.5), (r".*/kernel", 1.0), ("(", 1.0, 1.0), (1, 1.0, 1.0), (".*", 1.0, "a"),
                   (".*", 1.0, float("nan")), 3)),
  ],
)
def test_an_optimizer_that_cannot_be_is_refused(change, message):
  with pytest.raises(ConfigError, match=message):
    make_optimizer(params(), **OPTIMIZER | change)


def slowed(depth, params):
  return scale_by_depth(params, depth=depth, decay=0.5).update(jax.tree.map(jnp.ones_like, params), None)[0]


def test_a_layer_is_slowed_for_each_above_it():
  params = {"stem": {"kernel": jnp.ones(2)}, "blocks": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(3)},
            "top": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
  found = slowed(((r"stem/.*", False), (r"blocks/.*", True), (r"top/.*", False)), params)
  np.testing.assert_array_equal(found["stem"]["kernel"], [1 / 16, 1 / 16])
  np.testing.assert_array_equal(found["blocks"]["kernel"][:, 0], [1 / 8, 1 / 4, 1 / 2])
  np.testing.assert_array_equal(found["blocks"]["bias"], [1 / 8, 1 / 4, 1 / 2])
  np.testing.assert_array_equal(found["top"]["kernel"], [1, 1])
  np.testing.assert_array_equal(found["head"]["kernel"], [1, 1])  # of no group
  without = slowed(((r"stem/.*", False), (r"blocks/.*", True), (r"top/.*", False)), {"stem": params["stem"]})
  np.testing.assert_array_equal(without["stem"]["kernel"], [1, 1])  # what is frozen is not counted


def test_a_layer_of_two_groups_is_refused():
  with pytest.raises(ConfigError, match="parameter a/kernel is in two groups"):
    slowed(((r"a/.*", False), (r".*", False)), {"a": {"kernel": jnp.ones(2)}})
