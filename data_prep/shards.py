"""Writes one shard of walks in one process: reads, checks and packs them. The file appears whole or not at all.

A shard is the unit of parallel work and of restart: its content depends on its walks alone, not on the writing process.
Beside it lies its report (rows, digests, refusals); index and manifest are made from the reports.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import uuid
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from data_prep.sources import limits
from data_prep.sources.base import Dropped, Reading, Walk, printable
from fgait_jax.data import schema
from fgait_jax.errors import DataError

WRITER_OPTIONS = "group_size:1"  # random access decompresses one record only (zstd, array_record's default)
TEXTS = ("subject", "condition", "view", "key")  # of a walk, in the order of index and reports
EXAMPLES = 20  # walks or frames named per reason for leaving them out; all are counted
MAX_SHARDS = 512  # of a split: two million walks are then some 4,000 walks and 150 MB a shard
MIN_WALKS = 128  # of a shard: a small data set still keeps several cores busy, and files do not get too many


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A shard to be written to `path`. `attributes` are all names of the data set; a walk without one stores nan.
  `limit` holds for the files that are read."""

  path: pathlib.Path
  dataset: str
  split: str
  attributes: tuple[str, ...]
  walks: Sequence[Walk]
  limit: limits.Limits = limits.DEFAULT

  @property
  def report_path(self) -> pathlib.Path:
    return self.path.with_name(f"{self.path.name}.report.json")


def features(attributes: Sequence[str]) -> tfds.features.FeaturesDict:
  """TFDS's schema, the same for all data sets; `attributes` names the float32 scalars that this one has."""
  text, number = tfds.features.Text(), np.int32
  tree = {
    "frames": tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding="bytes"),
    "num_frames": number, "height": number, "width": number, "channels": number,
    "subject": text, "condition": text, "view": text, "dataset": text, "key": text,
  }  # fmt: skip
  if attributes:
    tree["attributes"] = tfds.features.FeaturesDict(dict.fromkeys(attributes, np.float32))
  return tfds.features.FeaturesDict(tree)


def num_shards(walks: int) -> int:
  """Number of shards of a split of `walks` walks."""
  return -(-walks // max(MIN_WALKS, -(-walks // MAX_SHARDS)))


def read_walk(walk: Walk) -> Reading:
  """Reads frames, uint8 [time, height, width, channel]. Raises `Dropped` for any failure, which is counted by its
  reason."""
  try:
    reading = walk.read()
    if not isinstance(reading, Reading):
      reading = Reading(np.asarray(reading))
    return dataclasses.replace(reading, frames=schema.check_frames(reading.frames, walk.key))
  except Dropped:
    raise
  except DataError as error:
    raise Dropped("frames do not fit the contract", str(error)) from error
  except OSError as error:
    raise Dropped("unreadable file", f"{walk.key}: {error}") from error
  except MemoryError as error:  # a want that other walks share stops the build by their number
    raise Dropped("not enough memory", f"{walk.key}: {error}".rstrip(": ")) from error
  except Exception as error:  # one broken file must not end a long build, nor pass without its name
    raise Dropped(f"reader failed ({type(error).__name__})", f"{walk.key}: {error}") from error


def digest(texts: Sequence[str], attributes: Mapping[str, float], frames: np.ndarray) -> str:
  """SHA-256 of a walk for the content hash: `texts` (in the order of TEXTS), attributes as stored, shape and frames."""
  present = sorted((name, float(np.float32(value))) for name, value in attributes.items() if not np.isnan(value))
  names = [*texts, present, frames.shape]
  return hashlib.sha256(json.dumps(names).encode() + np.ascontiguousarray(frames).tobytes()).hexdigest()


def write_shard(job: Job, progress: Callable[[], None]) -> None:
  """Writes shard and report. An interrupted call leaves no report, so the next build writes the shard again.

  `progress` is called after each walk. Raises `DataError` where the shard cannot be written.
  """
  try:
    with limits.using(job.limit):
      _write_shard(job, progress)
  except RuntimeError as error:  # array_record raises it for a full disk
    raise DataError(
      f"{job.path} cannot be written ({error}); once it can, the same command continues from the finished shards"
    ) from error


def _write_shard(job: Job, progress: Callable[[], None]) -> None:
  serializer = ExampleSerializer((connector := features(job.attributes)).get_serialized_info())
  unfinished = _unfinished(job.path)
  writer = ArrayRecordWriter(os.fspath(unfinished), WRITER_OPTIONS)
  rows, dropped, refused, altered, channels = [], [], {}, {}, {}
  try:
    for walk in job.walks:
      try:
        reading = read_walk(walk)
      except Dropped as refusal:
        dropped.append([refusal.reason, printable(refusal.detail)])
      else:
        frames = reading.frames
        changed = {change: list(names.values()) for change, names in reading.altered.items()}
        for total, found in ((refused, reading.refused), (altered, changed)):
          for reason, names in found.items():
            add_frames(total, reason, len(names), [_frame(walk.key, name) for name in names[:EXAMPLES]])
        example = connector.encode_example(_example(job, walk, frames))
        # `serialize_example` would write its map fields in another order in every process.
        writer.write(serializer.get_tf_example(example).SerializeToString(deterministic=True))
        texts = [getattr(walk, name) for name in TEXTS]
        values = [float(walk.attributes.get(name, np.nan)) for name in job.attributes]
        rows.append([*texts, len(frames), values, digest(texts, walk.attributes, frames)])
        channels.setdefault(str(frames.shape[-1]), walk.key)
      progress()
  except BaseException:
    unfinished.unlink(missing_ok=True)
    raise
  finally:
    writer.close()
  report = {"rows": rows, "dropped": dropped, "refused": refused, "altered": altered, "channels": channels}
  report |= {"bytes": unfinished.stat().st_size, "sha256": hash_file(unfinished)}
  _put(unfinished, job.path)
  _write_atomically(job.report_path, json.dumps(report, ensure_ascii=False))


def add_frames(total: dict[str, dict], reason: str, count: int, examples: Sequence[str]) -> None:
  """Adds `count` frames of `reason` to `total`, reason -> {count, examples}; keeps the first EXAMPLES names."""
  entry = total.setdefault(reason, {"count": 0, "examples": []})
  entry["count"] += count
  entry["examples"] += examples[: EXAMPLES - len(entry["examples"])]


def _frame(key: str, name: str | int) -> str:
  return f"{key}, frame {name}" if isinstance(name, int) else f"{key}/{printable(name)}"


def _example(job: Job, walk: Walk, frames: np.ndarray) -> dict:
  num_frames, height, width, channels = frames.shape
  example = {
    "frames": schema.pack_frames(frames),
    "num_frames": num_frames, "height": height, "width": width, "channels": channels,
    "subject": walk.subject, "condition": walk.condition, "view": walk.view, "dataset": job.dataset, "key": walk.key,
  }  # fmt: skip
  if job.attributes:
    example["attributes"] = {name: np.float32(walk.attributes.get(name, np.nan)) for name in job.attributes}
  return example


def hash_file(path: pathlib.Path) -> str:
  """SHA-256 of a file, in hexadecimal."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _write_atomically(path: pathlib.Path, text: str) -> None:
  unfinished = _unfinished(path)
  unfinished.write_text(text, encoding="utf-8")
  _put(unfinished, path)


def _unfinished(path: pathlib.Path) -> pathlib.Path:
  """A name of this attempt's own: engines may try a shard twice at a time."""
  return path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.unfinished")


def _put(unfinished: pathlib.Path, path: pathlib.Path) -> None:
  """Moves a file to its name once it is on the disk: a name must not outlive the content where power is lost."""
  with open(unfinished, "rb") as file:
    os.fsync(file.fileno())
  os.replace(unfinished, path)
