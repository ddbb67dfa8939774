"""Console tables, made from result files alone (results.py): sections of conditions, rows of methods, columns of
figures."""

from collections.abc import Iterable

from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from fgait_jax.evaluation import results
from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.report import layout
from fgait_jax.evaluation.results import Match, Result

WIDTH = 120  # characters of a table
_GAP = 2  # characters between its columns
_BAR = 8  # characters of the bar that shows a row's first figure
_TITLE = 20  # characters of a row's title, at least
_BLOCKS = " ▏▎▍▌▋▊▉█"
FEW = 20  # people: an interval over fewer covers less often than it says (docs/evaluation.md)
_MATCHES = 20  # probes of an identification that are printed; the file holds all


def show(found: Iterable[Result], *, console: Console | None = None) -> None:
  """Prints the tables of results, at most `WIDTH` characters wide."""
  console = console or Console(width=WIDTH)
  for result in found:
    for centring in layout.centrings(result):
      console.print(table(result, centring))
    if result.matches:
      console.print(matches(result.matches))
    console.print(Text(caption(result), style="dim"), "", sep="\n", width=100)


def table(result: Result, centring: str = "none") -> Group:
  """The rows of one way of centring ("none": plain figures). Plain and centred figures never share a table.

  A section is a condition; the best figures of each column of a section are bold, as in the report (layout.sections).
  """
  sections, headings = layout.sections(result, centring), layout.headings(result.columns)
  lines = [line for section in sections for line in section.lines]
  # Columns have the same widths in every section.
  shown = [[text for text, _ in _texts(line, result.columns)] for line in lines]
  figures = [max(5, *map(len, texts)) for texts in zip(headings, *shown, strict=True)]
  room = WIDTH - sum(figures) - _GAP * len(figures)
  bars = [_BAR] if room - _BAR - _GAP >= _TITLE else []  # left out where figures need the room
  room = max(_TITLE, room - sum(bars) - _GAP * len(bars))  # a longer title takes two lines
  widths = [min(max([_TITLE, *(len(line.title) + 2 for line in lines)]), room), *bars, *figures]
  head = _grid(widths, barred=bool(bars))
  head.add_row("", *[""] * len(bars), *[Text(text, style="bold") for text in headings])
  parts = [Text(layout.title_of(result, centring), style="bold"), head, Rule(style="dim", characters="─")]
  for section in sections:
    grid = _grid(widths, barred=bool(bars))
    for line in section.lines:
      grid.add_row(*_cells(line, result.columns, barred=bool(bars)))
    parts += [Text(section.title, style="bold cyan"), grid, Text("")]
  return Group(*parts)


def _grid(widths: list[int], *, barred: bool) -> Table:
  """An empty grid: title, bar if there is one, and figures to the right."""
  grid = Table.grid(padding=(0, _GAP, 0, 0))
  for place, width in enumerate(widths):
    grid.add_column(width=width, no_wrap=place > 0, overflow="fold", justify="left" if place < 1 + barred else "right")
  return grid


def _texts(line: layout.Line, columns: list[Column]) -> list[tuple[str, str]]:
  """(text, style) of the figures of a row and their intervals."""
  style = "dim" if line.name == results.CHANCE else ""
  return [pair for column, cell in zip(columns, line.cells, strict=True)
          for pair in ((cell.text, "bold" if cell.best else style), (cell.interval, "dim"))[: 1 + column.interval]]


def _cells(line: layout.Line, columns: list[Column], *, barred: bool) -> list[Text]:
  """A row of the grid."""
  model, style = line.name == results.MODEL, "dim" if line.name == results.CHANCE else ""
  head = [Text("  " + line.title, style="bold" if model else style)]
  head += [Text(bar(cell.value if column.percent else None), style="green" if model else "blue")
           for column, cell in zip(columns[:1], line.cells, strict=False) if barred]
  return head + [Text(text, style=style) for text, style in _texts(line, columns)]


def bar(percent: float | None) -> str:
  """A figure as a bar of eighths of a character, `_BAR` characters for 100 per cent."""
  eighths = round(max(0.0, min(1.0, (percent or 0) / 100)) * _BAR * 8)
  return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def matches(found: list[Match]) -> Group:
  """Some probes of an identification, evenly spread: the answer, and the nearest subjects with their distances."""
  grid = Table.grid(padding=(0, 2, 0, 0))
  for width in (34, 12, 58):
    grid.add_column(width=width, no_wrap=True, overflow="ellipsis")
  grid.add_row(*(Text(title, style="bold") for title in ("probe", "answer", "nearest subjects (distance)")))
  count = min(len(found), _MATCHES)
  for match in (found[n * len(found) // count] for n in range(count)):
    probe = f"{match.probe} ({match.label or 'no label'}, {match.type}, {match.view})"
    nearest = ", ".join(f"{c.subject} ({c.distance:.3f})" for c in match.candidates)
    style = "dim" if match.answer == "unknown" else "green"
    grid.add_row(Text("  " + probe), Text(match.answer, style=style), Text(nearest))
  rest = [Text(f"  and {len(found) - _MATCHES} more, in identify.csv", style="dim")] if len(found) > _MATCHES else []
  return Group(grid, *rest, Text(""))


def cautions(result: Result) -> list[str]:
  """Sentences on data whose figures say less than they seem to: one person, walks in both places, single frames."""
  found, data = [], result.data
  figures = result.rows[0].figures if result.rows else {}
  if alone := [name for name, values in figures.items() if values.number("gallery_subjects") == 1]:
    found.append(f"Caution: the gallery of {', '.join(alone)} is one person: whoever of them walks is found, and rank-1"
                 " says nothing.")
  elif data.subjects == 1:
    found.append("Caution: all walks are of one person.")
  if twins := {name: found for name, found in figures.items() if found.number("identical")}:
    counts = ", ".join(f"{found.values['identical']} in {name}" for name, found in twins.items())
    first = next(iter(twins.values())).identical_probes
    found.append(f"Caution: probes whose very embedding is in the gallery: {counts}; {', '.join(first[:3])}"
                 f"{', ...' if len(first) > 3 else ''}. Walks that were copied find themselves.")
  if lacking := {name: found.values for name, found in figures.items() if found.number("without_mate")}:
    counts = ", ".join(f"{values['without_mate']} in {name}" for name, values in lacking.items())
    readings = sorted({str(values.get("reading", "error")) for values in lacking.values()})
    found.append(f"Probes without a mate in the gallery: {counts}; counted as {' or '.join(readings)}.")
  people = [count for values in figures.values() if values.ci and (count := _people(values))]
  if (few := min(people, default=FEW)) < FEW:
    found.append(f"Intervals over resampled people are too narrow where these are as few as {few:.0f}.")
  if data.one_frame:
    found.append(f"Caution: {data.one_frame} of {data.walks} walks have one frame, a posture and no gait.")
  return found


def _people(values: results.Figures) -> float | None:
  """How many people the intervals rest on."""
  return values.number("probe_subjects") or (len(values.by_subject.subjects) if values.by_subject else None)


def caption(result: Result) -> str:
  """What the figures are figures of: data, whether people were real, protocol, metric, counts, and what the model
  saw."""
  data, seen = result.data, result.pretraining
  whose = f"of {data.subjects} subjects" if data.subjects else "of nobody named"
  parts = [f"Data: {data.name}, split {data.split}, {data.kind_title}; {data.walks} walks {whose}.", *result.notes,
           *cautions(result)]
  if data.mirrored_views:
    parts.append(f"Walks of views {', '.join(data.mirrored_views)} were mirrored first.")
  if seen.datasets:
    among = ""
    if seen.evaluated_split_among_them:
      among = "; the walks evaluated here are among them"
    elif seen.evaluated_people_among_them:
      among = f"; {seen.evaluated_people_among_them} of the people evaluated here are among them"
    parts.append(f"The model was pretrained on {', '.join(seen.datasets)}, {seen.label_use}{among}.")
  elif data.kind == "embeddings" and result.task != "compare":  # whose notes tell of both

    parts.append("What their model was pretrained on is not known.")
  return " ".join(parts)
