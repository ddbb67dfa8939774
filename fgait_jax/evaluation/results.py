"""One JSON file per evaluation: the figures, and everything needed to know what they are figures of.

Tables and reports read these files only. The layout (FORMAT 1):

  format, task, title, date            what was done, in plain words, and when (UTC)
  notes       sentences for the caption: protocol, metric, what an interval is
  data        name, split, kind (a key of report/layout.py's KINDS), walks, subjects, content_hash
  checkpoint  path, step, identity, model
  pretraining data sets the checkpoint has seen, and whether the evaluated one is among them
  conditions  [{name, title}]: sections of the table, in order
  metrics     [{key, title, interval, best, digits}]: columns; `interval`: has one; `best`: the value of a full bar
  rows        [{name, title, centred, figures: {condition: {metric: number, "ci": {metric: [low, high]}}}, ...}]:
              the model, then its baselines; further keys of a row are those of docs/evaluation.md
  config      the whole configuration as nested dicts
  versions    of Python and of the libraries that compute, and the devices
"""

import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
from collections.abc import Mapping

import jax
import numpy as np

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.paths import local_path
from fgait_jax.training import configuration

FORMAT = 1
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "scikit-learn")
# What changes no figure of a result, or only how sure it is and what stands beside it.
_FREE = ("baselines", "batch_frames", "bootstrap", "cache", "compilation_cache", "data_dir", "pictures",
         "compare.resamples", "fine_tune.log_every", "fine_tune.prefetch", "fine_tune.threads", "fine_tune.workers")
_SECTIONS = {"linear_probe": ("probe",), "fine_tune": ("fine_tune", "probe"), "robustness": ("robustness",),
             "compare": ("compare",), "score": ("rerank",),
             "whitening": ("whitening",)}  # what a task reads beside the keys that stand alone
_SOURCES = (("checkpoint", "identity", "weights (run, step, network)"), ("data", "content_hash", "build of the data"))
_NEEDED = ("task", "title", "data", "notes", "pretraining", "conditions", "metrics", "rows", "config")


def claim(path: pathlib.Path, config, about: Mapping | None = None) -> pathlib.Path:
  """`path`, if a result of `config` may be written there: nothing is, or a result of the same settings, which it will
  replace. Raises `ConfigError` that names what is different in the result there.

  `about` (`setup.describe`) says which weights and which build of the data are evaluated. These are compared
  themselves, and not the folder they came from: it may hold a later step by now, or have been moved.
  """
  if not path.exists():
    return path
  try:
    result = read(path)
  except DataError as error:
    raise ConfigError(f"{path} is there already and is no result ({error}); give another --out") from error
  there, wanted = configuration.flat(result["config"]), configuration.flat(config)
  sections, free = ("", *_SECTIONS.get(config.task, ())), _FREE if about is None else (*_FREE, "checkpoint")
  read_by_task = [key for key in sorted(there.keys() & wanted.keys())
                  if key not in free and key.rpartition(".")[0].partition(".")[0] in sections]
  differing = [f"config.{key}: {there[key]!r} there, {wanted[key]!r} here" for key in read_by_task
               if there[key] != wanted[key]]
  for part, key, what in _SOURCES if about is not None else ():
    before, now = result.get(part, {}).get(key), about[part][key]
    if before != now:
      differing.append(f"{what}: {before} there, {now} here")
  if differing:
    raise ConfigError(f"{path} is there already, a result of other settings:\n  " + "\n  ".join(differing)
                      + "\nGive another --out, or move it away.")
  return path


def write(path: str | os.PathLike, result: Mapping) -> pathlib.Path:
  """Writes `result` with format, date and versions added, in one move. Not-a-number becomes null."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  whole = {"format": FORMAT, "date": now, **plain(result), "versions": versions()}
  if missing := [key for key in _NEEDED if key not in whole]:
    raise ValueError(f"a result without {missing}; its layout is in the docstring of fgait_jax/evaluation/results.py")
  half = path.with_name(f".{path.name}.{os.getpid()}")
  half.write_text(json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
  half.replace(path)
  return path


def read(path: str | os.PathLike) -> dict:
  """A result as `write` left it; raises `DataError` naming the file unless it is one."""
  try:
    result = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise DataError(f"{path}: not a readable result file ({error})") from error
  if not isinstance(result, dict) or result.get("format") != FORMAT or any(key not in result for key in _NEEDED):
    found = result.get("format") if isinstance(result, dict) else type(result).__name__
    raise DataError(f"{path}: not a result file of format {FORMAT} (found {found!r}); run the evaluation again")
  return result


def find(folder: str | os.PathLike) -> list[pathlib.Path]:
  """The result files of a folder (other JSON is passed over), or the one file named; `DataError` if there is none."""
  folder = local_path(folder, "the results")
  if folder.is_file():
    return [folder]
  found = [path for path in sorted(folder.glob("*.json")) if _is_result(path)]
  if not found:
    raise DataError(f"{folder}: no result files; run_eval.py --config=... --out={folder} writes them")
  return found


def versions() -> dict[str, str]:
  """Of Python, the code and the libraries that compute, and the devices they ran on."""
  found = {"python": platform.python_version(), "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}
  for name in ("fgait_jax", *_LIBRARIES):
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "not installed as a package"
  return found


def plain(value):
  """`value` as what JSON can hold: arrays become lists, tuples lists, numbers that are not finite None."""
  if isinstance(value, Mapping):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, np.ndarray):
    return plain(value.tolist())
  if isinstance(value, (list, tuple)):
    return [plain(v) for v in value]
  if isinstance(value, np.generic):
    return plain(value.item())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def _is_result(path: pathlib.Path) -> bool:
  try:
    read(path)
  except DataError:
    return False
  return True
