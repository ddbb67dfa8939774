"""Objectives of training, one a file; `OBJECTIVES` is the only list of them.

A name here is that of the section in the configuration (`config.objectives.<name>` of pretraining,
`config.fine_tune.objectives.<name>` of fine-tuning), and of the state in a checkpoint (`objectives/<name>`).
"""

import math
from collections.abc import Mapping
from typing import Any

from fgait_jax.errors import require
from fgait_jax.objectives.base import Metrics, Objective
from fgait_jax.objectives.contrastive import Contrastive
from fgait_jax.objectives.cross_entropy import CrossEntropy
from fgait_jax.objectives.reconstruction import Reconstruction
from fgait_jax.objectives.triplet import Triplet
from fgait_jax.typing import Array, Float

OBJECTIVES: dict[str, type[Objective]] = {
  "contrastive": Contrastive, "reconstruction": Reconstruction, "triplet": Triplet, "cross_entropy": CrossEntropy,
}

Weighted = Mapping[str, tuple[float, Objective]]


def build(sections) -> Weighted:
  """name -> (weight, objective) of the sections of `config.objectives` whose weight is not 0."""
  def of(name, section):
    return OBJECTIVES[name](**{key: value for key, value in section.items() if key != "weight"})

  return {name: (section.weight, of(name, section)) for name, section in sections.items() if section.weight}


def check(sections, config, *, key: str) -> None:
  """Raises `ConfigError` for values of `sections`, which `config` holds under the name `key`, that cannot be."""
  weights = {f"{key}.{name}.weight": section.weight for name, section in sections.items()}
  needs = [(0 <= weight < math.inf, f"{name}={weight} must be at least 0; 0 turns it off")
           for name, weight in weights.items()]
  needs.append((any(weights.values()), f"{', '.join(weights)} are all 0: there is nothing to learn"))
  for name, (_, objective) in build(sections).items():
    needs += objective.needs(f"{key}.{name}", config)
  require(needs)


def total(
  objectives: Weighted, student: Any, teacher: Any, batch: Mapping[str, Array], states: Mapping[str, Any]
) -> tuple[Float[Array, ""], Metrics, dict[str, Any]]:
  """(sum of weight x loss, metrics of all, their next states); `states` maps each name to its state."""
  loss, metrics, after = 0.0, {}, {}
  for name, (weight, objective) in objectives.items():
    value, measured, after[name] = objective(student, teacher, batch, states[name])
    loss += weight * value
    if twice := metrics.keys() & measured.keys():
      raise ValueError(f"objective {name!r} gives metrics that another one gives: {', '.join(sorted(twice))}")
    metrics |= measured
  return loss, metrics, after
