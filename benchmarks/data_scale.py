"""Start-up time and memory of the input pipeline for a data set of many sequences, and of an index alone.

  python benchmarks/data_scale.py --sequences 100000 --folder /tmp/many     builds it first, if it is not there
  python benchmarks/data_scale.py --index 2000000 --folder /tmp/many        an index of that many rows, no frames

Walks are three white frames each, so that only costs that grow with their number are measured. Times are processor
times; memory is the growth of the process's resident memory.
"""

import argparse
import collections
import dataclasses
import functools
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep import builder  # noqa: E402
from data_prep.arguments import whole  # noqa: E402
from data_prep.datasets import own  # noqa: E402
from data_prep.sources.base import Walk  # noqa: E402
from fgait_jax.data import schema, source  # noqa: E402
from fgait_jax.data.mixture import Mixture  # noqa: E402
from fgait_jax.data.pipeline import batches  # noqa: E402
from fgait_jax.errors import FgaitError  # noqa: E402


class Many:
  def __init__(self, sequences: int):
    self.sequences = sequences

  def __repr__(self) -> str:
    return f"Many({self.sequences})"

  def splits(self) -> dict[str, list[Walk]]:
    read = functools.partial(np.full, (3, schema.HEIGHT, 64), 255, np.uint8)
    names = ((f"{i // 80:06d}", f"nm-{i // 8 % 10:02d}", f"{i % 8 * 30:03d}") for i in range(self.sequences))
    return {"test": [Walk(subject=s, condition=c, view=v, key=f"{s}/{c}/{v}", read=read) for s, c, v in names]}


def resident() -> float:
  """Megabytes that this process holds (Linux)."""
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measured(what: str, work):
  """The result of `work()`; prints a line with its time and memory."""
  held, started = resident(), time.process_time()
  result = work()
  print(f"{what:40s} {time.process_time() - started:7.2f} s {resident() - held:7.0f} MB", flush=True)
  return result


def measure_pipeline(folder: pathlib.Path, sequences: int) -> None:
  record = own.named(f"many_{sequences}")
  if not (folder / record.name).is_dir():
    record = dataclasses.replace(record, source=lambda raw: Many(sequences), needs_raw=False)
    measured("built", lambda: builder.build(record, raw=None, out=folder, workers=1, limit_dropped=0.0))
  split = measured("opened", lambda: source.open_split(folder, record.name, "test"))
  reading = {"threads": 2, "workers": 0, "prefetch": 4, "start": 0, "stop": 200}
  drawing = {"seed": 0, "factors": (1.0,), "exponent": 1 / 3, "mix": "per_batch"}
  clips = {"batch_size": 64, "clips": 2, "clip_frames": 16, "window_frames": 20}
  iterator = batches([split], **drawing, **clips, **reading)
  measured("first batch", lambda: next(iterator))
  measured("a hundred more", lambda: collections.deque((next(iterator) for _ in range(100)), maxlen=0))


def measure_index(folder: pathlib.Path, rows: int) -> None:
  path = folder / f"index-of-{rows}.npz"
  if not path.is_file():
    folder.mkdir(parents=True, exist_ok=True)
    i = np.arange(rows)
    labels = [np.char.mod("%06d", i // 80), np.char.mod("nm-%02d", i // 8 % 10), np.char.mod("%03d", i % 8 * 30)]
    key = functools.reduce(lambda a, b: np.char.add(np.char.add(a, "/"), b), labels)
    texts = dict(zip(("subject", "condition", "view", "key"), (*labels, key), strict=True))
    np.savez_compressed(path, **texts, num_frames=np.full(rows, 90, np.int32), shard=(i * 512 // rows).astype(np.int32))
  print(f"{path}: {path.stat().st_size / 1e6:.1f} MB on disk")
  lengths = measured("lengths (all that a worker reads)", lambda: source._load_columns(path, "shard", "num_frames"))[1]
  subjects = measured("subjects", lambda: source._load_columns(path, "subject"))[0]
  numbered = measured("subjects numbered", lambda: np.unique(subjects, return_inverse=True))
  texts = measured("conditions, views and keys", lambda: source._load_columns(path, "condition", "view", "key"))
  mixture = Mixture([rows], seed=0, batch_size=64, factors=(1.0,), exponent=1 / 3, mix="per_batch")
  measured("first epoch shuffled", lambda: mixture.batch(0, range(64)))
  del lengths, numbered, texts


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sequences", type=whole(0), default=0)
  parser.add_argument("--index", type=whole(0), default=0)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  args = parser.parse_args()
  if not args.sequences and not args.index:
    parser.error("give --sequences or --index")
  if args.sequences:
    measure_pipeline(args.folder, args.sequences)
  if args.index:
    measure_index(args.folder, args.index)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
