"""Seconds, memory and arithmetic rate of a pretraining step, of any network and size, on any device.

  python benchmarks/step.py                                          the transformer tiny, its 64 pairs, float32
  python benchmarks/step.py --config configs/pretrain.py:base --batch 64
  python benchmarks/step.py --config configs/reference.py --variant 1-1-1-1 --batch 8 --dtype float32       P3D network
  python benchmarks/step.py --config configs/reference.py --variant 0.03b --batch 64 --steps 0   memory for the gradient
  ... --convolution plain                                            XLA's convolution and gradients instead

One step is a whole training step: teacher, student forward and backward, optimizer and moving average; warps and other
augmentation are off, data are random. The first step, with compilation, is not counted. `step_torch.py` is the same
step of the P3D network in PyTorch.

The arithmetic of a step is that of its products and convolutions as traced with XLA's own convolutions, two operations
a multiplication. Its rate is compared with products of large matrices of the same type on the same device.

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
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402
from fgait_jax import config_files  # noqa: E402
from fgait_jax.errors import ConfigError, FgaitError  # noqa: E402
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
        frames, valid, crop_list=config.student.crop_list, masked_fractions=config.student.masked_fractions,
        key=jax.random.key(0),
      )
      return out.prediction, out.logits

    return jax.vjp(predict, params)[1]

  b, _, t, h, _, c = batch["frames"].shape
  frames = jax.ShapeDtypeStruct((b, t, h, config.augment.width, c), np.float32)
  valid = jax.ShapeDtypeStruct((b, t), bool)
  kept = jax.eval_shape(keep, state["params"], state["stats"], frames, valid)
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--config", default=str(ROOT / "configs" / "pretrain.py:tiny"))
  parser.add_argument("--variant", help="config.model.variant (default: the configuration's, as the next three)")
  parser.add_argument("--batch", type=whole(1), help="config.data.batch_size, sequences")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"))
  parser.add_argument("--remat", choices=("none", "dots", "full"))
  parser.add_argument("--convolution", default="fast", choices=("fast", "plain"))
  parser.add_argument("--steps", type=whole(0), default=5)
  options = parser.parse_args()
  with convolution.plainly() if options.convolution == "plain" else contextlib.nullcontext():
    measure(options)


def configuration(options: argparse.Namespace):
  """The configuration with what the command line changes of it; raises `ConfigError` for one of another program."""
  config = config_files.load(options.config)
  if "student" not in config:
    raise ConfigError(f"--config={options.config} is no configuration of pretraining, such as configs/pretrain.py:tiny")
  with config.unlocked():
    given = {"variant": options.variant, "dtype": options.dtype, "remat": options.remat}
    config.model.update({name: value for name, value in given.items() if value})
    config.data.batch_size = options.batch or config.data.batch_size
    queue = config.objectives.contrastive.queue
    config.objectives.contrastive.queue = queue - queue % config.data.batch_size
    config.augment.update(affine=0.0, perspective=0.0, flip=0.0, dilate=0.0, blur=0.0)
  return config


def measure(options: argparse.Namespace) -> None:
  """Prints the table."""
  config = configuration(options)
  mesh = make_mesh(data=-1, fsdp=1, tensor=1)
  graph, state, shardings = states.abstract(config, mesh)
  train_step = step.pretraining_step(config, graph, mesh=mesh, shardings=shardings)
  rng = np.random.default_rng(0)
  pairs, frames = config.data.batch_size, config.data.clip_frames
  shape = (pairs, 2, frames)
  batch = {
    "frames": rng.integers(0, 256, (*shape, 64, 64, 1), np.uint8), "valid": np.ones(shape, bool),
    "group": np.arange(pairs, dtype=np.int32), "readable": np.ones(pairs, bool),
  }
  rows = {"kept for the gradient, GiB": f"{kept_bytes(config, graph, state, batch) / 2**30:.2f}"}
  if options.steps:
    state = states.create(config, mesh)[1]
    rows["parameters that train, millions"] = f"{sum(x.size for x in jax.tree.leaves(state['params'])) / 1e6:.2f}"
    with convolution.plainly():
      plain = step.pretraining_step(config, graph, mesh=mesh, shardings=shardings)
      work = operations(jax.make_jaxpr(plain)(state, batch, np.int32(0)).jaxpr)
    rows |= timed(train_step, state, jax.device_put(batch), steps=options.steps, clips=2 * pairs)
    rows |= rates(work, float(rows["seconds a step, median"]), config.model.dtype)
  what = f"{config.model.name} {config.model.variant}, {pairs} pairs of {frames} frames, {config.model.dtype}"
  table = Table("quantity", "value", title=f"{what}, remat {config.model.remat}, convolution {options.convolution}, "
                f"{jax.device_count()} x {jax.devices()[0].device_kind}")
  for name, value in rows.items():
    table.add_row(name, value)
  Console().print(table)


def timed(train_step, state, batch, *, steps: int, clips: int) -> dict[str, str]:
  """Times, memory and loss of `steps` steps, after a first one that is not counted."""
  start = time.perf_counter()
  lowered = train_step.lower(state, batch, np.int32(0))
  tracing = time.perf_counter() - start
  compiled = lowered.compile()
  compiling = time.perf_counter() - start - tracing
  seconds, processor = [], []
  for number in range(steps + 1):
    start, used = time.perf_counter(), cpu_seconds()
    state, metrics = train_step(state, batch, np.int32(number))
    jax.block_until_ready(metrics)  # JAX returns before the work is done
    seconds.append(time.perf_counter() - start)
    processor.append(cpu_seconds() - used)
  seconds, processor = seconds[1:], processor[1:]
  median = float(np.median(seconds))
  return {
    "seconds a step, median": f"{median:.4f}", "seconds a step, least": f"{min(seconds):.4f}",
    "clips a second": f"{clips / median:,.0f}", "CPU seconds a step, median": f"{np.median(processor):.4f}",
    "seconds to trace, to compile": f"{tracing:.1f}, {compiling:.1f}",
    "temporary memory, GiB": f"{compiled.memory_analysis().temp_size_in_bytes / 2**30:.2f}",
    "loss": f"{float(metrics['loss'][0]):.4f}",
  }


def rates(work: float, seconds: float, dtype: str) -> dict[str, str]:
  """The arithmetic of a step, its rate, and that of large products on all devices."""
  ceiling = products_per_second(dtype) * jax.device_count()
  return {
    "TFLOP a step": f"{work / 1e12:.3f}", "TFLOP/s": f"{work / seconds / 1e12:.2f}",
    "share of large products' rate": f"{work / seconds / ceiling:.2f} of {ceiling / 1e12:.2f} TFLOP/s",
  }


def operations(jaxpr) -> float:
  """Operations of the products and convolutions of a program, those in loops as often as they run."""
  total = 0.0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      summed = [equation.invars[0].aval.shape[axis] for axis in contracted]
      total += 2.0 * equation.outvars[0].aval.size * np.prod(summed)
    elif equation.primitive.name == "conv_general_dilated":
      kernel, numbers = equation.invars[1].aval, equation.params["dimension_numbers"]
      total += 2.0 * equation.outvars[0].aval.size * kernel.size / kernel.shape[numbers.rhs_spec[0]]
    times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    total += times * sum(operations(inner) for inner in inner_programs(equation))
  return total


def inner_programs(equation) -> list:
  """The programs that an equation runs: a loop's body, a function's."""
  values = [v for value in equation.params.values() for v in (value if isinstance(value, tuple | list) else (value,))]
  return [program for v in values if hasattr(program := getattr(v, "jaxpr", v), "eqns")]


def products_per_second(dtype: str) -> float:
  """FLOP/s of one device at products of large matrices, as this program runs them: of float32 in jax's default
  precision."""
  size = 2048 if jax.default_backend() == "cpu" else 8192
  a, b = jax.random.normal(jax.random.key(0), (2, size, size), jnp.dtype(dtype))
  product = jax.jit(jnp.matmul)
  product(a, b).block_until_ready()
  seconds = []
  for _ in range(5):
    start = time.perf_counter()
    for _ in range(4):
      last = product(a, b)
    last.block_until_ready()
    seconds.append((time.perf_counter() - start) / 4)
  return 2 * size**3 / min(seconds)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
