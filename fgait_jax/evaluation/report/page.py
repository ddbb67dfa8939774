"""The report: one HTML file that opens from disk and asks nothing of any network, from result files alone.

Everything that comes from files is escaped; a content-security policy in the page forbids every request, and every
script but the page's own.
"""

import base64
import hashlib
import importlib.resources
import pathlib

import jinja2
from markupsafe import Markup

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.metrics import pairing
from fgait_jax.evaluation.report import compare, curves, export, layout, sources, tables
from fgait_jax.evaluation.report.sources import Result, Source
from fgait_jax.paths import local_path

_LABELS = "AB"


def write(folders: list[str], out: str | pathlib.Path | None) -> list[pathlib.Path]:
  """Writes the report of one folder of results, or of two beside each other, to `out` (.html), and its tables beside
  it as .md, .tex and .csv. Raises `ConfigError` on unfit arguments and `DataError` on a folder without results."""
  if out is None or pathlib.Path(out).suffix.lower() != ".html":
    raise ConfigError(f"--report wants --out=FILE.html, the file to write; got --out={out}")
  if (out := local_path(out, "--out")).is_dir():
    raise ConfigError(f"--out={out} is a folder; --report writes one file there, give --out=FILE.html")
  if len(folders) > len(_LABELS):
    raise ConfigError(f"--report was given {len(folders)} times; one folder, or two to compare")
  read = [sources.read(folder, label=_LABELS[n] if len(folders) > 1 else "") for n, folder in enumerate(folders)]
  out.parent.mkdir(parents=True, exist_ok=True)
  out.write_text(render(read), encoding="utf-8")
  return [out, *export.write(out, [(s.label or s.folder.name, r.content) for s in read for r in s.results])]


def render(read: list[Source]) -> str:
  """The page of one or two sources."""
  files = importlib.resources.files("fgait_jax.evaluation.report")
  text = {name: files.joinpath(name).read_text(encoding="utf-8") for name in ("page.html.j2", "page.css", "page.js")}
  environment = jinja2.Environment(loader=jinja2.DictLoader(text), autoescape=True, undefined=jinja2.StrictUndefined,
                                   trim_blocks=True, lstrip_blocks=True)
  script = hashlib.sha256(text["page.js"].encode()).digest()
  evaluations = [_evaluation(source, result, f"{source.label}{n}") for source in read
                 for n, result in enumerate(source.results)]
  return environment.get_template("page.html.j2").render(
    css=Markup(text["page.css"]), js=Markup(text["page.js"]), script_hash=base64.b64encode(script).decode(),
    heads=[_head(source) for source in read], evaluations=evaluations, comparison=_comparison(read),
    training=[t for t in map(_training, read) if t["panels"]])


def _head(source: Source) -> dict:
  """What was evaluated: the models, what they saw, the data, when and with what."""
  contents = [result.content for result in source.results]
  checkpoints = {str(c.get("identity", c.get("path"))): c for content in contents
                 if isinstance(c := content.get("checkpoint"), dict)}
  seen = dict.fromkeys((", ".join(map(str, p["datasets"])), str(p.get("labels", "labels not stated")))
                       for content in contents if (p := content["pretraining"]).get("datasets"))
  data = {(d["name"], d["split"]): d for d in (content["data"] for content in contents)}
  dates = sorted(str(content["date"]) for content in contents if content.get("date"))
  return {
    "label": source.label, "folder": str(source.folder), "checkpoints": list(checkpoints.values()),
    "pretraining": [{"datasets": datasets, "labels": labels} for datasets, labels in seen],
    "data": [d | {"kind_title": layout.KINDS.get(d["kind"], str(d["kind"]))} for d in data.values()],
    "seen": {str(c["data"]["name"]) for c in contents if c["pretraining"].get("evaluated_data_among_them")},
    "dates": list(dict.fromkeys(date[:10] for date in (dates[:1] + dates[-1:]))),
    "versions": next((c["versions"] for c in reversed(contents) if isinstance(c.get("versions"), dict)), {}),
    "files": [result.path.name for result in source.results],
    "passed_over": source.passed_over + [m for r in source.results for m in sources.pictures(source, r)[1]],
    "glance": [line | {"evaluation": str(r.content["title"])} for r in source.results
               for line in layout.glance(r.content)],
  }


def _evaluation(source: Source, result: Result, anchor: str) -> dict:
  content = result.content
  places = curves.place_of([str(row["name"]) for row in content["rows"]])
  heat = layout.views(content)
  return {
    "id": f"evaluation-{anchor}", "label": source.label, "title": str(content["title"]), "file": result.path.name,
    "caption": tables.caption(content), "metrics": content["metrics"],
    "tables": [{"heading": "As they are" if c == "none" else f"Centred by {c}", "sections": layout.sections(content, c)}
               for c in layout.centrings(content)],
    "cmc": [_cmc(content, c, places) for c in layout.centrings(content) if layout.cmc(content, c)],
    "views": [v for v in heat if v["name"] == layout.MODEL], "other_views": [v for v in heat if v["name"] != "model"],
    "confusions": layout.confusions(content), "robustness": _robustness(content, places),
    "fitting": _fitting(content), "strips": sources.strips_of(source, result),
    "pictures": sources.pictures(source, result)[0],
  }


def _cmc(content: dict, centring: str, places: dict[str, int]) -> dict:
  by_condition = layout.cmc(content, centring)
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


def _robustness(content: dict, places: dict[str, int]) -> dict:
  by_type = layout.robustness(content)
  panels = []
  for kind, found in by_type.items():
    label = f"{kind}. " + "; ".join(f"{title}: " + ", ".join(f"{v:.1f}" for v in values) for _, title, values in found)
    longest = max(len(values) for *_, values in found)
    levels = content.get("severities") or range(1, longest + 1)
    levels = list(levels if len(levels) == longest else range(1, longest + 1))
    panels.append(Markup(curves.panel(
      [(places.get(name, 0), levels[:len(values)], values) for name, _, values in found], label=label,
      x_title="severity", y_title=f"{kind.replace('_', ' ')}, %", y_range=(0, 100), x_ticks=levels, marks=True)))
  return {"panels": panels, "legend": _legend(by_type, places)}


def _fitting(content: dict) -> dict:
  found = layout.fitting(content)[:curves.SERIES]
  legend = [{"title": title, "place": place} for place, (title, *_) in enumerate(found)]
  if not found:
    return {"panels": [], "legend": []}
  measure = str(content["fine_tuning"].get("measure", "figure"))
  label = f"Validation {measure}. " + "; ".join(f"{t}: {max(y):.1f} at best" for t, _, y in found)
  drawn = curves.panel([(n, x, y) for n, (_, x, y) in enumerate(found)], label=label, x_title="step", marks=True,
                       y_title=f"{measure} on validation people, %")
  return {"panels": [Markup(drawn)], "legend": legend}


def _legend(curves_of: dict[str, list], places: dict[str, int]) -> list[dict]:
  titles = {name: title for found in curves_of.values() for name, title, _ in found}
  return [{"title": title, "place": places.get(name, 0)} for name, title in titles.items()]


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
              and (v := layout.number(line.get(name))) is not None and not (log and v <= 0)]
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
  found, alone = pairing.pairs(*([result.content for result in source.results] for source in read))
  tables_of = [{"title": layout.title_of(first, centring)} | compare.compared(first, second, centring)
               for first, second in found for centring in layout.centrings(first)]
  return {"tables": [table for table in tables_of if table["lines"]], "alone": alone}
