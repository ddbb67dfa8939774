"""A folder of results as tables and the report want it: results in the order people read them, played walks, training
curves, pictures; what cannot be used is named with the reason, never an error. Only a folder without any result is one.
"""

import base64
import dataclasses
import json
import pathlib

from fgait_jax.errors import DataError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.plain import number
from fgait_jax.evaluation.report import strips
from fgait_jax.evaluation.results import Result
from fgait_jax.paths import local_path
from fgait_jax.training import checkpoints, folders, weights
from fgait_jax.training.metrics import read_lines

TRAINING, TRAINING_KIND = "training.json", "training"
RESULTS = "results"  # folder of a run's evaluations, as the main job names it
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
  """A result and its file."""

  path: pathlib.Path
  result: Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A folder of results. `played`: file stem -> walks (strips.check). `lines`: of the run's metrics.jsonl."""

  label: str
  folder: pathlib.Path
  results: list[Shown]
  played: dict[str, dict]
  lines: list[dict]
  passed_over: list[tuple[str, str]]


def read(path: str | pathlib.Path, *, flag: str, label: str = "") -> Source:
  """Reads every JSON file of the folder `path`, or the one file; `flag` is where the user named it. Raises `DataError`
  where it is neither or holds no result."""
  path = local_path(path, flag)
  folder = path.parent if path.is_file() else path
  if not folder.is_dir():
    raise DataError(f"{flag}={path}: not a folder; name the --out folder of finished evaluations")
  found, played, lines, passed = [], {}, [], []
  for file in [path] if path.is_file() else sorted(path.glob("*.json")):
    try:
      content = json.loads(file.read_text(encoding="utf-8"))
      kind = content.get("kind") if isinstance(content, dict) else None
      if kind == strips.KIND:
        played[file.stem] = strips.check(content, origin=file.name)
      elif kind == TRAINING_KIND:
        lines = _lines(content["lines"])
      else:
        found.append(Shown(path=file, result=results.parsed(content, origin=file.name)))
    except DataError as error:
      passed.append((file.name, str(error).removeprefix(f"{file.name}: ")))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
      passed.append((file.name, f"not as the report knows it ({type(error).__name__}: {error})"))
    except OSError as error:
      passed.append((file.name, f"cannot be read ({error.strerror})"))
  if not found and path.is_file():
    raise DataError(f"{flag}={path}: {passed[0][1] if passed else 'goes with a result and is none'}")
  if not found:
    reasons = "".join(f"\n  {name}: {reason}" for name, reason in passed)
    advice = f"run_eval.py --config=... --out={folder} writes them"
    if any((folder / RESULTS).glob("*.json")):
      advice = f"{folder / RESULTS} holds some; give that"
    raise DataError(f"{flag}={path}: no result files; {advice}{reasons}")
  if not lines:
    lines = _lines_of_runs(found)
  return Source(label=label, folder=folder, results=sorted(found, key=_place), played=played, lines=lines,
                passed_over=passed)


def _place(shown: Shown) -> tuple:
  """Where a result stands among others: synthetic people before real ones, a data set after another, and of each
  zero-shot recognition before everything else."""
  data, task = shown.result.data, shown.result.task
  return data.kind != "synthetic", data.name, data.split, task != "zero_shot", shown.path.name


def _lines(lines: list) -> list[dict]:
  return [line for line in lines if isinstance(line, dict) and number(line.get("step")) is not None]


def _lines_of_runs(found: list[Shown]) -> list[dict]:
  """Of the checkpoint's folder, where the results still stand beside it (the run's folder or one checkpoint's)."""
  for checkpoint in (shown.result.checkpoint for shown in found if shown.result.checkpoint):
    if lines := _lines_of_run(pathlib.Path(checkpoint.path))[1]:
      return lines
  return []


def _lines_of_run(checkpoint: pathlib.Path) -> tuple[pathlib.Path, list[dict]]:
  """The run that a checkpoint's folder is or belongs to, and the lines of its metrics ([] where there are none)."""
  run = checkpoint
  if checkpoint.parent.name == checkpoints.FOLDER:
    run = checkpoint.parent.parent
  elif checkpoint.name in (checkpoints.FOLDER, weights.FOLDER):
    run = checkpoint.parent
  return run, read_lines(run)


def keep_training(checkpoint: str | pathlib.Path, out: pathlib.Path) -> None:
  """Copies the metrics of the run of `checkpoint` to `out`/training.json, so that a report needs only that folder."""
  folder, lines = _lines_of_run(pathlib.Path(checkpoint))
  if lines:
    whole = {"format": 1, "kind": TRAINING_KIND, "run": str(folder), "lines": lines}
    folders.write_text(out / TRAINING, json.dumps(whole) + "\n")


def pictures(source: Source, result: Result) -> tuple[list[dict], list[tuple[str, str]]]:
  """Pictures the result names, as data URIs, and those that are not there. One whose walks can be played is left out.
  """
  found, missing = [], []
  for name in result.pictures:
    path = source.folder / name
    if path.stem in source.played:
      continue
    if path.suffix.lower() not in _PICTURES or path.resolve().parent != source.folder.resolve():
      missing.append((name, "not a picture of the results folder"))
    elif not path.is_file():
      missing.append((name, "named by a result, but not in the folder"))
    else:
      data = base64.b64encode(path.read_bytes()).decode("ascii")
      found.append({"name": name, "uri": f"data:{_PICTURES[path.suffix.lower()]};base64,{data}"})
  return found, missing


def strips_of(source: Source, result: Result) -> list[dict]:
  """The walks it shows that can be played."""
  stems = [pathlib.PurePath(name).stem for name in result.pictures]
  return [source.played[stem] for stem in stems if stem in source.played]
