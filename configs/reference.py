"""Pretrains the P3D network by the released recipe of FoundationGait (docs/reference.md): `0.03b`, `0.13b`, `small`.

  python run_pretrain.py --config=configs/reference.py:0.03b --workdir=runs/reference --config.data.dir=/data/built
  python run_pretrain.py --config=configs/reference.py:0.03b --workdir=runs/two --config.data.dir=/data/built \\
    --config.data.sets=oumvlp,grew --config.evals=oumvlp:2000

variant    network     data                    meant for                                 hours
0.03b      1-4-8-4     the published mixture   8 accelerators, batch 512, 40,000 steps   not measured
0.13b      1-4-32-16   the published mixture   8 accelerators, batch 512, 80,000 steps   not measured
small      1-1-1-1     the embedded walkers    2 CPU cores                               not measured
"""

from fgait_jax import defaults

# The twelve training sets of FoundationGait, built under these names by `python -m data_prep.build`.
PUBLISHED_MIXTURE = ("gait3d,ccpg,casia_b,casia_e,ccgr,d_gait,grew,oumvlp,ragar,scoliosis1k_112,sustech1k,"
                     "gaitlu_1m:0.1")


def get_config(variant: str = "0.03b"):
  """The locked configuration of a variant; raises `ValueError` naming the known ones."""
  if variant not in VARIANTS:
    raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
  config = defaults.pretrain()
  _recipe(config)
  VARIANTS[variant](config)
  return config


def _recipe(config):
  config.model.name = "p3d"
  config.model.temporal_pooling = "max"
  config.model.body_heads = 0
  config.model.facing = False
  config.model.discriminant = 0
  config.data.mix = "per_batch"  # one data set per batch, p ~ (factor * sequences) ** (1/3)
  config.data.exponent = 1 / 3
  config.data.batch_size = 512
  config.data.clip_frames = 16
  config.data.window_frames = 20
  config.student.crop_list = (8, 4, 2, 1)
  config.student.masked_fractions = (0.0,)  # the reference has no masked modelling
  config.objectives.reconstruction.weight = 0.0
  config.objectives.contrastive.weight = 1.0
  config.objectives.contrastive.temperature = 1 / 16
  config.objectives.contrastive.label_smoothing = 0.1
  config.teacher.ema_start = 0.99
  config.optim.name = "sgd"
  config.optim.peak_rate = 0.05
  config.optim.warmup_steps = 0
  config.optim.momentum = 0.9
  config.optim.weight_decay = 5e-4
  config.optim.clip_norm = 0.0
  config.optim.rules = ((r".*", 1.0, 1.0),)  # weight decay on every parameter, those of normalisation too
  config.train.save_every = 2000


def _accelerator(config):
  config.data.sets = defaults.data_sets(PUBLISHED_MIXTURE)
  config.model.dtype = "bfloat16"
  config.data.threads = 1
  config.data.workers = 8
  config.data.prefetch = 32
  config.train.log_every = 50
  config.evals = defaults.evals("gait3d:2000,oumvlp:2000")
  config.evals.gait3d.max_sequences = config.evals.oumvlp.max_sequences = 4096


def small_network(config):
  _accelerator(config)
  config.model.variant = "0.03b"
  config.optim.schedule = "step"
  config.optim.step_at = (20_000, 30_000)
  config.optim.step_factor = 0.1
  config.train.steps = 40_000


def large_network(config):
  _accelerator(config)
  config.model.variant = "0.13b"
  config.model.remat = "full"
  config.optim.schedule = "cosine"
  config.optim.final_rate = 1e-5
  config.train.steps = 80_000


def small(config):
  config.model.variant = "1-1-1-1"
  config.data.batch_size = 32
  config.optim.schedule = "step"
  config.optim.step_at = (500, 750)
  config.train.steps = 1000
  config.train.save_every = 500


VARIANTS = {"0.03b": small_network, "0.13b": large_network, "small": small}
