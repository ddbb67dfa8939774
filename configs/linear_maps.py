"""Recognition after a linear map of frozen embeddings, learnt in closed form from the training split: PCA whitening,
without labels, and the linear discriminant of its people. Minutes on two CPU cores, nothing is trained.

python run_eval.py --config=configs/linear_maps.py --config.checkpoint=runs/first --out=runs/first/results

Variants: walkers (the default), kth (learns from the synthetic walkers; --config.linear_maps.dataset=kth: from other
people of KTH), and by name any protocol of a built data set of that name.
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "linear_maps"
  config.dataset = config.protocol = variant
  config.embedding = "pooled"  # before the heads of pretraining, which keep what its own task wanted
  if variant == "kth":
    config.mirror_views = ("*-l",)
    config.linear_maps.dataset = "walkers"
  return config.lock()
