"""The paired test of one system against another, over the subjects of their probes.

Result files keep each probe subject's mean outcome and number of trials. The test draws and swaps whole subjects, so
these hold all that single probes would say.
"""

import dataclasses

import numpy as np

from fgait_jax.errors import DataError
from fgait_jax.evaluation.metrics import statistics


class TooFew(DataError):
  """The probes are the same, of too few people."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BySubject:
  """Of each of `subjects`: outcomes in per cent over its `trials` (mAP: over its `map_trials`); lists of one length."""

  subjects: list[str]
  trials: list[float]
  rank1: list[float | None] | None = None
  map: list[float | None] | None = None
  map_trials: list[float] | None = None
  accuracy: list[float | None] | None = None

  def __post_init__(self):
    lengths = {f.name: len(v) for f in dataclasses.fields(self) if (v := getattr(self, f.name)) is not None}
    if len(set(lengths.values())) > 1:
      raise ValueError(f"by_subject has columns of different lengths: {lengths}")

  def sums(self, key: str) -> tuple[dict[str, float], dict[str, float]] | None:
    """Subject -> outcome `key` times trials, and -> trials, of the subjects that have one; None without outcomes."""
    outcomes = getattr(self, key, None)
    if outcomes is None:
      return None
    trials = self.map_trials if key == "map" and self.map_trials is not None else self.trials
    rows = [row for row in zip(self.subjects, outcomes, trials, strict=True) if row[1] is not None]
    return {name: value * count for name, value, count in rows}, {name: count for name, _, count in rows}


def tested(first: BySubject, second: BySubject, key: str, *, resamples: int, seed: int) -> dict:
  """The paired test of the outcome `key` that both have.

  Returns `first` and `second` over all trials, their `difference`, its `ci` and `p` (statistics.paired_sums), and
  counts `subjects`, `trials`, `better_subjects`, `worse_subjects`. Raises `DataError`, with the reason alone, where the
  probes are not the same, and of these `TooFew` where they are of one subject.
  """
  (one, trials), (two, others) = first.sums(key), second.sums(key)
  names = sorted(one)
  if set(one) != set(two) or any(trials[name] != others[name] for name in names):
    raise DataError(f"the probes are not the same ({len(one)} and {len(two)} subjects, {sum(trials.values()):g} and"
                    f" {sum(others.values()):g} trials)")
  if len(names) < 2:
    raise TooFew(f"{len(names)} probe subject; a paired test wants two")
  counts = np.array([trials[name] for name in names], np.float64)
  a, b = (np.array([side[name] for name in names], np.float64) for side in (one, two))
  found = statistics.paired_sums(b - a, counts, resamples=resamples, seed=seed)
  return {"first": a.sum() / counts.sum(), "second": b.sum() / counts.sum(), **found, "subjects": len(names),
          "trials": int(counts.sum()), "better_subjects": int((b > a).sum()), "worse_subjects": int((b < a).sum())}
