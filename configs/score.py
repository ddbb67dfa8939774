"""Scores the embeddings of any tool by a public protocol. No accelerator needed; seconds for most data sets.

  python run_eval.py --config=configs/score.py --config.embeddings=FILE.npz --config.protocol=casia_b --out=DIR

FILE.npz holds embeddings [N, C, P], labels, types and views [N]; DIR/casia_b.json is described in docs/results.md.
"""

from fgait_jax import defaults


def get_config():
  """The locked configuration; embeddings and protocol are for the command line."""
  config = defaults.evaluation()
  config.task = "score"
  return config
