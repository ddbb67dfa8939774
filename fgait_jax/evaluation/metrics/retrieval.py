"""Ranks of a probe's mates in a gallery, and rank-k, mAP and mINP from them.

No gallery is sorted: the rank of a mate is one more than the number of gallery items that lie closer. Equal distances
keep the gallery's order, as a stable sort of the distances would; `nearest` follows the same rule.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.errors import DataError
from fgait_jax.evaluation.metrics import verification
from fgait_jax.evaluation.metrics.distances import (
  BUDGET,
  Blocks,
  block_distances,
  check_metric,
  check_shapes,
  origin_of,
  plan_blocks,
  send,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
  """What every probe met in every group of the gallery (one group, unless views are ranked apart).

  first: int32 [n, v], rank from 1 of the closest mate, 0 where there is none.
  precision: float32 [n, v], average precision; inp: float32 [n, v], mates / rank of the last mate; 0 without mates.
  mates: int32 [n, v]; sizes: int32 [n, v], gallery items ranked; nearest: int32 [n, v], the closest one, -1 if none.
  pairs: int32 [n, 2, BINS], how many strangers and mates lie in each bin of distances, where these were asked for.
  """

  first: np.ndarray
  precision: np.ndarray
  inp: np.ndarray
  mates: np.ndarray
  sizes: np.ndarray
  nearest: np.ndarray
  pairs: np.ndarray | None = None

  def take(self, rows: np.ndarray) -> "Ranking":
    """The ranking of some probes."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return Ranking(**{name: None if value is None else value[rows] for name, value in fields.items()})

  def spread(self, columns: np.ndarray, total: int) -> "Ranking":
    """The same groups at `columns` of `total`; groups in between are empty."""
    fields = {}
    for name in (field.name for field in dataclasses.fields(self) if field.name != "pairs"):
      value = getattr(self, name)
      fields[name] = np.full((len(value), total), -1 if name == "nearest" else 0, value.dtype)
      fields[name][:, columns] = value
    return Ranking(**fields, pairs=self.pairs)

  def hits(self, rank: int) -> np.ndarray:
    """Bool [n, v]: a mate stands within the first `rank`."""
    return (self.first > 0) & (self.first <= rank)


def rank(probe: np.ndarray, gallery: np.ndarray, *, probe_labels: np.ndarray, gallery_labels: np.ndarray,
         gallery_groups: np.ndarray | None = None, probe_cameras: np.ndarray | None = None,
         gallery_cameras: np.ndarray | None = None, bins: np.ndarray | None = None, counted: np.ndarray | None = None,
         metric: str = "euclidean", budget_bytes: int = BUDGET) -> Ranking:
  """Ranks probes [n, C, P] in the gallery [m, C, P], apart in each of `gallery_groups` (ints 0..v-1, one per item).

  Given cameras, gallery items of the probe's own subject and camera are left out of its ranking (person
  re-identification's rule). Given `bins` (verification.bins_of), the pairs that are ranked are counted by distance too,
  of each probe in the groups where `counted` bool [n, v] holds (default: in all). Raises DataError on an empty gallery.
  """
  if not len(gallery):
    raise DataError("the gallery is empty")
  groups = np.zeros(len(gallery), np.int64) if gallery_groups is None else np.asarray(gallery_groups)
  members = _cells(groups, np.arange(len(gallery)), count=int(groups.max()) + 1, fill=-1)  # [v, g]
  mates, dropped = _mates(members, probe_labels, gallery_labels, probe_cameras, gallery_cameras)
  columns = members.reshape(-1)
  plan = _plan(probe, gallery, columns, budget_bytes)
  if counted is None:
    counted = np.ones((len(probe), len(members)), bool)
  table = None if bins is None else jnp.asarray(bins)
  ranks, nearest, pairs = [], [], []
  for rows, distances in _distance_rows(probe, gallery, columns, plan=plan, metric=metric):
    left_out = None if dropped is None else _fit(dropped[rows], plan.probes)
    asked = None if bins is None else _fit(counted[rows], plan.probes)
    block = _rank_block(distances, jnp.asarray(members < 0), _fit(mates[rows], plan.probes), left_out, asked, table)
    for whole, part in zip((ranks, nearest, pairs), block, strict=True):
      if part is not None:
        whole.append(np.asarray(part)[: len(rows)])
  nearest = np.concatenate(nearest)
  picked = np.take_along_axis(members, np.maximum(nearest, 0).T, axis=1).T
  sizes = np.sum(members >= 0, axis=1)[None, :]
  if dropped is not None:
    sizes = sizes - np.sum(dropped < members.shape[1], axis=-1)
  found = _from_ranks(np.concatenate(ranks), sizes=sizes, nearest=np.where(sizes > 0, picked, -1))
  return dataclasses.replace(found, pairs=np.concatenate(pairs) if pairs else None)


def nearest(probe: np.ndarray, gallery: np.ndarray, *, count: int, metric: str = "euclidean",
            budget_bytes: int = BUDGET) -> tuple[np.ndarray, np.ndarray]:
  """The `count` closest gallery items of every probe: indices int32 [n, count] and distances float32 [n, count]."""
  if not len(gallery):
    raise DataError("the gallery is empty")
  count = min(count, len(gallery))
  columns = np.arange(len(gallery))
  plan = _plan(probe, gallery, columns, budget_bytes)
  indices, values = [], []
  for rows, distances in _distance_rows(probe, gallery, columns, plan=plan, metric=metric):
    value, index = _closest(distances, length=len(gallery), count=count)
    indices.append(np.asarray(index)[: len(rows)])
    values.append(np.asarray(value)[: len(rows)])
  return np.concatenate(indices), np.concatenate(values)


def _plan(probe, gallery, columns, budget_bytes) -> Blocks:
  check_shapes(probe, gallery)
  return plan_blocks(len(probe), len(columns), channels=probe.shape[1], parts=probe.shape[2], budget_bytes=budget_bytes)


def _distance_rows(probe, gallery, columns, *, plan: Blocks, metric):
  """Yields (probe rows, blocks [plan.probes, plan.gallery] side by side); columns of -1 and rows past the end pad."""
  check_metric(metric)
  origin = origin_of(gallery, metric=metric)
  blocks = [np.maximum(columns[left : left + plan.gallery], 0) for left in range(0, len(columns), plan.gallery)]

  def there(block):
    return send(gallery, block, origin=origin, length=plan.gallery, metric=metric)

  held = [there(block) for block in blocks] if plan.resident else None
  for start in range(0, len(probe), plan.probes):
    rows = np.arange(start, min(start + plan.probes, len(probe)))
    x = send(probe, rows, origin=origin, length=plan.probes, metric=metric)
    parted = []
    for number, block in enumerate(blocks):
      y = held[number] if plan.resident else there(block)
      parted.append(block_distances(x, y, metric=metric, parts=probe.shape[2]))
      if not plan.resident:
        parted[-1].block_until_ready()  # or blocks sent ahead would pile up on the device
    yield rows, parted


@functools.partial(jax.jit, static_argnames=("length", "count"))
def _closest(parted, *, length, count):
  value, index = jax.lax.top_k(-jnp.concatenate(parted, axis=1)[:, :length], count)
  return -value, index


@jax.jit
def _rank_block(parted, padding, mates, dropped, counted, bins):
  """Ranks int32 [b, v, m] of mates (0 where padded), the closest column [b, v], and counted pairs (None without bins).

  parted: distances in blocks side by side, [b, v * g] and more; padding bool [v, g]; mates [b, v, m] and dropped
  [b, v, e] (or None) are columns of a group, g where there is none.
  """
  num, (groups, width) = len(mates), padding.shape
  distances = jnp.concatenate(parted, axis=1)[:, : groups * width].reshape(num, groups, width)
  distances = jnp.where(padding, jnp.inf, distances)
  if dropped is not None:
    row, group = jnp.arange(num)[:, None, None], jnp.arange(groups)[None, :, None]
    distances = distances.at[row, group, dropped].set(jnp.inf, mode="drop")
  there = mates < width
  own = jnp.where(there, jnp.take_along_axis(distances, jnp.where(there, mates, 0), axis=-1), jnp.inf)
  column = jnp.arange(width, dtype=mates.dtype)

  def closer(_, mate):
    distance, index = mate
    before = (distances < distance[..., None]) | ((distances == distance[..., None]) & (column < index[..., None]))
    return None, 1 + jnp.sum(before, axis=-1, dtype=jnp.int32)

  _, ranks = jax.lax.scan(closer, None, (jnp.moveaxis(own, -1, 0), jnp.moveaxis(mates, -1, 0)))
  least = jnp.min(distances, axis=-1, keepdims=True)  # ten times faster on CPU than argmin, the same answer
  closest = jnp.min(jnp.where(distances == least, column, width - 1), axis=-1)
  ranks = jnp.where(there, jnp.moveaxis(ranks, 0, -1), 0)
  if bins is None:
    return ranks, closest, None
  every, genuine = (verification.count(jnp.where(counted[..., None], x, jnp.inf).reshape(num, -1), bins)
                    for x in (distances, own))
  return ranks, closest, jnp.stack([every - genuine, genuine], axis=1)


def _mates(members, probe_labels, gallery_labels, probe_cameras, gallery_cameras):
  """Columns [n, v, m] of each probe's mates in each group and [n, v, e] of those left out; padded with the width g."""
  groups, width = members.shape
  _, labels = np.unique(np.concatenate([gallery_labels, probe_labels]), return_inverse=True)
  gallery, probe = labels[: len(gallery_labels)], labels[len(gallery_labels) :]
  group, column = np.nonzero(members >= 0)
  cell = gallery[members[group, column]] * groups + group  # a cell holds one label's items in one group
  table = _cells(cell, column, count=(labels.max() + 1) * groups, fill=width)
  mates = table.reshape(labels.max() + 1, groups, -1)[probe]
  if probe_cameras is None:
    return mates, None
  there = mates < width
  item = np.take_along_axis(members[None], np.where(there, mates, 0), axis=2)
  dropped = there & (np.asarray(gallery_cameras)[item] == np.asarray(probe_cameras)[:, None, None])
  return np.where(dropped, width, mates), np.where(dropped, mates, width)


def _rounded(size):
  """A little more than `size`: a power of two, or a multiple of 16 above 64, so that few shapes are compiled."""
  return 1 << (size - 1).bit_length() if size <= 64 else -(-size // 16) * 16


def _cells(cell, value, *, count, fill):
  """Values of each cell in a row [count, most], in their order, padded with `fill`."""
  order = np.argsort(cell, kind="stable")
  sizes = np.bincount(cell, minlength=count)
  within = np.arange(len(cell)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
  out = np.full((count, _rounded(int(sizes.max()))), fill, np.int32)
  out[cell[order], within] = value[order]
  return out


def _fit(array, length):
  """The first axis at exactly `length`, repeating the first row where rows are missing (one compilation for all)."""
  if len(array) == length:
    return array
  return np.concatenate([array, np.repeat(array[:1], length - len(array), axis=0)])


def _from_ranks(ranks, *, sizes, nearest) -> Ranking:
  far = np.iinfo(np.int32).max
  ordered = np.sort(np.where(ranks > 0, ranks, far), axis=-1)
  there = ordered < far
  mates = there.sum(-1)
  count = np.arange(1, ranks.shape[-1] + 1)
  precision = np.sum(np.where(there, count / ordered, 0), axis=-1) / np.maximum(mates, 1)
  last = np.max(np.where(there, ordered, 0), axis=-1)
  return Ranking(
    first=np.where(mates > 0, ordered[..., 0], 0).astype(np.int32), precision=precision.astype(np.float32),
    inp=(mates / np.maximum(last, 1)).astype(np.float32), mates=mates.astype(np.int32),
    sizes=np.broadcast_to(sizes, mates.shape).astype(np.int32), nearest=nearest.astype(np.int32))
