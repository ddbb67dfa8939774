"""Compares packings of frames: bytes on disk, and sequences a second and core when 16 of 90 frames are read.

  python benchmarks/packing.py --data_dir built --name kth --split train

All are lossless and stored in array_record files with one record per group, as in built data sets. The sixteen frames
come from a random window of twenty, as those of a clip. Times are processor times, the best of three rounds.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
import zlib

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402
from fgait_jax.data import schema  # noqa: E402
from fgait_jax.data.source import open_split  # noqa: E402
from fgait_jax.errors import FgaitError  # noqa: E402

FRAMES, WANTED, WINDOW = 90, 16, 20
HEIGHT = WIDTH = 64
PIXELS = HEIGHT * WIDTH
READS = 1000


def unpack_plain(packed, indices):
  return np.frombuffer(packed, np.uint8).reshape(-1, HEIGHT, WIDTH)[indices]


def pack_deflate(frames):
  each = [zlib.compress(frame.tobytes(), 6) for frame in frames]
  return np.cumsum([0, *map(len, each)], dtype="<u4").tobytes() + b"".join(each)


def unpack_deflate(packed, indices):
  ends = np.frombuffer(packed, "<u4", FRAMES + 1) + 4 * (FRAMES + 1)
  each = [zlib.decompress(packed[ends[i] : ends[i + 1]]) for i in indices]
  return np.frombuffer(b"".join(each), np.uint8).reshape(-1, HEIGHT, WIDTH)


def pack_planes(frames):
  flat = frames.reshape(FRAMES, -1)
  grey = (flat != 0) & (flat != 255)
  planes = [np.packbits(bits, axis=1).tobytes() for bits in (flat >= 128, grey)]
  return b"".join([grey.sum(axis=1, dtype="<u4").tobytes(), *planes, flat[grey].tobytes()])


def unpack_planes(packed, indices):
  packed = np.frombuffer(packed, np.uint8)
  counts, size = packed[: 4 * FRAMES].view("<u4"), FRAMES * PIXELS // 8
  values = packed[4 * FRAMES + 2 * size :]
  planes = packed[4 * FRAMES : 4 * FRAMES + 2 * size].reshape(2, FRAMES, -1)[:, indices]
  frames, grey = np.unpackbits(planes, axis=-1)
  frames *= 255
  ends = np.cumsum(counts, dtype=np.int64)
  frames[grey.view(bool)] = np.concatenate([values[ends[i] - counts[i] : ends[i]] for i in indices])
  return frames.reshape(-1, HEIGHT, WIDTH)


def pack_pixels(frames):
  """Runs of equal pixels down the columns, of at most 255 pixels."""
  flat = np.ascontiguousarray(frames.transpose(0, 2, 1)).reshape(FRAMES, -1)
  start = np.ones(flat.shape, bool)
  np.not_equal(flat[:, 1:], flat[:, :-1], out=start[:, 1:])
  start[:, ::255] = True
  positions = np.flatnonzero(start)
  lengths = np.diff(positions, append=flat.size).astype(np.uint8)
  return np.cumsum(start.sum(axis=1), dtype="<u4").tobytes() + lengths.tobytes() + flat.ravel()[positions].tobytes()


def unpack_pixels(packed, indices):
  packed = np.frombuffer(packed, np.uint8)
  ends = [0, *packed[: 4 * FRAMES].view("<u4").tolist()]
  lengths, values = packed[4 * FRAMES :].reshape(2, -1)
  frames = [slice(ends[i], ends[i + 1]) for i in indices]
  runs = np.concatenate([lengths[each] for each in frames]).astype(np.intp)
  flat = np.repeat(np.concatenate([values[each] for each in frames]), runs)
  return np.ascontiguousarray(flat.reshape(-1, WIDTH, HEIGHT).transpose(0, 2, 1))


def pack_words(frames):
  return schema.pack_frames(frames[..., None]).tobytes()


def unpack_words(packed, indices):
  size = {"num_frames": FRAMES, "height": HEIGHT, "width": WIDTH, "channels": 1}
  return schema.unpack_frames(packed, **size, indices=indices)[..., 0]


PACKINGS = (
  ("plain frames", "zstd:3", lambda frames: frames.tobytes(), unpack_plain),
  ("plain frames", "zstd:9", lambda frames: frames.tobytes(), unpack_plain),
  ("deflated frames", "uncompressed", pack_deflate, unpack_deflate),
  ("bit planes", "zstd:3", pack_planes, unpack_planes),
  ("runs of pixels", "zstd:3", pack_pixels, unpack_pixels),
  ("runs of pixels", "snappy", pack_pixels, unpack_pixels),
  ("runs of words", "zstd:3", pack_words, unpack_words),
  ("runs of words", "zstd:9", pack_words, unpack_words),
  ("runs of words", "snappy", pack_words, unpack_words),
  ("runs of words", "uncompressed", pack_words, unpack_words),
)


def sequences(split, count):
  """Walks joined end to end and cut into sequences of `FRAMES`, uint8 [FRAMES, 64, 64]."""
  joined, needed = [], count * FRAMES
  for i in range(len(split)):
    joined.append(schema.to_canvas(split.frames(i))[..., 0])
    if sum(map(len, joined)) >= needed:
      break
  joined = np.concatenate(joined)
  return [joined[i : i + FRAMES] for i in range(0, min(len(joined) - FRAMES + 1, needed), FRAMES)]


def seconds(work):
  """Processor time of `work()`, best of three."""
  best = float("inf")
  for _ in range(3):
    started = time.process_time()
    work()
    best = min(best, time.process_time() - started)
  return best


def measure(walks, compression, pack, unpack, folder):
  """Bytes per sequence; sequences per second to pack, to read without unpacking, and to read with `WANTED` frames
  unpacked."""
  path = os.path.join(folder, "walks.array_record")
  packed = []
  pack_seconds = seconds(lambda: packed.append([pack(walk) for walk in walks]))
  writer = ArrayRecordWriter(path, f"group_size:1,{compression}")
  for walk in packed[0]:
    writer.write(walk)
  writer.close()
  records = ArrayRecordDataSource([path])
  for i, walk in enumerate(walks):
    np.testing.assert_array_equal(unpack(records[i], np.arange(FRAMES)), walk)
  rng = np.random.default_rng(0)
  draws = [
    (i % len(walks), rng.integers(FRAMES - WINDOW) + np.sort(rng.choice(WINDOW, WANTED, replace=False)))
    for i in range(READS)
  ]
  read = seconds(lambda: [records[i] for i, _ in draws])
  clip = seconds(lambda: [unpack(records[i], indices) for i, indices in draws])
  return os.path.getsize(path) / len(walks), len(walks) / pack_seconds, READS / read, READS / clip


def main():
  parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
  parser.add_argument("--data_dir", default="built")
  parser.add_argument("--name", default="walkers")
  parser.add_argument("--split", default="train")
  parser.add_argument("--sequences", type=whole(1), default=100)
  args = parser.parse_args()
  walks = sequences(open_split(args.data_dir, args.name, args.split), args.sequences)
  grey = np.mean([((walk != 0) & (walk != 255)).mean() for walk in walks])
  table = Table(title=f"{len(walks)} x {FRAMES} frames of {args.name}/{args.split}, {grey:.1%} of pixels grey")
  columns = ("packing", "array_record", "bytes/sequence", "packed/s", "read/s", f"{WANTED} frames/s")
  for column in columns:
    table.add_column(column, justify="left" if column in columns[:2] else "right")
  with tempfile.TemporaryDirectory() as folder:
    for name, compression, pack, unpack in PACKINGS:
      figures = measure(walks, compression, pack, unpack, folder)
      table.add_row(name, compression, *(f"{figure:,.0f}" for figure in figures))
  Console().print(table)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
