"""Console tables, made from result files alone (results.py): sections of conditions, rows of methods, columns of
figures."""

import os
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fgait_jax.evaluation import results

_BAR = 16  # characters of the bar that shows a row's first metric
_BLOCKS = " ▏▎▍▌▋▊▉█"


def show(paths: Iterable[str | os.PathLike], *, console: Console | None = None) -> None:
  """Prints the tables of result files, at most 110 columns wide."""
  console = console or Console(width=110)
  for path in paths:
    result = results.read(path)
    for centring in dict.fromkeys(row["centred"] for row in result["rows"]):
      console.print(table(result, centring))
    console.print(Text(caption(result), style="dim"), "", sep="\n")


def table(result: dict, centring: str = "none") -> Table:
  """The rows of one way of centring ("none": plain figures). Plain and centred figures never share a table.

  The best figure of a section is bold among the rows that learn or see nothing of the labels, chance included.
  """
  title = result["title"] + ("" if centring == "none" else f", centred by {centring}")
  grid = Table(title=title, box=SIMPLE_HEAD, title_style="bold", title_justify="left", pad_edge=False, min_width=92)
  grid.add_column("", min_width=22, no_wrap=True)
  for position, metric in enumerate(result["metrics"]):
    if position == 0:
      grid.add_column("", width=_BAR, no_wrap=True)
    grid.add_column(metric["title"], justify="right", no_wrap=True)
    if metric["interval"]:
      grid.add_column("95 % interval", justify="right", style="dim", no_wrap=True)
  rows = [row for row in result["rows"] if row["centred"] == centring]
  for condition in result["conditions"]:
    grid.add_row(Text(condition["title"], style="bold cyan"), *[""] * (len(grid.columns) - 1))
    figures = [row["figures"][condition["name"]] for row in rows]
    for place, (row, values) in enumerate(zip(rows, figures, strict=True)):
      grid.add_row(*_cells(row, values, figures, result["metrics"]), end_section=place == len(rows) - 1)
  return grid


def _cells(row: dict, values: dict, section: list[dict], metrics: list[dict]) -> list[Text]:
  style = "" if row["name"] == "model" else "dim" if row["name"] == "chance" else "default"
  cells = [Text("  " + row["title"], style="bold" if row["name"] == "model" else style)]
  for position, metric in enumerate(metrics):
    value = _number(values, metric)
    if position == 0:
      cells.append(Text(bar(value, metric["best"]), style="green" if row["name"] == "model" else "blue"))
    best = max((v for v in (_number(other, metric) for other in section) if v is not None), default=None)
    text = "-" if value is None else f"{value:.{metric['digits']}f}"
    cells.append(Text(text, style="bold" if value is not None and value == best else style))
    if metric["interval"]:
      low_high = values.get(metric["interval"])
      cells.append(Text("" if not low_high or None in low_high else "{:.1f} to {:.1f}".format(*low_high)))
  return cells


def _number(values: dict, metric: dict) -> float | None:
  return values.get(metric["key"])


def bar(value: float | None, full: float) -> str:
  """`value` as a bar of eighths of a character, `_BAR` characters for `full`."""
  eighths = round(max(0.0, min(1.0, (value or 0) / full)) * _BAR * 8)
  return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def caption(result: dict) -> str:
  """What the figures are figures of: data, whether people were real, protocol, metric, counts, and what the model
  saw."""
  data = result["data"]
  kind = {"synthetic": "synthetic walkers, no real people", "real": "recordings of real people"}
  parts = [
    f"Data: {data['name']}, split {data['split']}, {kind[data['kind']] if data['kind'] in kind else data['kind']}; "
    f"{data['walks']} walks of {data['subjects']} subjects.",
    *result["notes"],
  ]
  if result["pretraining"]["datasets"]:
    seen = ", ".join(result["pretraining"]["datasets"])
    parts.append(f"The model was pretrained on {seen}, without labels.")
  return " ".join(parts)
