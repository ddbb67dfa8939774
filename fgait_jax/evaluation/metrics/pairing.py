"""Results of the same evaluation, paired, and the test of one against the other: for the task "compare" and the report.

Result files keep each probe subject's mean outcome and number of trials (`by_subject`). The test draws and swaps whole
subjects, so these hold all that single probes would say.
"""

import numpy as np

from fgait_jax.errors import DataError
from fgait_jax.evaluation.metrics import statistics

OUTCOMES = {"rank1": "rank-1 %", "map": "mAP %", "accuracy": "accuracy %"}  # that a subject has a mean of


def identity(result: dict) -> tuple:
  """Results of two sources are of the same evaluation where this is equal."""
  protocol = result.get("protocol")
  name = protocol.get("name") if isinstance(protocol, dict) else protocol
  if result["task"] == "score":  # titles and data carry the name of the embeddings' file there
    return "score", str(name)
  data, method = result["data"], (result.get("fine_tuning") or {}).get("method")
  return str(result["task"]), str(result["title"]), str(data["name"]), str(data["split"]), str(name), str(method)


def pairs(first: list[dict], second: list[dict]) -> tuple[list[tuple[dict, dict]], list[str]]:
  """Results of both sources for the same evaluation, and the titles of those without a partner."""
  left, found, alone = list(second), [], []
  for result in first:
    mate = next((n for n, other in enumerate(left) if identity(other) == identity(result)), None)
    if mate is None:
      alone.append(str(result["title"]))
    else:
      found.append((result, left.pop(mate)))
  return found, alone + [str(result["title"]) for result in left]


def same_data(first: dict, second: dict) -> bool:
  """Whether both may be of the same walks. Two scores are of two files, whatever walks these hold: there subjects and
  trials must tell, which `tested` looks at."""
  return first["task"] == "score" or first["data"].get("content_hash") == second["data"].get("content_hash")


def tested(first: dict, second: dict, key: str, *, resamples: int, seed: int) -> dict:
  """The paired test of two `by_subject` of one condition: {subjects, trials, <key>: per cent}, lists of one length.

  Returns `first` and `second` over all trials, their `difference`, its `ci` and `p` (statistics.paired_sums), and
  counts `subjects`, `trials`, `better_subjects`, `worse_subjects`. Raises `DataError`, with the reason alone, where the
  probes are not the same or are of one subject.
  """
  (one, trials), (two, others) = (_sums(by, key) for by in (first, second))
  names = sorted(one)
  if set(one) != set(two) or any(trials[name] != others[name] for name in names):
    raise DataError(f"the probes are not the same ({len(one)} and {len(two)} subjects, {sum(trials.values()):g} and"
                    f" {sum(others.values()):g} trials)")
  if len(names) < 2:
    raise DataError(f"{len(names)} probe subject; a paired test wants two")
  counts = np.array([trials[name] for name in names], np.float64)
  a, b = (np.array([side[name] for name in names], np.float64) for side in (one, two))
  found = statistics.paired_sums(b - a, counts, resamples=resamples, seed=seed)
  return {"first": a.sum() / counts.sum(), "second": b.sum() / counts.sum(), **found, "subjects": len(names),
          "trials": int(counts.sum()), "better_subjects": int((b > a).sum()), "worse_subjects": int((b < a).sum())}


def _sums(by: dict, key: str) -> tuple[dict, dict]:
  """Subject -> outcome in per cent times trials, and -> trials, of the subjects that have an outcome."""
  trials = by.get("map_trials", by["trials"]) if key == "map" else by["trials"]
  rows = [row for row in zip(map(str, by["subjects"]), by[key], trials, strict=True) if row[1] is not None]
  return {name: value * trials for name, value, trials in rows}, {name: trials for name, _, trials in rows}
