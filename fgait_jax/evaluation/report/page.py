"""The report: one HTML file that opens from disk and asks nothing of any network, from result files alone.

Everything that comes from files is escaped; a content-security policy in the page forbids every request, and every
script but the page's own.
"""

import base64
import collections
import hashlib
import importlib.resources
import pathlib

import jinja2
from markupsafe import Markup

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.plain import number
from fgait_jax.evaluation.report import curves, export, layout, side_by_side, sources, tables
from fgait_jax.evaluation.report.sources import Shown, Source
from fgait_jax.evaluation.results import MODEL, Result
from fgait_jax.paths import local_path
from fgait_jax.training import folders, preflight

_LABELS = "AB"
_POLICY = b"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"  # of every report
_LOOKED_AT = 2000  # bytes of a page in which it stands


def write(paths: list[str], out: str | pathlib.Path | None) -> list[pathlib.Path]:
  """Writes the report of one folder of results, or of two beside each other, to `out` (.html), and its tables beside
  it as .md, .tex and .csv. Raises `ConfigError` on unfit arguments, `DataError` on a folder without results and
  `RunError` where nothing can be written."""
  if out is None or pathlib.Path(out).suffix.lower() != ".html":
    raise ConfigError(f"--report wants --out=FILE.html, the file to write; got --out={out}")
  if (out := local_path(out, "--out")).is_dir():
    raise ConfigError(f"--out={out} is a folder; --report writes one file there, give --out=FILE.html")
  preflight.writable(out.parent, flag="--out")
  _refuse_others(out)
  if len(paths) > len(_LABELS):
    raise ConfigError(f"--report was given {len(paths)} times; one folder, or two to compare")
  labels = _LABELS if len(paths) > 1 else ("",)
  read = [sources.read(path, flag="--report", label=label) for path, label in zip(paths, labels, strict=False)]
  folders.write_text(out, render(read))
  return [out, *export.write(out, [(s.label or s.folder.name, shown) for s in read for shown in s.results])]


def _refuse_others(out: pathlib.Path) -> None:
  """Raises `ConfigError` where a file that would be replaced is none of a report."""
  there = [path for path in (out, *export.paths(out)) if path.exists()]
  if there and not (out.is_file() and _POLICY in out.read_bytes()[:_LOOKED_AT]):
    raise ConfigError(f"--out={out}: {', '.join(path.name for path in there)} there would be lost, and is not of a"
                      " report; give another name")


def render(read: list[Source]) -> str:
  """The page of one or two sources."""
  files = importlib.resources.files("fgait_jax.evaluation.report")
  text = {name: files.joinpath(name).read_text(encoding="utf-8") for name in ("page.html.j2", "page.css", "page.js")}
  environment = jinja2.Environment(loader=jinja2.DictLoader(text), autoescape=True, undefined=jinja2.StrictUndefined,
                                   trim_blocks=True, lstrip_blocks=True)
  script = hashlib.sha256(text["page.js"].encode()).digest()
  evaluations = [_evaluation(source, shown, f"{source.label}{n}", title) for source in read
                 for n, (shown, title) in enumerate(zip(source.results, _titles(source), strict=True))]
  return environment.get_template("page.html.j2").render(
    css=Markup(text["page.css"]), js=Markup(text["page.js"]), script_hash=base64.b64encode(script).decode(),
    heads=[_head(source) for source in read], evaluations=evaluations, comparison=_comparison(read),
    training=[t for t in map(_training, read) if t["panels"]])


def _head(source: Source) -> dict:
  """What was evaluated: the models, what they saw, the data, when and with what."""
  found = [shown.result for shown in source.results]
  seen = dict.fromkeys((", ".join(r.pretraining.datasets), r.pretraining.label_use) for r in found
                       if r.pretraining.datasets)
  dates = sorted(result.date for result in found)
  return {
    "label": source.label, "folder": str(source.folder),
    "checkpoints": list({r.checkpoint.identity: r.checkpoint for r in found if r.checkpoint}.values()),
    "pretraining": [{"datasets": datasets, "label_use": label_use} for datasets, label_use in seen],
    "data": list({(r.data.name, r.data.split): r.data for r in found}.values()),
    "seen": {r.data.name for r in found if r.pretraining.evaluated_data_among_them},
    "dates": list(dict.fromkeys(date[:10] for date in (dates[:1] + dates[-1:]))),
    "versions": max(found, key=lambda result: result.date).versions,
    "files": [shown.path.name for shown in source.results],
    "passed_over": source.passed_over + [m for result in found for m in sources.pictures(source, result)[1]],
    "glance": [line | {"evaluation": title} for result, title in zip(found, _titles(source), strict=True)
               for line in layout.glance(result)],
  }


def _titles(source: Source) -> list[str]:
  """Of each result, with its file where two of them have one title."""
  counts = collections.Counter(shown.result.title for shown in source.results)
  return [shown.result.title + (f" ({shown.path.name})" if counts[shown.result.title] > 1 else "")
          for shown in source.results]


def _evaluation(source: Source, shown: Shown, anchor: str, title: str) -> dict:
  result = shown.result
  places = curves.place_of([row.name for row in result.rows])
  heat = layout.views(result)
  return {
    "id": f"evaluation-{anchor}", "label": source.label, "title": title, "file": shown.path.name,
    "caption": tables.caption(result), "columns": result.columns,
    "tables": [{"heading": "As they are" if c == "none" else f"Centred by {c}", "sections": layout.sections(result, c)}
               for c in layout.centrings(result)],
    "cmc": [_cmc(result, c, places) for c in layout.centrings(result) if layout.cmc(result, c)],
    "views": [v for v in heat if v["name"] == MODEL], "other_views": [v for v in heat if v["name"] != MODEL],
    "confusions": layout.confusions(result), "robustness": _robustness(result, places), "fitting": _fitting(result),
    "strips": sources.strips_of(source, result), "pictures": sources.pictures(source, result)[0],
  }


def _cmc(result: Result, centring: str, places: dict[str, int]) -> dict:
  by_condition = layout.cmc(result, centring)
  panels = []
  for condition, found in by_condition.items():
    label = f"CMC, {condition}. " + "; ".join(
      f"{title}: {values[0]:.1f} % at rank 1, {values[-1]:.1f} % at rank {len(values)}" for _, title, values in found)
    longest = max(len(values) for *_, values in found)
    panels.append(Markup(curves.panel(
      [(places[name], range(1, len(values) + 1), values) for name, _, values in found], label=label, x_title="rank",
      y_title=f"{condition}: found within rank, %", y_range=(0, 100),
      x_ticks=[k for k in (1, 5, 10, 15, 20) if k <= longest])))
  return {"title": "" if centring == "none" else f"centred by {centring}", "panels": panels,
          "legend": _legend(by_condition, places)}


def _robustness(result: Result, places: dict[str, int]) -> dict:
  by_type = layout.robustness(result)
  panels = []
  for kind, found in by_type.items():
    label = f"{kind}. " + "; ".join(f"{title}: " + ", ".join(f"{v:.1f}" for v in values) for _, title, values in found)
    panels.append(Markup(curves.panel(
      [(places[name], result.severities[: len(values)], values) for name, _, values in found], label=label,
      x_title="severity", y_title=f"{kind.replace('_', ' ')}, %", y_range=(0, 100), x_ticks=result.severities,
      marks=True)))
  return {"panels": panels, "legend": _legend(by_type, places)}


def _fitting(result: Result) -> dict:
  found = layout.fitting(result)[:curves.SERIES]
  legend = [{"title": title, "place": place} for place, (title, *_) in enumerate(found)]
  if not found:
    return {"panels": [], "legend": []}
  measure = result.fine_tuning.measure
  label = f"Validation {measure}. " + "; ".join(f"{t}: {max(y):.1f} at best" for t, _, y in found)
  drawn = curves.panel([(n, x, y) for n, (_, x, y) in enumerate(found)], label=label, x_title="step", marks=True,
                       y_title=f"{measure} on validation people, %")
  return {"panels": [Markup(drawn)], "legend": legend}


def _legend(curves_of: dict[str, list], places: dict[str, int]) -> list[dict]:
  titles = {name: title for found in curves_of.values() for name, title, _ in found}
  return [{"title": title, "place": places[name]} for name, title in titles.items()]


# Panels of training: title, names of metrics, whether the axis is logarithmic.
_PANELS = (
  ("loss", ("loss", "reconstruction", "contrastive"), False),
  ("contrastive accuracy", ("contrastive_accuracy",), False),
  ("gradient norm", ("gradient_norm",), True),
  ("learning rate", ("rate",), False),
)


def _training(source: Source) -> dict:
  panels = [_curves_of(source, "train", title, {name: name for name in names}, log=log)
            for title, names, log in _PANELS]
  # Of an evaluation <name>: <name>/<condition>/rank1 in a panel of its own, <name>/effective_rank beside the others'.
  evaluated = list(dict.fromkeys(k for line in source.lines if line.get("kind") == "evaluate" for k in line))
  for name in dict.fromkeys(k.partition("/")[0] for k in evaluated if k.endswith("/rank1")):
    found = {k: k.removeprefix(f"{name}/").removesuffix("/rank1") for k in evaluated
             if k.startswith(f"{name}/") and k.endswith("/rank1")}
    panels.append(_curves_of(source, "evaluate", f"{name}: rank-1, %", found))
  ranks = {k: k.removesuffix("/effective_rank") for k in evaluated if k.endswith("/effective_rank")}
  panels.append(_curves_of(source, "evaluate", "effective rank of embeddings", ranks))
  return {"label": source.label, "panels": [panel for panel in panels if panel]}


def _curves_of(source: Source, kind: str, title: str, titles: dict[str, str], *, log: bool = False) -> dict | None:
  """The panel of the metrics {name: title in the legend} in lines of `kind`; None where there are none of them."""
  found = []
  for name in list(titles)[:curves.SERIES]:
    points = [(line["step"], v) for line in source.lines if line.get("kind") == kind
              and (v := number(line.get(name))) is not None and not (log and v <= 0)]
    if points:
      found.append((name, *zip(*points, strict=True)))
  if not found:
    return None
  label = f"{title}. " + "; ".join(f"{name}: {y[-1]:.4g} at step {x[-1]:g}" for name, x, y in found)
  drawn = curves.panel([(n, x, y) for n, (_, x, y) in enumerate(found)], label=label, x_title="step", y_title=title,
                       log=log)
  legend = [{"title": titles[name].replace("_", " "), "place": n} for n, (name, *_) in enumerate(found)]
  return {"svg": Markup(drawn), "legend": legend if len(legend) > 1 else []}


def _comparison(read: list[Source]) -> dict | None:
  """Both sources beside each other, or None for one."""
  if len(read) < 2:
    return None
  found, alone = side_by_side.pairs(*([shown.result for shown in source.results] for source in read))
  tables_of = [{"title": layout.title_of(first, centring)} | side_by_side.compared(first, second, centring)
               for first, second in found for centring in layout.centrings(first)]
  return {"tables": [table for table in tables_of if table["lines"]], "alone": alone}
