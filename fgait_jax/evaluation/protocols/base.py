"""What all protocols share: the checks of what came in, and the settings.

A protocol turns embeddings with labels, types (conditions) and views into a nested dict that goes to JSON as it is;
its keys are documented in docs/evaluation.md. Figures are percent.
"""

import abc
import collections
import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.metrics import statistics
from fgait_jax.evaluation.metrics.distances import BUDGET, check_metric

LARGEST = 1e15  # magnitude of an embedding's values, at most: their squares are summed in float32
NAMED = 20  # how many keys a message or a result names before it only counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a protocol is evaluated; `resamples` of subjects behind each interval, 0 gives none; `by_cell` as in
  `evaluate`; `rerank`: k1, k2 and weight where they are not the defaults (rerank.py)."""

  metric: str = "euclidean"
  resamples: int = 1000
  seed: int = 0
  budget_bytes: int = BUDGET
  by_cell: bool = False
  rerank: Mapping = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walks:
  """Checked rows: embeddings float32 [N, C, P], and str arrays [N]; `origin` names the file in messages.

  enrolled: embeddings [N, C, P] of the same walks where they stand in a gallery, if these are others.
  """

  embeddings: np.ndarray
  labels: np.ndarray
  types: np.ndarray
  views: np.ndarray
  origin: str
  enrolled: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, rows: np.ndarray) -> "Walks":
    """Some rows, by bool or integer index."""
    if rows.dtype == bool and rows.all():
      return self  # spares a copy of what may be gigabytes
    picked = {f: getattr(self, f)[rows] for f in ("embeddings", "labels", "types", "views")}
    return Walks(**picked, origin=self.origin, enrolled=None if self.enrolled is None else self.enrolled[rows])

  def in_gallery(self, rows: np.ndarray) -> np.ndarray:
    """Embeddings of some rows as a gallery has them."""
    return (self.embeddings if self.enrolled is None else self.enrolled)[rows]

  def keys(self) -> np.ndarray:
    """`label-type-view` of every row, as the public identity lists write it."""
    return np.array([f"{a}-{b}-{c}" for a, b, c in zip(self.labels, self.types, self.views, strict=True)], dtype=str)

  def matching(self, pattern: str) -> np.ndarray:
    """Bool [N]: the type matches `pattern` from end to end."""
    return matching(self.types, pattern)


def matching(names: np.ndarray, pattern: str) -> np.ndarray:
  """Bool [N]: which of `names` match `pattern` from end to end."""
  different, place = np.unique(names, return_inverse=True)
  return np.array([re.fullmatch(pattern, n) is not None for n in different], bool)[place]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol(abc.ABC):
  """One way of scoring. `wants` says in words which types and views it needs; `source` who defined it."""

  name: str
  title: str
  source: str
  wants: str

  def evaluate(
    self,
    embeddings: np.ndarray,
    labels: np.ndarray,
    types: np.ndarray,
    views: np.ndarray,
    *,
    metric: str = "euclidean",
    bootstrap: int = 1000,
    seed: int = 0,
    subjects: tuple[str, ...] | None = None,
    enrolled: np.ndarray | None = None,
    rerank: Mapping | None = None,
    budget_bytes: int = BUDGET,
    by_cell: bool = False,
    origin: str = "embeddings",
  ) -> dict:
    """Scores embeddings [N, C, P] with labels, types and views [N]; the result is documented in docs/evaluation.md.

    subjects: score only these labels. enrolled: embeddings [N, C, P] of the same walks where they stand in a gallery,
    if these are others (one side is corrupted, say). rerank: k1, k2 and weight of protocols that re-rank.
    budget_bytes: device memory the ranking may take. by_cell: each condition also has `by_cell`: `subjects` [s], and
    their rank-1 `hits` and `trials` [s, rows, v] in the cells that its rank-1 is the `statistics.mean_of_cells` of.
    origin: file named in errors.
    Raises DataError on input the protocol cannot use and ConfigError on an unknown metric or negative bootstrap.
    """
    if bootstrap < 0:
      raise ConfigError(f"config.bootstrap={bootstrap} must be 0 or more; 0 gives no intervals")
    walks = check(embeddings, labels, types, views, origin=origin)
    if enrolled is not None:
      other = check(enrolled, labels, types, views, origin=origin).embeddings
      walks = dataclasses.replace(walks, enrolled=other)
    if (nameless := walks.labels == "").any():
      raise DataError(f"{origin}: {nameless.sum()} of {len(walks)} labels are empty, the first in row"
                      f" {nameless.argmax()}; label every walk, or leave those without a subject out")
    if subjects is not None:
      walks = walks.take(np.isin(walks.labels, np.asarray(subjects, str)))
      if not len(walks):
        raise DataError(f"{origin}: none of the {len(subjects)} subjects asked for is among its labels")
    settings = Settings(metric=check_metric(metric), resamples=bootstrap, seed=seed, budget_bytes=budget_bytes,
                        by_cell=by_cell, rerank=rerank or {})
    result = {
      "protocol": self.name,
      "title": self.title,
      "source": self.source,
      "metric": metric,
      "sequences": len(walks),
      "subjects": len(np.unique(walks.labels)),
      "bootstrap": {"resamples": bootstrap, "level": statistics.LEVEL, "over": "probe subjects", "seed": seed},
    }
    return plain(result | self._evaluate(walks, settings) | {"embeddings": self._health(walks, seed)})

  def trials(self, walks: Walks) -> list:
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
    return statistics.health(walks.embeddings, seed=seed) | {
      "channels": walks.embeddings.shape[1],
      "parts": walks.embeddings.shape[2],
    }

  def refuse(self, walks: Walks, what: str) -> DataError:
    """An error that says what the protocol wants and what came."""
    return DataError(f"{walks.origin}: {what}. Protocol {self.name} wants {self.wants}; {describe(walks)}")


def describe(walks: Walks) -> str:
  """What came, in a line."""
  types, views = (collections.Counter(column.tolist()) for column in (walks.types, walks.views))
  return f"came: {len(walks)} sequences, types {_some(types)}, views {_some(views)}"


def _some(counter) -> str:
  names = sorted(counter)
  return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def check(embeddings, labels, types, views, *, origin: str) -> Walks:
  """Rows that can be scored: embeddings [N, C, P] (or [N, C], one part) and text labels, types and views [N].

  Raises DataError on wrong shapes, dtypes, NaN, values too large to be squared, or embeddings that are all the same.
  """
  embeddings = np.asarray(embeddings)
  if embeddings.ndim == 2:
    embeddings = embeddings[:, :, None]
  if embeddings.ndim != 3 or not all(embeddings.shape):
    raise DataError(f"{origin}: embeddings have shape {embeddings.shape}; wanted [sequences, channels, parts], or"
                    " [sequences, channels] of one part, and none of these 0")
  if embeddings.dtype.kind != "f":
    raise DataError(f"{origin}: embeddings are {embeddings.dtype}; wanted floating point")
  columns = {}
  for name, column in (("labels", labels), ("types", types), ("views", views)):
    column = np.asarray(column)
    if column.shape != embeddings.shape[:1]:
      raise DataError(f"{origin}: {name} have shape {column.shape}; wanted one for each of {len(embeddings)} rows")
    if column.dtype.kind not in "UO" or any(not isinstance(x, str) for x in column.tolist()):
      raise DataError(f"{origin}: {name} are {column.dtype}; wanted text, as the data set writes them")
    columns[name] = column.astype(str)
  with np.errstate(over="ignore"):
    embeddings = embeddings.astype(np.float32, copy=False)
  walks = Walks(embeddings=embeddings, origin=origin, **columns)
  if not max(embeddings.max(), -embeddings.min()) <= LARGEST:  # of NaN too
    finite = np.isfinite(embeddings).all(axis=(1, 2))
    bad = ~finite if not finite.all() else np.abs(embeddings).max(axis=(1, 2)) > LARGEST
    what = f"larger than {LARGEST:g}; scale them down" if finite.all() else "not finite"
    named = ", ".join(walks.take(bad).keys()[:NAMED])
    raise DataError(f"{origin}: {bad.sum()} of {len(bad)} embeddings are {what}: {named}")
  if len(embeddings) > 1 and (embeddings[0] == embeddings[-1]).all() and (embeddings == embeddings[:1]).all():
    raise DataError(f"{origin}: all {len(embeddings)} embeddings are the same; the network behind them has collapsed")
  return walks


def plain(value):
  """`value` as JSON takes it: Python numbers and lists; not-a-number becomes null."""
  if isinstance(value, dict):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [plain(v) for v in value]
  if isinstance(value, np.ndarray):
    return plain(value.tolist())
  if isinstance(value, np.generic):
    return plain(value.item())
  if isinstance(value, float) and not np.isfinite(value):
    return None
  return value
