"""Evaluations while training goes on: the figures that a checkpoint of this step would have, and signs of collapse.

On a subset of whole subjects, embedded anew each time and never kept. No baselines, intervals or pictures:
`run_eval.py` has them.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from fgait_jax.data.source import open_split
from fgait_jax.data.subset import rows_of_whole_subjects
from fgait_jax.errors import ConfigError, DataError, require
from fgait_jax.evaluation import protocols
from fgait_jax.evaluation.features import extraction
from fgait_jax.evaluation.labels import Labels
from fgait_jax.evaluation.metrics.distances import check_metric
from fgait_jax.evaluation.protocols.base import Protocol
from fgait_jax.evaluation.protocols.trials import trials_of
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.pretraining import check_frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShot:
  """Retrieval among the walks `rows` of `split`, at step 0, every `every` steps and at the `last`."""

  name: str
  split: object
  rows: np.ndarray
  protocol: Protocol
  every: int
  last: int
  max_frames: int
  batch_frames: int
  metric: str
  mirror: tuple[str, ...]

  def due(self, step: int) -> bool:
    return step % self.every == 0 or step == self.last

  def run(self, pretrained: Pretrained, step: int, between: Callable[[], None]) -> dict[str, float]:
    """Rank-1 and verification AUC of each condition in per cent, effective rank and mean cosine of the embeddings.
    `between` is called between batches, and may raise."""
    del step
    found = extraction.extract_by(
      pretrained, self.split, embedding=pretrained.embedding, max_frames=self.max_frames,
      batch_frames=self.batch_frames, mirror=self.mirror, rows=self.rows, between=between)
    scored = self.protocol.score(found, metric=self.metric, bootstrap=0)
    conditions = scored["conditions"] | {"mean": scored["summary"]}
    values = {f"{name}/{key}": figures[key] for name, figures in conditions.items() for key in ("rank1", "auc")}
    values |= {key: scored["embeddings"][key] for key in ("effective_rank", "mean_cosine")}
    return {f"{self.name}/{key}": float("nan") if value is None else float(value) for key, value in values.items()}


def zero_shot(name: str, config) -> ZeroShot:
  """The evaluator that `config.evals[name]` asks for."""
  settings, key = config.evals[name], f"config.evals.{name}"
  require([
    (settings.max_sequences >= 0, f"{key}.max_sequences={settings.max_sequences} must be 0 or more"),
    *((settings[name] > 0, f"{key}.{name}={settings[name]} must be at least 1")
      for name in ("max_frames", "batch_frames")),
  ])
  protocol = protocols.get(settings.protocol, f"{key}.protocol")
  check_metric(settings.metric, f"{key}.metric")
  try:
    split = open_split(config.data.dir, settings.dataset, settings.split)
  except DataError as error:
    raise DataError(f"{error} (asked for by {key}.dataset, to evaluate while training; name others with"
                    f" --config.evals=NAME,NAME,... or set {key}.every=0)") from error
  check_frames([split], config.model)
  rows = rows_of_whole_subjects(split.subjects, settings.max_sequences)
  trials_of(protocol, Labels.of(split, rows))
  return ZeroShot(
    name=name, split=split, rows=rows, protocol=protocol, every=settings.every, last=config.train.steps,
    max_frames=settings.max_frames, batch_frames=settings.batch_frames, metric=settings.metric,
    mirror=tuple(settings.mirror_views))


# What training can do between its steps: each makes the evaluator of an entry of config.evals from (name, config).
TASKS = {"zero_shot": zero_shot}


def evaluators(config) -> list:
  """Those of `config.evals` whose `every` is not 0, in the order of their names.

  Raises `DataError` where a data set is not built, and `ConfigError` where the protocol does not fit it or the task
  is not of `TASKS`: before training.
  """
  for name, settings in config.evals.items():
    if settings.task not in TASKS:
      raise ConfigError(f"config.evals.{name}.task={settings.task!r} cannot be done while training goes on, only"
                        f" {', '.join(TASKS)}; run_eval.py does it with a checkpoint")
    if settings.every < 0:
      raise ConfigError(f"config.evals.{name}.every={settings.every} must be 0 or more")
  return [TASKS[settings.task](name, config) for name, settings in config.evals.items() if settings.every]
