"""Reads built data sets without TensorFlow: any frames of any sequence, and its labels.

Readers open their files when first used, are safe in threads, and pickle as a few paths.
"""

from __future__ import annotations

import json
import pathlib
import re
from typing import TYPE_CHECKING

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2

from fgait_jax import npz
from fgait_jax.data import schema
from fgait_jax.errors import DataError
from fgait_jax.paths import local_path

if TYPE_CHECKING:
  from fgait_jax.data.rendered import Rendered

_FEATURE = re.compile(r"tensorflow_datasets\.core\.features\.\w+\.\w+")


class Split:
  """One split of one built data set, or a TFDS slice of it. Rows are in stored order.

  `subjects`, `conditions`, `views`, `keys` are arrays of str and `num_frames` is int32, all of length len(self);
  `attributes` maps a name to float32, nan where a sequence lacks it. `manifest` is the data set's, as a dict.
  Columns of the index are read when first used. Pickling leaves them and open files out; they are read again on use.
  """

  def __init__(self, *, name: str, instructions: list, folder: pathlib.Path, manifest: dict):
    self.name = name
    self.manifest = manifest
    self._folder = folder
    self._instructions = instructions
    self._records = ArrayRecordDataSource(instructions)
    self._columns: dict[str, np.ndarray] = {}

  def __getstate__(self) -> dict:
    return {**self.__dict__, "_columns": {}}

  def _column(self, name: str) -> np.ndarray:
    """A column of the index, read on first use: a worker process needs the lengths but not two million keys."""
    if name not in self._columns:
      self._columns[name] = _read_column(self._folder, self._instructions, name)
    return self._columns[name]

  @property
  def num_frames(self) -> np.ndarray:
    return self._column("num_frames")

  @property
  def subjects(self) -> np.ndarray:
    return self._column("subject")

  @property
  def conditions(self) -> np.ndarray:
    return self._column("condition")

  @property
  def views(self) -> np.ndarray:
    return self._column("view")

  @property
  def keys(self) -> np.ndarray:
    return self._column("key")

  @property
  def attributes(self) -> dict[str, np.ndarray]:
    split = schema.SHARD.fullmatch(pathlib.Path(self._instructions[0].filename).name).group("split")
    names = npz.names(self._folder / schema.index_name(split))
    return {name.removeprefix("attribute."): self._column(name) for name in names if name.startswith("attribute.")}

  def __len__(self) -> int:
    return len(self._records)

  def __repr__(self) -> str:
    return f"Split({self.name!r}, sequences={len(self)}, subjects={len(np.unique(self.subjects))})"

  def frames(self, i: int, indices: np.ndarray | None = None) -> np.ndarray:
    """Frames `indices` of sequence `i` (all where None; repeats allowed), uint8 [time, 64, 44 or 64, channel].

    Raises `DataError` where the record cannot be read: its shard, which is named, was changed after it was built, or is
    gone.
    """
    if not 0 <= i < len(self):
      raise IndexError(f"{self.name} has {len(self)} sequences, there is no {i}")
    try:
      feature = tf_example_pb2.Example.FromString(self._records[i]).features.feature
      shape = {name: feature[name].int64_list.value[0] for name in ("num_frames", "height", "width", "channels")}
      packed = feature["frames"].bytes_list.value[0]
    except Exception as error:
      raise self._unreadable(i, error) from error
    try:
      return schema.unpack_frames(packed, **shape, indices=indices)
    except IndexError:  # `indices` are wrong
      raise
    except Exception as error:
      raise self._unreadable(i, error) from error

  def _unreadable(self, i: int, error: Exception) -> DataError:
    ends = np.cumsum([instruction.take for instruction in self._instructions])
    shard = self._instructions[int(np.searchsorted(ends, i, side="right"))].filename
    return DataError(
      f"{self.name}: sequence {i} ({self.keys[i]}) cannot be read from {shard} ({error!r:.300});"
      f" check the shards: python -m data_prep.verify DIR/{self.manifest['name']}"
    )


def find_version(data_dir: str | pathlib.Path, name: str) -> pathlib.Path:
  """Folder of the built data set `name`; raises `DataError` naming what is there and how to build it."""
  local_path(data_dir, "the data folder")
  root = pathlib.Path(data_dir).expanduser()
  if (folder := root / name / schema.BUILDER_VERSION).is_dir():
    return folder
  if others := sorted(p.parent.name for p in root.glob(f"{name}/*/{schema.MANIFEST}")):
    raise DataError(
      f"{root / name} was built by builder {', '.join(others)}, this code reads {schema.BUILDER_VERSION};"
      " build it again with the command that built it"
    )
  built = sorted({p.parents[1].name for p in root.glob(f"*/*/{schema.MANIFEST}")})
  raise DataError(
    f"no data set {name!r} in {root}/ (built there: {', '.join(built) or 'none'});"
    f" build it: python -m data_prep.build {name} --out {root} (--list shows the known ones and which need --raw;"
    f" masks of your own are `own --name {name}`), or change the data folder"
  )


def read_manifest(folder: pathlib.Path) -> dict:
  """The manifest in `folder`, after checking that it is this builder's and that every shard has its size."""
  path = folder / schema.MANIFEST
  rebuild = "build it again with the command that built it and --overwrite"
  try:
    manifest = schema.parse_manifest(path.read_bytes())
  except FileNotFoundError:
    raise DataError(f"{path} is missing: this data set was not finished; {rebuild}") from None
  except ValueError as error:
    raise DataError(f"{path} {error}; {rebuild}") from error
  for shard, expected in manifest["shards"].items():
    if not (folder / shard).is_file():
      raise DataError(f"{folder / shard} is missing, the manifest lists it; {rebuild}")
    if (size := (folder / shard).stat().st_size) != expected["bytes"]:
      raise DataError(f"{folder / shard} has {size:,} bytes, the manifest says {expected['bytes']:,}; {rebuild}")
  return manifest


def open_split(data_dir: str | pathlib.Path, name: str, split: str) -> Split | Rendered:
  """Opens `split` ("train", "test", or a TFDS slice such as "train[:10%]") of data set `name` built in `data_dir`, or
  the split "train" of a crowd that is not built but rendered while it is read (data/rendered.py).

  Raises `DataError` where it is not built, not finished, of another builder, or lacks a shard or the split.
  """
  if schema.rendered_people(name):
    from fgait_jax.data import rendered  # late: it brings the renderer

    return rendered.open_split(name, split)
  folder = find_version(data_dir, name)
  manifest = read_manifest(folder)
  try:
    _check_features(json.loads((folder / "features.json").read_bytes()))
    info = tfds.builder_from_directory(folder).info
  except Exception as error:  # TFDS fails in many ways where a file of its own is missing or damaged
    raise DataError(
      f"{folder}: TFDS cannot read its own files there ({error}); for details:"
      f" python -m data_prep.verify {folder.parent}"
    ) from error
  try:
    instructions = list(info.splits[split].file_instructions)
  except (KeyError, ValueError, AssertionError) as error:
    raise DataError(
      f"{folder} has no split {split!r}; it has {', '.join(sorted(manifest['splits']))}, and slices of them"
      ' such as "train[:10%]"'
    ) from error
  if not any(instruction.take for instruction in instructions):
    raise DataError(f"{folder}: split {split!r} is empty; take a larger slice")
  listed = {folder / name for name in manifest["shards"]}
  if foreign := {pathlib.Path(instruction.filename) for instruction in instructions} - listed:
    raise DataError(f"{folder}: TFDS's files name {min(foreign)}, which the manifest does not list; build it again")
  opened = Split(name=f"{name}/{split}", instructions=instructions, folder=folder, manifest=manifest)
  if (rows := len(opened.num_frames)) != len(opened):
    raise DataError(f"{folder}: the index has {rows} rows for {len(opened)} sequences; build it again")
  return opened


def _check_features(value) -> None:
  """Raises `ValueError` unless features.json names only TFDS's own features: TFDS imports whatever module it names,
  which may be a file in the folder of a data set."""
  for key, inner in value.items() if isinstance(value, dict) else ():
    named = key in ("pythonClassName", "python_class_name", "type") and isinstance(inner, str)
    if key in ("jsonFeature", "json_feature") or (named and not _FEATURE.fullmatch(inner)):
      raise ValueError(f"features.json names {f'{inner}'[:80]!r}, which is no feature of TFDS's and is not imported")
    _check_features(inner)


def _read_column(folder: pathlib.Path, instructions: list, name: str) -> np.ndarray:
  """The values of the index's column `name` in the rows that `instructions` read, in their order."""
  whole: dict[str, tuple[np.ndarray, np.ndarray]] = {}
  parts = []
  for instruction in instructions:
    split, shard = schema.SHARD.fullmatch(pathlib.Path(instruction.filename).name).group("split", "number")
    if split not in whole:
      whole[split] = tuple(_load_columns(folder / schema.index_name(split), "shard", name))
    shards, values = whole[split]
    start = int(np.searchsorted(shards, int(shard))) + instruction.skip
    parts.append(values[start : start + instruction.take])
  return np.concatenate(parts)


def _load_columns(path: pathlib.Path, *names: str) -> list[np.ndarray]:
  try:
    columns = list(npz.read(path, names).values())
  except npz.Unreadable as error:
    raise DataError(f"{error}; build the data set again with --overwrite") from error
  kinds = {"shard": "i", "num_frames": "i"}
  if any(
    column is None or column.shape != columns[0].shape or column.ndim != 1
    or column.dtype.kind != kinds.get(name, "f" if name.startswith("attribute.") else "U")
    for name, column in zip(names, columns, strict=True)
  ):
    raise DataError(f"{path}: {' and '.join(names)} are not columns of one table; build it again with --overwrite")
  return columns
