"""Recognition after a linear map of frozen embeddings, fitted in closed form on the training split: PCA whitening,
without labels, and the linear discriminant of its identities. Minutes on two CPU cores, no network is trained.

python run_eval.py --config=configs/linear_maps.py --config.checkpoint=runs/first --out=runs/first/results

Variants: walkers (the default), kth (fitted on the synthetic walkers, or with --config.linear_maps.dataset=kth on other
people of KTH), and any other protocol whose data set is built.
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "linear_maps"
  config.dataset = config.protocol = variant
  config.embedding = "pooled"  # before the heads, which are specialised on the pretraining task
  if variant == "kth":
    config.mirror_views = ("*-l",)
    config.linear_maps.dataset = "walkers"
  return config.lock()
