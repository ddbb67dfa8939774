"""Seconds and memory per pretraining step of the P3D network with the reference's recipe.

  python benchmarks/p3d_step.py                                      1-1-1-1, 8 sequences x 16 frames, float32
  python benchmarks/p3d_step.py --variant 0.03b --batch 64 --dtype bfloat16 --remat full
  python benchmarks/p3d_step.py --convolution plain                  XLA's convolution and gradients instead
  python benchmarks/p3d_step.py --variant 0.03b --batch 64 --dtype bfloat16 --steps 0      memory for the gradient only

One step is a whole training step: teacher forward on whole bodies, student forward and backward on strips (8, 4, 2, 1),
SGD and the moving average; augmentation is off, data are random. The first step, with compilation, is not counted.

"kept for the gradient" counts what the student's forward pass saves for its backward pass as traced, before a compiler
removes or adds anything: the same on every platform. Temporary memory is that of the program compiled for this machine,
which on a CPU widens bfloat16 to float32.
"""

import argparse
import contextlib
import pathlib
import resource
import sys
import time

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from fgait_jax import config_files  # noqa: E402
from fgait_jax.kernels import convolution  # noqa: E402
from fgait_jax.parallel.mesh import make_mesh  # noqa: E402
from fgait_jax.training import state as states  # noqa: E402
from fgait_jax.training import step  # noqa: E402

ROOT = pathlib.Path(__file__).parents[1]


def cpu_seconds() -> float:
  usage = resource.getrusage(resource.RUSAGE_SELF)
  return usage.ru_utime + usage.ru_stime


def kept_bytes(config, graph, state, batch) -> int:
  """Bytes of activations, statistics and weights that the student's forward pass saves for its gradient."""
  def keep(params, stats, frames, valid):
    def predict(params):
      out = graph.merge(params, stats).pretrain(
        frames, valid, crop_list=config.student.crop_list, masked_fraction=0.0, key=jax.random.key(0)
      )
      return out.prediction

    return jax.vjp(predict, params)[1]

  b, _, t, h, _, c = batch["frames"].shape
  frames = jax.ShapeDtypeStruct((b, t, h, config.augment.width, c), np.float32)
  valid = jax.ShapeDtypeStruct((b, t), bool)
  kept = jax.eval_shape(keep, state["params"], state["stats"], frames, valid)
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


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
  with convolution.plainly() if options.convolution == "plain" else contextlib.nullcontext():
    measure(options)


def measure(options: argparse.Namespace) -> None:
  """Prints the table."""
  config = config_files.load(str(ROOT / "configs" / "reference.py"))
  config.model.update(variant=options.variant, dtype=options.dtype, remat=options.remat)
  config.data.update(batch_size=options.batch, clip_frames=options.frames)
  config.augment.update(affine=0.0, perspective=0.0, flip=0.0, dilate=0.0, blur=0.0)
  mesh = make_mesh(data=-1, fsdp=1, tensor=1)
  graph, state, shardings = states.abstract(config, mesh)
  train_step = step.pretraining_step(config, graph, mesh=mesh, shardings=shardings)
  rng = np.random.default_rng(0)
  shape = (options.batch, 2, options.frames)
  batch = {
    "frames": rng.integers(0, 256, (*shape, 64, 64, 1), np.uint8), "valid": np.ones(shape, bool),
    "group": np.arange(options.batch, dtype=np.int32), "readable": np.ones(options.batch, bool),
  }
  rows = {"kept for the gradient, GiB": f"{kept_bytes(config, graph, state, batch) / 2**30:.2f}"}
  if options.steps:
    rows |= timed(train_step, states.create(config, mesh)[1], jax.device_put(batch), steps=options.steps)
  table = Table("quantity", "value", title=f"P3D {options.variant}, {options.batch} x {options.frames} frames, "
                f"{options.dtype}, remat {options.remat}, {options.convolution}, {jax.devices()[0].device_kind}")
  for name, value in rows.items():
    table.add_row(name, value)
  Console().print(table)


def timed(train_step, state, batch, *, steps: int) -> dict[str, str]:
  """Times, memory and loss of `steps` steps, after a first one that is not counted."""
  start = time.perf_counter()
  compiled = train_step.lower(state, batch, np.int32(0)).compile()
  compiling = time.perf_counter() - start
  seconds, processor = [], []
  for number in range(steps + 1):
    start, used = time.perf_counter(), cpu_seconds()
    state, metrics = train_step(state, batch, np.int32(number))
    jax.block_until_ready(metrics)  # JAX returns before the work is done
    seconds.append(time.perf_counter() - start)
    processor.append(cpu_seconds() - used)
  seconds, processor = seconds[1:], processor[1:]
  return {
    "seconds a step, median": f"{np.median(seconds):.3f}", "seconds a step, least": f"{min(seconds):.3f}",
    "CPU seconds a step, median": f"{np.median(processor):.3f}", "seconds to compile": f"{compiling:.1f}",
    "temporary memory, GiB": f"{compiled.memory_analysis().temp_size_in_bytes / 2**30:.2f}",
    "loss": f"{float(metrics['loss'][0]):.4f}",
  }


if __name__ == "__main__":
  main()
