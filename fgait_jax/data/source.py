"""Reads built data sets without TensorFlow: any frames of any sequence, and its labels.

Readers open their files when first used, are safe in threads, and pickle as a few paths.
"""

import json
import pathlib
import re
import zipfile
import zlib

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2

from fgait_jax.data import schema
from fgait_jax.errors import DataError
from fgait_jax.paths import local_path

_SHARD = re.compile(r".*-(?P<split>[^-]+)\.array_record-(?P<number>\d+)-of-\d+")


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
    split = _SHARD.fullmatch(pathlib.Path(self._instructions[0].filename).name).group("split")
    names = _column_names(self._folder / schema.index_name(split))
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
  build = f"python -m data_prep.build {name} --out {root}"
  if others := sorted(p.parent.name for p in root.glob(f"{name}/*/{schema.MANIFEST}")):
    raise DataError(
      f"{root / name} was built by builder {', '.join(others)}, this code reads {schema.BUILDER_VERSION};"
      f" build it again: {build}"
    )
  built = sorted({p.parents[1].name for p in root.glob(f"*/*/{schema.MANIFEST}")})
  raise DataError(
    f"no data set {name!r} in {root}/ (built there: {', '.join(built) or 'none'});"
    f" build it: {build} (python -m data_prep.build --list shows which need --raw), or change the data folder"
  )


def read_manifest(folder: pathlib.Path) -> dict:
  """The manifest in `folder`, after checking that it is this builder's and that every shard has its size."""
  path = folder / schema.MANIFEST
  rebuild = f"build it again: python -m data_prep.build {folder.parent.name} --out {folder.parents[1]} --overwrite"
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise DataError(f"{path} is missing: this data set was not finished; {rebuild}") from None
  except ValueError as error:
    raise DataError(f"{path} is not readable ({error}); {rebuild}") from error
  if manifest.get("builder_version") != schema.BUILDER_VERSION:
    raise DataError(
      f"{path} is of builder {manifest.get('builder_version')}, this code reads {schema.BUILDER_VERSION}; {rebuild}"
    )
  for shard, expected in manifest["shards"].items():
    if not (folder / shard).is_file():
      raise DataError(f"{folder / shard} is missing, the manifest lists it; {rebuild}")
    if (size := (folder / shard).stat().st_size) != expected["bytes"]:
      raise DataError(f"{folder / shard} has {size:,} bytes, the manifest says {expected['bytes']:,}; {rebuild}")
  return manifest


def open_split(data_dir: str | pathlib.Path, name: str, split: str) -> Split:
  """Opens `split` ("train", "test", or a TFDS slice such as "train[:10%]") of data set `name` built in `data_dir`.

  Raises `DataError` where it is not built, not finished, of another builder, or lacks a shard or the split.
  """
  folder = find_version(data_dir, name)
  manifest = read_manifest(folder)
  try:
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
      f' such as "train[:10%]" ({type(error).__name__})'
    ) from error
  if not any(instruction.take for instruction in instructions):
    raise DataError(f"{folder}: split {split!r} is empty; take a larger slice")
  opened = Split(name=f"{name}/{split}", instructions=instructions, folder=folder, manifest=manifest)
  if (rows := len(opened.num_frames)) != len(opened):
    raise DataError(f"{folder}: the index has {rows} rows for {len(opened)} sequences; build it again")
  return opened


def _read_column(folder: pathlib.Path, instructions: list, name: str) -> np.ndarray:
  """The values of the index's column `name` in the rows that `instructions` read, in their order."""
  whole: dict[str, tuple[np.ndarray, np.ndarray]] = {}
  parts = []
  for instruction in instructions:
    split, shard = _SHARD.fullmatch(pathlib.Path(instruction.filename).name).group("split", "number")
    if split not in whole:
      whole[split] = tuple(_load_columns(folder / schema.index_name(split), "shard", name))
    shards, values = whole[split]
    start = int(np.searchsorted(shards, int(shard))) + instruction.skip
    parts.append(values[start : start + instruction.take])
  return np.concatenate(parts)


def _load_columns(path: pathlib.Path, *names: str) -> list[np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return [file[name] for name in names]
  except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
    raise DataError(f"{path} cannot be read ({error}); build the data set again with --overwrite") from error


def _column_names(path: pathlib.Path) -> list[str]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return file.files
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise DataError(f"{path} cannot be read ({error}); build the data set again with --overwrite") from error
