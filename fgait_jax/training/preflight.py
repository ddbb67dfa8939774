"""What is checked and set before anything is computed: number types, devices, the cache of compiled programs, and
folders that must be writable. What cannot work is refused in one line."""

import functools
import glob
import os
import pathlib
import re
import sys
import uuid
import warnings

import jax

from fgait_jax.errors import ConfigError
from fgait_jax.paths import local_path


def configure_jax() -> None:
  """Number types and devices: call before the first array of a program, and after `parallel.hosts.initialize`. Raises
  `ConfigError` where jax has no devices to compute on."""
  if jax.config.jax_enable_x64:
    _note("JAX_ENABLE_X64 is set, but parameters and checkpoints are float32 here: turned off for this program")
    jax.config.update("jax_enable_x64", False)
  try:
    jax.devices()
  except Exception as error:  # of whatever plugin; jax raises several
    reason = str(error).strip().split("\n")[0] or repr(error)
    asked = os.environ.get("JAX_PLATFORMS", "")
    raise ConfigError(
      f"JAX_PLATFORMS={asked!r}: jax finds no such device ({reason}). Unset it to take what is there, set"
      " JAX_PLATFORMS=cpu, or install jax for this device (pip install 'jax[cuda13]' or 'jax[tpu]')"
    ) from error


def use_compilation_cache(folder: str) -> None:
  """Keeps compiled programs in `folder` for the next start, unless it is "" or the user has given jax one
  (JAX_COMPILATION_CACHE_DIR). Goes on without where it cannot be written: it only saves time."""
  if jax.config.jax_compilation_cache_dir:
    _mend_cache(jax.config.jax_compilation_cache_dir)
    return
  if not folder:
    return
  try:
    path = local_path(folder, "compilation_cache")
    _try_to_write(path)
  except (OSError, ConfigError) as error:
    _note(f"compiled programs are not kept, since the folder for them cannot be written: {error}")
    return
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
  _mend_cache(str(path))


@functools.cache  # a warning would otherwise pass through one more `mend` after every call
def _mend_cache(folder: str) -> None:
  """Has entries that jax cannot read removed as soon as it warns of them, before it compiles: it writes no entry where
  there is one, so a damaged one would cost a compilation at every start."""
  show, said = warnings.showwarning, re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")

  def mend(message, *rest, **more):
    if not (found := said.match(str(message))):
      return show(message, *rest, **more)
    for entry in pathlib.Path(folder).glob(f"{glob.escape(found[1])}-*"):  # the warning does not say which of them
      entry.unlink(missing_ok=True)
    _note(f"{folder} held a damaged program, {found[1]}: it is compiled and stored anew")

  warnings.filterwarnings("always", message=said.pattern)
  warnings.showwarning = mend


def writable(folder: str | os.PathLike, *, flag: str) -> pathlib.Path:
  """The absolute path of `folder`, which may be missing yet; raises `ConfigError` naming `flag` where nothing can be
  written to it."""
  path = local_path(folder, flag)
  try:
    _try_to_write(path)
  except OSError as error:
    raise ConfigError(f"{flag}={folder} cannot be written ({error}); give another folder") from error
  return path


def _try_to_write(folder: pathlib.Path) -> None:
  """Raises `OSError` unless a file can be made in `folder`, or where it is missing in the nearest folder above."""
  there = next(path for path in (folder, *folder.parents) if path.exists())
  if not there.is_dir():
    raise NotADirectoryError(f"{there} is a file")
  trial = there / f".{uuid.uuid4().hex}"
  try:
    trial.write_bytes(b"trial")  # a full disk lets a file be made, but not filled
  finally:
    trial.unlink(missing_ok=True)


def _note(message: str) -> None:
  if jax.process_index() == 0:
    print(f"note: {message}", file=sys.stderr)
