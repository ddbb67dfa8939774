"""Two sources of results beside each other: which of their evaluations are the same, and how the models differ, with a
paired test over subjects where both files hold outcomes."""

import numpy as np

from fgait_jax.errors import DataError
from fgait_jax.evaluation import columns
from fgait_jax.evaluation.metrics import pairing
from fgait_jax.evaluation.report import layout
from fgait_jax.evaluation.results import MODEL, Figures, Result, Row

_MOST = 5_000_000  # signs drawn for one test; 10,000 resamples up to 500 subjects, at least 1,000
_OUTCOMES = {column.key for column in columns.OUTCOMES}


def pairs(first: list[Result], second: list[Result]) -> tuple[list[tuple[Result, Result]], list[str]]:
  """Results of both sources for the same evaluation, and the titles of those without a partner. Fine-tuning that was
  adapted by the same method goes first, otherwise by another."""
  left, found, alone = list(second), [], []
  for result in sorted(first, key=lambda one: not any(_method(other) == _method(one) for other in second)):
    mates = [n for n, other in enumerate(left) if _evaluation(other) == _evaluation(result)]
    mate = min(mates, key=lambda n: _method(left[n]) != _method(result), default=None)
    if mate is None:
      alone.append(result.title)
    else:
      found.append((result, left.pop(mate)))
  return found, alone + [result.title for result in left]


def _evaluation(result: Result) -> tuple:
  """Equal of results of the same evaluation."""
  protocol = result.protocol.name if result.protocol else ""
  if result.task == "score":  # titles and data carry the name of the embeddings' file there
    return "score", protocol
  return result.task, result.title, result.data.name, result.data.split, protocol


def _method(result: Result) -> str:
  return result.fine_tuning.method if result.fine_tuning else ""


def same_data(first: Result, second: Result) -> bool:
  """Whether both may be of the same walks. Two scores are of two files, whatever walks these hold: there subjects and
  trials must tell, which `pairing.tested` looks at."""
  return first.task == "score" or first.data.content_hash == second.data.content_hash


def compared(first: Result, second: Result, centring: str = "none") -> dict:
  """{notes, lines}: a line for each condition and figure of the model that both have: first, second, difference and,
  where outcomes can be paired, its `interval`, `p` and the number of `subjects`."""
  rows = [_model(result, centring) for result in (first, second)]
  if None in rows:
    return {"notes": [], "lines": []}
  same, notes, lines = same_data(first, second), [], []
  if not same:
    notes.append("The two were evaluated on different builds of the data: differences are not paired.")
  for condition in first.conditions:
    sides = [row.figures.get(condition.name, Figures()) for row in rows]
    for column in first.columns:
      values = [side.number(column.key) for side in sides]
      if None in values:
        continue
      line = {
        "condition": condition.name, "column": column.title, "digits": column.digits, "values": values,
        "intervals": [layout.interval(side, column) for side in sides], "difference": values[1] - values[0]}
      try:
        line |= _tested(sides, column.key) if same else {}
      except DataError as error:
        notes.append(f"{condition.name} is not paired: {error}.")
      lines.append(line)
  if any("p" in line for line in lines):
    notes.append("Interval of the difference and p: paired over subjects, each by all its trials; p is two-sided, of a"
                 " permutation test that swaps the checkpoints subject by subject.")
  return {"notes": list(dict.fromkeys(notes)), "lines": lines}


def _model(result: Result, centring: str) -> Row | None:
  return next((row for row in result.rows if row.name == MODEL and row.centred == centring), None)


def _tested(sides: list[Figures], key: str) -> dict:
  held = [side.by_subject for side in sides]
  if key not in _OUTCOMES or any(by is None or getattr(by, key) is None for by in held):
    return {}
  resamples = int(np.clip(_MOST // max(1, len(held[0].subjects)), 1_000, 10_000))
  found = pairing.tested(*([side] for side in held), key, resamples=resamples, seed=0)
  return {"interval": found["ci"], "p": found["p"], "subjects": found["subjects"]}
