"""The student's crops: a batch in groups, and each group in a number of horizontal strips (FoundationGait A2).

Of G groups, group i holds samples i, i + G, i + 2 G and so on. Its even members are cut into P aligned strips of rows,
its odd members into P + 1 strips shifted by half a strip, whose rows beyond the body are padding; with P = 1 nothing is
cut. The groups of the reference are consecutive samples; only the order differs. In our order, a device with
consecutive samples holds its share of every group, so cutting and stitching move nothing between devices if the batch
is a multiple of 2 G times their number.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fgait_jax.errors import ConfigError
from fgait_jax.typing import Array, Float

PARTS = (1, 2, 4, 8)


def check_batch(
  batch: int, crop_list: tuple[int, ...], *, asked: str = "", crops_key: str = "config.student.crop_list",
  devices: int = 1,
) -> None:
  """Raises `ConfigError` unless a batch divides over `devices` and into the groups of a crop list, and the groups into
  halves if any is cut. `asked` names the batch in the message, "" for config.data.batch_size."""
  crop_list = tuple(crop_list)
  if not crop_list or any(parts not in PARTS for parts in crop_list):
    raise ConfigError(f"{crops_key}={crop_list}: each must be a number of strips, 1, 2, 4 or 8")
  cut = max(crop_list) > 1
  groups = len(crop_list) * (2 if cut else 1)
  unit = math.lcm(groups, devices)
  if batch % unit:
    nearest = " or ".join(str(size) for size in (batch // unit * unit, batch // unit * unit + unit) if size)
    raise ConfigError(
      f"{asked or f'config.data.batch_size={batch}'} does not divide into the {groups} equal groups"
      f"{' (aligned and shifted)' if cut else ''} of {crops_key}={crop_list}"
      f"{f' and over {devices} devices' if devices > 1 else ''}; take {nearest}"
    )


def split(x: Array, count: int) -> list[Array]:
  """[b ...] -> `count` groups [b/count ...]."""
  x = x.reshape(x.shape[0] // count, count, *x.shape[1:])
  return [x[:, i] for i in range(count)]


def merge(groups: list) -> Array:
  """The inverse of `split`, of arrays or of trees of them."""
  def interleave(*leaves):
    return jnp.stack(leaves, axis=1).reshape(-1, *leaves[0].shape[1:])

  return jax.tree.map(interleave, *groups)


def where(taken: Sequence, x: Any) -> Any:
  """A batch, a tree of arrays [b ...], without the groups for which `taken` has 0."""
  def chosen(leaf):
    groups = split(leaf, len(taken))
    return merge([group for group, wanted in zip(groups, taken, strict=True) if wanted])

  return x if all(taken) else jax.tree.map(chosen, x)


@dataclasses.dataclass(frozen=True)
class Strips:
  """Cuts a group into `parts` strips of rows (axis 2). Two samples, an even and an odd one, give `2 parts + 1`
  consecutive strips, each sample's from top to bottom; with one part a group stays as it is."""

  parts: int

  def fold(self, x: Float[Array, "n s rows ..."]) -> Float[Array, "strips s rows/parts ..."]:
    if self.parts == 1:
      return x
    if x.shape[2] % (2 * self.parts):
      raise ValueError(f"{self.parts} strips, half of them shifted by half a strip, do not divide {x.shape[2]} rows")
    height = x.shape[2] // self.parts
    aligned, shifted = split(x, 2)
    edge = [(0, 0)] * x.ndim
    edge[2] = (height // 2, height // 2)
    return _join(_cut(aligned, height), _cut(jnp.pad(shifted, edge), height))

  def unfold(self, x: Float[Array, "strips s rows/parts ..."]) -> Float[Array, "n s rows ..."]:
    """The inverse of `fold`, of strips of any height; padding rows are dropped."""
    if self.parts == 1:
      return x
    x = x.reshape(-1, 2 * self.parts + 1, *x.shape[1:])
    margin = x.shape[3] // 2
    return merge([_stitch(x[:, : self.parts]), _stitch(x[:, self.parts :])[:, :, margin:-margin]])

  def repeat(self, x: Array) -> Array:
    """[n ...] -> [strips ...]: the values of a sample, repeated for each of its strips."""
    if self.parts == 1:
      return x
    aligned, shifted = split(x, 2)
    return _join(
      jnp.repeat(aligned[:, None], self.parts, axis=1), jnp.repeat(shifted[:, None], self.parts + 1, axis=1)
    )

  def fold_rows(self, table: Float[Array, "r d"], *, samples: int) -> Float[Array, "strips r/parts d"]:
    """The rows of `table` that each strip of `samples` samples covers; zeros where a strip is padding."""
    return self.fold(jnp.broadcast_to(table, (samples, 1, *table.shape)))[:, 0]


def _join(aligned: Array, shifted: Array) -> Array:
  """[pairs parts ...] and [pairs parts + 1 ...] -> [strips ...]."""
  x = jnp.concatenate([aligned, shifted], axis=1)
  return x.reshape(-1, *x.shape[2:])


def _cut(x: Array, height: int) -> Array:
  """[n s rows ...] -> [n strips s height ...]."""
  n, s, rows, *rest = x.shape
  return jnp.moveaxis(x.reshape(n, s, rows // height, height, *rest), 2, 1)


def _stitch(x: Array) -> Array:
  """The inverse of `_cut`."""
  n, strips, s, height, *rest = x.shape
  return jnp.moveaxis(x, 1, 2).reshape(n, s, strips * height, *rest)
