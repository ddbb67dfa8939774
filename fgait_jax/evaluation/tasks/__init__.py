"""The tasks of `run_eval.py`, a file each. Importing this package registers them."""

from fgait_jax.evaluation.tasks import (  # noqa: F401
  compare,
  embed,
  fine_tune,
  identify,
  linear_maps,
  linear_probe,
  reconstruction,
  robustness,
  score,
  zero_shot,
)
