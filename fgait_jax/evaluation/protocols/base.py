"""What all protocols share: the checks of what came in, the settings, and the figures of one condition.

A protocol turns embeddings with labels, types (conditions) and views into a nested dict that goes to JSON as it is;
its keys are documented in docs/evaluation.md. Figures are percent.
"""

import abc
import collections
import dataclasses
import re

import numpy as np

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import retrieval, statistics
from fgait_jax.evaluation.distances import BUDGET, check_metric, pairwise

RANKS = (1, 5, 10, 20)
MEASURES = (*(f"rank{k}" for k in RANKS), "map", "minp")
CMC_LENGTH = 20
VERIFICATION_PAIRS = 500_000  # probe-gallery pairs behind AUC and EER, at most; subjects are drawn, seeded, beyond it
LARGEST = 1e15  # magnitude of an embedding's values, at most: their squares are summed in float32
NAMED = 20  # how many keys a message or a result names before it only counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a protocol is evaluated; `resamples` of subjects behind each interval, 0 gives none; `by_cell` adds each
  subject's outcomes in every cell."""

  metric: str = "euclidean"
  resamples: int = 1000
  seed: int = 0
  budget_bytes: int = BUDGET
  by_cell: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walks:
  """Checked rows: embeddings float32 [N, C, P], and str arrays [N]; `origin` names the file in messages."""

  embeddings: np.ndarray
  labels: np.ndarray
  types: np.ndarray
  views: np.ndarray
  origin: str

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, rows: np.ndarray) -> "Walks":
    """Some rows, by bool or integer index."""
    if rows.dtype == bool and rows.all():
      return self  # spares a copy of what may be gigabytes
    picked = {f: getattr(self, f)[rows] for f in ("embeddings", "labels", "types", "views")}
    return Walks(**picked, origin=self.origin)

  def keys(self) -> np.ndarray:
    """`label-type-view` of every row, as the public identity lists write it."""
    return np.array([f"{a}-{b}-{c}" for a, b, c in zip(self.labels, self.types, self.views, strict=True)], dtype=str)

  def matching(self, pattern: str) -> np.ndarray:
    """Bool [N]: the type matches `pattern` from end to end."""
    names, place = np.unique(self.types, return_inverse=True)
    return np.array([re.fullmatch(pattern, n) is not None for n in names], bool)[place]


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
    budget_bytes: int = BUDGET,
    by_cell: bool = False,
    origin: str = "embeddings",
  ) -> dict:
    """Scores embeddings [N, C, P] with labels, types and views [N]; the result is documented in docs/evaluation.md.

    subjects: score only these labels. budget_bytes: device memory the ranking may take. by_cell: each
    condition also has `by_cell`: `subjects` [s], and their rank-1 `hits` and `trials` [s, rows, v] in the cells that
    its figures are averages over, which `statistics.mean_of_cells` makes of them. origin: file named in errors.
    Raises DataError on input the protocol cannot use and ConfigError on an unknown metric or negative bootstrap.
    """
    if bootstrap < 0:
      raise ConfigError(f"config.bootstrap={bootstrap} must be 0 or more; 0 gives no intervals")
    walks = check(embeddings, labels, types, views, origin=origin)
    if (nameless := walks.labels == "").any():
      raise DataError(f"{origin}: {nameless.sum()} of {len(walks)} labels are empty, the first in row"
                      f" {nameless.argmax()}; label every walk, or leave those without a subject out")
    if subjects is not None:
      walks = walks.take(np.isin(walks.labels, np.asarray(subjects, str)))
      if not len(walks):
        raise DataError(f"{origin}: none of the {len(subjects)} subjects asked for is among its labels")
    settings = Settings(metric=check_metric(metric), resamples=bootstrap, seed=seed, budget_bytes=budget_bytes,
                        by_cell=by_cell)
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

  def roles(self, walks: Walks) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Bool rows of the gallery, and of each condition's probes. Raises `DataError` on types or views it does not know,
    and `ConfigError` where the protocol scores classes."""
    raise ConfigError(f"config.protocol={self.name} scores classes and has no gallery; name a retrieval protocol")

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


def figures(
  ranking: retrieval.Ranking,
  *,
  labels: np.ndarray,
  keys: np.ndarray,
  rows: np.ndarray,
  allowed: np.ndarray,
  reading: str,
  settings: Settings,
) -> dict:
  """The figures of one condition from the ranking of its probes.

  labels, keys [n]; rows int [n]: the row of cells (probe view) of each probe; allowed bool [rows, v]: cells that count.
  reading: "error" or "excluded", what the official evaluator makes of probes without a mate in a cell.
  """
  counted = allowed[rows] & (ranking.sizes > 0)  # [n, v]
  values = np.stack([ranking.hits(k) for k in RANKS] + [ranking.precision, ranking.inp], axis=-1).astype(np.float32)
  chance = ranking.mates / np.maximum(ranking.sizes, 1)
  curve = np.stack([ranking.hits(k) for k in range(1, CMC_LENGTH + 1)] + [chance], axis=-1).astype(np.float32)
  names, subject = np.unique(labels, return_inverse=True)
  shape = {"subject": subject, "row": rows, "subjects": len(names), "rows": len(allowed)}
  result, by_reading, resampled = {}, {}, None
  for kind in ("error", "excluded"):
    weight = (counted & ((ranking.mates > 0) | (kind == "error"))).astype(np.float32)[..., None]
    sums, counts = (statistics.cell_sums(x, **shape) for x in (values * weight, weight))
    means = 100 * statistics.mean_of_cells(sums.sum(0), counts.sum(0), allowed)
    by_reading[kind] = dict(zip(MEASURES, means, strict=True))
    if kind != reading:
      continue
    result |= by_reading[kind]
    total = statistics.cell_sums(curve * weight, **shape).sum(0)
    *steps, chance_rank1 = 100 * statistics.mean_of_cells(total, counts.sum(0), allowed)
    result |= {"chance_rank1": chance_rank1, "cmc": steps}
    result["cells"] = _cells(ranking, values[..., :1], shape=shape, reading=kind)
    with np.errstate(invalid="ignore", divide="ignore"):
      share = 100 * sums.sum((1, 2), dtype=np.float64) / counts.sum((1, 2), dtype=np.float64)
    chosen = {"rank1": share[:, 0], "map": share[:, MEASURES.index("map")]}
    result["by_subject"] = {"subjects": names, **chosen, "trials": counts.sum((1, 2, 3))}
    if settings.by_cell:
      result["by_cell"] = {"subjects": names, "hits": sums[..., 0] * allowed, "trials": counts[..., 0] * allowed}
    if settings.resamples and len(names) > 1:
      resampled = 100 * statistics.bootstrap_cells(
        sums, counts, allowed, resamples=settings.resamples, seed=settings.seed
      )
  mated = (counted & (ranking.mates > 0)).sum(1)
  nowhere, lacking = mated == 0, mated < counted.sum(1)
  return result | {
    "ci": {} if resampled is None else {m: statistics.interval(x) for m, x in zip(MEASURES, resampled.T, strict=True)},
    "probes": len(labels),
    "probe_subjects": len(names),
    "without_mate": int(nowhere.sum()),
    "without_mate_probes": keys[nowhere][:NAMED],
    "without_mate_somewhere": int(lacking.sum()),
    "reading": reading,
    "readings": by_reading,
  }


def _cells(ranking, hits, *, shape, reading) -> np.ndarray:
  """Rank-1 percent of every cell [rows, v], those that do not count in the average too; nan where a cell is empty."""
  weight = ((ranking.sizes > 0) & ((ranking.mates > 0) | (reading == "error"))).astype(np.float32)[..., None]
  sums, counts = (statistics.cell_sums(x, **shape).sum(0)[..., 0] for x in (hits * weight, weight))
  with np.errstate(invalid="ignore", divide="ignore"):
    return 100 * sums / counts


def verified(probe: Walks, gallery: Walks, *, keep, settings: Settings) -> dict:
  """`auc`, `eer`, their intervals and the pairs they rest on; `keep(probe, gallery)` says which pairs count, [n, m]."""
  labels = _drawn_subjects(probe.labels, gallery.labels, seed=settings.seed)
  subjects_of = len(np.union1d(probe.labels, gallery.labels))
  drawn, gallery = (side.take(np.isin(side.labels, labels)) for side in (probe, gallery))
  if not len(drawn) or not len(gallery):
    drawn_none = {"used": 0, "genuine": 0, "subjects": len(labels), "subjects_of": subjects_of}
    return {"auc": np.nan, "eer": np.nan, "pairs": drawn_none, "ci": {}}
  distances = pairwise(
    drawn.embeddings, gallery.embeddings, metric=settings.metric, budget_bytes=settings.budget_bytes
  )
  genuine, used = drawn.labels[:, None] == gallery.labels[None, :], keep(drawn, gallery)
  subject = np.broadcast_to(np.unique(drawn.labels, return_inverse=True)[1][:, None], used.shape)
  found = statistics.verification(distances[used], genuine[used])
  result = {"auc": 100 * found.auc, "eer": 100 * found.eer}
  pairs = {"used": int(used.sum()), "genuine": int(genuine[used].sum()), "subjects": len(labels)}
  pairs["subjects_of"] = subjects_of
  intervals = {}
  if settings.resamples and np.isfinite(found.auc) and subject.max() > 0:
    samples = 100 * statistics.bootstrap_verification(
      distances[used], genuine[used], subject=subject[used], resamples=settings.resamples, seed=settings.seed
    )
    intervals = {"auc": statistics.interval(samples[:, 0]), "eer": statistics.interval(samples[:, 1])}
  return result | {"pairs": pairs, "ci": intervals}


def _drawn_subjects(probe: np.ndarray, gallery: np.ndarray, *, seed: int) -> np.ndarray:
  """As many subjects, in drawn order, as keep the pairs of their sequences within `VERIFICATION_PAIRS` (2 at least)."""
  names, place = np.unique(np.concatenate([probe, gallery]), return_inverse=True)
  order = np.random.default_rng((seed, 2)).permutation(len(names))
  counts = [np.bincount(side, minlength=len(names))[order] for side in (place[: len(probe)], place[len(probe) :])]
  pairs = np.cumsum(counts[0]) * np.cumsum(counts[1])
  return names[order[: max(2, np.searchsorted(pairs, VERIFICATION_PAIRS, side="right"))]]


def merged(first: dict, second: dict) -> dict:
  """Both dicts, their intervals joined."""
  return first | second | {"ci": first["ci"] | second["ci"]}


def mean_of(conditions: dict[str, dict]) -> dict:
  """Mean of each figure over conditions."""
  keys = (*MEASURES, "auc", "eer", "chance_rank1")
  return {k: float(np.mean([c[k] for c in conditions.values()])) for k in keys}


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
