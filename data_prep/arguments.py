"""Values of the command lines' arguments, as all programs here read them."""

import functools
import math
import pathlib
from collections.abc import Callable

from fgait_jax.paths import local_path


def path(flag: str) -> Callable[[str], pathlib.Path]:
  """Reads the value of `flag` as `local_path` does: no shell expands the ~ of "--out=~/x", and other stores are
  refused, with a `ConfigError`."""
  return functools.partial(local_path, name=flag)


def positive(text: str) -> float:
  """A finite number above 0."""
  if not 0 < (value := float(text)) < math.inf:
    raise ValueError
  return value


def seed(text: str) -> int:
  """A seed of NumPy's generators."""
  if (value := int(text)) < 0:
    raise ValueError
  return value
