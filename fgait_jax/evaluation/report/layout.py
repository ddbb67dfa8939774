"""What a result holds, in the order people read it: table sections, curves, matrices. No drawing, no markup."""

import dataclasses

from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.results import CHANCE, MODEL, Condition, Confusion, Figures, Result, Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """A figure of a table: `value` None where there is none; `interval` is "low to high" or "" where it has none."""

  value: float | None
  text: str
  interval: str = ""
  best: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """A row of a table: `name` as in the file ("model", "chance", ...), `title` for people, a cell per column. A
  `control` is the model again, on changed walks, and no rival of it."""

  name: str
  title: str
  cells: tuple[Cell, ...]
  control: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """The rows of one condition."""

  name: str
  title: str
  lines: tuple[Line, ...]


def centrings(result: Result) -> list[str]:
  """The ways of centring of its rows, "none" first where it is there: plain and centred rows never share a table."""
  return list(dict.fromkeys(row.centred for row in result.rows))


def title_of(result: Result, centring: str) -> str:
  return result.title + ("" if centring == "none" else f", centred by {centring}")


def headings(columns: list[Column]) -> list[str]:
  """Of the columns, each with its interval after it where it has one."""
  return [text for c in columns for text in ((c.title, "95 % interval") if c.interval else (c.title,))]


def sections(result: Result, centring: str = "none") -> list[Section]:
  """The table of one way of centring; the best figure of each column of a section is marked, ties too,
  controls left aside."""
  rows = [row for row in result.rows if row.centred == centring]
  return [_section(condition, rows, result.columns) for condition in result.conditions]


def _section(condition: Condition, rows: list[Row], columns: list[Column]) -> Section:
  figures = [row.figures.get(condition.name, Figures()) for row in rows]
  controls = [bool(row.details.get("control")) for row in rows]
  cells = zip(*(_cells(column, figures, controls) for column in columns), strict=True) if columns else [()] * len(rows)
  lines = (Line(name=row.name, title=row.title, cells=tuple(own), control=control)
           for row, own, control in zip(rows, cells, controls, strict=True))
  return Section(name=condition.name, title=condition.title, lines=tuple(lines))


def _cells(column: Column, figures: list[Figures], controls: list[bool]) -> list[Cell]:
  values = [found.number(column.key) for found in figures]
  texts = ["–" if value is None else f"{value:.{column.digits}f}" for value in values]
  there = [float(text) for text, value, control in zip(texts, values, controls, strict=True)
           if value is not None and not control]
  ranked = len(values) > 1 and column.better
  best = (min if column.better == "lower" else max)(there, default=None) if ranked else None
  return [Cell(value=value, text=text, interval=interval(found, column),
               best=value is not None and not control and float(text) == best)
          for value, text, found, control in zip(values, texts, figures, controls, strict=True)]


def interval(figures: Figures, column: Column) -> str:
  """The interval of `column` as "low to high", "" where the file has none."""
  ends = figures.interval(column.key) if column.interval else None
  return "" if ends is None else f"{ends[0]:.{column.digits}f} to {ends[1]:.{column.digits}f}"


def cmc(result: Result, centring: str) -> dict[str, list[tuple[str, str, list[float]]]]:
  """Condition -> (name, title, per cent at rank 1, 2, ...) of each row that has a curve."""
  return _curves((row, row.cmc) for row in result.rows if row.centred == centring)


def robustness(result: Result) -> dict[str, list[tuple[str, str, list[float]]]]:
  """Corruption type -> (name, title, rank-1 at each severity) of each row that was corrupted."""
  return _curves((row, row.robustness) for row in result.rows)


def _curves(rows) -> dict[str, list[tuple[str, str, list[float]]]]:
  curves: dict[str, list] = {}
  for row, by_name in rows:
    for name, values in by_name.items():
      if values and None not in values:
        curves.setdefault(name, []).append((row.name, row.title, values))
  return curves


def views(result: Result) -> list[dict]:
  """View-by-view rank-1 of each row and condition: {name, title, condition, probe, gallery, cells, without_identical}.

  without_identical: the figure in the table is the mean of the cells of different views.
  """
  found = []
  for row in result.rows:
    for condition, table in row.per_view.items():
      rank1 = row.figures.get(condition, Figures()).number("rank1")
      same = table.probe_views == table.gallery_views and _is_mean_of_others(table.rank1, rank1)
      title = row.title + ("" if row.centred == "none" else f", centred by {row.centred}")
      found.append({"name": row.name, "title": title, "condition": condition, "probe": table.probe_views,
                    "gallery": table.gallery_views, "cells": table.rank1, "without_identical": same})
  return found


def _is_mean_of_others(cells: list[list], rank1: float | None) -> bool:
  """Whether `rank1` is the mean over rows of the mean of each row's cells off the diagonal."""
  lines = [[v for j, v in enumerate(line) if j != i and v is not None] for i, line in enumerate(cells)]
  means = [sum(line) / len(line) for line in lines if line]
  return rank1 is not None and bool(means) and abs(sum(means) / len(means) - rank1) < 0.01


def confusions(result: Result) -> list[tuple[str, Confusion]]:
  """(title, confusion matrix) of each row and condition that has one."""
  return [(row.title if len(row.figures) == 1 else f"{row.title}, {name}", found.confusion)
          for row in result.rows for name, found in row.figures.items() if found.confusion]


def fitting(result: Result) -> list[tuple[str, list[float], list[float]]]:
  """Of a fine-tuning, each learning rate tried: (title, steps, validation figure in per cent)."""
  found = []
  for tried in result.fine_tuning.tried if result.fine_tuning else ():
    pairs = [(line.get("step"), line.get("validation")) for line in tried.curve]
    points = [pair for pair in pairs if None not in pair]
    if points:
      found.append((f"rate x {tried.factor:g}", *map(list, zip(*points, strict=True))))
  return found


def glance(result: Result) -> list[dict]:
  """Of each condition: the model's first figure, the best other row's (None where no way is better), and chance. Of the
  condition "mean" alone where there is one. Empty without a row "model"."""
  if not result.columns:
    return []
  column = result.columns[0]
  best = min if column.better == "lower" else max
  found, whole = [], sections(result)
  for section in [s for s in whole if s.name == "mean"] or whole:
    by_name = {line.name: line for line in section.lines}
    if MODEL not in by_name:
      continue
    others = [line for line in section.lines if not line.control
              and line.name not in (MODEL, CHANCE) and line.cells[0].value is not None and column.better]
    rival = best(others, key=lambda line: line.cells[0].value, default=None)
    found.append({"condition": section.name, "column": column, "model": by_name[MODEL].cells[0],
                  "rival": rival, "chance": by_name[CHANCE].cells[0] if CHANCE in by_name else None})
  return found
