"""Result tables as Markdown, LaTeX and CSV, from result files alone. Best figures of a section are bold."""

import pathlib

import pandas as pd

from fgait_jax.evaluation.report import layout, tables

_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~"} | {"\n": " ", "\r": " "})
_LATEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\n": " ", "\r": " ", "\\": r"\textbackslash{}",
                        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"})
_COLUMNS = ("source", "task", "evaluation", "data", "split", "kind", "centred", "condition", "row", "title", "metric",
            "value", "low", "high")


def write(out: pathlib.Path, results: list[tuple[str, dict]]) -> list[pathlib.Path]:
  """Writes `out` with endings .md, .tex and .csv; `results` are (source, result)."""
  texts = {".md": "\n".join(markdown(result) for _, result in results),
           ".tex": "\n".join(latex(result) for _, result in results),
           ".csv": tidy(results).to_csv(index=False, lineterminator="\n")}
  paths = [out.with_suffix(ending) for ending in texts]
  for path, text in zip(paths, texts.values(), strict=True):
    path.write_text(text, encoding="utf-8")
  return paths


def markdown(result: dict) -> str:
  """Pipe tables, one for each way of centring, under a heading, with the caption below."""
  parts = []
  for centring in layout.centrings(result):
    parts += [f"## {_md(layout.title_of(result, centring))}", ""]
    heads = ["condition", "method", *[m["title"] for m in result["metrics"]]]
    parts += [_pipes(map(_md, heads)), _pipes(["---", "---", *["---:"] * len(result["metrics"])])]
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


def latex(result: dict) -> str:
  """booktabs tables, one for each way of centring; a comment above each says what it is. Needs \\usepackage{booktabs}.
  """
  return "".join(_latex(result, centring) for centring in layout.centrings(result))


def _latex(result: dict, centring: str) -> str:
  lines, best = [], []
  for section in layout.sections(result, centring):
    for place, line in enumerate(section.lines):
      spread = [text for m, c in zip(result["metrics"], line.cells, strict=True)
                for text in ((c.text, c.interval) if m["interval"] else (c.text,))]
      bold = [flag for m, c in zip(result["metrics"], line.cells, strict=True)
              for flag in ((c.best, False) if m["interval"] else (c.best,))]
      lines.append([section.name if place == 0 else "", line.title, *spread])
      best.append([False, False, *bold])
  heads = ["condition", "method"]
  for metric in result["metrics"]:
    heads += [metric["title"], "95 % interval"] if metric["interval"] else [metric["title"]]
  # Two metrics may share a heading, and pandas wants unique columns to style: numbered here, named when printed.
  frame = pd.DataFrame(lines, columns=range(len(heads)))
  style = pd.DataFrame([["textbf:--rwrap;" if b else "" for b in row] for row in best], columns=frame.columns)
  styler = frame.style.format(_tex).hide(axis="index").apply(lambda _: style, axis=None)
  styler = styler.format_index(lambda place: _tex(heads[place]), axis="columns")
  text = styler.to_latex(hrules=True, column_format="ll" + "r" * (len(heads) - 2))
  comment = " ".join(f"{layout.title_of(result, centring)}. {tables.caption(result)}".split())
  return f"% {comment}\n{text}"


def tidy(results: list[tuple[str, dict]]) -> pd.DataFrame:
  """One line per figure, unrounded: for further work in any tool."""
  records = []
  for source, result in results:
    head = {"source": source, "task": result["task"], "evaluation": result["title"]}
    head |= {key: result["data"][key] for key in ("split", "kind")} | {"data": result["data"]["name"]}
    for row in result["rows"]:
      for condition in result["conditions"]:
        figures = row["figures"].get(condition["name"], {})
        for metric in result["metrics"]:
          low, high = (figures.get("ci") or {}).get(metric["key"]) or (None, None)
          records.append(head | {
            "centred": row["centred"], "condition": condition["name"], "row": row["name"], "title": row["title"],
            "metric": metric["key"], "value": layout.number(figures.get(metric["key"])), "low": low, "high": high})
  return pd.DataFrame(records, columns=_COLUMNS)
