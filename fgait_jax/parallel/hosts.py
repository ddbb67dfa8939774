"""Several processes as one program: joining them, and making global arrays of what each one read."""

import functools
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fgait_jax.errors import ConfigError, FgaitError
from fgait_jax.parallel.mesh import BATCH_AXES, batch_divisor, batch_sharding, make_mesh, replicated

T = TypeVar("T")


def initialize(*, distributed: bool = False, coordinator: str = "", processes: int = 0, process: int = -1) -> None:
  """Joins the processes of a run; must come before anything touches a device.

  `distributed` lets jax find the other processes (SLURM, Open MPI, cloud TPUs). Otherwise `coordinator` ("host:port" of
  process 0), `processes` and `process` (0-based) are all given, or none for a run of one process.
  Raises `ConfigError` where the processes cannot be joined.
  """
  by_hand = (bool(coordinator), processes > 0, process >= 0)
  if any(by_hand):
    if not all(by_hand) or process >= processes:
      raise ConfigError(
        "--coordinator=host:port, --processes=N and --process=0..N-1 go together;"
        f" got coordinator {coordinator!r}, processes {processes}, process {process}"
      )
    if process > 0:
      _wait_for(coordinator)
    _join(f"--coordinator={coordinator} --processes={processes} --process={process}", coordinator, processes, process)
  elif distributed:
    _join("--distributed")


def _join(flags: str, *given) -> None:
  try:
    jax.distributed.initialize(*given)
  except Exception as error:  # a launcher's variables can make jax raise anything
    reason = str(error).strip().split("\n")[0] or repr(error)
    set_here = sorted({name.split("_")[0] for name in os.environ if name.startswith(("SLURM_", "OMPI_"))})
    about = f"; some variables of {', '.join(set_here)} are set, but not all that are needed" if set_here else ""
    raise ConfigError(
      f"{flags}: the processes of the run cannot be joined ({reason}){about}. Start every process with srun or mpirun,"
      " or on a cloud TPU; or give each --coordinator=host:port --processes=N --process=0..N-1; or leave"
      " --distributed out for one process"
    ) from error


def _wait_for(coordinator: str, *, seconds: float = 300.0, pause: float = 1.0) -> None:
  """Returns once something answers at `coordinator`; if nothing did, jax would end the program without an explanation.
  Raises `ConfigError` for a malformed address, and after `seconds`."""
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdigit():
    raise ConfigError(f"--coordinator={coordinator}: expected host:port of process 0, such as host0:1234")
  end, printed = time.monotonic() + seconds, False
  while True:
    try:
      socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
      return
    except OSError as error:
      if time.monotonic() > end:
        raise ConfigError(
          f"--coordinator={coordinator}: nothing answers there ({error}) after {seconds:.0f} seconds; start --process=0"
          " on that host, or correct the address"
        ) from error
      if not printed:
        print(f"waiting for --process=0 to answer at --coordinator={coordinator} ({error}), for {seconds:.0f} seconds",
              file=sys.stderr, flush=True)
      printed = True
      time.sleep(pause)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """The global batch, sharded over (data, fsdp), from the rows of each process, in the order of the processes."""
  sharding = batch_sharding(mesh)
  return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}


def cut_rows(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
  """A global array from a host array of its shape, of which every process needs only its `own_rows`."""
  return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def whole(array: jax.Array) -> np.ndarray:
  """A global array on the host, whole on every process; all must call it together."""
  return np.asarray(array if array.is_fully_addressable else multihost_utils.process_allgather(array, tiled=True))


def own_rows(count: int, mesh: Mesh) -> np.ndarray:
  """Which of `count` rows, sharded over (data, fsdp), lie on devices of this process, in order."""
  places = batch_sharding(mesh).addressable_devices_indices_map((count,)).values()
  return np.unique(np.concatenate([np.arange(count)[index] for index in places]))


def is_first() -> bool:
  """Whether this process is the one that writes files and console lines."""
  return jax.process_index() == 0


def any_process(flag: bool) -> bool:
  """True everywhere when `flag` is in one process; all processes must call it together."""
  return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def meet() -> None:
  """Returns when all processes have called it."""
  any_process(False)


def any_process_later(flag: bool) -> jax.Array:
  """The result of `any_process` as an array, without waiting for it; all processes must call it together."""
  mesh = make_mesh()
  flags = np.full(jax.local_device_count(), flag)
  return _any(jax.make_array_from_process_local_data(batch_sharding(mesh), flags), mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _any(flags, mesh: Mesh) -> jax.Array:
  return jax.lax.with_sharding_constraint(jnp.any(flags), replicated(mesh))


def agree(text: str) -> str:
  """Process 0's `text`, on every process; all must call it together."""
  if jax.process_count() == 1:
    return text
  encoded = np.frombuffer(text.encode(), np.uint8)
  said = np.zeros(int(multihost_utils.broadcast_one_to_all(np.int32(len(encoded)))), np.uint8)
  said[: len(encoded)] = encoded[: len(said)]
  return bytes(multihost_utils.broadcast_one_to_all(said)).decode()


def of_first(arrays):
  """Process 0's tree of arrays, on every process; all must call it together. What each solves by itself differs in its
  last bits where processors do."""
  return arrays if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(arrays)


def first_message(text: str) -> str:
  """The `text` of the first process whose text is not "", on every process, cut to 2,000 bytes.

  All processes must call it together.
  """
  if jax.process_count() == 1:
    return text
  message = np.zeros(2000, np.uint8)
  encoded = text.encode()[: message.size]
  message[: len(encoded)] = np.frombuffer(encoded, np.uint8)
  texts = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in multihost_utils.process_allgather(message)]
  return next((text for text in texts if text), "")


def together(make: Callable[[], T], *, kind: type[FgaitError] = FgaitError) -> T:
  """`make()`, of which every process sees its own: a folder of data, say, that one host lacks. Where it raises a
  `FgaitError` on one, all others raise a `kind` of its words: none may wait for one that has ended. All processes must
  call it together."""
  made = error = None
  try:
    made = make()
  except FgaitError as failed:
    error = failed
  if words := first_message(str(error or "")):
    raise error or kind(words)
  return made


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises `ConfigError` unless the global batch divides over the mesh and over the processes, in order."""
  divisor = batch_divisor(mesh)
  if batch_size < 1 or batch_size % divisor or batch_size % jax.process_count():
    raise ConfigError(
      f"config.data.batch_size={batch_size} does not divide over config.mesh.data x config.mesh.fsdp ="
      f" {mesh.shape['data']} x {mesh.shape['fsdp']} devices in {jax.process_count()} processes;"
      f" take a multiple of {np.lcm(divisor, jax.process_count())}"
    )
  if jax.process_count() > 1:
    _check_process_order(batch_size, mesh)


def _check_process_order(batch_size: int, mesh: Mesh) -> None:
  """Raises `ConfigError` unless the mesh gives every process exactly the rows that it reads."""
  rows = batch_size // jax.process_count()
  for device, (index, *_) in batch_sharding(mesh).devices_indices_map((batch_size,)).items():
    start, stop, _ = index.indices(batch_size)
    if start // rows != device.process_index or (stop - 1) // rows != device.process_index:
      tensor, own = mesh.shape["tensor"], jax.local_device_count()
      why = f"config.mesh.tensor must divide the devices of a process ({own})" if own % tensor else (
        "the devices must come in the order of their processes")
      raise ConfigError(
        f"config.mesh.tensor={tensor} spreads the batch axes {BATCH_AXES} over processes unevenly;"
        f" {PartitionSpec(BATCH_AXES)} must give every process its own rows, so {why}"
      )
