"""Console tables, made from result files alone (results.py): sections of conditions, rows of methods, columns of
figures."""

import os
from collections.abc import Iterable

from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from fgait_jax.evaluation import results
from fgait_jax.evaluation.report import layout

WIDTH = 110  # characters of a table
_GAP = 2  # characters between its columns
_BAR = 8  # characters of the bar that shows a row's first metric
_INTERVAL = "95 % interval"
_BLOCKS = " ▏▎▍▌▋▊▉█"
_MATCHES = 20  # probes of an identification that are printed; the file holds all


def show(paths: Iterable[str | os.PathLike], *, console: Console | None = None) -> None:
  """Prints the tables of result files, at most 110 columns wide."""
  console = console or Console(width=WIDTH)
  for path in paths:
    result = results.read(path)
    for centring in dict.fromkeys(row["centred"] for row in result["rows"]):
      console.print(table(result, centring))
    if "matches" in result:
      console.print(matches(result["matches"]))
    console.print(Text(caption(result), style="dim"), "", sep="\n", width=100)


def table(result: dict, centring: str = "none") -> Group:
  """The rows of one way of centring ("none": plain figures). Plain and centred figures never share a table.

  A section is a condition; the best figures of each column of a section are bold, as in the report (layout.sections).
  """
  sections, metrics = layout.sections(result, centring), result["metrics"]
  lines = [line for section in sections for line in section.lines]
  # Columns have the same widths in every section.
  widths = [_BAR]
  for place, metric in enumerate(metrics):
    cells = [line.cells[place] for line in lines]
    widths.append(max(5, len(metric["title"]), *(len(cell.text) for cell in cells)))
    if metric["interval"]:
      widths.append(max(len(_INTERVAL), *(len(cell.interval) for cell in cells)))
  room = max(20, WIDTH - sum(widths) - _GAP * len(widths))  # a longer title takes two lines
  widths.insert(0, min(max([20, *(len(line.title) + 2 for line in lines)]), room))
  head = _grid(widths)
  headings = [text for m in metrics for text in ((m["title"], _INTERVAL) if m["interval"] else (m["title"],))]
  head.add_row("", "", *[Text(text, style="bold") for text in headings])
  parts = [Text(layout.title_of(result, centring), style="bold"), head, Rule(style="dim", characters="─")]
  for section in sections:
    grid = _grid(widths)
    for line in section.lines:
      grid.add_row(*_texts(line, metrics))
    parts += [Text(section.title, style="bold cyan"), grid, Text("")]
  return Group(*parts)


def _grid(widths: list[int]) -> Table:
  """An empty grid: title, bar, and figures to the right."""
  grid = Table.grid(padding=(0, _GAP, 0, 0))
  for place, width in enumerate(widths):
    grid.add_column(width=width, no_wrap=place > 0, overflow="fold", justify="left" if place < 2 else "right")
  return grid


def _texts(line: layout.Line, metrics: list[dict]) -> list[Text]:
  """A row of the grid."""
  model, style = line.name == layout.MODEL, "dim" if line.name == layout.CHANCE else ""
  texts = [Text("  " + line.title, style="bold" if model else style)]
  for place, (metric, cell) in enumerate(zip(metrics, line.cells, strict=True)):
    if place == 0:
      texts.append(Text(bar(cell.value, metric["best"]), style="green" if model else "blue"))
    texts.append(Text(cell.text, style="bold" if cell.best else style))
    if metric["interval"]:
      texts.append(Text(cell.interval, style="dim"))
  return texts


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


def cautions(result: dict) -> list[str]:
  """Sentences on data whose figures say less than they seem to: one person, walks in both places, single frames."""
  found, data = [], result["data"]
  figures = result["rows"][0]["figures"] if result["rows"] else {}
  if alone := [name for name, values in figures.items() if (values.get("chance_rank1") or 0) > 99.999]:
    found.append(f"Caution: guessing scores 100 % in {', '.join(alone)}, the gallery has nobody else: whoever walks is"
                 " found, and rank-1 says nothing.")
  elif data["subjects"] == 1:
    found.append("Caution: all walks are of one person.")
  if twins := {name: values["identical"] for name, values in figures.items() if values.get("identical")}:
    told = ", ".join(f"{count} in {name}" for name, count in twins.items())
    first = figures[next(iter(twins))]["identical_probes"]
    found.append(f"Caution: probes whose very embedding is in the gallery: {told}; {', '.join(first[:3])}"
                 f"{', ...' if len(first) > 3 else ''}. Walks that were copied find themselves.")
  if data.get("one_frame"):
    found.append(f"Caution: {data['one_frame']} of {data['walks']} walks have one frame, a posture and no gait.")
  return found


def caption(result: dict) -> str:
  """What the figures are figures of: data, whether people were real, protocol, metric, counts, and what the model
  saw."""
  data = result["data"]
  kind = layout.KINDS.get(data["kind"], data["kind"])
  parts = [
    f"Data: {data['name']}, split {data['split']}, {kind}; "
    f"{data['walks']} walks of {data['subjects']} subjects.",
    *result["notes"], *cautions(result),
  ]
  if mirrored := result["config"].get("mirror_views"):
    parts.append(f"Walks of views {', '.join(mirrored)} were mirrored first.")
  if result["pretraining"]["datasets"]:
    seen = ", ".join(result["pretraining"]["datasets"])
    among = result["pretraining"].get("evaluated_split_among_them")
    warning = "; the walks evaluated here are among them" if among else ""
    if (people := result["pretraining"].get("evaluated_people_among_them")) and not among:
      warning = f"; {people} of the people evaluated here are among them"
    labels = result["pretraining"].get("labels", "without labels")
    parts.append(f"The model was pretrained on {seen}, {labels}{warning}.")
  elif data["kind"] == "embeddings":
    parts.append("What their model was pretrained on is not known.")
  return " ".join(parts)
