"""Recorded arrays of official modules, and how far ours are from them."""

import dataclasses
import json
import pathlib
import zipfile

import jax
import numpy as np

from fgait_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Line:
  """One recorded array: its name, the largest error relative to its largest magnitude, and what is allowed."""

  name: str
  error: float
  tolerance: float

  @property
  def passed(self) -> bool:
    return self.error <= self.tolerance

  def __str__(self) -> str:
    return f"{'ok  ' if self.passed else 'FAIL'}  {self.error:8.1e}  (within {self.tolerance:.0e})  {self.name}"


def read(path: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
  """(what `meta` says, all other arrays) of a recorded file; raises `DataError` where it cannot be read."""
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise DataError(f"{path} cannot be read as .npz: {error}") from error
  if "meta" not in arrays:
    raise DataError(f"{path} lacks meta; it is no record of a network")
  return json.loads(str(arrays.pop("meta"))), arrays


def to_torch(x: jax.Array) -> np.ndarray:
  """Channels to the second axis, whatever follows."""
  return np.moveaxis(np.asarray(x), -1, 1)


def group_order(samples: int, groups: int) -> np.ndarray:
  """The official order of a batch in groups of crops, (group, half, member), as places in that of models/crops.py,
  (member, half, group): `x[order]` is ours, `x[np.argsort(order)]` official again."""
  return np.arange(samples).reshape(groups, 2, -1).transpose(2, 1, 0).reshape(-1)


def relative_error(ours: np.ndarray | None, expected: np.ndarray, floor: float = 0.0) -> float:
  """The largest difference over the largest magnitude of `expected`, or over `floor` where that is larger; infinite
  where nothing, another shape or no number was computed."""
  if ours is None or ours.shape != expected.shape:
    return float("inf")
  worst = np.max(np.abs(np.asarray(ours, np.float64) - expected), initial=0.0)
  error = worst / max(np.max(np.abs(expected), initial=0.0), floor, np.finfo(np.float32).tiny)
  return float(error) if np.isfinite(error) else float("inf")
