"""The figures of one trial, from the ranking of its probes: rank-k, mAP, mINP, AUC, their intervals, hubs."""

import numpy as np

from fgait_jax.evaluation.labels import NAMED
from fgait_jax.evaluation.metrics import statistics, verification
from fgait_jax.evaluation.metrics.retrieval import Ranking
from fgait_jax.evaluation.protocols.base import Settings

RANKS = (1, 5, 10, 20)
MEASURES = (*(f"rank{k}" for k in RANKS), "map", "minp")
CMC_LENGTH = 20
# What an official evaluator makes of a probe without a mate: an error, left out, or an error of ranks that no average
# precision counts. Value: the reading of ranks, and of mAP and mINP.
READINGS = {"error": ("error", "error"), "excluded": ("excluded", "excluded"),
            "error, excluded from mAP": ("error", "excluded")}


def figures(ranking: Ranking, *, subjects: np.ndarray, names: np.ndarray, gallery_subjects: np.ndarray,
            rows: np.ndarray, allowed: np.ndarray, reading: str, settings: Settings) -> dict:
  """Keys of a condition in docs/results.md, and `cells`, rank-1 percent of every cell [rows, v].

  subjects, names [n]; rows int [n]: the row of cells (probe camera) of each probe; allowed bool [rows, v]: cells that
  count, in the mean and among nearest neighbours. reading: one of `READINGS`.
  """
  counted = allowed[rows] & (ranking.sizes > 0)  # [n, v]
  values = np.stack([ranking.hits(k) for k in RANKS] + [ranking.precision, ranking.inp], axis=-1).astype(np.float32)
  chance = ranking.mates / np.maximum(ranking.sizes, 1)
  curve = np.stack([ranking.hits(k) for k in range(1, CMC_LENGTH + 1)] + [chance], axis=-1).astype(np.float32)
  people, subject = np.unique(subjects, return_inverse=True)
  shape = {"subject": subject, "row": rows, "subjects": len(people), "rows": len(allowed)}
  by_ranks, by_precision = READINGS[reading]
  chosen = np.array([by_ranks] * len(RANKS) + [by_precision] * 2)
  resampling = settings.resamples and len(people) > 1
  by_reading, result, own, intervals = {}, {}, {}, {}
  for kind in ("error", "excluded"):
    weight = (counted & ((ranking.mates > 0) | (kind == "error"))).astype(np.float32)[..., None]
    sums, counts = (statistics.cell_sums(x, **shape) for x in (values * weight, weight))
    means = 100 * statistics.mean_of_cells(sums.sum(0), counts.sum(0), allowed)
    by_reading[kind] = dict(zip(MEASURES, means, strict=True))
    taken = np.flatnonzero(chosen == kind)
    if not len(taken):
      continue
    result |= {MEASURES[n]: means[n] for n in taken}
    own |= _by_subject(sums, counts, taken)
    if resampling:
      samples = 100 * statistics.bootstrap_cells(sums, counts, allowed, resamples=settings.resamples,
                                                 seed=settings.seed)
      intervals |= {MEASURES[n]: statistics.interval(samples[:, n]) for n in taken}
    if kind == by_ranks:
      total = statistics.cell_sums(curve * weight, **shape).sum(0)
      *steps, chance_rank1 = 100 * statistics.mean_of_cells(total, counts.sum(0), allowed)
      result |= {"chance_rank1": chance_rank1, "cmc": steps}
      if settings.by_cell:
        hits, trials = (x[..., 0] * allowed for x in (sums, counts))
        result["by_cell"] = {"subjects": people, "hits": hits, "trials": trials}
      result["cells"] = _cells(ranking, values[..., :1], shape=shape, reading=kind)
  mated = (counted & (ranking.mates > 0)).sum(1)
  nowhere = mated == 0
  lacking = nowhere | (mated < counted.sum(1))
  verified = _verified(ranking.pairs, subject, resamples=settings.resamples if resampling else 0, seed=settings.seed)
  return result | verified | {
    "by_subject": {"subjects": people, **own},
    "ci": intervals | verified["ci"],
    "probes": len(subjects), "probe_subjects": len(people), "gallery": len(gallery_subjects),
    "gallery_subjects": len(np.unique(gallery_subjects)),
    "without_mate": int(nowhere.sum()), "without_mate_probes": names[nowhere][:NAMED],
    "without_mate_somewhere": int(lacking.sum()), "reading": reading, "readings": by_reading,
    "hubness": statistics.hubness(ranking.nearest[allowed[rows]], gallery_labels=gallery_subjects),
  }


def _by_subject(sums: np.ndarray, counts: np.ndarray, taken: np.ndarray) -> dict:
  """Each subject's rank-1 over its `trials` and mAP over its `map_trials`, those of the measures `taken`."""
  trials = counts.sum((1, 2, 3))
  with np.errstate(invalid="ignore", divide="ignore"):
    share = 100 * sums.sum((1, 2), dtype=np.float64) / trials[:, None]
  found = {}
  for name, key in (("rank1", "trials"), ("map", "map_trials")):
    if (place := MEASURES.index(name)) in taken:
      found |= {name: share[:, place], key: trials}
  return found


def _cells(ranking, hits, *, shape, reading) -> np.ndarray:
  """Rank-1 percent of every cell [rows, v], those that do not count in the average too; nan where a cell is empty."""
  weight = ((ranking.sizes > 0) & ((ranking.mates > 0) | (reading == "error"))).astype(np.float32)[..., None]
  sums, counts = (statistics.cell_sums(x, **shape).sum(0)[..., 0] for x in (hits * weight, weight))
  with np.errstate(invalid="ignore", divide="ignore"):
    return 100 * sums / counts


def _verified(pairs: np.ndarray, subject: np.ndarray, *, resamples: int, seed: int) -> dict:
  """`auc`, `eer`, their intervals and the pairs they rest on; pairs [n, 2, bins] of probes, subject int [n]."""
  order = np.argsort(subject, kind="stable")
  starts = np.flatnonzero(np.r_[True, np.diff(subject[order]) > 0])
  counts = np.add.reduceat(pairs[order], starts, axis=0, dtype=np.int64)
  found, intervals = verification.of_counts(counts.sum(0)), {}
  if resamples and np.isfinite(found.auc):
    samples = 100 * verification.bootstrap(counts, resamples=resamples, seed=seed)
    intervals = {"auc": statistics.interval(samples[:, 0]), "eer": statistics.interval(samples[:, 1])}
  return {"auc": 100 * found.auc, "eer": 100 * found.eer, "ci": intervals,
          "pairs": {"used": int(counts.sum()), "genuine": int(counts[:, 1].sum())}}


def mean_of(conditions: dict[str, dict]) -> dict:
  """Mean of each figure over conditions."""
  keys = (*MEASURES, "auc", "eer", "chance_rank1")
  return {k: float(np.mean([c[k] for c in conditions.values()])) for k in keys}
