"""What a result file holds, in the order people read it: table sections, curves, matrices. No drawing, no markup.

Reads dicts of results.py; every number may be missing. Raises `KeyError`, `TypeError` or `ValueError` where a file has
another layout; sources.py turns that into a named, passed-over file.
"""

import dataclasses
import math
from collections.abc import Iterator

MODEL, CHANCE = "model", "chance"
KINDS = {
  "synthetic": "synthetic walkers, no real people",
  "real": "recordings of real people",
  "real motion, rendered": "silhouettes rendered from recorded motion of real people",
  "embeddings": "embeddings from a file",
}
_LOWER_IS_BETTER = {"eer"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """A figure of a table: `value` None where there is none; `interval` is "low to high" or "" where it has none."""

  value: float | None
  text: str
  interval: str = ""
  best: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """A row of a table: `name` as in the file ("model", "chance", ...), `title` for people, a cell per metric."""

  name: str
  title: str
  cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """The rows of one condition."""

  name: str
  title: str
  lines: tuple[Line, ...]


def number(value) -> float | None:
  """`value` as a float, or None unless it is a finite number."""
  if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
    return None
  return float(value)


def centrings(result: dict) -> list[str]:
  """The ways of centring of its rows, "none" first where it is there: plain and centred rows never share a table."""
  return list(dict.fromkeys(str(row["centred"]) for row in result["rows"]))


def title_of(result: dict, centring: str) -> str:
  return str(result["title"]) + ("" if centring == "none" else f", centred by {centring}")


def sections(result: dict, centring: str = "none") -> list[Section]:
  """The table of one way of centring; the best figure of each column of a section is marked, ties too."""
  rows = [row for row in result["rows"] if row["centred"] == centring]
  return [_section(condition, rows, result["metrics"]) for condition in result["conditions"]]


def _section(condition: dict, rows: list[dict], metrics: list[dict]) -> Section:
  figures = [row["figures"].get(condition["name"], {}) for row in rows]
  columns = [_column(metric, figures) for metric in metrics]
  lines = [Line(name=str(row["name"]), title=str(row["title"]), cells=cells)
           for row, cells in zip(rows, zip(*columns, strict=True), strict=True)] if metrics else []
  return Section(name=str(condition["name"]), title=str(condition["title"]), lines=tuple(lines))


def _column(metric: dict, figures: list[dict]) -> list[Cell]:
  digits, key = int(metric["digits"]), metric["key"]
  values = [number(found.get(key)) for found in figures]
  texts = ["–" if value is None else f"{value:.{digits}f}" for value in values]
  there = [float(text) for text, value in zip(texts, values, strict=True) if value is not None]
  ranked = len(values) > 1 and (metric["best"] or key in _LOWER_IS_BETTER)  # "best": 0 of a p: there is no better
  best = (min if key in _LOWER_IS_BETTER else max)(there, default=None) if ranked else None
  return [Cell(value=value, text=text, interval=interval(found, metric),
               best=value is not None and float(text) == best)
          for value, text, found in zip(values, texts, figures, strict=True)]


def interval(figures: dict, metric: dict) -> str:
  """Its interval of `metric` as "low to high", "" where the file has none."""
  ends = (figures.get("ci") or {}).get(metric["key"]) if metric["interval"] else None
  if not ends or any(number(end) is None for end in ends):
    return ""
  low, high = ends
  return f"{low:.{metric['digits']}f} to {high:.{metric['digits']}f}"


def of_rows(result: dict, key: str, centring: str | None = None) -> Iterator[tuple[dict, object]]:
  """(row, row[key]) of the rows that have it; where none has, what the result itself has under `key`, as the first
  row's."""
  found = [(row, row[key]) for row in result["rows"] if row.get(key) and centring in (None, row["centred"])]
  if not found and result.get(key) and centring in (None, "none"):
    found = [(result["rows"][0] if result["rows"] else {"name": MODEL, "title": MODEL, "centred": "none"}, result[key])]
  yield from found


def cmc(result: dict, centring: str) -> dict[str, list[tuple[str, str, list[float]]]]:
  """Condition -> (name, title, per cent at rank 1, 2, ...) of each row that has a curve."""
  curves: dict[str, list] = {}
  for row, by_condition in of_rows(result, "cmc", centring):
    for condition, values in by_condition.items():
      numbers = [number(value) for value in values]
      if numbers and None not in numbers:
        curves.setdefault(str(condition), []).append((str(row["name"]), str(row["title"]), numbers))
  return curves


def views(result: dict) -> list[dict]:
  """View-by-view rank-1 of each row and condition: {name, title, condition, probe, gallery, cells, without_identical}.

  without_identical: the figure in the table is the mean of the cells of different views.
  """
  found = []
  for row, by_condition in of_rows(result, "per_view"):
    for condition, table in by_condition.items():
      probe, gallery = ([str(v) for v in table[f"{side}_views"]] for side in ("probe", "gallery"))
      cells = [[number(v) for v in line] for line in table["rank1"]]
      if [len(line) for line in cells] != [len(gallery)] * len(probe):
        raise ValueError(f"per_view of {condition!r} is not {len(probe)} x {len(gallery)}")
      rank1 = number((row.get("figures") or {}).get(condition, {}).get("rank1"))
      title = str(row["title"]) + ("" if row["centred"] == "none" else f", centred by {row['centred']}")
      found.append({"name": str(row["name"]), "title": title, "condition": str(condition), "probe": probe,
                    "gallery": gallery, "cells": cells,
                    "without_identical": probe == gallery and _is_mean_of_others(cells, rank1)})
  return found


def _is_mean_of_others(cells: list[list], rank1: float | None) -> bool:
  """Whether `rank1` is the mean over rows of the mean of each row's cells off the diagonal."""
  lines = [[v for j, v in enumerate(line) if j != i and v is not None] for i, line in enumerate(cells)]
  means = [sum(line) / len(line) for line in lines if line]
  return rank1 is not None and bool(means) and abs(sum(means) / len(means) - rank1) < 0.01


def confusions(result: dict) -> list[dict]:
  """Confusion matrices: {title, classes, counts [true][predicted]}, of the result, its attributes, or its rows."""
  found = [("", result.get("confusion"))]
  found += [(str(name), part.get("confusion")) for name, part in (result.get("attributes") or {}).items()]
  for row in result["rows"]:
    found.append((str(row["title"]), row.get("confusion")))
    found += [(f"{row['title']}, {name}", figures.get("confusion")) for name, figures in row["figures"].items()]
  return [_confusion(title, matrix) for title, matrix in found if matrix]


def _confusion(title: str, matrix: dict) -> dict:
  classes = [str(c) for c in matrix["classes"]]
  counts = [[int(v) for v in line] for line in matrix["true_by_predicted"]]
  if [len(line) for line in counts] != [len(classes)] * len(classes):
    raise ValueError(f"the confusion matrix of {title or 'the result'} is not {len(classes)} x {len(classes)}")
  return {"title": title, "classes": classes, "counts": counts}


def robustness(result: dict) -> dict[str, list[tuple[str, str, list[float]]]]:
  """Corruption type -> (name, title, accuracy at severity 1, 2, ...) of each row that was corrupted."""
  curves: dict[str, list] = {}
  for row, by_type in of_rows(result, "robustness"):
    for kind, values in by_type.items():
      numbers = [number(value) for value in values] if isinstance(values, list) else []
      if numbers and None not in numbers:
        curves.setdefault(str(kind), []).append((str(row["name"]), str(row["title"]), numbers))
  return curves


def fitting(result: dict) -> list[tuple[str, list[float], list[float]]]:
  """Of a fine-tuning, each learning rate tried: (title, steps, validation figure in per cent)."""
  found = []
  for tried in (result.get("fine_tuning") or {}).get("tried") or []:
    pairs = [(number(line.get("step")), number(line.get("validation"))) for line in tried["curve"]]
    points = [pair for pair in pairs if None not in pair]
    if points:
      found.append((f"rate x {tried['factor']:g}", *map(list, zip(*points, strict=True))))
  return found


def glance(result: dict) -> list[dict]:
  """Of each condition: the model's first figure, the best other row's, and chance. Of the condition "mean" alone where
  there is one. Empty without a row "model"."""
  if not result["metrics"]:
    return []
  found, whole = [], sections(result)
  for section in [s for s in whole if s.name == "mean"] or whole:
    by_name = {line.name: line for line in section.lines}
    if MODEL not in by_name:
      continue
    others = [line for line in section.lines
              if line.name not in (MODEL, CHANCE) and line.cells[0].value is not None]
    rival = max(others, key=lambda line: line.cells[0].value, default=None)
    found.append({"condition": section.name, "metric": result["metrics"][0]["title"],
                  "full": number(result["metrics"][0].get("best")) or 100.0, "model": by_name[MODEL].cells[0],
                  "rival": rival, "chance": by_name[CHANCE].cells[0] if CHANCE in by_name else None})
  return found
