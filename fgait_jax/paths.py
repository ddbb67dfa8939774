"""Paths that a user gives. Runs read and write local (or mounted) folders only: a path such as gs://bucket/run is
refused and does not become a local folder of that name."""

import os
import pathlib
import re

from fgait_jax.errors import ConfigError


def local_path(path: str | os.PathLike, name: str) -> pathlib.Path:
  """The absolute path, "~" expanded. Raises `ConfigError`, whose message calls the path `name`, for a remote store such
  as gs://bucket/run (or gs:/bucket/run, what `pathlib` makes of it), and for "~" where there is no home."""
  if store := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", os.fspath(path)):
    raise ConfigError(
      f"{name}={os.fspath(path)}: {store[1]}:// cannot be read or written here; give a local folder, or mount the store"
      " as one (for gs:// with gcsfuse)"
    )
  try:
    return pathlib.Path(path).expanduser().absolute()
  except RuntimeError as error:
    raise ConfigError(f"{name}={os.fspath(path)}: {error} Give the whole path") from error
