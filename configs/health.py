"""Fine-tuning for health and attributes: scoliosis in three classes, depression, or an attribute of a data set.

python run_eval.py --config=configs/health.py --config.checkpoint=runs/first --out=runs/first/results
python run_eval.py --config=configs/health.py:scoliosis1k_112 --config.checkpoint=runs/reference --out=results

variant              learns                          meant for                                         hours
walkers              attribute sex of the walkers    2 CPU cores; a substitute for the others          not measured
scoliosis1k_112      positive, neutral, negative     accelerators; FoundationGait's recipe             not measured
  _114 _118 _1116    the same, fewer patients        accelerators                                      not measured
d_gait               depressed or healthy            accelerators; no recipe is released: as above     not measured
"""

from fgait_jax import defaults

SCOLIOSIS = tuple(f"scoliosis1k_{ratio}" for ratio in ("112", "114", "118", "1116"))
VARIANTS = ("walkers", *SCOLIOSIS, "d_gait")


def get_config(variant: str = "walkers"):
  """The locked configuration of a variant; raises `ValueError` naming the known ones."""
  if variant not in VARIANTS:
    raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
  config = defaults.evaluation()
  config.unlock()
  config.task = "fine_tune"
  config.dataset = variant
  if variant == "walkers":
    config.fine_tune.target = "sex"
  else:
    config.protocol = "scoliosis1k" if variant in SCOLIOSIS else variant
    config.fine_tune.target = "class"
    _released(config.fine_tune)
  return config.lock()


def _released(c):
  """FoundationGait's fine-tuning on Scoliosis1K (A5): cross-entropy only, no augmentation but strips. The original
  starts from the linear probe's head; here the head is new."""
  c.subjects, c.per_subject = 8, 8
  c.clip_frames, c.window_frames = 30, 34
  c.crop_list = (8, 4, 2, 1)
  c.steps, c.validate_every, c.refit = 3000, 500, True
  c.augment.perspective = c.augment.flip = c.augment.rotate = 0.0
  c.optim.name, c.optim.peak_rate, c.optim.schedule, c.optim.weight_decay = "sgd", 0.1, "step", 5e-4
  c.optim.step_at, c.optim.warmup_steps, c.optim.clip_norm = (2000,), 0, 0.0
  c.prompt_tokens = 0
  c.log_every = 50
  c.threads, c.workers, c.prefetch = 1, 8, 32
