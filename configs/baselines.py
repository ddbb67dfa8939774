"""Published networks: pretrained as ours are, or trained with labels as they were published (docs/networks.md).

  python run_pretrain.py --config=configs/baselines.py:gaitbase --workdir=runs/gaitbase
  python run_pretrain.py --config=configs/baselines.py:gaitbase --workdir=runs/new --config.train.stop_at=0
  python run_eval.py --config=configs/baselines.py:gaitbase_walkers --config.checkpoint=runs/new --out=runs/new/results

The second command writes the network before its first step, from which the third trains it with labels alone; of an
imported network the third trains further, under a new head. GaitSSB is fine-tuned with labels after pretraining: its
checkpoint is the run of the first command, or imported.

variant                                            network                      program          meant for
gaitset, gaitbase, deepgaitv2, deepgaitv2_{2d,3d}  with heads for pretraining   run_pretrain.py  2 CPU cores
gaitssb, swingait                                  with heads for pretraining   run_pretrain.py  2 CPU cores
{gaitset,gaitbase,deepgaitv2,swingait}_walkers     under its published head     run_eval.py      2 CPU cores
gaitssb_walkers                                    pretrained, then under it    run_eval.py      2 CPU cores
gaitset_{casia_b,casia_e,oumvlp,grew}              as published                 run_eval.py      accelerators
gaitbase_{casia_b,casia_e,ccpg,gait3d,oumvlp,grew} as published                 run_eval.py      accelerators
deepgaitv2_{casia_b,ccpg,oumvlp,sustech1k,gait3d,grew} as published             run_eval.py      accelerators
gaitssb_{casia_b,gait3d,oumvlp,grew}               as published, pretrained     run_eval.py      accelerators
swingait_{ccpg,gait3d,sustech1k,grew}              as published                 run_eval.py      accelerators

Hours and figures are not measured. Where the recipes of data sets differ from the published ones, docs/networks.md says
so.
"""

from fgait_jax import defaults
from fgait_jax.configs import pretrain  # this folder, by the name that an installation has, too

# config.model.name and variant by the first part of a variant's name, as published for most data sets.
NETWORKS = {
  "gaitset": ("gaitset", "32-64-128"), "gaitbase": ("gaitbase", "resnet9"), "deepgaitv2": ("deepgaitv2", "p3d-1-1-1-1"),
  "deepgaitv2_2d": ("deepgaitv2", "2d-1-1-1-1"), "deepgaitv2_3d": ("deepgaitv2", "3d-1-1-1-1"),
  "gaitssb": ("gaitssb", "resnet9"), "swingait": ("swingait", "1-1-2-2"),
}
_K = 1000
_LENGTHS = {  # data -> (milestones, steps) of DeepGaitV2 and GaitBase
  "casia_b": ((20 * _K, 40 * _K, 50 * _K), 60 * _K), "casia_e": ((20 * _K, 40 * _K, 50 * _K), 60 * _K),
  "ccpg": ((20 * _K, 40 * _K, 50 * _K), 60 * _K), "gait3d": ((20 * _K, 40 * _K, 50 * _K), 60 * _K),
  "sustech1k": ((20 * _K, 30 * _K, 40 * _K), 50 * _K), "oumvlp": ((60 * _K, 80 * _K, 100 * _K), 120 * _K),
  "grew": ((80 * _K, 120 * _K, 150 * _K), 180 * _K),
}  # fmt: skip
_BATCHES = {  # data -> (people, walks of each)
  "casia_b": (8, 16), "casia_e": (8, 32), "ccpg": (8, 16), "gait3d": (32, 4), "sustech1k": (8, 8), "oumvlp": (32, 8),
  "grew": (32, 4),
}  # fmt: skip


def get_config(variant: str = "gaitbase"):
  """The locked configuration of a variant, for the program that the table names; raises `ValueError` naming the known
  ones."""
  if variant in NETWORKS:
    return _pretraining(*NETWORKS[variant])
  if variant not in SUPERVISED:
    raise ValueError(f"unknown variant {variant!r}; known: {', '.join((*NETWORKS, *SUPERVISED))}")
  config = defaults.evaluation()
  config.unlock()
  network, _, data = variant.partition("_")
  config.task = "fine_tune"
  config.dataset = config.protocol = data
  SUPERVISED[variant](config.fine_tune, data)
  return config.lock()


def _pretraining(name: str, variant: str):
  """The recipe of configs/pretrain.py:tiny, on the same walkers, without what only a transformer has: masked tokens, a
  decoder, body heads. Its closing discriminant is left out, too: it is for any network, by model.discriminant=256."""
  config = pretrain.get_config("tiny")
  config.model.update(name=name, variant=variant, temporal_pooling="max", body_heads=0, facing=False, discriminant=0)
  config.discriminant.sets = defaults.discriminant_sets("")
  config.objectives.reconstruction.weight = 0.0
  if name == "swingait":
    config.student.crop_list = (1,)  # it attends to whole bodies
  config.student.masked_fractions = (0.0,)
  return config


def _published(c):
  """What all recipes share: every parameter trains, from nothing, on all identities, to the end of the schedule."""
  c.reads, c.statistics, c.crop_list = "pooled", "batch", (1,)
  c.prompt_tokens = 0
  c.validation_fraction, c.validate_every = 0.0, _K
  c.optim.rules = ((r".*", 1.0, 1.0),)
  c.optim.warmup_steps, c.optim.clip_norm = 0, 0.0


def _sgd(c, milestones, steps):
  c.optim.name, c.optim.peak_rate, c.optim.weight_decay = "sgd", 0.1, 5e-4
  c.optim.schedule, c.optim.step_at, c.steps = "step", milestones, steps


def _accelerator(c):
  c.log_every = 50
  c.threads, c.workers, c.prefetch = 1, 8, 32


def _augment(c, *, perspective: float = 0.0, flip: float = 0.0, rotate: float = 0.0):
  c.augment.update(perspective=perspective, flip=flip, rotate=rotate)


def deepgaitv2(c, data: str):
  _published(c)
  _accelerator(c)
  _sgd(c, *_LENGTHS[data])
  c.subjects, c.per_subject = _BATCHES[data]
  c.clip_frames, c.window_frames = (10, 14) if data == "sustech1k" else (30, 34)
  _augment(c, perspective=0.2, flip=0.2, rotate=0.2)


def gaitbase(c, data: str):
  _published(c)
  _accelerator(c)
  _sgd(c, *_LENGTHS[data])
  c.subjects, c.per_subject = _BATCHES[data]
  c.clip_frames, c.window_frames = 30, 90
  if data in ("gait3d", "grew"):
    _augment(c, perspective=0.2, flip=0.2, rotate=0.2)
  else:
    _augment(c, rotate=0.3 if data == "casia_b" else 0.0)


def gaitset(c, data: str):
  _published(c)
  _accelerator(c)
  _augment(c)
  c.objectives.cross_entropy.weight = 0.0
  c.clip_frames, c.window_frames = 30, 90
  c.subjects, c.per_subject = _BATCHES[data] if data != "oumvlp" else (32, 16)
  if data == "casia_b":
    _sgd(c, (10 * _K, 20 * _K, 30 * _K), 40 * _K)
  elif data == "casia_e":
    _sgd(c, *_LENGTHS[data])
  else:  # Adam
    c.optim.name, c.optim.peak_rate, c.optim.beta2, c.optim.weight_decay = "adamw", 1e-4, 0.999, 0.0
    c.optim.schedule, c.optim.step_at, c.steps = "step", (150 * _K,), 250 * _K


def gaitssb(c, data: str):
  _published(c)
  _accelerator(c)
  _augment(c)
  _over_the_projection(c, stage1=0.01 if data == "oumvlp" else 0.0)
  c.clip_frames, c.window_frames = 30, 90
  c.subjects, c.per_subject = {"casia_b": (8, 16), "gait3d": (64, 4), "oumvlp": (32, 16), "grew": (128, 4)}[data]
  if data in ("casia_b", "gait3d"):
    _sgd(c, (6 * _K, 8 * _K, 10 * _K), 12 * _K)
  else:
    _sgd(c, (50 * _K, 60 * _K, 70 * _K), 80 * _K)
  c.optim.weight_decay = {"casia_b": 5e-4, "gait3d": 0.0, "oumvlp": 5e-3, "grew": 0.0}[data]


def _over_the_projection(c, *, stage1: float):
  """GaitSSB's head and loss, and its rates, of which `stage1` is that of the first stage: the stem stays as it was
  pretrained, and so do all running statistics."""
  c.reads, c.statistics, c.features = "projection", "frozen", 512
  c.objectives.triplet.margin, c.objectives.cross_entropy.weight = 0.3, 0.0
  c.optim.rules = (
    (r"encoder/stem(_norm)?/.*", 1.0, 0.0), (r"encoder/stage1/.*", 1.0, stage1), (r"encoder/stage[234]/.*", 1.0, 0.01),
    (r"projector/.*", 1.0, 0.1), (r"(head|border|lora)/.*", 1.0, 1.0),
  )


def swingait(c, data: str):
  """Convolutions and heads, which it takes from DeepGaitV2, learn at a tenth of the rate; of the rest patches, norms
  and position biases do not decay."""
  _published(c)
  _accelerator(c)
  _augment(c, perspective=0.2, flip=0.2, rotate=0.2)
  c.subjects, c.per_subject = _BATCHES[data]
  c.clip_frames, c.window_frames = (10, 90) if data == "sustech1k" else (30, 34)
  c.optim.peak_rate, c.optim.final_rate, c.optim.weight_decay, c.optim.beta2 = 3e-4, 1e-6, 0.02, 0.999
  c.optim.rules = (
    (r"encoder/(stem(_norm)?|stage[12])/.*|(head|border|lora)/.*", 1.0, 0.1),
    (r"encoder/(embed(_norm)?/.*|norm/.*|swin\d/(norm\d/.*|attention/position_bias))", 0.0, 1.0),
    (r"encoder/(widen(_norm)?/.*|swin\d/(attention/(qkv|out)|mlp)/.*)", 1.0, 1.0),
  )
  c.steps = {"ccpg": 60 * _K, "gait3d": 60 * _K, "sustech1k": 50 * _K, "grew": 150 * _K}[data]


def walkers(c, data: str):
  """The walkers of configs/fine_tune.py, with rate, length and batch of its defaults, from random weights."""
  del data
  _published(c)
  c.validation_fraction, c.validate_every = 0.2, 50
  c.optim.warmup_steps, c.optim.clip_norm = 20, 1.0
  _augment(c, perspective=0.2, flip=0.2, rotate=0.2)


def walkers_set(c, data: str):
  walkers(c, data)
  c.objectives.cross_entropy.weight = 0.0


def walkers_ssb(c, data: str):
  walkers(c, data)
  _over_the_projection(c, stage1=0.0)


SUPERVISED = {
  "gaitset_walkers": walkers_set, "gaitbase_walkers": walkers, "deepgaitv2_walkers": walkers,
  "gaitssb_walkers": walkers_ssb, "swingait_walkers": walkers,
  **{f"gaitset_{data}": gaitset for data in ("casia_b", "casia_e", "oumvlp", "grew")},
  **{f"gaitbase_{data}": gaitbase for data in ("casia_b", "casia_e", "ccpg", "gait3d", "oumvlp", "grew")},
  **{f"deepgaitv2_{data}": deepgaitv2 for data in ("casia_b", "ccpg", "oumvlp", "sustech1k", "gait3d", "grew")},
  **{f"gaitssb_{data}": gaitssb for data in ("casia_b", "gait3d", "oumvlp", "grew")},
  **{f"swingait_{data}": swingait for data in ("ccpg", "gait3d", "sustech1k", "grew")},
}
