"""Clips per second of the input pipeline: reading, unpacking, sampling; two clips of 16 frames from each sequence.

  python benchmarks/input_pipeline.py                                  90-frame sequences held packed in memory
  python benchmarks/input_pipeline.py --built built --name walkers     and a built data set
  python benchmarks/input_pipeline.py --name rendered960 --sequences 512     and a crowd that is rendered meanwhile

Augmentation is not included: it runs on the device, see `benchmarks/augment.py`.
"""

import argparse
import os
import pathlib
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402
from fgait_jax.data import schema  # noqa: E402
from fgait_jax.data.pipeline import batches  # noqa: E402
from fgait_jax.data.source import open_split  # noqa: E402
from fgait_jax.errors import FgaitError  # noqa: E402


class PackedInMemory:
  """The part of `Split` that the pipeline uses: everything but the file."""

  name = "memory"
  manifest = {"name": name}

  def __init__(self, *, sequences: int, num_frames: int):
    self.num_frames = np.full(sequences, num_frames, np.int32)
    self.subjects = np.arange(sequences) // 10
    self.keys = np.arange(sequences).astype(str)
    self._packs = [schema.pack_frames(walker(num_frames, seed=i)) for i in range(min(sequences, 50))]

  def __len__(self) -> int:
    return len(self.num_frames)

  def frames(self, i: int, indices: np.ndarray) -> np.ndarray:
    pack = self._packs[i % len(self._packs)]
    size = {"num_frames": int(self.num_frames[i]), "height": 64, "width": 64, "channels": 1}
    return schema.unpack_frames(pack, **size, indices=indices)


def walker(num_frames: int, *, seed: int) -> np.ndarray:
  """A head, a trunk and two swinging legs with grey edges, uint8 [num_frames, 64, 64, 1]; packs about as real walks."""
  phase = np.random.default_rng(seed).uniform(0, 2 * np.pi) + np.arange(num_frames)[:, None, None] * 0.25
  y, x = np.mgrid[:64, :64].astype(np.float32)
  head = 5 - np.hypot(x - 32, y - 6)
  trunk = np.minimum(8 - np.abs(x - 32) * (1 + 0.01 * np.abs(y - 25)), 15 - np.abs(y - 25))
  swing = np.sin(phase) * (y - 36) * 0.4
  legs = [np.minimum(3.5 - np.abs(x - 32 - sign * swing), 14.5 - np.abs(y - 50)) for sign in (-1, 1)]
  inside = np.maximum(np.maximum(head, trunk)[None], np.maximum(*legs))
  return (np.clip(inside + 0.5, 0, 1) * 255).astype(np.uint8)[..., None]


def measure(split, *, threads: int, workers: int, sequences: int, batch_size: int) -> tuple[float, float]:
  """(clips/s by the clock, clips/s of processor time of this process); the first batches are left out."""
  warm = 2 * max(workers, 1)
  number = max(sequences // batch_size, warm)
  iterator = batches(
    [split],
    seed=0,
    batch_size=batch_size,
    clips=2,
    clip_frames=16,
    window_frames=20,
    factors=(1.0,),
    exponent=1 / 3,
    mix="per_batch",
    start=0,
    stop=number + warm,
    threads=threads,
    workers=workers,
    prefetch=8,
  )
  for _ in range(warm):
    next(iterator)
  clock, processor = time.perf_counter(), time.process_time()
  read = sum(len(batch["index"]) for batch in iterator)
  return 2 * read / (time.perf_counter() - clock), 2 * read / (time.process_time() - processor)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--built", help="folder of built data sets")
  parser.add_argument("--name", default="walkers", help="data set in it")
  parser.add_argument("--split", default="train")
  parser.add_argument("--frames", type=whole(1), default=90, help="frames of a sequence in memory")
  parser.add_argument("--sequences", type=whole(1), default=4096, help="sequences read for each line")
  parser.add_argument("--batch", type=whole(1), default=64)
  arguments = parser.parse_args()
  splits = [PackedInMemory(sequences=2000, num_frames=arguments.frames)]
  if arguments.built or schema.rendered_people(arguments.name):
    splits.append(open_split(arguments.built or "", arguments.name, arguments.split))
  table = Table(title=f"two clips of 16 frames a sequence, batches of {arguments.batch}, {os.cpu_count()} cores")
  for column in ("data", "frames a sequence", "threads", "workers", "clips/s", "clips/s of processor time"):
    table.add_column(column, justify="left" if column == "data" else "right")
  for split in splits:
    for threads, workers in ((0, 0), (1, 0), (2, 0), (4, 0), (1, 1), (1, 2)):
      rate, per_core = measure(
        split, threads=threads, workers=workers, sequences=arguments.sequences, batch_size=arguments.batch
      )
      own = "" if workers else f"{per_core:,.0f}"  # the workers' processor time is not this process's
      length = f"{np.mean(split.num_frames):.0f}"
      table.add_row(split.name, length, str(threads), str(workers), f"{rate:,.0f}", own)
  Console().print(table)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
