"""Who are these? Names each probe's nearest gallery subjects, or nobody. No network, no accelerator needed.

python run_eval.py --config=configs/identify.py --config.probes=P/embeddings.npz --config.gallery=G/embeddings.npz \
  --config.validation=V/embeddings.npz --config.false_accept=0.01 --config.top_k=5 --out=DIR

The files are those of configs/embed.py. Validation holds people who are not in the gallery; without it everyone is
taken for somebody.
"""

from fgait_jax import defaults


def get_config():
  config = defaults.evaluation()
  config.task = "identify"
  return config.lock()
