"""Two checkpoints on the same evaluations: differences, and a paired test over subjects where both files hold outcomes
(pairing.py)."""

import numpy as np

from fgait_jax.errors import DataError
from fgait_jax.evaluation.metrics import pairing
from fgait_jax.evaluation.report import layout

_MOST = 5_000_000  # signs drawn for one test; 10,000 resamples up to 500 subjects, at least 1,000


def outcomes(result: dict, centring: str = "none") -> dict[str, dict]:
  """Condition -> the model's `by_subject`, where the result has it."""
  row = _model(result, centring)
  found = {}
  for name, figures in (row["figures"] if row else {}).items():
    by = figures.get("by_subject")
    if by:
      lengths = {key: len(by[key]) for key in ("subjects", "trials", *pairing.OUTCOMES) if key in by}
      if len(set(lengths.values())) > 1 or "trials" not in by:
        raise ValueError(f"by_subject of {name!r} has columns of different lengths, or no trials: {lengths}")
      found[str(name)] = by
  return found


def compared(first: dict, second: dict, centring: str = "none") -> dict:
  """{notes, lines}: a line for each condition and figure of the model that both have: first, second, difference and,
  where outcomes can be paired, its `interval`, `p` and the number of `subjects`."""
  rows = [_model(result, centring) for result in (first, second)]
  if None in rows:
    return {"notes": [], "lines": []}
  same, notes, lines = pairing.same_data(first, second), [], []
  if not same:
    notes.append("The two were evaluated on different builds of the data: differences are not paired.")
  held = [outcomes(result, centring) if same else {} for result in (first, second)]
  for condition in first["conditions"]:
    name = condition["name"]
    sides = [row["figures"].get(name, {}) for row in rows]
    for metric in first["metrics"]:
      values = [layout.number(side.get(metric["key"])) for side in sides]
      if None in values:
        continue
      line = {
        "condition": str(name), "metric": metric["title"], "digits": metric["digits"], "values": values,
        "intervals": [layout.interval(side, metric) for side in sides], "difference": values[1] - values[0]}
      try:
        line |= _tested([by.get(str(name)) for by in held], metric["key"])
      except DataError as error:
        notes.append(f"{name} is not paired: {error}.")
      lines.append(line)
  if any("p" in line for line in lines):
    notes.append("Interval of the difference and p: paired over subjects, each by all its trials; p is two-sided, of a"
                 " permutation test that swaps the checkpoints subject by subject.")
  return {"notes": list(dict.fromkeys(notes)), "lines": lines}


def _model(result: dict, centring: str) -> dict | None:
  return next((r for r in result["rows"] if r["name"] == layout.MODEL and r["centred"] == centring), None)


def _tested(held: list[dict | None], key: str) -> dict:
  if key not in pairing.OUTCOMES or None in held or not all(key in by for by in held):
    return {}
  resamples = int(np.clip(_MOST // max(1, len(held[0]["subjects"])), 1_000, 10_000))
  found = pairing.tested(*held, key, resamples=resamples, seed=0)
  return {"interval": found["ci"], "p": found["p"], "subjects": found["subjects"]}
