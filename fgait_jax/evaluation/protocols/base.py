"""What all protocols share: the checks of what came in, and the settings.

A protocol turns embeddings with subjects, conditions and views into a nested dict that goes to JSON as it is; its keys
are documented in docs/results.md. Figures are per cent.
"""

import abc
import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.labels import Features, Labels, features_of
from fgait_jax.evaluation.metrics import statistics
from fgait_jax.evaluation.metrics.distances import BUDGET, check_metric
from fgait_jax.evaluation.plain import plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a protocol is evaluated; `resamples` of subjects behind each interval, 0 gives none; `by_cell` as in `score`;
  `rerank`: k1, k2 and weight where they are not the defaults (rerank.py)."""

  metric: str = "euclidean"
  resamples: int = 1000
  seed: int = 0
  budget_bytes: int = BUDGET
  by_cell: bool = False
  rerank: Mapping = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walks(Features):
  """Features that are scored. `enrolled`: embeddings [N, C, P] of the same walks where they stand in a gallery, if
  these are others."""

  enrolled: np.ndarray | None = None

  def in_gallery(self, rows: np.ndarray) -> np.ndarray:
    """Embeddings of some rows as a gallery has them."""
    return (self.embeddings if self.enrolled is None else self.enrolled)[rows]


def matching(names: np.ndarray, pattern: str) -> np.ndarray:
  """Bool [N]: which of `names` match `pattern` from end to end."""
  different, place = np.unique(names, return_inverse=True)
  return np.array([re.fullmatch(pattern, n) is not None for n in different], bool)[place]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol(abc.ABC):
  """One way of scoring. `wants` says in words which types and views it needs; `source` who defined it; `published`,
  figures of others under it with their source, if there are any, is a note beside ours."""

  name: str
  title: str
  source: str
  wants: str
  published: str = ""

  def evaluate(self, embeddings: np.ndarray, labels: np.ndarray, types: np.ndarray, views: np.ndarray, *,
               subjects: tuple[str, ...] | None = None, origin: str = "embeddings", **options) -> dict:
    """`score` of arrays that any tool made, in OpenGait's names: embeddings [N, C, P], labels, types and views [N].

    subjects: score only these labels. origin: file named in errors. options: those of `score`. Raises what `score`
    does, and `DataError` on arrays that are no embeddings or no text.
    """
    found = features_of(embeddings, labels, types, views, origin=origin)
    if subjects is not None:
      kept = np.isin(found.subjects, np.asarray(subjects, str))
      if not kept.any():
        raise DataError(f"{origin}: none of the {len(subjects)} subjects asked for is among its labels")
      found = found.take(kept)
    return self.score(found, **options)

  def score(self, found: Features, *, gallery: Features | None = None, metric: str = "euclidean",
            bootstrap: int = 1000, seed: int = 0, rerank: Mapping | None = None, budget_bytes: int = BUDGET,
            by_cell: bool = False) -> dict:
    """Scores `found`; the result is documented in docs/results.md.

    gallery: the same walks as they stand in a gallery, if these are others (one side is corrupted, say). rerank: k1,
    k2 and weight of protocols that re-rank. budget_bytes: device memory the ranking may take. by_cell: each condition
    also has `by_cell`: `subjects` [s], and their rank-1 `hits` and `trials` [s, rows, v] in the cells that its rank-1
    is the `statistics.mean_of_cells` of.
    Raises DataError on input the protocol cannot use and ConfigError on an unknown metric or too few resamples.
    """
    statistics.check_resamples(bootstrap)
    for side in (found, gallery) if gallery is not None else (found,):
      side.check()
    if (nameless := found.subjects == "").any():
      raise DataError(f"{found.origin}: {nameless.sum()} of {len(found)} labels are empty, the first in row"
                      f" {nameless.argmax()}; label every walk, or leave those without a subject out")
    walks = Walks(**vars(found), enrolled=None if gallery is None else gallery.embeddings)
    settings = Settings(metric=check_metric(metric), resamples=bootstrap, seed=seed, budget_bytes=budget_bytes,
                        by_cell=by_cell, rerank=rerank or {})
    result = {
      "protocol": self.name, "title": self.title, "source": self.source, "metric": metric,
      "sequences": len(walks), "subjects": len(np.unique(walks.subjects)),
      "bootstrap": {"resamples": bootstrap, "level": statistics.LEVEL, "over": "probe subjects", "seed": seed},
    }
    return plain(result | self._evaluate(walks, settings) | {"embeddings": self._health(walks, seed)})

  def trials(self, walks: Labels) -> list:
    """Its comparisons (trials.Trial), some of which may have no probes or no gallery. Raises `DataError` on types or
    views it does not know, and `ConfigError` where the protocol scores classes."""
    raise ConfigError(f"config.protocol={self.name} scores classes and has no gallery; name a retrieval protocol")

  def cameras(self, views: np.ndarray) -> np.ndarray:
    """The camera of each view, str [N]: walks of one camera are of "identical views"."""
    return views

  @abc.abstractmethod
  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    """The protocol's own keys."""

  def _health(self, walks: Walks, seed: int) -> dict:
    _, channels, parts = walks.embeddings.shape
    return statistics.health(walks.embeddings, seed=seed) | {"channels": channels, "parts": parts}

  def refuse(self, walks: Labels, what: str) -> DataError:
    """An error that says what the protocol wants and what came."""
    return DataError(f"{walks.origin}: {what}. Protocol {self.name} wants {self.wants}; {walks.came()}")
