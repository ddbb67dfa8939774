"""Seconds and peak memory of whole protocols on random embeddings, and the lower bound from their matrix products.

  python benchmarks/retrieval.py                         OU-MVLP at 14,420 and Gait3D at 6,369 embeddings of 256 x 16
  python benchmarks/retrieval.py --cases oumvlp_full     all 134,000 or so of OU-MVLP (minutes on two cores)
  python benchmarks/retrieval.py --cases million         a few probes against 1,000,000 x 31 x 256, streamed

The lower bound ("floor") is the time for the inner products of all pairs at this device's rate for a product of 1024 x
256 by 256 x 1024, which is measured just before. "first" includes compilation; "ranking" is the best of the repeats;
"with statistics" adds a bootstrap of 1000 resamples.
"""

import argparse
import multiprocessing
import pathlib
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402
from fgait_jax.evaluation import protocols  # noqa: E402
from fgait_jax.evaluation.metrics import retrieval  # noqa: E402
from fgait_jax.evaluation.metrics.distances import plan_blocks  # noqa: E402
from fgait_jax.evaluation.protocols import lists  # noqa: E402

VIEWS = [f"{v:03d}" for v in (*range(0, 91, 15), *range(180, 271, 15))]
CASES = ("oumvlp", "gait3d", "oumvlp_full", "million")


def embed(labels: np.ndarray, *, channels: int, parts: int) -> np.ndarray:
  """Random embeddings that share something within a subject."""
  rng = np.random.default_rng(0)
  names, place = np.unique(labels, return_inverse=True)
  own = rng.standard_normal((len(names), channels, parts), dtype=np.float32)
  found = rng.standard_normal((len(labels), channels, parts), dtype=np.float32)
  found *= 3
  for row, subject in enumerate(place):
    found[row] += own[subject]
  return found


def oumvlp(subjects: int) -> tuple[np.ndarray, ...]:
  walks = [(f"{s:05d}", kind, view) for s in range(subjects) for kind in ("00", "01") for view in VIEWS]
  return tuple(np.array(column) for column in zip(*walks, strict=True))


def gait3d() -> tuple[np.ndarray, ...]:
  probes = [key.split("-") for key in lists.load("gait3d")]
  others = [(probes[k % 1000][0], f"camid{k % 39}_videoid0", f"seq{90 + k // 1000}") for k in range(5369)]
  return tuple(np.array(column) for column in zip(*probes, *others, strict=True))


def matmul_rate() -> float:
  """FLOP/s of this device on one product of 1024 x 256 by 256 x 1024."""
  x = jnp.asarray(np.random.default_rng(0).standard_normal((1024, 256), np.float32))
  product = jax.jit(lambda a: jnp.matmul(a, a.T, precision=jax.lax.Precision.HIGHEST))
  return 2 * 1024 * 1024 * 256 / min(timed(lambda: product(x).block_until_ready())[0] for _ in range(20))


def timed(function) -> tuple[float, float]:
  """Wall and processor seconds."""
  start, used = time.perf_counter(), time.process_time()
  function()
  return time.perf_counter() - start, time.process_time() - used


def measure(case: str, repeats: int, queue) -> None:
  if case == "million":
    queue.put(measure_million())
    return
  name = case.removesuffix("_full")
  subjects = {"oumvlp": 515, "oumvlp_full": 4786}
  labels, types, views = oumvlp(subjects[case]) if case in subjects else gait3d()
  embeddings = embed(labels, channels=256, parts=16)
  probes = int((types == "00").sum()) if case in subjects else 1000
  flops = 2 * probes * (len(labels) - probes) * 256 * 16
  protocol = protocols.get(name)

  def run(bootstrap):
    return lambda: protocol.evaluate(embeddings, labels, types, views, bootstrap=bootstrap)

  before = peak_memory()
  first = timed(run(0))[0]
  rate = matmul_rate()
  runs = sorted(timed(run(0)) for _ in range(repeats))
  queue.put({
    "case": f"{case}, {len(labels)} x 256 x 16",
    "first": first,
    "best": runs[0][0] if runs else first,
    "processor": runs[0][1] if runs else float("nan"),
    "statistics": timed(run(1000))[0],
    "floor": flops / rate,
    "memory": peak_memory() - before,
  })


def measure_million() -> dict:
  """64 probes against a gallery of 1,000,000 x 31 x 256 that repeats 20,000 rows, one piece of it after another."""
  probe = embed(np.arange(64).astype(str), channels=256, parts=31)
  base = embed((np.arange(20_000) % 64).astype(str), channels=256, parts=31)
  gallery = np.lib.stride_tricks.as_strided(base, (50, *base.shape), (0, *base.strides))
  before, pieces = peak_memory(), []
  start = time.perf_counter()
  for piece in gallery:  # as for a memory-mapped file: unlike ranks, the nearest do not need all columns at once
    pieces.append(retrieval.nearest(probe, piece, count=20, budget_bytes=1 << 30))
  return {
    "case": "nearest 20 of 1,000,000 x 256 x 31, 64 probes",
    "first": time.perf_counter() - start,
    "best": time.perf_counter() - start,
    "processor": float("nan"),
    "statistics": float("nan"),
    "floor": 2 * 64 * 1_000_000 * 256 * 31 / matmul_rate(),
    "memory": peak_memory() - before,
  }


def peak_memory() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--cases", nargs="+", default=["oumvlp", "gait3d"], choices=CASES)
  parser.add_argument("--repeats", type=whole(0), default=3)
  arguments = parser.parse_args()
  table = Table(title=f"Protocols on {jax.device_count()} x {jax.devices()[0].device_kind}")
  for column in ("case", "first s", "ranking s", "processor s", "with statistics s", "floor s", "memory added MB"):
    table.add_column(column, justify="left" if column == "case" else "right")
  context = multiprocessing.get_context("spawn")  # a process per case, because a process's peak memory never falls
  for case in arguments.cases:
    queue = context.Queue()
    process = context.Process(target=measure, args=(case, arguments.repeats, queue))
    process.start()
    found = queue.get()
    process.join()
    numbers = [f"{found[k]:.2f}" for k in ("first", "best", "processor", "statistics", "floor")]
    table.add_row(found["case"], *numbers, f"{found['memory'] / 2**20:.0f}")
  plan = plan_blocks(10_000, 1_000_000, channels=256, parts=31)
  Console().print(table)
  Console().print(f"plan of 10,000 probes against 1,000,000 x 31 x 256: {plan}")


if __name__ == "__main__":
  main()
