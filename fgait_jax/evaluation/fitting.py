"""The small loop of fine-tuning: steps, validations, and the best of them. Writes no file and never sees test walks."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.data.pipeline import batches
from fgait_jax.data.subset import Subset
from fgait_jax.errors import ConfigError, NonFiniteLoss
from fgait_jax.models import crops
from fgait_jax.parallel.hosts import to_global
from fgait_jax.parallel.mesh import batch_divisor
from fgait_jax.training import supervised
from fgait_jax.training.metrics import Display, Sums
from fgait_jax.training.optimizers import make_schedule
from fgait_jax.training.supervised import Learner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
  """Weights after `step` steps at `factor` times the schedule; `score` is their validation (None without one), and
  `curve` what was measured on the way: {"step", "loss", ..., "validation"} a line."""

  trainable: dict
  stats: dict
  step: int
  factor: float
  score: float | None
  curve: list[dict]


class Fitter:
  """Trains `learner` on batches of `settings` (`config.fine_tune`); compiled once for all rates and lengths."""

  def __init__(self, learner: Learner, settings, *, seed: int):
    self.learner, self.settings, self.seed = learner, settings, seed
    optim = settings.optim
    self.schedule = make_schedule(
      schedule=optim.schedule, peak_rate=optim.peak_rate, final_rate=optim.final_rate, warmup_steps=optim.warmup_steps,
      step_at=optim.step_at, step_factor=optim.step_factor, steps=settings.steps)
    options = {k: optim[k] for k in ("name", "momentum", "beta1", "beta2", "weight_decay", "clip_norm")}
    self.optimizer = supervised.optimizer_of(
      learner.trainable, backbone=learner.graph.backbone, rules_of_rates=optim.rules,
      layer_decay=settings.layer_decay, schedule=self.schedule, options=options)

  @functools.cached_property
  def _compiled(self):
    settings = self.settings
    _, shardings = supervised.initial_state(self.learner, self.optimizer)
    return supervised.make_step(
      self.learner, self.optimizer, shardings=shardings, seed=self.seed, augmentation=settings.augment.to_dict(),
      crop_list=tuple(settings.crop_list), margin=settings.margin, scale=settings.scale,
      triplet_weight=settings.triplet_weight if settings.target == "subject" else 0.0,
      cross_entropy_weight=settings.cross_entropy_weight, label_smoothing=settings.label_smoothing)

  def fit(self, split: Subset, labels: np.ndarray, *, factor: float = 1.0, stop: int | None = None,
          validate: Callable[[dict, dict], float] | None = None) -> Fitted:
    """Trains on `split`, whose rows have the class numbers `labels`, from the learner's weights to step `stop`.

    `validate(trainable, stats)` gives a score, higher is better: the best weights are returned, the earliest among
    equals, else the last. Raises `NonFiniteLoss` naming the step and its walks.
    """
    settings = self.settings
    stop = settings.steps if stop is None else stop
    state, _ = supervised.initial_state(self.learner, self.optimizer)
    best, worse, curve, sums, pending = None, 0, [], Sums(), None
    with Display(start=0, steps=stop) as display, contextlib.closing(self._batches(split, stop)) as stream:
      for done, batch in enumerate(stream, start=1):
        given = to_global({"frames": batch["frames"], "valid": batch["valid"],
                           "label": labels[batch["index"]].astype(np.int32)}, self.learner.mesh)
        state, metrics = self._compiled(
          state, self.learner.frozen, given, np.int32(done - 1), np.float32(factor))
        _settle(pending, sums, split)  # one step late: the device never waits for the host
        pending = done, metrics, batch
        display.advance(done)
        validating = validate is not None and (done % settings.validate_every == 0 or done == stop)
        if validating or done % settings.log_every == 0 or done == stop:
          pending = _settle(pending, sums, split)
          values = sums.means() | {"rate": factor * float(self.schedule(done - 1))}
          display.train(done, values)
          curve.append({"step": done, **values})
        if validating:
          curve[-1]["validation"] = score = validate(state["trainable"], state["stats"])
          display.evaluate(done, {"validation": score})
          better = best is None or score > best.score
          worse = 0 if better else worse + 1
          if better:
            best = self._snapshot(state, done, factor, score, curve)
          if settings.patience and worse >= settings.patience:
            break
    return best or self._snapshot(state, stop, factor, None, curve)

  def _batches(self, split: Subset, stop: int):
    settings = self.settings
    return batches(
      [split], seed=self.seed, batch_size=settings.subjects * settings.per_subject, clips=1,
      clip_frames=settings.clip_frames, window_frames=settings.window_frames, factors=(1.0,), exponent=1.0,
      mix=settings.mix, start=0, stop=stop, process_index=jax.process_index(), process_count=jax.process_count(),
      threads=settings.threads, workers=settings.workers, prefetch=settings.prefetch,
      per_subject=settings.per_subject)

  def _snapshot(self, state, step, factor, score, curve) -> Fitted:
    kept = {name: jax.tree.map(jnp.copy, state[name]) for name in ("trainable", "stats")}  # the step donates its state
    return Fitted(**kept, step=step, factor=factor, score=score, curve=curve)


def check_settings(settings, learner_width: int, mesh) -> None:
  """Raises `ConfigError` for values of `config.fine_tune` that cannot work together."""
  asked = f"config.fine_tune.subjects={settings.subjects} x per_subject={settings.per_subject}"
  needs = [
    (min(settings.subjects, settings.per_subject) > 0, f"{asked} must both be at least 1"),
    (min(settings.steps, settings.validate_every, settings.log_every) > 0,
     "config.fine_tune.steps, validate_every and log_every must be at least 1"),
    (0 <= settings.optim.warmup_steps < settings.steps,
     f"config.fine_tune.optim.warmup_steps={settings.optim.warmup_steps} must be at least 0 and below"
     f" config.fine_tune.steps={settings.steps}"),
    (settings.patience >= 0, f"config.fine_tune.patience={settings.patience} must be 0 or more"),
    (len(settings.rates) > 0 and all(r > 0 for r in settings.rates),
     f"config.fine_tune.rates={tuple(settings.rates)} must hold factors above 0"),
    (len(settings.rates) == 1 or settings.validation_fraction > 0,
     f"config.fine_tune.rates={tuple(settings.rates)} are chosen from on validation identities;"
     " config.fine_tune.validation_fraction must be above 0"),
    (not settings.refit or settings.validation_fraction > 0,
     "config.fine_tune.refit=True trains on validation identities again; validation_fraction=0 keeps none back"),
    (settings.mix in ("per_subject", "per_batch"),
     f'config.fine_tune.mix is {settings.mix!r}; known: "per_subject", "per_batch"'),
    (settings.augment.width == learner_width,
     f"config.fine_tune.augment.width={settings.augment.width}: the network was pretrained on {learner_width} columns"),
  ]
  for holds, message in needs:
    if not holds:
      raise ConfigError(message)
  size = settings.subjects * settings.per_subject
  crops.check_batch(
    size, tuple(settings.crop_list) or (1,), asked=f"{asked} = {size}", crops_key="config.fine_tune.crop_list",
    devices=batch_divisor(mesh),
  )


def _settle(pending, sums: Sums, split) -> None:
  """Adds the metrics of one step; raises `NonFiniteLoss` if they are not numbers."""
  if pending is None:
    return
  done, metrics, batch = pending
  metrics = jax.device_get(metrics)
  if not metrics.pop("finite")[0]:
    loss, norm = (float(metrics[name][0]) for name in ("loss", "gradient_norm"))
    keys = ", ".join(str(split.keys[row]) for row in batch["index"])
    raise NonFiniteLoss(f"loss {loss} with gradient norm {norm} at step {done - 1} of fine-tuning; lower"
                        f" config.fine_tune.optim.peak_rate. Its walks: {keys}")
  sums.add(metrics)
