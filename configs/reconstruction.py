"""How much of a hidden body the network fills in, beside the mean over time and the mean silhouette.

python run_eval.py --config=configs/reconstruction.py --config.checkpoint=runs/first --out=runs/first/results

Variants: walkers (the default), kth (real people), and any other data set that is built. Other shares of hidden tokens:
'--config.reconstruction.masked_fractions=(0.5,)'.
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "reconstruction"
  config.dataset = variant
  if variant == "kth":
    config.mirror_views = ("*-l",)
  return config.lock()
