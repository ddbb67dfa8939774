"""Configuration files: the user's own, and those that come with the package."""

import importlib.util
import inspect
import pathlib

from ml_collections import ConfigDict

import fgait_jax
from fgait_jax.errors import ConfigError

# The repository's configs/, under this name inside the package, so that an installation has them too.
SHIPPED = pathlib.Path(fgait_jax.__file__).parent / "configs"


def locate(argument: str) -> str:
  """`argument`, "path/to/file.py:variant", with a path that exists: as given, or for "configs/NAME.py" the package's
  own file where the current folder has none. Raises `ConfigError` with the known names."""
  path, colon, variant = argument.partition(":")
  if pathlib.Path(path).is_file():
    return argument
  known = sorted(f"configs/{file.name}" for file in SHIPPED.glob("[!_]*.py"))
  if path not in known:
    raise ConfigError(f"--config={argument}: there is no file {path}; the package has {', '.join(known)}")
  return f"{SHIPPED / pathlib.Path(path).name}{colon}{variant}"


def load(argument: str) -> ConfigDict:
  """The configuration of "path/to/file.py:variant", found by `locate`; raises `ConfigError` naming what is missing."""
  path, _, variant = locate(argument).partition(":")
  if not path.endswith(".py"):
    raise ConfigError(f"--config={argument}: {path} is no Python file with a get_config, as those of configs/ are")
  spec = importlib.util.spec_from_file_location("fgait_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if variant and not inspect.signature(module.get_config).parameters:
    raise ConfigError(f"--config={argument}: {path} has no variants; leave out :{variant}")
  try:
    return module.get_config(variant) if variant else module.get_config()
  except ValueError as error:
    raise ConfigError(f"--config={argument}: {error}") from None
