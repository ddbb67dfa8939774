"""Zero-shot recognition with a pretrained network, compared with its baselines. Minutes on two CPU cores.

python run_eval.py --config=configs/zero_shot.py --config.checkpoint=runs/first --out=runs/first/results

Variants: walkers (the built-in synthetic population, the default), kth (real people; gallery d1, probes d2, d3 and d4;
walks to the left are mirrored; also centred by condition), usf17 (real people outdoors, probes A to G; also centred by
ground, shoe and camera), casia_b, and any other protocol whose data set is built.
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "zero_shot"
  config.dataset = config.protocol = variant
  if variant == "kth":
    config.split = "test"
    config.mirror_views = ("*-l",)
    config.centre_by = "condition"
  if variant == "usf17":
    config.centre_by = "condition_view"
  return config.lock()
