"""Converters for argparse's `type=`, shared by the programs of `data_prep` and `benchmarks`."""

import argparse
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


def whole(least: int) -> Callable[[str], int]:
  """The converter of whole numbers that are `least` or more."""
  def convert(text: str) -> int:
    try:
      value = int(text)
    except ValueError:
      value = None
    if value is None or value < least:
      raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
    return value

  return convert
