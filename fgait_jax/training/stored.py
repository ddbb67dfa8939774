"""A checkpoint on disk, read: its parts, and whether they are what was written. The SHA-256 of its files stand beside
them, in the form that `sha256sum -c` reads."""

import hashlib
import os
import pathlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import orbax.checkpoint as ocp

from fgait_jax.errors import CheckpointError, DamagedCheckpoint
from fgait_jax.parallel import hosts
from fgait_jax.training import configuration

FORMAT = 3
SUMS = "SHA256SUMS"
_MARKS = "commit_success.txt"  # empty, and written at another time on every kind of store

# Fields of `meta` that every checkpoint has.
_META = {"format": int, "run": str, "step": int, "config": dict, "data": dict, "people": dict, "code": str}


def write_sums(folder: pathlib.Path, items: Sequence[str]) -> None:
  """Writes <folder>/SHA256SUMS of all files in the folders `items` of it."""
  names = [name for item in items for name in _files(folder, item)]
  lines = [f"{digest}  {name}\n" for name, digest in zip(names, _digests(folder, names), strict=True)]
  with (folder / SUMS).open("w", encoding="utf-8") as file:
    file.writelines(lines)
    file.flush()
    os.fsync(file.fileno())


def check_sums(folder: pathlib.Path, item: str) -> None:
  """Raises `DamagedCheckpoint`, which names the file, unless <folder>/<item> holds what was written there, and
  `CheckpointError` where it may not be read. Process 0 reads; all must call it together."""
  words, denied = "", False
  if hosts.is_first():
    try:
      words = _difference(folder, item)
    except OSError as error:
      words = f"{pathlib.Path(error.filename or folder).name}: {error.strerror or error}"
      denied = isinstance(error, PermissionError)
  denied = hosts.any_process(denied)
  if words := hosts.first_message(words):
    if denied:
      raise CheckpointError(f"cannot read {folder}: {words}")
    raise DamagedCheckpoint(f"{folder} is damaged: {words}")


def _difference(folder: pathlib.Path, item: str) -> str:
  """What of <folder>/<item> is not as it was written, "" where all is."""
  sums = {}
  for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
    digest, _, name = line.partition("  ")
    if name.startswith(f"{item}/"):
      sums[name] = digest
  found = _files(folder, item)
  if missing := sorted(sums.keys() - set(found)):
    return f"{missing[0]} is missing"
  if strange := sorted(set(found) - sums.keys()):
    return f"{strange[0]} is not listed in {SUMS}"
  if not found:
    return f"{item} is missing"
  for name, digest in zip(found, _digests(folder, found), strict=True):
    if sums[name] != digest:
      return f"{name} is not what was written (its SHA-256 differs)"
  return ""


def _files(folder: pathlib.Path, item: str) -> list[str]:
  paths = (folder / item).rglob("*")
  return sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file() and path.name != _MARKS)


def _digests(folder: pathlib.Path, names: Sequence[str]) -> list[str]:
  with ThreadPoolExecutor(max_workers=8) as pool:
    return list(pool.map(lambda name: _digest(folder / name), names))


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


# What provenance reads of the stages that led to a network.
_FINE_TUNING = {"dataset": str, "settings": dict}
_STARTED_FROM = {"learned": dict, "imported_from": str}


def wrong_in(meta, step: int) -> str:
  """What makes the `meta` of a checkpoint other than what a run writes, "" for nothing."""
  if not isinstance(meta, dict):
    return f"it holds a {type(meta).__name__}"
  for name, kind in _META.items():
    if type(meta.get(name)) is not kind:
      return f"{name} is {meta.get(name)!r:.60}, expected a {kind.__name__}"
  if not re.fullmatch(r"[A-Za-z0-9_.-]+", meta["run"]):  # part of the names of caches
    return f"run is {meta['run']!r:.60}, expected letters, digits and _.-"
  if meta["step"] != step:
    return f"step is {meta['step']}"
  if not all(isinstance(digest, str) for digest in meta["data"].values()):
    return "data does not map names to content hashes"
  if not all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in meta["people"].values()):
    return "people does not map populations to lists of subjects"
  for name in ("fine_tune", "started_from", "imported_from", "sources"):
    if not isinstance(meta.get(name, {}), dict):
      return f"{name} is {meta[name]!r:.60}, expected a dict"
  for name, facts in meta.get("sources", {}).items():
    if not isinstance(facts, dict) or not all(isinstance(fact, str | int) for fact in facts.values()):
      return f"sources.{name[:60]} is {facts!r:.60}, expected facts in words and numbers"
  return _wrong_stage("fine_tune", meta.get("fine_tune"), _FINE_TUNING) or _wrong_stage(
    "started_from", meta.get("started_from"), _STARTED_FROM)


def _wrong_stage(name: str, stage, form: dict) -> str:
  """The same of what led to the network, and of each stage before it."""
  while stage:
    if not isinstance(stage, dict):
      return f"{name} is {stage!r:.60}, expected a dict"
    for key, kind in form.items():
      if not isinstance(stage.get(key), kind):
        return f"{name}.{key} is {stage.get(key)!r:.60}, expected a {kind.__name__}"
    name, stage = f"{name}.before", stage.get("before")
  return ""


def steps_in(folder: pathlib.Path) -> list[int]:
  """Steps of the complete checkpoints in a folder of them, in order."""
  return sorted(int(path.name) for path in folder.glob("*") if re.fullmatch(r"0|[1-9]\d*", path.name))


def read_state(folder: pathlib.Path, step: int, target):
  """The state at `step`; `target` is a tree of `jax.ShapeDtypeStruct` with shardings."""
  check_sums(folder / str(step), "state")
  return restore(folder, step, state=ocp.args.StandardRestore(target))["state"]


def read_meta(folder: pathlib.Path, step: int) -> dict:
  """The JSON of a checkpoint; raises `CheckpointError` unless it is what was written, of this format, and in form."""
  where = folder / str(step)
  if (summed := (where / SUMS).exists()) or not (where / "meta").is_dir():
    check_sums(where, "meta")
  meta = restore(folder, step, meta=ocp.args.JsonRestore())["meta"]
  if isinstance(meta, dict) and meta.get("format", FORMAT) != FORMAT:
    raise CheckpointError(f"{where} has format {meta['format']}, this code reads format {FORMAT} alone: use it with the"
                          f" version that wrote it ({meta.get('code', 'not recorded')}), or train anew in another"
                          " folder")
  if not summed:
    check_sums(where, "meta")
  if wrong := wrong_in(meta, step):
    raise CheckpointError(f"{where}/meta is not that of a checkpoint: {wrong}. It was not written by a run; take it"
                          " from its source again, or train anew in another folder")
  return meta | {"config": configuration.completed(meta["config"])}


def restore(folder: pathlib.Path, step: int, **items):
  """What Orbax reads of the `items` of a step; whatever a damaged folder makes it raise becomes a `CheckpointError`
  that names the folder."""
  try:
    # A fresh, read-only manager each time: one that has restored an item in one way refuses another.
    with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
      return manager.restore(step, args=ocp.args.Composite(**items))
  except Exception as error:  # of all the libraries that read a part of it
    reason = str(error).strip().split("\n")[0][:300] or repr(error)
    raise CheckpointError(
      f"cannot read {folder}/{step}: {reason}. The checkpoint is partial, damaged or of another model; remove it to use"
      " the one before it"
    ) from error
