"""Logistic regression on the frozen network's embeddings, compared with the same on the GEI. Minutes on two CPU cores.

python run_eval.py --config=configs/linear_probe.py --config.checkpoint=runs/first --out=runs/first/results

By default the classes are the subjects: it is trained on the protocol's gallery and tested in the other conditions. An
attribute is given by name, and is trained on other people; the classes of a protocol are, too:
--config.linear_probe.target=class --config.dataset=scoliosis1k_112 --config.protocol=scoliosis1k
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "linear_probe"
  config.dataset = config.protocol = variant
  if variant == "kth":
    config.mirror_views = ("*-l",)
  return config.lock()
