"""The paired test of one system against another, over the subjects of their probes.

Result files keep each probe subject's mean outcome and number of trials. The test draws and swaps whole subjects, so
these hold all that single probes would say.
"""

import dataclasses
from collections.abc import Sequence

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


def tested(first: Sequence[BySubject], second: Sequence[BySubject], key: str, *, resamples: int, seed: int) -> dict:
  """The paired test of the outcome `key` that both have, in each of one or more conditions; several count alike.

  Returns `first` and `second` over all trials (mean over conditions), their `difference`, its `ci` and `p`
  (statistics.paired_sums), and counts `subjects`, `trials`, `better_subjects`, `worse_subjects`. Raises `DataError`,
  with the reason alone, where the probes are not the same, and of these `TooFew` where they are of one subject.
  """
  one, two, counts = [], [], []
  for sides in zip(first, second, strict=True):
    (sums, trials), (others, other_trials) = (side.sums(key) for side in sides)
    if trials != other_trials:
      raise DataError(f"the probes are not the same ({len(sums)} and {len(others)} subjects, {sum(trials.values()):g}"
                      f" and {sum(other_trials.values()):g} trials)")
    one.append(sums)
    two.append(others)
    counts.append(trials)
  names = sorted(set().union(*counts))
  if len(names) < 2:
    raise TooFew(f"{len(names)} probe subject; a paired test wants two")
  a, b, counts = (np.array([[found.get(name, 0.0) for found in side] for name in names]) for side in (one, two, counts))
  found = statistics.paired_sums(b - a, counts, resamples=resamples, seed=seed)
  gain = np.mean((b - a) / counts.sum(0), axis=1)
  return {"first": float(np.mean(a.sum(0) / counts.sum(0))), "second": float(np.mean(b.sum(0) / counts.sum(0))),
          **found, "subjects": len(names), "trials": int(counts.sum()), "better_subjects": int((gain > 0).sum()),
          "worse_subjects": int((gain < 0).sum())}
