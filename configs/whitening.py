"""Recognition after a linear map of frozen embeddings, fitted in closed form on the training split: PCA whitening,
without labels, and the linear discriminant of its identities. Minutes on two CPU cores, no network is trained.

python run_eval.py --config=configs/whitening.py --config.checkpoint=runs/first --out=runs/first/results

Variants: walkers (the default), kth (fitted on the synthetic walkers, or with --config.whitening.dataset=kth on other
people of KTH), and any other protocol whose data set is built.
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "whitening"
  config.dataset = config.protocol = variant
  config.embedding = "pooled"  # before the heads, which are specialised on the pretraining task
  if variant == "kth":
    config.mirror_views = ("*-l",)
    config.whitening.dataset = "walkers"
  return config.lock()
