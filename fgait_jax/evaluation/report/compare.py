"""Two checkpoints on the same evaluations: differences, and a paired test over subjects where both files hold outcomes.

A result keeps, per condition, each probe subject's mean rank-1 and average precision (`by_subject`). The test pairs
these: every subject counts once, and the two systems are swapped subject by subject (statistics.paired).
"""

import numpy as np

from fgait_jax.evaluation import statistics
from fgait_jax.evaluation.report import layout

TESTED = ("rank1", "map", "accuracy")
_MOST = 5_000_000  # signs drawn for one test; 10,000 resamples up to 500 subjects, at least 1,000


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


def outcomes(result: dict, centring: str = "none") -> dict[str, dict]:
  """Condition -> the model's `by_subject`, where the result has it."""
  row = next((r for r in result["rows"] if r["name"] == layout.MODEL and r["centred"] == centring), None)
  found = {}
  for name, figures in (row["figures"] if row else {}).items():
    by = figures.get("by_subject")
    if by:
      lengths = {key: len(by[key]) for key in ("subjects", *TESTED) if key in by}
      if len(set(lengths.values())) > 1:
        raise ValueError(f"by_subject of {name!r} has columns of different lengths: {lengths}")
      found[str(name)] = by
  return found


def compared(first: dict, second: dict, centring: str = "none") -> dict:
  """{notes, lines}: a line for each condition and figure of the model that both have: first, second, difference and,
  where outcomes can be paired, its `interval`, `p` and the number of `subjects`."""
  rows = [next((r for r in result["rows"] if r["name"] == layout.MODEL and r["centred"] == centring), None)
          for result in (first, second)]
  if None in rows:
    return {"notes": [], "lines": []}
  # The hash of a score is that of its embeddings; that the subjects are the same is checked below.
  same_data = first["task"] == "score" or first["data"].get("content_hash") == second["data"].get("content_hash")
  notes = [] if same_data else ["The two were evaluated on different builds of the data: differences are not paired."]
  held = [outcomes(result, centring) if same_data else {} for result in (first, second)]
  lines = []
  for condition in first["conditions"]:
    name = condition["name"]
    sides = [row["figures"].get(name, {}) for row in rows]
    for metric in first["metrics"]:
      values = [layout.number(side.get(metric["key"])) for side in sides]
      if None in values:
        continue
      test = _tested([by.get(str(name)) for by in held], metric["key"])
      lines.append({
        "condition": str(name), "metric": metric["title"], "digits": metric["digits"], "values": values,
        "intervals": [layout.interval(side, metric) for side in sides], "difference": values[1] - values[0]} | test)
  if any("p" in line for line in lines):
    notes.append("Interval of the difference and p: paired over subjects, each subject's mean counting once;"
                 " p is two-sided, of a permutation test that swaps the checkpoints subject by subject.")
  return {"notes": notes, "lines": lines}


def _tested(held: list[dict | None], key: str) -> dict:
  if key not in TESTED or None in held or not all(key in by for by in held):
    return {}
  first, second = (dict(zip(map(str, by["subjects"]), by[key], strict=True)) for by in held)
  names = sorted(name for name in first if name in second and None not in (first[name], second[name]))
  if len(names) < 2 or set(first) != set(second):
    return {}
  resamples = int(np.clip(_MOST // len(names), 1_000, 10_000))
  found = statistics.paired([first[n] for n in names], [second[n] for n in names], subjects=np.array(names),
                            resamples=resamples)
  return {"interval": found["ci"], "p": found["p"], "subjects": found["subjects"]}
