"""k-reciprocal re-ranking (Zhong et al., CVPR 2017, https://arxiv.org/abs/1701.08398), on sparse neighbour sets.

Uses all probes and the gallery together, so its figures are never mixed with plain ones. The HID competition's
evaluator keeps neighbour strengths and Jaccard distances in half precision: so do we, at the same places, and meet its
distances bit by bit.
"""

import numpy as np
from scipy import sparse

from fgait_jax.errors import ConfigError, DataError


def rerank(distances: np.ndarray, *, num_probes: int, k1: int = 6, k2: int = 6, weight: float = 0.3) -> np.ndarray:
  """New distances [probes, gallery] from all distances [n, n] of probes (first) and gallery: (1 - w) Jaccard + w own.

  Distances are scaled by the largest of each column. k1: neighbours; k2: neighbours averaged in query expansion;
  weight: of the scaled original distance. Defaults are those of the HID competition's evaluator.
  """
  num = len(distances)
  if distances.shape != (num, num) or not 0 < num_probes < num:
    raise DataError(f"re-ranking wants distances [n, n] of all sequences; got {distances.shape}, {num_probes} probes")
  for name, value, holds, wanted in (
    ("k1", k1, 0 < k1 < num, f"1 to {num - 1}"), ("k2", k2, 0 < k2 <= num, f"1 to {num}"),
    ("weight", weight, 0 <= weight <= 1, "0 to 1"),
  ):
    if not holds:
      raise ConfigError(f"config.rerank.{name}={value} must lie in {wanted}: there are {num} probes and gallery walks"
                        " to re-rank; the HID competition's evaluator takes k1=6, k2=6, weight=0.3")
  scaled = np.asarray(distances, np.float32)
  scaled = (scaled / scaled.max(axis=0)).T
  order = np.argsort(scaled, axis=1, kind="stable")[:, : max(k1 + 1, k2)]
  wide = _reciprocal(order[:, : k1 + 1])
  narrow = _reciprocal(order[:, : int(np.around(k1 / 2)) + 1])
  strength = _strength(scaled, _expand(wide, narrow))
  nearest = np.repeat(np.arange(num), k2), order[:, :k2].ravel()
  expanded = sparse.csr_matrix((np.ones(num * k2, np.float32), nearest), shape=(num, num)) @ strength
  expanded.data = _half(expanded.data / np.float32(k2))
  jaccard = _jaccard(expanded, num_probes)
  return ((1 - weight) * jaccard + weight * scaled[:num_probes])[:, num_probes:]


def _half(values):
  """float32 values rounded to half precision (scipy's sparse matrices take no float16)."""
  return values.astype(np.float16).astype(np.float32)


def _strength(scaled, members):
  """Sparse [n, n]: exp(-distance) over the members of each row, which sum to 1; in half precision."""
  members = members.tocsr()
  members.sort_indices()
  values = []
  for row in range(len(scaled)):
    near = np.exp(-scaled[row, members.indices[members.indptr[row] : members.indptr[row + 1]]])
    values.append(near / np.sum(near))
  return sparse.csr_matrix((_half(np.concatenate(values)), members.indices, members.indptr), shape=members.shape)


def _reciprocal(neighbours):
  """Sparse 0/1 [n, n]: j is among i's neighbours and i among j's."""
  num, k = neighbours.shape
  forward = sparse.csr_matrix((np.ones(num * k), (np.repeat(np.arange(num), k), neighbours.ravel())), shape=(num, num))
  return forward.multiply(forward.T).tocsr()


def _expand(wide, narrow):
  """Each wide set, joined by the narrow sets of its members that overlap it by more than two thirds."""
  sizes = np.asarray(narrow.sum(axis=1)).ravel()
  overlap = (wide @ narrow.T).multiply(wide).tocoo()
  close = overlap.data > 2 / 3 * sizes[overlap.col]
  joined = sparse.csr_matrix((np.ones(close.sum()), (overlap.row[close], overlap.col[close])), shape=wide.shape)
  return wide + joined @ narrow


def _jaccard(strength, num_probes):
  """1 - sum of minima / sum of maxima of the neighbour strengths (rows sum to 1), float16 [probes, n]."""
  strength.sort_indices()  # sums of half precision depend on their order
  by_column, out = strength.tocsc(), np.ones((num_probes, strength.shape[0]), np.float16)
  held, own = by_column.data.astype(np.float16), strength.data.astype(np.float16)
  for probe in range(num_probes):
    least = np.zeros(strength.shape[0], np.float16)
    for k in range(strength.indptr[probe], strength.indptr[probe + 1]):
      column = strength.indices[k]
      rows = slice(by_column.indptr[column], by_column.indptr[column + 1])
      least[by_column.indices[rows]] += np.minimum(own[k], held[rows])
    out[probe] = 1 - least / (2 - least)
  return out
