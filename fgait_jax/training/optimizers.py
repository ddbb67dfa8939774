"""Optimizers and schedules through optax, with decay and rate factors of every parameter given as data.

A rule is (pattern over the "/"-joined parameter path, weight-decay factor, learning-rate factor); every parameter must
match exactly one. SGD is torch's: the decay joins the gradient before the momentum, and the rate comes last.
"""

import math
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fgait_jax.errors import ConfigError
from fgait_jax.parallel.rules import path_name

Rule = tuple[str, float, float]


def make_schedule(
  *, schedule: str, peak_rate: float, final_rate: float, warmup_steps: int, step_at: Sequence[int], step_factor: float,
  steps: int, key: str = "config.optim",
) -> optax.Schedule:
  """Learning rate of step 0..steps-1: linear from 0 over the warm-up, then a cosine that ends at `final_rate` in the
  last step, or a product of `step_factor` for each of `step_at` that has come. Raises
  `ConfigError` naming the key, in the section `key`, of a value that cannot be."""
  if not 0 <= final_rate <= peak_rate < math.inf or not peak_rate:
    raise ConfigError(f"{key}.peak_rate={peak_rate} must be above 0, {key}.final_rate={final_rate} from 0 to that")
  if not 0 <= step_factor < math.inf:
    raise ConfigError(f"{key}.step_factor={step_factor} must be 0 or more, such as 0.1")
  if schedule == "cosine":
    last = max(steps - 1 - warmup_steps, 1)
    after = optax.cosine_decay_schedule(peak_rate, last, alpha=final_rate / peak_rate)
  elif schedule == "step":
    after = optax.piecewise_constant_schedule(peak_rate, {at - warmup_steps: step_factor for at in step_at})
  else:
    raise ConfigError(f'{key}.schedule={schedule!r}; known: "cosine", "step"')
  if not warmup_steps:
    return after
  return optax.join_schedules([optax.linear_schedule(0.0, peak_rate, warmup_steps), after], [warmup_steps])


def factors(params, rules: Sequence[Rule], *, key: str = "config.optim"):
  """Trees of the decay factor and the rate factor of every parameter; raises `ConfigError` naming one that matches
  no rule, or several, of the section `key`, and a rule that is none."""
  for rule in rules:
    _check_rule(rule, key)

  def of(path, _):
    name = path_name(path)
    found = [rule for rule in rules if re.fullmatch(rule[0], name)]
    if len(found) != 1:
      which = "no rule" if not found else f"{len(found)} rules ({', '.join(rule[0] for rule in found)})"
      raise ConfigError(f"parameter {name} matches {which} of {key}.rules; it must match exactly one")
    return found[0]

  matched = jax.tree_util.tree_map_with_path(of, params)
  pick = lambda column: jax.tree.map(lambda _, rule: float(rule[column]), params, matched)  # noqa: E731
  return pick(1), pick(2)


def _check_rule(rule, key: str) -> None:
  """Raises `ConfigError` unless it is (pattern, factor of weight decay, factor of the rate), neither negative."""
  try:
    pattern, *given = rule
    re.compile(pattern)
    right = len(given) == 2 and all(0 <= factor < math.inf for factor in given)
  except (TypeError, ValueError, re.error):
    right = False
  if not right:
    raise ConfigError(f"{key}.rules: {rule!r} is no rule; expected (pattern of parameters, factor of weight decay,"
                      " factor of the learning rate), such as ('.*/kernel', 1.0, 0.1); 0 turns either off")


def _add_decay(weight_decay: float, decay_factors) -> optax.GradientTransformation:
  def add(updates, params):
    return jax.tree.map(lambda u, p, factor: u + weight_decay * factor * p, updates, params, decay_factors)

  return optax.stateless(add)


def _scale_rates(rate_factors) -> optax.GradientTransformation:
  return optax.stateless(lambda updates, _: jax.tree.map(lambda u, factor: factor * u, updates, rate_factors))


def scale_by_depth(params, *, depth: Sequence[tuple[str, bool]], decay: float) -> optax.GradientTransformation:
  """Multiplies the update of every layer by `decay` to the number of layers above it (layer-wise rates).

  `depth` names groups of layers from input to output: (pattern over the path, stacked). A stacked group is as many
  layers as the leading axis of its parameters is long, any other is one; only what is in `params` counts. Parameters of
  no group keep their update. Raises `ConfigError` for a parameter of two groups.
  """
  named = [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]]
  factors, above = {}, 0
  for pattern, stacked in reversed(depth):
    found = {name: leaf for name, leaf in named if re.fullmatch(pattern, name)}
    if twice := sorted(found.keys() & factors.keys()):
      raise ConfigError(f"parameter {twice[0]} is in two groups of its backbone's depth; one is allowed")
    layers = max((leaf.shape[0] if stacked else 1 for leaf in found.values()), default=0)
    for name, leaf in found.items():
      own = decay ** (above + np.arange(layers)[::-1])
      factors[name] = own.reshape(-1, *(1,) * (leaf.ndim - 1)) if stacked else own[0]
    above += layers

  def scale(path, update):
    factor = factors.get(path_name(path))
    return update if factor is None else update * jnp.asarray(factor, update.dtype)

  return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(scale, updates))


def _scale_by_rate(rate: optax.Schedule) -> optax.GradientTransformationExtraArgs:
  """The rate of batch `number`, as everything else of a step: a count of its own would fall behind at every batch that
  is skipped, and the schedule would not end."""
  def update(updates, state, params=None, *, number, **_):
    return jax.tree.map(lambda u: jnp.asarray(-rate(number), u.dtype) * u, updates), state

  return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def make_optimizer(
  params, *, name: str, rate: optax.Schedule, momentum: float, beta1: float, beta2: float, weight_decay: float,
  clip_norm: float, rules: Sequence[Rule], key: str = "config.optim",
) -> optax.GradientTransformationExtraArgs:
  """"adamw" or "sgd" over `params` (arrays or shapes); `clip_norm` 0 clips nothing. Its `update` takes, besides,
  `number`, the number of the batch, for which `rate` gives the learning rate. Raises `ConfigError` naming the
  key, in the section `key`, of a value that cannot be."""
  shares = {"momentum": momentum, "beta1": beta1, "beta2": beta2}
  if wrong := [f"{key}.{share}={value}" for share, value in shares.items() if not 0 <= value < 1]:
    raise ConfigError(f"{', '.join(wrong)}: must be at least 0 and below 1")
  if not 0 <= weight_decay < math.inf:
    raise ConfigError(f"{key}.weight_decay={weight_decay} must be at least 0: a negative one lets weights grow")
  if not 0 <= clip_norm < math.inf:
    raise ConfigError(f"{key}.clip_norm={clip_norm} must be at least 0; 0 turns it off")
  decay_factors, rate_factors = factors(params, rules, key=key)
  decay = _add_decay(weight_decay, decay_factors)
  if name == "adamw":
    core = [optax.scale_by_adam(b1=beta1, b2=beta2, mu_dtype=jnp.float32), decay]
  elif name == "sgd":
    core = [decay, optax.trace(decay=momentum)]
  else:
    raise ConfigError(f'{key}.name={name!r}; known: "adamw", "sgd"')
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  return optax.chain(*clip, *core, _scale_rates(rate_factors), _scale_by_rate(rate))
