"""Embeddings of a built data set, as a file for `identify`, `score` and other tools.

python run_eval.py --config=configs/embed.py --config.checkpoint=runs/first --config.dataset=walkers --out=DIR

A folder of masks, recordings or a video is built first: see docs/data.md and docs/evaluation.md. DIR/embeddings.npz
holds embeddings [N, C, P], labels, types, views and keys [N].

Variants: walkers (the default), kth (walks to the left are mirrored, as in its other evaluations), and any built data
set by its name.
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  config = defaults.evaluation()
  config.task = "embed"
  config.dataset = config.protocol = variant
  if variant == "kth":
    config.mirror_views = ("*-l",)
  config.cache = "off"  # the embeddings are written to a file anyway
  return config.lock()
