"""Supervised fine-tuning for recognition, compared with the pretrained network and the GEI (docs/finetuning.md).

python run_eval.py --config=configs/fine_tune.py --config.checkpoint=runs/first --out=runs/first/results

variant       network          meant for                                                        hours
walkers       any              2 CPU cores, the embedded walkers                                0.35, beside another
kth           any              2 CPU cores, real people                                         not measured
gait3d        p3d 0.03b        accelerators; FoundationGait's recipe, batch 128 x 4             not measured
ccpg          p3d 0.03b        accelerators; FoundationGait's recipe, batch 16 x 32             not measured
ccpg_0.13b    p3d 0.13b        accelerators; FoundationGait's recipe, batch 8 x 32              not measured
ccgr_mini     p3d 0.03b        accelerators; FoundationGait's recipe, batch 32 x 16             not measured
casia_b       p3d, any size    accelerators; batch, loss, length of GaitSSB's recipe, 8 x 16    not measured
oumvlp        p3d, any size    accelerators; batch, loss, length of GaitSSB's recipe, 32 x 16   not measured
"""

from fgait_jax import defaults


def get_config(variant: str = "walkers"):
  """The locked configuration of a variant; raises `ValueError` naming the known ones."""
  if variant not in VARIANTS:
    raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
  config = defaults.evaluation()
  config.unlock()
  config.task = "fine_tune"
  config.dataset = config.protocol = variant.partition("_0.")[0]
  VARIANTS[variant](config)
  return config.lock()


def walkers(config):
  """Begins as the discriminant of the people that are learnt from, which training must better."""
  c = config.fine_tune
  c.reads, c.crop_list = "discriminant", (1,)
  c.clip_frames, c.window_frames = 8, 30
  c.optim.peak_rate = 1e-4
  c.refit, c.patience = True, 2


def kth(config):
  walkers(config)
  config.fine_tune.subjects = 4  # of the 6 people that validation leaves
  config.mirror_views = ("*-l",)
  config.fine_tune.validate_across = "condition"


def _released(config, *, subjects: int, per_subject: int, steps: int, milestones: tuple, crops: tuple):
  """What FoundationGait's recipes share (A5). They train on all identities for a fixed number of steps; here a fifth of
  the identities first chooses that number, and the network is then trained on all."""
  c = config.fine_tune
  c.subjects, c.per_subject = subjects, per_subject
  c.clip_frames, c.window_frames = 30, 34
  c.crop_list = crops
  c.steps, c.validate_every, c.refit = steps, 500, True
  c.optim.name, c.optim.peak_rate, c.optim.schedule = "sgd", 0.1, "step"
  c.optim.step_at, c.optim.warmup_steps, c.optim.clip_norm = milestones, 0, 0.0
  _accelerator(c)


def _accelerator(c):
  c.prompt_tokens = 0
  c.log_every = 50
  c.threads, c.workers, c.prefetch = 1, 8, 32


_MANY_STRIPS = (8, 4, 2, 1, 8, 4, 2, 1)


def gait3d(config):
  _released(config, subjects=128, per_subject=4, steps=4000, milestones=(3000,), crops=(2, 2, 2, 2, 1, 1, 1, 1))
  config.fine_tune.validate_across = "condition"  # cameras and videos are in the type


def ccpg(config):
  _released(config, subjects=16, per_subject=32, steps=3000, milestones=(2000,), crops=_MANY_STRIPS)
  config.fine_tune.validate_across = "protocol"  # each pair of clothes has a gallery of its own


def ccpg_large(config):
  _released(config, subjects=8, per_subject=32, steps=5000, milestones=(2000, 3000), crops=_MANY_STRIPS)
  config.fine_tune.optim.weight_decay = 5e-4
  config.fine_tune.validate_across = "protocol"


def ccgr_mini(config):
  _released(config, subjects=32, per_subject=16, steps=6000, milestones=(3000, 5000), crops=_MANY_STRIPS)
  config.fine_tune.validate_across = "condition"


def _gaitssb(config, *, subjects: int, per_subject: int, steps: int, early_rate: float):
  """GaitSSB: triplet loss only, margin 0.3, frozen running statistics, 30 frames. Ours is a cosine schedule; all of
  its own recipe, for its own network, is in baselines.py."""
  c = config.fine_tune
  c.subjects, c.per_subject, c.steps = subjects, per_subject, steps
  c.clip_frames, c.window_frames = 30, 34
  c.crop_list = (1,)
  c.objectives.triplet.margin, c.objectives.cross_entropy.weight = 0.3, 0.0
  c.validate_every, c.refit = 1000, True
  c.optim.name, c.optim.peak_rate, c.optim.warmup_steps, c.optim.clip_norm = "sgd", 0.1, 0, 0.0
  c.optim.rules = (
    (r"encoder/(stem|stem_norm|stage1)/.*", 1.0, early_rate),
    (r"encoder/(?!(stem|stem_norm|stage1)/|prompt_tokens$).*", 1.0, 0.01),
    (r"projector/.*", 1.0, 0.1),
    (r"(head|border|lora)/.*|encoder/prompt_tokens", 1.0, 1.0),
  )
  _accelerator(c)


def casia_b(config):
  _gaitssb(config, subjects=8, per_subject=16, steps=12_000, early_rate=0.0)


def oumvlp(config):
  _gaitssb(config, subjects=32, per_subject=16, steps=80_000, early_rate=0.01)


VARIANTS = {
  "walkers": walkers, "kth": kth, "gait3d": gait3d, "ccpg": ccpg, "ccpg_0.13b": ccpg_large, "ccgr_mini": ccgr_mini,
  "casia_b": casia_b, "oumvlp": oumvlp,
}
