"""Reads a built data set back and checks every file and every walk against its manifest.

  python -m data_prep.verify built/kth

Prints what is wrong, one line each, and exits 1; or a summary, and exits 0. Changes nothing.
"""

import argparse
import functools
import json
import multiprocessing
import pathlib
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from rich.console import Console
from rich.progress import track

from data_prep import arguments, datasets, partitions
from data_prep.builder import usable_cores
from data_prep.manifest import content_hash
from data_prep.shards import TEXTS, digest, features, hash_file
from fgait_jax import npz
from fgait_jax.data import schema
from fgait_jax.data.workers import end_with_parent
from fgait_jax.errors import DataError, FgaitError


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(prog="python -m data_prep.verify", description=__doc__.split("\n\n")[0])
  parser.add_argument("folder", type=arguments.path("folder"), help="a built data set, such as built/kth")
  parser.add_argument(
    "--workers", type=arguments.whole(1), default=usable_cores(), help="processes (default: %(default)s, the cores)"
  )
  console = Console()
  try:
    args = parser.parse_args(argv)
    folder = find(args.folder)
    manifest, problems = verify(folder, workers=args.workers, console=console)
  except (FgaitError, OSError) as error:  # the text of both names the file
    print(f"error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("stopped; nothing was changed", file=sys.stderr)
    return 130
  if problems:
    for problem in problems:
      print(f"wrong: {problem}")
    print(f"{folder}: {len(problems)} problems; build it again with --overwrite: python -m data_prep.build")
    return 1
  splits = ", ".join(f"{split} {facts['sequences']:,} sequences" for split, facts in manifest["splits"].items())
  print(f"{folder}: all as its manifest says: {splits}, {len(manifest['shards'])} shards")
  print(f"content {manifest['content_hash']}")
  return 0


def find(folder: pathlib.Path) -> pathlib.Path:
  """The version folder of a built data set; raises `DataError` where there is none."""
  if schema.rendered_people(folder.name):
    raise DataError(f"{folder.name} is not built but rendered while it is read: there is nothing to verify")
  for candidate in (folder, folder / schema.BUILDER_VERSION):
    if (candidate / schema.MANIFEST).is_file():
      return candidate
  raise DataError(f"no {schema.MANIFEST} in {folder} or {folder / schema.BUILDER_VERSION}: not a finished data set")


def verify(folder: pathlib.Path, *, workers: int = 1, console: Console | None = None) -> tuple[dict, list[str]]:
  """The manifest of `folder`, and one sentence per contradiction to it, naming the file.

  Raises `DataError` where the manifest cannot be read.
  """
  try:
    manifest = schema.parse_manifest((folder / schema.MANIFEST).read_bytes())
  except (OSError, ValueError) as error:
    raise DataError(f"{folder / schema.MANIFEST} is not a manifest of this builder: {error}") from error
  shards, indices, splits = manifest["shards"], manifest["indices"], manifest["splits"]
  problems = [
    f"{path} is foreign: the manifest does not list it"
    for path in sorted(folder.iterdir())
    if (".array_record" in path.name or path.name.startswith("index-")) and path.name not in {**shards, **indices}
  ]
  listed = {**indices, **manifest["metadata"]}
  problems += filter(None, (_compare_file(folder / name, facts) for name, facts in listed.items()))
  index = {split: _load_index(folder / schema.index_name(split)) for split in splits}
  unread = [folder / schema.index_name(split) for split in splits if index[split] is None]
  problems += [f"{path} is no index of walks" for path in unread if path.is_file()]
  problems += _check_tfds(folder, manifest) + _check_partition(folder, manifest["name"], index)
  names = sorted(shards)
  tasks = [(folder / name, shards[name], _rows_of_shard(index[shards[name]["split"]], name)) for name in names]
  digests: dict[str, list[str]] = {split: [] for split in splits}
  for name, (found, of_shard) in zip(names, _check_shards(tasks, workers=workers, console=console), strict=True):
    problems += found
    digests[shards[name]["split"]] += of_shard
  if not problems:  # every walk was read
    for split, facts in splits.items():
      if facts["sequences"] != len(digests[split]):
        problems.append(f"{folder}: split {split} holds {len(digests[split])} walks, not {facts['sequences']}")
    if content_hash(digests) != manifest["content_hash"]:
      problems.append(f"{folder / schema.MANIFEST}: the content hash is not that of the stored walks")
  return manifest, problems


def _compare_file(path: pathlib.Path, facts: Mapping) -> str | None:
  if not path.is_file():
    return f"{path} is missing"
  if (size := path.stat().st_size) != facts["bytes"]:
    return f"{path} has {size:,} bytes instead of {facts['bytes']:,}"
  if hash_file(path) != facts["sha256"]:
    return f"{path} was changed: its bytes do not have the manifest's hash"
  return None


def _load_index(path: pathlib.Path) -> dict[str, np.ndarray] | None:
  try:
    columns = npz.read(path)
  except npz.Unreadable:
    return None
  if not {*TEXTS, "num_frames", "shard"} <= columns.keys():
    return None
  shapes = {None if column is None else column.shape for column in columns.values()}
  return columns if shapes == {(np.size(columns["shard"]),)} else None


def _check_tfds(folder: pathlib.Path, manifest: Mapping) -> list[str]:
  """TFDS's own metadata must count the same walks in the same shards."""
  path = folder / "dataset_info.json"
  expected = {split: [] for split in manifest["splits"]}
  for _, facts in sorted(manifest["shards"].items()):
    expected[facts["split"]].append(facts["sequences"])
  try:
    counted = {s["name"]: [int(n) for n in s["shardLengths"]] for s in json.loads(path.read_text())["splits"]}
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    return [f"{path} cannot be read: {error!r}"]
  return [] if counted == expected else [f"{path} counts walks by shard as {counted}, the manifest as {expected}"]


def _check_partition(folder: pathlib.Path, name: str, index: Mapping[str, Mapping | None]) -> list[str]:
  """Problems of the splits: a subject in two of them, or not in the split of today's official partition."""
  record = datasets.RECORDS.get(name)
  found = {subject for columns in index.values() if columns for subject in columns["subject"].tolist()}
  official = partitions.load_for(record.partition, found) if record and record.partition else {}
  split_of = {identity: split for split, identities in official.items() for identity in identities}
  problems, seen = [], {}
  for split, columns in index.items():
    for subject in sorted(set(columns["subject"].tolist())) if columns else ():
      if (other := seen.setdefault(subject, split)) != split:
        problems.append(f"{folder}: subject {subject} is in both {other} and {split}")
      elif official and split_of.get(subject) != split:
        problems.append(
          f"{folder}: subject {subject} is stored in {split}, the partition {record.partition} has it in"
          f" {split_of.get(subject, 'no split')}: it was changed after the build"
        )
  return problems


def _rows_of_shard(columns: Mapping[str, np.ndarray] | None, name: str) -> dict[str, np.ndarray] | None:
  if columns is None:
    return None
  rows = columns["shard"] == int(name.split(".array_record-")[1].split("-")[0])
  return {column: values[rows] for column, values in columns.items()}


def _check_shards(tasks: Sequence[tuple], *, workers: int, console: Console | None) -> list[tuple[list, list]]:
  watch = functools.partial(track, description="shards", total=len(tasks), console=console, disable=console is None)
  workers = min(workers, len(tasks))
  if workers <= 1:
    return [_check_shard(*task) for task in watch(tasks)]
  spawn = multiprocessing.get_context("spawn")
  with ProcessPoolExecutor(workers, mp_context=spawn, initializer=end_with_parent) as pool:
    return list(watch(pool.map(_check_shard, *zip(*tasks, strict=True))))


def _check_shard(path: pathlib.Path, facts: Mapping, index: Mapping | None) -> tuple[list[str], list[str]]:
  """The problems of one shard, and the digests of its walks. A shard whose bytes differ is not read further."""
  if problem := _compare_file(path, facts):
    return [problem], []
  if not facts["sequences"]:
    return [], []
  names = [] if index is None else [c.removeprefix("attribute.") for c in index if c.startswith("attribute.")]
  connector = features(names) if index is not None else None
  problems, digests = [], []
  records = ArrayRecordDataSource([str(path)])
  if len(records) != facts["sequences"]:
    problems.append(f"{path} holds {len(records)} walks instead of {facts['sequences']}")
  if connector is None:
    return problems, digests
  for i in range(len(records)):
    try:
      example = connector.deserialize_example_np(records[i])
      shape = {name: int(example[name]) for name in ("num_frames", "height", "width", "channels")}
      frames = schema.unpack_frames(example["frames"], **shape)
      texts = [example[name].decode() for name in TEXTS]
      expected = [str(index[name][i]) for name in TEXTS]
    except Exception as error:
      problems.append(f"{path}: walk {i} cannot be read ({error})")
      continue
    count = index["num_frames"][i]
    if texts != expected or len(frames) != count:
      problems.append(
        f"{path}: walk {i} is {texts} of {len(frames)} frames, the index says {expected} of {count} frames"
      )
    digests.append(digest(texts, example.get("attributes", {}), frames))
  return problems, digests


if __name__ == "__main__":
  sys.exit(main())
