"""Converters for argparse's `type=`, shared by the programs of `data_prep`."""

import functools
import math
import pathlib
from collections.abc import Callable

from fgait_jax.paths import local_path


def path(flag: str) -> Callable[[str], pathlib.Path]:
  """The converter of `flag`'s value by `local_path`: expands a leading ~, which no shell does in "--out=~/x", and
  raises `ConfigError` for stores such as gs://."""
  return functools.partial(local_path, name=flag)


def positive(text: str) -> float:
  """A finite number above 0."""
  if not 0 < (value := float(text)) < math.inf:
    raise ValueError
  return value


def count(text: str) -> int:
  """A whole number above 0."""
  if (value := int(text)) < 1:
    raise ValueError
  return value


def seed(text: str) -> int:
  """A seed of NumPy's generators: a whole number from 0."""
  if (value := int(text)) < 0:
    raise ValueError
  return value
