"""Seconds per pretraining step of the P3D network with the reference's recipe, and what the convolutions cost.

  python benchmarks/p3d_step.py                                      1-1-1-1, 8 sequences x 16 frames, float32
  python benchmarks/p3d_step.py --variant 0.03b --batch 64 --dtype bfloat16 --remat full
  python benchmarks/p3d_step.py --convolution plain                  XLA's convolution and gradients instead

One step is all of training: teacher forward on whole bodies, student forward and backward on strips (8, 4, 2, 1), SGD
and the moving average; augmentation is off, data are random. The first steps, with compilation, are not counted.
"""

import argparse
import pathlib
import resource
import sys
import time

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from fgait_jax.models import convolution  # noqa: E402
from fgait_jax.parallel.mesh import make_mesh  # noqa: E402
from fgait_jax.training import configuration, step  # noqa: E402
from fgait_jax.training import state as states  # noqa: E402

ROOT = pathlib.Path(__file__).parents[1]


def cpu_seconds() -> float:
  usage = resource.getrusage(resource.RUSAGE_SELF)
  return usage.ru_utime + usage.ru_stime


def plain_convolution() -> None:
  """Replaces the fast paths by XLA's convolution in time and space, and its own gradients."""
  convolution._convolution = lambda x, kernel, stride: convolution.plain(x, kernel, stride=stride)


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--variant", default="1-1-1-1")
  parser.add_argument("--batch", type=int, default=8)
  parser.add_argument("--frames", type=int, default=16)
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
  parser.add_argument("--remat", default="none", choices=("none", "dots", "full"))
  parser.add_argument("--convolution", default="fast", choices=("fast", "plain"))
  parser.add_argument("--steps", type=int, default=5)
  options = parser.parse_args()
  if options.convolution == "plain":
    plain_convolution()
  config = configuration.load(str(ROOT / "configs" / "reference.py"))
  config.model.update(variant=options.variant, dtype=options.dtype, remat=options.remat)
  config.data.update(batch_size=options.batch, clip_frames=options.frames)
  config.augment.update(affine=0.0, perspective=0.0, flip=0.0, dilate=0.0, blur=0.0)
  mesh = make_mesh(data=-1, fsdp=1, tensor=1)
  graph, state, shardings = states.create(config, mesh)
  train_step = step.step_of(
    config, graph, states.optimizer_of(config, state["params"]), mesh=mesh, shardings=shardings,
    schedule=states.schedule_of(config),
  )
  rng = np.random.default_rng(0)
  shape = (options.batch, 2, options.frames)
  batch = {
    "frames": jax.device_put(rng.integers(0, 256, (*shape, 64, 64, 1), np.uint8)),
    "valid": jax.device_put(np.ones(shape, bool)),
    "group": jax.device_put(np.arange(options.batch, dtype=np.int32)),
    "readable": jax.device_put(np.ones(options.batch, bool)),
  }
  start = time.perf_counter()
  compiled = train_step.lower(state, batch, np.int32(0)).compile()
  compiling = time.perf_counter() - start
  seconds, processor = [], []
  for number in range(options.steps + 1):
    start, used = time.perf_counter(), cpu_seconds()
    state, metrics = train_step(state, batch, np.int32(number))
    jax.block_until_ready(metrics)  # JAX returns before the work is done
    seconds.append(time.perf_counter() - start)
    processor.append(cpu_seconds() - used)
  seconds, processor = seconds[1:], processor[1:]
  memory = compiled.memory_analysis()
  table = Table("quantity", "value", title=f"P3D {options.variant}, {options.batch} x {options.frames} frames, "
                f"{options.dtype}, remat {options.remat}, {options.convolution}, {jax.devices()[0].device_kind}")
  rows = {
    "seconds a step, median": f"{np.median(seconds):.3f}", "seconds a step, least": f"{min(seconds):.3f}",
    "CPU seconds a step, median": f"{np.median(processor):.3f}", "seconds to compile": f"{compiling:.1f}",
    "temporary memory, GiB": f"{memory.temp_size_in_bytes / 2**30:.2f}", "loss": f"{float(metrics['loss'][0]):.4f}",
  }
  for name, value in rows.items():
    table.add_row(name, value)
  Console().print(table)


if __name__ == "__main__":
  main()
