"""Logistic regression on the frozen network's embeddings, beside the same on the GEI. Minutes on two CPU cores.

python run_eval.py --config=configs/linear_probe.py --config.checkpoint=runs/first --out=runs/first/results

By default it learns who walks from the protocol's gallery and is asked in the other conditions. For an attribute give
its name, which is learnt from other people: --config.linear_probe.target=scoliosis --config.dataset=scoliosis1k
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "linear_probe"
  config.dataset = config.protocol = variant
  if variant == "kth":
    config.mirror_views = ("*-l",)
  return config.lock()
