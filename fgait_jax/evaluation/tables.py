"""Console tables, made from result files alone (results.py): sections of conditions, rows of methods, columns of
figures."""

import os
from collections.abc import Iterable

from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from fgait_jax.evaluation import results

_BAR = 8  # characters of the bar that shows a row's first metric
_BLOCKS = " ▏▎▍▌▋▊▉█"
_MATCHES = 20  # probes of an identification that are printed; the file holds all


def show(paths: Iterable[str | os.PathLike], *, console: Console | None = None) -> None:
  """Prints the tables of result files, at most 110 columns wide."""
  console = console or Console(width=110)
  for path in paths:
    result = results.read(path)
    for centring in dict.fromkeys(row["centred"] for row in result["rows"]):
      console.print(table(result, centring))
    if "matches" in result:
      console.print(matches(result["matches"]))
    console.print(Text(caption(result), style="dim"), "", sep="\n", width=100)


def table(result: dict, centring: str = "none") -> Group:
  """The rows of one way of centring ("none": plain figures). Plain and centred figures never share a table.

  A section is a condition; the best figure of each column of a section is bold.
  """
  rows = [row for row in result["rows"] if row["centred"] == centring]
  title = result["title"] + ("" if centring == "none" else f", centred by {centring}")
  widest = max([len(row["title"]) for row in rows], default=0)
  head = _grid(result["metrics"], min(max(widest + 2, 20), 34))
  head.add_row("", "", *[Text(t, style="bold") for m in result["metrics"] for t in _headings(m)])
  parts = [Text(title, style="bold"), head, Rule(style="dim", characters="─")]
  for condition in result["conditions"]:
    figures = [row["figures"][condition["name"]] for row in rows]
    section = _grid(result["metrics"], head.columns[0].width)
    for row, values in zip(rows, figures, strict=True):
      section.add_row(*_cells(row, values, figures, result["metrics"]))
    parts += [Text(condition["title"], style="bold cyan"), section, Text("")]
  return Group(*parts)


def _grid(metrics: list[dict], first: int) -> Table:
  """An empty grid whose columns have the same widths in every section."""
  grid = Table.grid(padding=(0, 2, 0, 0))
  grid.add_column(width=first, no_wrap=True)
  grid.add_column(width=_BAR, no_wrap=True)
  for heading in [heading for metric in metrics for heading in _headings(metric)]:
    grid.add_column(width=max(len(heading), 14 if heading.endswith("interval") else 5), justify="right", no_wrap=True)
  return grid


def _headings(metric: dict) -> list[str]:
  return [metric["title"], "95 % interval"] if metric["interval"] else [metric["title"]]


def _cells(row: dict, values: dict, section: list[dict], metrics: list[dict]) -> list[Text]:
  style = "dim" if row["name"] == "chance" else ""
  cells = [Text("  " + row["title"], style="bold" if row["name"] == "model" else style)]
  for position, metric in enumerate(metrics):
    value = _number(values, metric)
    if position == 0:
      cells.append(Text(bar(value, metric["best"]), style="green" if row["name"] == "model" else "blue"))
    choose = max if metric["best"] else min  # an error is best at 0
    best = choose((v for v in (_number(other, metric) for other in section) if v is not None), default=None)
    text = "-" if value is None else f"{value:.{metric['digits']}f}"
    cells.append(Text(text, style="bold" if value is not None and value == best else style))
    if metric["interval"]:
      low_high = values["ci"].get(metric["key"]) if "ci" in values else None
      cells.append(Text("" if not low_high or None in low_high else "{:.1f} to {:.1f}".format(*low_high), style="dim"))
  return cells


def _number(values: dict, metric: dict) -> float | None:
  return values.get(metric["key"])


def bar(value: float | None, full: float) -> str:
  """`value` as a bar of eighths of a character, `_BAR` characters for `full` (0, an error: for 100)."""
  eighths = round(max(0.0, min(1.0, (value or 0) / (full or 100))) * _BAR * 8)
  return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def matches(found: list[dict]) -> Group:
  """Some probes of an identification, evenly spread: the answer, and the nearest subjects with their distances."""
  grid = Table.grid(padding=(0, 2, 0, 0))
  for width in (34, 12, 58):
    grid.add_column(width=width, no_wrap=True, overflow="ellipsis")
  grid.add_row(*(Text(title, style="bold") for title in ("probe", "answer", "nearest subjects (distance)")))
  count = min(len(found), _MATCHES)
  for match in (found[n * len(found) // count] for n in range(count)):
    probe = f"{match['probe']} ({match['label']}, {match['type']}, {match['view']})"
    nearest = ", ".join(f"{c['subject']} ({c['distance']:.3f})" for c in match["candidates"])
    style = "dim" if match["answer"] == "unknown" else "green"
    grid.add_row(Text("  " + probe), Text(match["answer"], style=style), Text(nearest))
  rest = [Text(f"  and {len(found) - _MATCHES} more, in identify.csv", style="dim")] if len(found) > _MATCHES else []
  return Group(grid, *rest, Text(""))


def caption(result: dict) -> str:
  """What the figures are figures of: data, whether people were real, protocol, metric, counts, and what the model
  saw."""
  data = result["data"]
  kind = {
    "synthetic": "synthetic walkers, no real people", "real": "recordings of real people",
    "real motion, rendered": "silhouettes rendered from recorded motion of real people",
  }  # fmt: skip
  parts = [
    f"Data: {data['name']}, split {data['split']}, {kind[data['kind']] if data['kind'] in kind else data['kind']}; "
    f"{data['walks']} walks of {data['subjects']} subjects.",
    *result["notes"],
  ]
  if result["pretraining"]["datasets"]:
    seen = ", ".join(result["pretraining"]["datasets"])
    among = result["pretraining"].get("evaluated_split_among_them")
    warning = "; the walks evaluated here are among them" if among else ""
    labels = result["pretraining"].get("labels", "without labels")
    parts.append(f"The model was pretrained on {seen}, {labels}{warning}.")
  elif data["kind"] == "embeddings":
    parts.append("What their model was pretrained on is not known.")
  return " ".join(parts)
