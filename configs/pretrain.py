"""Pretrains the gait transformer, sizes `test`, `tiny` .. `giant`. The published network is in configs/reference.py.

  python run_pretrain.py --config=configs/pretrain.py:tiny --workdir=runs/first
  python run_pretrain.py --config=configs/pretrain.py:base --workdir=runs/base --config.data.dir=/data/built \\
    --config.data.sets=oumvlp,grew --config.evals=oumvlp:2000

variant            meant for                                    hours
test               the tests: seconds, learns nothing           -
tiny               2 CPU cores, the embedded walkers            0.2
tiny_masked        the walkers, with masked modelling           0.2
tiny_masked_alone  the same, masked modelling and nothing else  0.8
tiny_long          2 CPU cores, walkers and a crowd             2.2
small              1 accelerator                                not measured
base               8 accelerators                               not measured
large              16 accelerators                              not measured
huge               64 accelerators                              not measured
giant              256 accelerators                             not measured
p3d_test           the tests, on the published network          -
"""

from fgait_jax import defaults


def get_config(variant: str = "tiny"):
  """The locked configuration of a variant; raises `ValueError` naming the known ones."""
  if variant not in VARIANTS:
    raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
  config = defaults.pretrain()
  VARIANTS[variant](config)
  return config


def test(config):
  config.model.variant = "test"
  config.data.batch_size = 8
  config.data.clip_frames = 4
  config.data.window_frames = 5
  config.student.crop_list = (2, 1)
  config.objectives.contrastive.queue = 16
  config.optim.warmup_steps = 1
  config.train.steps = 4
  config.train.log_every = 1
  config.train.save_every = 2
  config.evals.walkers.every = 0


def tiny(config):
  """Short enough for two cores. The identities of synthetic walkers are known, so a walk's positive is any walk of the
  same person, from any view; a queue adds negatives to small batches. The task is easier than the reference's: mostly
  whole bodies, no mirrored clips, hardly any warps, and a teacher that begins as the student itself. Nothing is masked:
  in so short a run masked modelling costs recognition a point of AUC, as measured with clips of eight frames
  (docs/experiments.md)."""
  config.data.sets = defaults.data_sets("walkers::subject")
  config.model.discriminant = 256
  config.model.attention_frames = 4  # as many as a clip has: a longer walk is seen as clips are
  config.discriminant.sets = defaults.discriminant_sets("walkers:subject,crowd_pairs:subject")
  config.discriminant.step = 2
  config.data.batch_size = 64
  config.data.clip_frames = 4
  config.data.window_frames = 30  # a gait cycle
  config.augment.flip = 0.0
  config.augment.affine = config.augment.perspective = config.augment.dilate = config.augment.blur = 0.05
  config.student.crop_list = (2, 1, 1, 1)
  config.student.masked_fractions = (0.0,)
  config.objectives.reconstruction.weight = 0.0
  config.objectives.contrastive.temperature = 1 / 8
  config.objectives.contrastive.queue = 512
  config.teacher.ema_start = 0.0
  config.optim.peak_rate = 2e-3
  config.train.steps = 560
  config.train.save_every = 280
  config.evals.walkers.every = 280


def tiny_masked(config):
  """`tiny` on clips twice as long, with both objectives and a larger decoder: of a quarter of the clips, whole bodies,
  half the tokens are masked."""
  tiny(config)
  config.data.batch_size = 32
  config.data.clip_frames = 8
  config.model.attention_frames = 16
  config.train.steps = 600
  config.train.save_every = config.evals.walkers.every = 300
  config.model.variant = "tiny_masked"
  config.student.masked_fractions = (0.0, 0.0, 0.0, 0.5)
  config.objectives.reconstruction.weight = 1.0


def tiny_masked_alone(config):
  """`tiny_masked` with masked modelling and nothing else, to see what it learns: of whole bodies, in a quarter of the
  clips half the tokens are masked, in the others three quarters."""
  tiny_masked(config)
  config.model.discriminant = 0
  config.discriminant.sets = defaults.discriminant_sets("")
  config.student.crop_list = (1, 1, 1, 1)
  config.student.masked_fractions = (0.5, 0.75, 0.75, 0.75)
  config.objectives.contrastive.weight = 0.0
  config.objectives.contrastive.queue = 0
  config.train.steps = 5000
  config.train.save_every = 500
  config.evals.walkers.every = 0


def tiny_long(config):
  """`tiny` on many more people, who share no camera, in larger batches; 14 times as many clips, of eight frames. Needs
  `python -m data_prep.build crowd4800 --out built` beside the walkers."""
  tiny(config)
  config.data.sets = defaults.data_sets("walkers::subject,crowd4800::subject")
  config.discriminant.sets = defaults.discriminant_sets("walkers:subject,crowd4800:subject")
  config.discriminant.holes = 0.3  # real masks are worse than walkers'
  config.discriminant.segmenter = 0.5
  config.discriminant.step = 1
  config.data.batch_size = 128
  config.data.clip_frames = 8
  config.model.attention_frames = 16
  config.teacher.ema_start = 0.95  # as walkers-tiny was trained
  config.optim.warmup_steps = 200
  config.train.steps = 4000
  config.train.save_every = 500
  config.train.keep_every = 1000  # for the curve against time
  config.evals.walkers.every = 1000


def _accelerator(config, *, variant: str, batch_size: int, steps: int, peak_rate: float):
  config.model.variant = variant
  config.model.dtype = "bfloat16"
  config.data.batch_size = batch_size
  config.data.threads = 1
  config.data.workers = 8
  config.data.prefetch = 32
  config.optim.peak_rate = peak_rate
  config.optim.warmup_steps = steps // 20
  config.train.steps = steps
  config.train.log_every = 50
  config.train.save_every = 2000
  config.evals.walkers.every = 2000
  config.evals.walkers.max_sequences = 4096


def small(config):
  _accelerator(config, variant="small", batch_size=256, steps=20_000, peak_rate=5e-4)


def base_size(config):
  _accelerator(config, variant="base", batch_size=512, steps=40_000, peak_rate=3e-4)


def large(config):
  _accelerator(config, variant="large", batch_size=1024, steps=80_000, peak_rate=2e-4)
  config.model.remat = "dots"
  config.mesh.fsdp = 8


def huge(config):
  large(config)
  config.model.variant = "huge"
  config.data.batch_size = 2048
  config.model.remat = "full"


def giant(config):
  huge(config)
  config.model.variant = "giant"
  config.data.batch_size = 4096
  config.mesh.tensor = 4
  config.optim.peak_rate = 1e-4


def _reference(config, *, variant: str, steps: int):
  """The recipe of FoundationGait (A2): SGD on every parameter, no warm-up, no clipping, no masking."""
  _accelerator(config, variant=variant, batch_size=512, steps=steps, peak_rate=0.05)
  config.model.name = "p3d"
  config.model.temporal_pooling = "max"
  config.model.body_heads = 0
  config.model.facing = False
  config.model.discriminant = 0
  config.student.masked_fractions = (0.0,)
  config.objectives.reconstruction.weight = 0.0
  config.optim.name = "sgd"
  config.optim.weight_decay = 5e-4
  config.optim.warmup_steps = 0
  config.optim.clip_norm = 0.0
  config.optim.rules = ((r".*", 1.0, 1.0),)


def p3d_test(config):
  _reference(config, variant="test", steps=4)
  test(config)
  config.objectives.contrastive.queue = 0
  config.model.dtype = "float32"
  config.optim.warmup_steps = 0


VARIANTS = {
  "test": test, "tiny": tiny, "tiny_masked": tiny_masked, "tiny_masked_alone": tiny_masked_alone,
  "tiny_long": tiny_long, "small": small, "base": base_size, "large": large, "huge": huge, "giant": giant,
  "p3d_test": p3d_test,
}
