"""A folder of results as the report wants it: results, played walks, training curves, pictures; what cannot be used is
named with the reason, never an error. Only a folder without any result is one."""

import base64
import dataclasses
import json
import pathlib

from fgait_jax.errors import DataError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.report import compare, export, layout, strips, tables
from fgait_jax.paths import local_path
from fgait_jax.training.metrics import read_lines

TRAINING, TRAINING_KIND = "training.json", "training"
_BAD = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """A result file that can be shown."""

  path: pathlib.Path
  content: dict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A folder of results. `played`: file stem -> walks (strips.check). `lines`: of the run's metrics.jsonl."""

  label: str
  folder: pathlib.Path
  results: list[Result]
  played: dict[str, dict]
  lines: list[dict]
  passed_over: list[tuple[str, str]]


def read(folder: str | pathlib.Path, *, label: str = "") -> Source:
  """Reads every JSON file of `folder`; raises `DataError` where it is no folder or holds no result."""
  folder = local_path(folder, "--report")
  if not folder.is_dir():
    raise DataError(f"--report={folder}: not a folder; name the --out folder of finished evaluations")
  found, played, lines, passed = [], {}, [], []
  for path in sorted(folder.glob("*.json")):
    try:
      content = json.loads(path.read_text(encoding="utf-8"))
      kind = content.get("kind") if isinstance(content, dict) else None
      if kind == strips.KIND:
        played[path.stem] = strips.check(content, origin=path.name)
      elif kind == TRAINING_KIND:
        lines = _lines(content["lines"])
      else:
        content = results.read(path)
        passed += [(path.name, reason) for reason in _try(content)]
        found.append(Result(path=path, content=content))
    except DataError as error:
      passed.append((path.name, str(error)))
    except _BAD as error:
      passed.append((path.name, f"not as the report knows it ({type(error).__name__}: {error})"))
    except OSError as error:
      passed.append((path.name, f"cannot be read ({error.strerror})"))
  if not found:
    told = "".join(f"\n  {name}: {reason}" for name, reason in passed)
    raise DataError(f"--report={folder}: no result files; run_eval.py --config=... --out={folder} writes them{told}")
  if not lines:
    lines = _lines_of_runs(found)
  return Source(label=label, folder=folder, results=found, played=played, lines=lines, passed_over=passed)


def _try(content: dict) -> list[str]:
  """Reads the result once as the page will; a file of another layout fails here.

  Curves and matrices of another layout only lose these: they are taken out of `content`, and the reasons returned.
  """
  for name in ("data", "config", "pretraining"):
    if not isinstance(content[name], dict):
      raise TypeError(f"{name} is {type(content[name]).__name__}, expected a dict")
  for key in ("name", "split", "kind", "walks", "subjects"):
    content["data"][key]
  for centring in layout.centrings(content):
    layout.sections(content, centring)
  for reader in (layout.glance, tables.caption, export.markdown, compare.outcomes):
    reader(content)
  export.tidy([("", content)])
  reasons = []
  for part, reader in _PARTS.items():
    try:
      reader(content)
    except _BAD as error:
      reasons.append(f"shown without its {part}, which is not as the report knows it ({type(error).__name__}: {error})")
      holders = [content, *content["rows"], *[f for row in content["rows"] for f in row["figures"].values()]]
      for holder in [*holders, *(content.get("attributes") or {}).values()]:
        holder.pop(part, None)
  return reasons


def _curves(content: dict) -> None:
  for centring in layout.centrings(content):
    layout.cmc(content, centring)


_PARTS = {"cmc": _curves, "per_view": layout.views, "confusion": layout.confusions, "robustness": layout.robustness,
          "fine_tuning": layout.fitting}


def _lines(lines: list) -> list[dict]:
  return [line for line in lines if isinstance(line, dict) and layout.number(line.get("step")) is not None]


def _lines_of_runs(found: list[Result]) -> list[dict]:
  """Of the checkpoint's folder, where the results still stand beside it (the run's folder or one checkpoint's)."""
  for result in found:
    checkpoint = result.content.get("checkpoint") or {}
    path = checkpoint.get("path") if isinstance(checkpoint, dict) else None
    if not isinstance(path, str):
      continue
    for folder in (pathlib.Path(path), *pathlib.Path(path).parents[:2]):
      if lines := _lines(read_lines(folder)):
        return lines
  return []


def keep_training(checkpoint: str | pathlib.Path, out: pathlib.Path) -> None:
  """Copies the metrics of the run of `checkpoint` to `out`/training.json, so that a report needs only that folder."""
  for folder in (pathlib.Path(checkpoint), *pathlib.Path(checkpoint).parents[:2]):
    if lines := read_lines(folder):
      whole = {"format": 1, "kind": TRAINING_KIND, "run": str(folder), "lines": lines}
      out.mkdir(parents=True, exist_ok=True)
      (out / TRAINING).write_text(json.dumps(whole) + "\n", encoding="utf-8")
      return


def pictures(source: Source, result: Result) -> tuple[list[dict], list[tuple[str, str]]]:
  """Pictures the result names, as data URIs, and those that are not there. One whose walks can be played is left out.
  """
  shown, missing = [], []
  for name in map(str, result.content.get("pictures") or []):
    path = source.folder / name
    if path.stem in source.played:
      continue
    if path.suffix.lower() not in _PICTURES or path.resolve().parent != source.folder.resolve():
      missing.append((name, "not a picture of the results folder"))
    elif not path.is_file():
      missing.append((name, "named by a result, but not in the folder"))
    else:
      data = base64.b64encode(path.read_bytes()).decode("ascii")
      shown.append({"name": name, "uri": f"data:{_PICTURES[path.suffix.lower()]};base64,{data}"})
  return shown, missing


def strips_of(source: Source, result: Result) -> list[dict]:
  stems = [pathlib.PurePath(str(name)).stem for name in result.content.get("pictures") or []]
  return [source.played[stem] for stem in stems if stem in source.played]
