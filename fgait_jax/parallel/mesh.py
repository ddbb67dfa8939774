"""The device mesh: three named axes, and the sharding of a batch over them.

  data    copies of the model; shards the batch
  fsdp    shards parameters and optimizer state, and the batch too
  tensor  shards the hidden features of wide layers, not the batch
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fgait_jax.errors import ConfigError

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")


def make_mesh(*, data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A mesh of all `devices` (default: every device of every process); one axis may be -1 and takes what is left.

  Raises `ConfigError` when the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
  asked = ", ".join(f"config.mesh.{name}={size}" for name, size in sizes.items())
  open_axes = [name for name, size in sizes.items() if size == -1]
  if len(open_axes) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
    raise ConfigError(f"{asked}: each must be a number of devices from 1, and at most one may be -1 (what is left)")
  fixed = math.prod(size for size in sizes.values() if size != -1)
  if len(devices) % fixed or (not open_axes and fixed != len(devices)):
    raise ConfigError(
      f"{asked} need {'a multiple of ' if open_axes else ''}{fixed} devices, but there are {len(devices)};"
      " change config.mesh so that the sizes multiply to the number of devices"
    )
  for name in open_axes:
    sizes[name] = len(devices) // fixed
  # Auto axes: the compiler places everything from a few constraints. `jax.make_mesh` gives Explicit axes by default.
  grid = np.asarray(devices, dtype=object).reshape(tuple(sizes.values()))
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Shards the first axis of an array over (data, fsdp)."""
  return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_divisor(mesh: Mesh) -> int:
  """The number that must divide a batch."""
  return math.prod(mesh.shape[name] for name in BATCH_AXES)
