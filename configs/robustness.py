"""Rank-1 under corrupted silhouettes, relative to clean ones, for the model and its baselines.

python run_eval.py --config=configs/robustness.py --config.checkpoint=runs/first --out=runs/first/results

Variants: walkers (the default, for two CPU cores: 2 of 5 severities, 24 frames of 288 walks), kth (all), and any other
protocol whose data set is built (all). Some types only: --config.robustness.types=rain,occlusion. Corrupt the
gallery instead of the probes, or both: --config.robustness.corrupt=gallery, =both.
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "robustness"
  config.dataset = config.protocol = variant
  if variant == "walkers":
    config.robustness.severities = (2, 4)
    config.robustness.max_sequences = 288  # of 6 subjects, all views
    config.max_frames = 24
  if variant == "kth":
    config.mirror_views = ("*-l",)
  return config.lock()
