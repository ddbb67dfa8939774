"""Values of the command lines' arguments, as all programs here read them."""

import math
import pathlib


def path(text: str) -> pathlib.Path:
  """A path whose leading ~ is the user's folder: no shell expands it after "--out="."""
  return pathlib.Path(text).expanduser()


def positive(text: str) -> float:
  """A finite number above 0."""
  if not 0 < (value := float(text)) < math.inf:
    raise ValueError
  return value
