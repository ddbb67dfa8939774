"""A paired test between two finished evaluations of the same walks. No network, seconds.

python run_eval.py --config=configs/compare.py --config.compare.first=runs/a/results/zero_shot-walkers.json \
  --config.compare.second=runs/b/results/zero_shot-walkers.json --out=runs/b/results

Folders are paired evaluation by evaluation. --config.compare.first_row=untrained compares with a baseline's row,
--config.compare.conditions=D,E,F,G these conditions and their mean, --config.compare.centred=True centred rows.
"""

from fgait_jax import defaults


def get_config():
  config = defaults.evaluation()
  config.task = "compare"
  return config.lock()
