"""Fine-tuning as the loop trains it: a network under a new head, on labelled walks, one folder a rate.

A score on people kept back says which step is best: its checkpoint is kept beside the newest, and is what is returned.
Never sees test walks.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fgait_jax import objectives
from fgait_jax.data.pipeline import batches
from fgait_jax.data.schema import HEIGHT, WIDTHS
from fgait_jax.data.subset import Subset
from fgait_jax.errors import require
from fgait_jax.models import crops
from fgait_jax.parallel.mesh import batch_divisor
from fgait_jax.training import checkpoints, configuration, loop, supervised
from fgait_jax.training.metrics import MACHINE, Display, read_lines
from fgait_jax.training.session import Stop, Stopped
from fgait_jax.training.state import count_parameters, schedule_of
from fgait_jax.training.supervised import Learner, Tuned

# Keys beside `fine_tune` that decide what is learnt and which step is best.
_KEYS = ("seed", "dataset", "protocol", "metric", "mirror_views", "max_frames")


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
  """The evaluator that chooses: `score(network, between)`, higher is better, every `every` steps and at the `last`."""

  score: Callable[[Tuned, Callable[[], None]], float]
  every: int
  last: int
  first: int  # 0 where the network tells people apart before it has learnt anything
  name: str = "validation"

  def due(self, step: int) -> bool:
    return step >= self.first and (step % self.every == 0 or step == self.last)

  def run(self, network: Tuned, step: int, between: Callable[[], None]) -> dict[str, float]:
    del step
    return {self.name: float(self.score(network, between))}


class Fitter:
  """Trains `learner`, of the network `identity`, as `config.fine_tune` of an evaluation says; compiled once for all
  rates and lengths."""

  def __init__(self, learner: Learner, config, *, identity: str):
    self.learner, self.config, self.settings, self.identity = learner, config, config.fine_tune, identity
    settings, optim = self.settings, self.settings.optim
    schedule = schedule_of(optim, steps=settings.steps, key=supervised.OPTIM)
    options = {k: optim[k] for k in ("name", "momentum", "beta1", "beta2", "weight_decay", "clip_norm")}
    optimizer = supervised.optimizer_of(
      learner.trainable, backbone=learner.graph.backbone, rules_of_rates=optim.rules,
      layer_decay=settings.layer_decay, schedule=schedule, options=options)
    active = objectives.build(_objectives(settings))
    self.begin, self.target, shardings = supervised.abstract(learner, optimizer, active)
    self.step = supervised.supervised_step(
      learner, optimizer, active, settings=settings, seed=config.seed, schedule=schedule, shardings=shardings)

  def fit(
    self, split: Subset, labels: np.ndarray, folder: pathlib.Path, *, factor: float = 1.0, end: int | None = None,
    score: Callable[[Tuned, Callable[[], None]], float] | None = None,
  ) -> Fitted:
    """Trains on `split`, whose rows have the class numbers `labels`, to step `end` (default: the schedule's), from the
    learner's weights or from where a run in `folder` stood.

    `score` is that of `Validation`: the best weights are returned, the earliest among equals, else the last. Raises
    `Stopped` where a signal asks for it, with all that was learnt in `folder`, and what `loop.run` raises.
    """
    end = self.settings.steps if end is None else end
    folder.mkdir(parents=True, exist_ok=True)
    training = FineTuning(
      fitter=self, split=split, labels=labels, factor=factor, meta=self._meta(split, factor, end),
      evaluators=[] if score is None else [
        Validation(score=score, every=self.settings.validate_every, last=end, first=int(not self.begins_solved))],
      limits=loop.Limits(end=end, stop=end, log_every=self.settings.log_every, save_every=self.settings.validate_every,
                         keep=2, keep_every=0,  # two: where the newest is damaged, there is one to go back to
                         on_damage=self.settings.on_damage, watchdog=self.settings.watchdog,
                         watchdog_stops=self.settings.watchdog_stops))
    ended = loop.run(training, folder)
    if ended.stopped or not ended.complete:
      raise Stopped(ended.stopped)
    best, state = training.best(ended.evaluations), ended.state
    if best == 0:
      state = self.begin()
    elif best not in (None, ended.step):
      with checkpoints.Checkpoints(folder, keep=1) as saved:
        state = saved.restore(best, self.target)
    scores = {line["step"]: line.get("validation") for line in ended.evaluations}
    return Fitted(trainable=state["params"], stats=state["stats"], step=ended.step if best is None else best,
                  factor=factor, score=scores.get(best), curve=_curve(folder))

  @property
  def begins_solved(self) -> bool:
    """Whether the head begins as a solution, which training may not be able to better."""
    return self.settings.reads == "discriminant"

  def _meta(self, split: Subset, factor: float, end: int) -> dict:
    values = {key: self.config[key] for key in _KEYS} | {"fine_tune": self.settings.to_dict()}
    values |= {"checkpoint": self.identity, "factor": factor, "end": end}
    return checkpoints.new_meta(ConfigDict(values), {split.name: split.manifest["content_hash"]}, {})


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FineTuning:
  """A `loop.Training`: one run of a `Fitter`."""

  fitter: Fitter
  split: Subset
  labels: np.ndarray
  factor: float
  evaluators: list[Validation]
  meta: dict
  limits: loop.Limits

  evaluations_may_fail = False  # they choose what is returned
  section = "config.fine_tune"

  @property
  def settings(self):
    return self.fitter.settings

  @property
  def mesh(self):
    return self.fitter.learner.mesh

  @property
  def target(self):
    return self.fitter.target

  @property
  def clips(self) -> int:
    return self.settings.subjects * self.settings.per_subject

  def begin(self):
    return self.fitter.begin()

  def step(self, state, batch, number):
    return self.fitter.step(state, batch, number, self.fitter.learner.frozen, np.float32(self.factor))

  def batches(self, start: int, stop: int):
    settings = self.settings
    stream = batches(
      [self.split], seed=self.fitter.config.seed, batch_size=self.clips, clips=1, clip_frames=settings.clip_frames,
      window_frames=settings.window_frames, factors=(1.0,), exponent=1.0, mix=settings.mix, start=start, stop=stop,
      process_index=jax.process_index(), process_count=jax.process_count(), threads=settings.threads,
      workers=settings.workers, prefetch=settings.prefetch, per_subject=settings.per_subject, key="config.fine_tune")
    return self._labelled(stream)

  def _labelled(self, stream):
    with contextlib.closing(stream):
      for batch in stream:
        yield batch | {"label": self.labels[batch["index"]].astype(np.int32)}

  def blank(self) -> dict[str, np.ndarray]:
    share, clip = self.clips // jax.process_count(), (1, self.settings.clip_frames)
    channels = self.fitter.learner.config.model.channels
    return {
      "frames": np.zeros((share, *clip, HEIGHT, WIDTHS[0], channels), np.uint8), "valid": np.ones((share, *clip), bool),
      "label": np.zeros(share, np.int32),
    }

  def sequences(self, host_batch: dict) -> list[str]:
    return [f"{self.split.name}/{self.split.keys[row]}" for row in host_batch["index"]]

  def network(self, state, step: int) -> Tuned:
    del step
    return Tuned(learner=self.fitter.learner, trainable=state["params"], stats=state["stats"])

  def close(self, state, saved: checkpoints.Checkpoints, asked: Stop, display: Display) -> bool:
    return False

  def is_whole(self, state) -> bool:
    return True

  def best(self, evaluations: list[dict]) -> int | None:
    """The earliest step of the highest score, None before the first."""
    scored = [line for line in evaluations if line.get("validation") is not None]  # a file of lines can lose any
    return max(scored, key=lambda line: line["validation"])["step"] if scored else None

  def remarks(self, evaluations: list[dict]) -> list[str]:
    return []

  def has_enough(self, evaluations: list[dict]) -> bool:
    """Whether `patience` validations have come since the best one."""
    best = self.best(evaluations)
    worse = sum(line["step"] > best for line in evaluations) if best is not None else 0
    return 0 < self.settings.patience <= worse

  def opening(self, state) -> list[str]:
    settings, learner = self.settings, self.fitter.learner
    people = len(np.unique(self.split.subjects))
    return [
      f"fine-tuning {settings.target} by method {settings.method}, at {self.factor:g} x the rates:"
      f" {count_parameters(learner.trainable):,} parameters learn, {count_parameters(learner.frozen):,} stay",
      f"data        {self.split.name}: {len(self.split):,} walks of {people:,} people",
      f"batch       {self.clips} walks x {settings.clip_frames} frames",
    ]

  def advice(self, saved: checkpoints.Checkpoints) -> str:
    return (f"start anew, with another --out or without {saved.folder.parent}, at a lower"
            " config.fine_tune.optim.peak_rate.")


def _curve(folder: pathlib.Path) -> list[dict]:
  """What a run has logged about learning, one line a step."""
  lines: dict[int, dict] = {}
  for line in (line for line in read_lines(folder) if line["kind"] in ("train", "evaluate")):
    values: dict[str, Any] = {name: value for name, value in line.items() if name not in ("kind", *MACHINE)}
    lines.setdefault(line["step"], {}).update(values)
  return [lines[step] for step in sorted(lines)]


def _objectives(settings) -> dict:
  """The sections of objectives that apply to the target."""
  return {name: section for name, section in settings.objectives.items()
          if settings.target == "subject" or not objectives.OBJECTIVES[name].identities}


def check_settings(config, pretrained: ConfigDict, mesh) -> None:
  """Raises `ConfigError` for values of `config.fine_tune` that cannot work together, or with the configuration
  `pretrained` of the network's run."""
  settings = config.fine_tune
  asked = f"config.fine_tune.subjects={settings.subjects} x per_subject={settings.per_subject}"
  needs = [
    (min(settings.subjects, settings.per_subject) > 0, f"{asked} must both be at least 1"),
    (min(settings.steps, settings.validate_every, settings.log_every) > 0,
     "config.fine_tune.steps, validate_every and log_every must be at least 1"),
    (settings.reads != "discriminant" or settings.target == "subject",
     f"config.fine_tune.reads=discriminant tells people apart; for target={settings.target!r} set it to projection or"
     " pooled"),
    (settings.prior >= 0, f"config.fine_tune.prior={settings.prior} must be 0 or more"),
    (settings.features > 0, f"config.fine_tune.features={settings.features} must be at least 1"),
    (min(settings.prompt_tokens, settings.prompt_pixels) >= 0,
     f"config.fine_tune.prompt_tokens={settings.prompt_tokens} and prompt_pixels={settings.prompt_pixels} must be 0 or"
     " more"),
    (0 < settings.layer_decay <= 1, f"config.fine_tune.layer_decay={settings.layer_decay} must be above 0 and at most"
     " 1, which slows no layer"),
    *configuration.mishap_needs(settings, "config.fine_tune"),
    *configuration.schedule_needs(settings.optim, settings.steps, supervised.OPTIM, "config.fine_tune.steps"),
    *configuration.augment_needs(settings.augment, "config.fine_tune.augment"),
    (settings.patience >= 0, f"config.fine_tune.patience={settings.patience} must be 0 or more"),
    (len(settings.rates) > 0 and all(r > 0 for r in settings.rates),
     f"config.fine_tune.rates={tuple(settings.rates)} must hold factors above 0"),
    (len({f"{rate:g}" for rate in settings.rates}) == len(settings.rates),
     f"config.fine_tune.rates={tuple(settings.rates)} names one of them twice"),
    (len(settings.rates) == 1 or settings.validation_fraction > 0,
     f"config.fine_tune.rates={tuple(settings.rates)} are chosen from on validation identities;"
     " config.fine_tune.validation_fraction must be above 0"),
    (not settings.refit or settings.validation_fraction > 0,
     "config.fine_tune.refit=True trains on validation identities again; validation_fraction=0 keeps none back"),
    (settings.mix in ("per_subject", "per_batch"),
     f'config.fine_tune.mix is {settings.mix!r}; known: "per_subject", "per_batch"'),
    *configuration.pixel_needs(pretrained.model, settings.augment, "config.fine_tune.augment"),
    (settings.augment.width == pretrained.augment.width,
     f"config.fine_tune.augment.width={settings.augment.width}: the network was pretrained on"
     f" {pretrained.augment.width} columns"),
  ]
  require(needs)
  size = settings.subjects * settings.per_subject
  crops.check_batch(
    size, tuple(settings.crop_list) or (1,), asked=f"{asked} = {size}", crops_key="config.fine_tune.crop_list",
    devices=batch_divisor(mesh),
  )
  objectives.check(_objectives(settings), config, key="config.fine_tune.objectives")
