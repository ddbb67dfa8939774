"""Ranks of a probe's mates in a gallery, and rank-k, mAP, mINP and CMC from them.

No gallery is sorted: the rank of a mate is one more than the number of gallery items that lie closer. Equal distances
keep the gallery's order, as a stable sort of the distances would; `nearest` follows the same rule.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.errors import DataError
from fgait_jax.evaluation.distances import BUDGET, Blocks, block_distances, part_major, plan_blocks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
  """What every probe met in every group of the gallery (one group, unless views are ranked apart).

  first: int32 [n, v], rank from 1 of the closest mate, 0 where there is none.
  precision: float32 [n, v], average precision; inp: float32 [n, v], mates / rank of the last mate; 0 without mates.
  mates: int32 [n, v]; sizes: int32 [n, v], gallery items ranked; nearest: int32 [n, v], the closest one, -1 if none.
  """

  first: np.ndarray
  precision: np.ndarray
  inp: np.ndarray
  mates: np.ndarray
  sizes: np.ndarray
  nearest: np.ndarray

  def take(self, rows: np.ndarray) -> "Ranking":
    """The ranking of some probes."""
    return Ranking(**{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)})

  def spread(self, columns: np.ndarray, total: int) -> "Ranking":
    """The same groups at `columns` of `total`; groups in between are empty."""
    fields = {}
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      fields[field.name] = np.full((len(value), total), -1 if field.name == "nearest" else 0, value.dtype)
      fields[field.name][:, columns] = value
    return Ranking(**fields)

  def hits(self, rank: int) -> np.ndarray:
    """Bool [n, v]: a mate stands within the first `rank`."""
    return (self.first > 0) & (self.first <= rank)


def rank(
  probe: np.ndarray,
  gallery: np.ndarray,
  *,
  probe_labels: np.ndarray,
  gallery_labels: np.ndarray,
  gallery_groups: np.ndarray | None = None,
  probe_cameras: np.ndarray | None = None,
  gallery_cameras: np.ndarray | None = None,
  metric: str = "euclidean",
  budget_bytes: int = BUDGET,
) -> Ranking:
  """Ranks probes [n, C, P] in the gallery [m, C, P], apart in each of `gallery_groups` (ints 0..v-1, one per item).

  Given cameras, gallery items of the probe's own subject and camera are left out of its ranking (person
  re-identification's rule). Raises DataError on an empty gallery.
  """
  if not len(gallery):
    raise DataError("the gallery is empty")
  groups = np.zeros(len(gallery), np.int64) if gallery_groups is None else np.asarray(gallery_groups)
  members = _cells(groups, np.arange(len(gallery)), count=int(groups.max()) + 1, fill=-1)  # [v, g]
  mates, dropped = _mates(members, probe_labels, gallery_labels, probe_cameras, gallery_cameras)
  plan = plan_blocks(
    len(probe), members.size, channels=probe.shape[1], parts=probe.shape[2], budget_bytes=budget_bytes
  )
  columns = members.reshape(-1)
  ranks, nearest = [], []
  for rows, distances in _distance_rows(probe, gallery, columns, plan=plan, metric=metric):
    block = _rank_block(distances, _fit(mates[rows], plan.probes), _fit(dropped[rows], plan.probes))
    ranks.append(np.asarray(block[0])[: len(rows)])
    nearest.append(np.asarray(block[1])[: len(rows)])
  nearest = np.concatenate(nearest)
  picked = np.take_along_axis(members, np.maximum(nearest, 0).T, axis=1).T
  absent = members.shape[1]
  sizes = np.sum(members >= 0, axis=1)[None, :] - np.sum(dropped < absent, axis=-1)
  return _from_ranks(np.concatenate(ranks), sizes=sizes, nearest=np.where(sizes > 0, picked, -1))


def nearest(
  probe: np.ndarray, gallery: np.ndarray, *, count: int, metric: str = "euclidean", budget_bytes: int = BUDGET
) -> tuple[np.ndarray, np.ndarray]:
  """The `count` closest gallery items of every probe: indices int32 [n, count] and distances float32 [n, count]."""
  if not len(gallery):
    raise DataError("the gallery is empty")
  count = min(count, len(gallery))
  plan = plan_blocks(
    len(probe), len(gallery), channels=probe.shape[1], parts=probe.shape[2], budget_bytes=budget_bytes
  )
  indices, values = [], []
  for rows, distances in _distance_rows(probe, gallery, np.arange(len(gallery)), plan=plan, metric=metric):
    value, index = jax.lax.top_k(-distances, count)
    indices.append(np.asarray(index)[: len(rows)])
    values.append(-np.asarray(value)[: len(rows)])
  return np.concatenate(indices), np.concatenate(values)


def cmc(ranking: Ranking, *, length: int = 20) -> np.ndarray:
  """Share [length] of probes with a mate within rank 1..length; probes without a mate count as errors."""
  return np.stack([ranking.hits(k).mean() for k in range(1, length + 1)])


def _distance_rows(probe, gallery, columns, *, plan: Blocks, metric):
  """Yields (probe rows, device array [plan.probes, len(columns)]); columns of -1 and rows past the end pad."""
  parts = probe.shape[2]
  y = part_major(gallery, metric=metric)
  resident = len(columns) <= plan.gallery * 64
  blocks = [columns[left : left + plan.gallery] for left in range(0, len(columns), plan.gallery)]
  held = [jnp.asarray(y[:, _fit(np.maximum(b, 0), plan.gallery)]) for b in blocks] if resident else None
  padding = jnp.asarray(columns < 0)
  for start in range(0, len(probe), plan.probes):
    rows = np.arange(start, min(start + plan.probes, len(probe)))
    x = jnp.asarray(part_major(probe[_fit(rows, plan.probes)], metric=metric))
    parted = []
    for number, block in enumerate(blocks):
      there = held[number] if resident else jnp.asarray(y[:, _fit(np.maximum(block, 0), plan.gallery)])
      parted.append(block_distances(x, there, metric=metric, parts=parts))
    yield rows, _join(parted, padding)


@jax.jit
def _join(parted, padding):
  return jnp.where(padding, jnp.inf, jnp.concatenate(parted, axis=1)[:, : padding.shape[0]])


@jax.jit
def _rank_block(distances, mates, dropped):
  """Ranks int32 [b, v, m] of mates (0 where padded) and the closest column [b, v] of distances [b, v * g]."""
  num, groups, _ = mates.shape
  distances = distances.reshape(num, groups, -1)
  row, group = jnp.arange(num)[:, None, None], jnp.arange(groups)[None, :, None]
  distances = distances.at[row, group, dropped].set(jnp.inf, mode="drop")
  there = mates < distances.shape[-1]
  own = jnp.where(there, jnp.take_along_axis(distances, jnp.where(there, mates, 0), axis=-1), jnp.inf)
  column = jnp.arange(distances.shape[-1], dtype=mates.dtype)

  def closer(_, mate):
    distance, index = mate
    before = (distances < distance[..., None]) | ((distances == distance[..., None]) & (column < index[..., None]))
    return None, 1 + jnp.sum(before, axis=-1, dtype=jnp.int32)

  _, ranks = jax.lax.scan(closer, None, (jnp.moveaxis(own, -1, 0), jnp.moveaxis(mates, -1, 0)))
  return jnp.where(there, jnp.moveaxis(ranks, 0, -1), 0), jnp.argmin(distances, axis=-1)


def _mates(members, probe_labels, gallery_labels, probe_cameras, gallery_cameras):
  """Columns [n, v, m] of each probe's mates in each group and [n, v, e] of those left out; padded with the width g."""
  groups, width = members.shape
  _, labels = np.unique(np.concatenate([gallery_labels, probe_labels]), return_inverse=True)
  gallery, probe = labels[: len(gallery_labels)], labels[len(gallery_labels) :]
  group, column = np.nonzero(members >= 0)
  cell = gallery[members[group, column]] * groups + group  # a cell holds one label's items in one group
  table = _cells(cell, column, count=(labels.max() + 1) * groups, fill=width).reshape(-1, groups, _most(cell))
  mates = table[probe]
  if probe_cameras is None:
    return mates, np.full((len(probe), groups, 1), width, np.int32)
  there = mates < width
  item = np.take_along_axis(members[None], np.where(there, mates, 0), axis=2)
  dropped = there & (np.asarray(gallery_cameras)[item] == np.asarray(probe_cameras)[:, None, None])
  return np.where(dropped, width, mates), np.where(dropped, mates, width)


def _most(cell):
  return int(np.bincount(cell).max())


def _cells(cell, value, *, count, fill):
  """Values of each cell in a row [count, most], in their order, padded with `fill`."""
  order = np.argsort(cell, kind="stable")
  sizes = np.bincount(cell, minlength=count)
  within = np.arange(len(cell)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
  out = np.full((count, int(sizes.max())), fill, np.int32)
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
    first=np.where(mates > 0, ordered[..., 0], 0).astype(np.int32),
    precision=precision.astype(np.float32),
    inp=(mates / np.maximum(last, 1)).astype(np.float32),
    mates=mates.astype(np.int32),
    sizes=np.broadcast_to(sizes, mates.shape).astype(np.int32),
    nearest=nearest.astype(np.int32),
  )
