"""Open-set identification: names the nearest gallery subjects of each probe, or nobody.

python run_eval.py --config=configs/identify.py --config.probes=P/embeddings.npz --config.gallery=G/embeddings.npz \
  --config.validation=V/embeddings.npz --config.false_accept=0.01 --config.top_k=5 --out=DIR

The files are written by configs/embed.py. A side may also be a folder of masks, <person>/<type>/<view>/*.png, or a
video, which --config.checkpoint=RUN (or walkers-tiny) embeds first. Validation holds people who are not in the gallery
and sets the threshold; without it there is none, and every probe gets a name.
"""

from fgait_jax import defaults


def get_config():
  config = defaults.evaluation()
  config.task = "identify"
  return config.lock()
