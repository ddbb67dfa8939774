"""Rank-1 under corrupted silhouettes, relative to clean ones, for the model and its baselines.

python run_eval.py --config=configs/robustness.py --config.checkpoint=runs/first --out=runs/first/results

Variants: walkers (the default: 3 of 5 severities on 120 walks, for two CPU cores), kth (all), and by name any protocol
of a built data set of that name (all). Fewer types: '--config.robustness.types=("rain","occlusion")'; the other side:
--config.robustness.corrupt=gallery, or both.
"""

from configs import base


def get_config(variant: str = "walkers"):
  config = base.evaluation()
  config.task = "robustness"
  config.dataset = config.protocol = variant
  if variant == "walkers":
    config.robustness.severities = (1, 3, 5)
    config.robustness.max_sequences = 120
  if variant == "kth":
    config.mirror_views = ("*-l",)
  return config.lock()
