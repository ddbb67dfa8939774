"""Every key of every configuration, with its unit, meaning and default. Files in configs/ only change values.

No code has further defaults: a key that is not here does not exist, and the returned trees are locked.
"""

from fgait_jax.defaults.evaluations import evaluation
from fgait_jax.defaults.fine_tuning import fine_tune
from fgait_jax.defaults.pretraining import (
  augment,
  data,
  data_set,
  data_sets,
  discriminant,
  discriminant_set,
  discriminant_sets,
  evals,
  model,
  pretrain,
  train,
)

__all__ = [
  "EARLIER", "augment", "data", "data_set", "data_sets", "discriminant", "discriminant_set", "discriminant_sets",
  "evals", "evaluation", "fine_tune", "model", "pretrain", "train",
]

# Keys that are younger than runs, weights and results that may be stored somewhere, and the value with which each
# leaves them as they were: "augment.shift": 0.0, or "data.sets.*.weight": 1.0 for every entry of a mapping. A stored
# configuration that lacks a key is read with it (training/configuration.py).
EARLIER: dict[str, object] = {
  "model.pixels": "silhouettes", "model.attention_frames": 16, "discriminant.step": 1,
  "compare.centred": False, "compare.conditions": (),
  "fine_tune.components": 800, "fine_tune.shrinkage": 0.1, "fine_tune.prior": 10.0,
}  # fmt: skip
