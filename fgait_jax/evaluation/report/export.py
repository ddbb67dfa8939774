"""Result tables as Markdown, LaTeX and CSV, from result files alone. Best figures of a section are bold."""

import pathlib

import pandas as pd

from fgait_jax.evaluation.report import layout, tables
from fgait_jax.evaluation.report.sources import Shown
from fgait_jax.evaluation.results import Figures, Result
from fgait_jax.training import folders

_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~"} | {"\n": " ", "\r": " "})
_LATEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\n": " ", "\r": " ", "\\": r"\textbackslash{}",
                        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"})
_COLUMNS = ("source", "file", "checkpoint", "task", "evaluation", "data", "split", "kind", "centred", "condition",
            "row", "title", "metric", "value", "low", "high")
_ENDINGS = ".md", ".tex", ".csv"


def paths(out: pathlib.Path) -> list[pathlib.Path]:
  """The files that `write` writes: `out` with endings .md, .tex and .csv."""
  return [out.with_suffix(ending) for ending in _ENDINGS]


def write(out: pathlib.Path, shown: list[tuple[str, Shown]]) -> list[pathlib.Path]:
  """Writes `paths(out)`; `shown` are (source, result and its file)."""
  texts = ("\n".join(markdown(one.result) for _, one in shown), "\n".join(latex(one.result) for _, one in shown),
           tidy(shown).to_csv(index=False, lineterminator="\n"))
  for path, text in zip(paths(out), texts, strict=True):
    folders.write_text(path, text)
  return paths(out)


def markdown(result: Result, *, level: int = 2) -> str:
  """Pipe tables, one for each way of centring, under a heading of `level`, with the caption below."""
  parts = []
  for centring in layout.centrings(result):
    parts += [f"{'#' * level} {_md(layout.title_of(result, centring))}", ""]
    heads = ["condition", "method", *[c.title for c in result.columns]]
    parts += [_pipes(map(_md, heads)), _pipes(["---", "---", *["---:"] * len(result.columns)])]
    for section in layout.sections(result, centring):
      for place, line in enumerate(section.lines):
        cells = [f"**{c.text}**" if c.best else c.text for c in line.cells]
        cells = [text + (f" ({c.interval})" if c.interval else "") for text, c in zip(cells, line.cells, strict=True)]
        parts.append(_pipes([_md(section.name) if place == 0 else "", _md(line.title), *cells]))
    parts.append("")
  return "\n".join([*parts, _md(tables.caption(result)), ""])


def _pipes(cells) -> str:
  return f"| {' | '.join(cells)} |"


def _md(text: str) -> str:
  return str(text).translate(_MARKDOWN)


def _tex(text: str) -> str:
  return str(text).translate(_LATEX)


def latex(result: Result) -> str:
  """booktabs tables, one for each way of centring; a comment above each says what it is. Needs \\usepackage{booktabs}.
  """
  return "".join(_latex(result, centring) for centring in layout.centrings(result))


def _latex(result: Result, centring: str) -> str:
  lines, bold = [], []
  for section in layout.sections(result, centring):
    for place, line in enumerate(section.lines):
      cells = [(text, best) for column, c in zip(result.columns, line.cells, strict=True)
               for text, best in ((c.text, c.best), (c.interval, False))[: 1 + column.interval]]
      lines.append([section.name if place == 0 else "", line.title, *(text for text, _ in cells)])
      bold.append([False, False, *(best for _, best in cells)])
  heads = ["condition", "method", *layout.headings(result.columns)]
  # Two columns may share a heading, and pandas wants unique columns to style: numbered here, named when printed.
  frame = pd.DataFrame(lines, columns=range(len(heads)))
  style = pd.DataFrame([["textbf:--rwrap;" if b else "" for b in row] for row in bold], columns=frame.columns)
  styler = frame.style.format(_tex).hide(axis="index").apply(lambda _: style, axis=None)
  styler = styler.format_index(lambda place: _tex(heads[place]), axis="columns")
  text = styler.to_latex(hrules=True, column_format="ll" + "r" * (len(heads) - 2))
  comment = " ".join(f"{layout.title_of(result, centring)}. {tables.caption(result)}".split())
  return f"% {comment}\n{text}"


def tidy(shown: list[tuple[str, Shown]]) -> pd.DataFrame:
  """One line per figure, unrounded: for further work in any tool."""
  records = []
  for source, one in shown:
    result = one.result
    head = {"source": source, "file": one.path.name,
            "checkpoint": result.checkpoint.identity if result.checkpoint else "", "task": result.task,
            "evaluation": result.title, "data": result.data.name, "split": result.data.split, "kind": result.data.kind}
    for row in result.rows:
      for condition in result.conditions:
        figures = row.figures.get(condition.name, Figures())
        for column in result.columns:
          low, high = figures.interval(column.key) or (None, None)
          records.append(head | {
            "centred": row.centred, "condition": condition.name, "row": row.name, "title": row.title,
            "metric": column.key, "value": figures.number(column.key), "low": low, "high": high})
  return pd.DataFrame(records, columns=_COLUMNS)
