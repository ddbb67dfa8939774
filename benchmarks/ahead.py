"""Compiles a pretraining step for TPUs that are not here: does it fit, and what do devices send each other?

  python benchmarks/ahead.py --config configs/pretrain.py:base --topology v5e:4x4 --fsdp 8

Wants libtpu beside jax, of the same version: pip install "jax[tpu]". Nothing runs. Topologies that libtpu knows: v5e
and v6e of 1x1, 2x2, 2x4, 4x4, 16x16, v5p of 2x2x1, 2x2x2, 4x4x4, and more. It takes minutes of a core.

Bytes are of one device. "Gathered" are arrays, weights above all, of which it had a part and holds the whole,
"scattered" those, gradients, of whose sum over devices it keeps a part, both in bytes of the whole; "summed" are those
whose sum it holds. What is in a loop is counted once.
"""

import argparse
import collections
import os
import pathlib
import re
import sys
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # nothing runs, so processes need not take turns

import jax
import numpy as np
from jax.experimental import topologies
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole
from fgait_jax import config_files
from fgait_jax.errors import ConfigError, FgaitError
from fgait_jax.parallel.mesh import batch_sharding, make_mesh
from fgait_jax.training import state as states
from fgait_jax.training import step

BYTES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "u16": 2, "s8": 1, "u8": 1, "pred": 1}
COLLECTIVE = re.compile(r" = (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(-start)?\(")
KINDS = {"all-gather": "gathered", "reduce-scatter": "scattered", "all-reduce": "summed"}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="configs/pretrain.py:base")
  parser.add_argument("--topology", default="v5e:2x4")
  parser.add_argument("--batch", type=whole(1), help="config.data.batch_size (default: the configuration's)")
  for axis in ("fsdp", "tensor"):
    parser.add_argument(f"--{axis}", type=whole(1), help=f"config.mesh.{axis} (default: the configuration's)")
  options = parser.parse_args()
  config = config_files.load(options.config)
  if "student" not in config:
    raise ConfigError(f"--config={options.config} is no configuration of pretraining, such as configs/pretrain.py:tiny")
  with config.unlocked():
    config.data.batch_size = options.batch or config.data.batch_size
    config.mesh.update({axis: value for axis in ("fsdp", "tensor") if (value := getattr(options, axis))})
  mesh = make_mesh(**config.mesh, devices=devices(options.topology))
  start = time.perf_counter()
  try:
    compiled = lower(config, mesh).compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise FgaitError(f"{options.config} does not fit on {options.topology}: {str(error).splitlines()[0]}") from error
  show(config, mesh, options.topology, compiled, seconds=time.perf_counter() - start)


def devices(topology: str) -> list:
  """The devices of `topology`, none of which need be here."""
  try:
    return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
  except Exception as error:  # libtpu and jax raise many kinds
    raise FgaitError(f"--topology={topology}: {str(error).splitlines()[0]}; it wants libtpu, of jax {jax.__version__}:"
                     f' pip install "jax[tpu]=={jax.__version__}"') from error


def lower(config, mesh):
  """A training step of `config` on `mesh`, traced for arrays that lie as in a run."""
  graph, state, shardings = states.abstract(config, mesh)
  train_step = step.pretraining_step(config, graph, mesh=mesh, shardings=shardings)
  pairs, frames, channels = config.data.batch_size, config.data.clip_frames, config.model.channels

  def array(dtype, *shape):
    return jax.ShapeDtypeStruct((pairs, *shape), dtype, sharding=batch_sharding(mesh))

  batch = {"frames": array(np.uint8, 2, frames, 64, 64, channels), "valid": array(bool, 2, frames),
           "group": array(np.int32), "readable": array(bool)}
  state = jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state, shardings)
  return train_step.lower(state, batch, np.int32(0))


def sent(text: str) -> dict[str, float]:
  """Bytes of the collectives of a compiled program, by kind (`KINDS`, or the operation's name)."""
  found, seen, inside = collections.Counter(), set(), ""
  for line in text.splitlines():
    if line and not line.startswith(" "):
      inside = line  # the head of a computation
    if (match := COLLECTIVE.search(line)) is None:
      continue
    arrays = tuple(re.findall(r"(\w+)\[([\d,]*)\]", match[1]))
    channel = re.search(r"channel_id=(\d+)", line)
    if (channel and channel[1], arrays) in seen:  # the start and the end of one that runs beside other work
      continue
    seen.add((channel and channel[1], arrays))
    kind = match[2]
    if kind == "all-reduce" and "all-reduce-scatter" in inside:  # as TPU programs write a reduce-scatter
      kind = "reduce-scatter"
    found[KINDS.get(kind, kind)] += sum(
      BYTES[name] * np.prod([int(n) for n in shape.split(",") if n], dtype=float)
      for name, shape in arrays if name in BYTES
    )
  return dict(found)


def show(config, mesh, topology: str, compiled, *, seconds: float) -> None:
  memory = compiled.memory_analysis()
  rows = {
    "arguments, MB": memory.argument_size_in_bytes, "temporary memory, MB": memory.temp_size_in_bytes,
    **{f"{kind}, MB": size for kind, size in sorted(sent(compiled.as_text()).items())},
  }
  shape = ", ".join(f"{name} {size}" for name, size in mesh.shape.items())
  table = Table("quantity, of a device", "value", title=f"{config.model.name} {config.model.variant}, batch"
                f" {config.data.batch_size}, {config.model.dtype}, remat {config.model.remat}, {topology}: {shape}")
  for name, size in rows.items():
    table.add_row(name, f"{size / 1e6:,.1f}")
  table.add_row("compiled in, seconds", f"{seconds:.0f}")
  Console().print(table)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
