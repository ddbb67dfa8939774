"""Verification, accepting a pair of walks by its small distance: AUC and equal-error rate over every pair.

Pairs are counted in bins of their distances, probe by probe, so that billions of them need little memory. Bins are
quantiles of drawn pairs, dense towards both tails; distances that fall into one bin count as equal. A bin holds about
half a per cent of either kind of pair and, in the tails, a third of what lies beyond it, so that figures are those of
all pairs to 0.05 points (a test compares). Where there are no more distances than bins, or few genuine pairs, each of
which then has a bin to itself, the counts are exact but for the bits that are cut off.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import metrics

from fgait_jax.evaluation.metrics.statistics import subject_weights

BINS = 512
_BITS = 9  # of a float32's mantissa that are cut off: 16,384 cells from one power of two to the next
_CELLS = 1 << (31 - _BITS)
_INFINITE = 0x7F800000 >> _BITS  # the cell of infinity
_MIDDLE, _TAIL = 192, 30  # quantiles of each kind of pair: even steps, and steps in proportion towards either end
_FEW = 128  # genuine pairs of which each has a bin to itself, at most: two edges each beside the impostors' quantiles


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
  """Verification over pairs: `auc`, `eer` in 0..1 (nan where one kind of pair is missing)."""

  auc: float
  eer: float


def bins_of(distances: np.ndarray, genuine: np.ndarray) -> np.ndarray:
  """The bin 0..BINS-1 of every cell of distances, int16 [cells], from some pairs: distances [n], genuine bool [n].

  Not-a-number and infinity, which mean "does not count", have the bin BINS.
  """
  tail = np.geomspace(1e-6, 1 / _MIDDLE, _TAIL)
  parts = np.unique(np.concatenate([np.linspace(0, 1, _MIDDLE + 1), tail, 1 - tail]))
  cells = np.maximum(distances, 0).astype(np.float32).view(np.int32) >> _BITS
  edges = np.unique(cells)  # the last cell of each bin
  if len(edges) >= BINS:
    edges = []
    for kind, few in ((genuine, _FEW), (~genuine, 0)):
      ordered = np.sort(cells[kind])
      if len(ordered) <= few:
        edges += [ordered, ordered - 1]
      elif len(ordered):
        # Halfway to the next pair of the kind: with bins that end in one, it would lose to all others of its bin.
        ends = np.unique(np.round(parts * (len(ordered) - 1)).astype(int))
        edges.append((ordered[ends] + ordered[np.minimum(ends + 1, len(ordered) - 1)]) // 2)
    edges = np.unique(np.concatenate(edges))
  table = np.searchsorted(edges, np.arange(_CELLS)).astype(np.int16)
  table[_INFINITE:] = BINS
  return table


@functools.partial(jax.jit, inline=True)
def count(distances: jax.Array, table: jax.Array) -> jax.Array:
  """How many distances of each row [b, n] fall into each bin, int32 [b, BINS]; infinite ones into none."""
  cells = jax.lax.bitcast_convert_type(jnp.maximum(distances, 0), jnp.int32) >> _BITS
  counted = jax.vmap(functools.partial(jnp.bincount, length=BINS + 1))(table[cells])
  return counted[:, :BINS].astype(jnp.int32)


def exact(distances: np.ndarray, genuine: np.ndarray) -> Verification:
  """Of pairs that are all at hand: distances [n], genuine bool [n]."""
  genuine = np.asarray(genuine, bool)
  if genuine.all() or not genuine.any():
    return Verification(auc=float("nan"), eer=float("nan"))
  false, true, _ = metrics.roc_curve(genuine, -np.asarray(distances, np.float64))
  return Verification(auc=float(metrics.auc(false, true)), eer=_equal_error(false, 1 - true))


def of_counts(counts: np.ndarray) -> Verification:
  """Of counted pairs [2, BINS], impostors and genuine ones."""
  auc, eer = _figures(np.asarray(counts, np.float64)[None])[0]
  return Verification(auc=float(auc), eer=float(eer))


def bootstrap(counts: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
  """Resampled (AUC, EER) [resamples, 2] over the probes' subjects; counts [subjects, 2, BINS]."""
  flat = counts.reshape(len(counts), -1).astype(np.float32)
  drawn = subject_weights(len(counts), resamples=resamples, seed=seed) @ flat
  return _figures(drawn.reshape(resamples, 2, -1))


def counts_by_subject(distances: np.ndarray, genuine: np.ndarray, subject: np.ndarray) -> np.ndarray:
  """Counts [subjects, 2, BINS] of pairs that are all at hand; subject int [n], 0..s-1."""
  distances, genuine = np.asarray(distances, np.float32), np.asarray(genuine, bool)
  # Scores of classes may be negative: their order is what counts.
  place = np.unique(distances, return_inverse=True)[1].astype(np.float32)
  bins = bins_of(place, genuine)[place.view(np.int32) >> _BITS].astype(np.int64)
  key = (np.asarray(subject) * 2 + genuine) * BINS + bins
  number = int(np.max(subject)) + 1
  return np.bincount(key, minlength=number * 2 * BINS).reshape(number, 2, BINS)


def _figures(counts: np.ndarray) -> np.ndarray:
  """(AUC, EER) [b, 2] of counts [b, 2, bins]; nan where a kind of pair is missing."""
  with np.errstate(invalid="ignore"):
    shares = np.cumsum(counts, axis=-1, dtype=np.float64)
    shares = np.concatenate([np.zeros((len(counts), 2, 1)), shares / shares[..., -1:]], axis=-1)
  accept, reject = shares[:, 0], 1 - shares[:, 1]  # impostors accepted, genuine pairs rejected
  auc = np.sum(np.diff(accept, axis=-1) * (1 - (reject[:, 1:] + reject[:, :-1]) / 2), axis=-1)
  whole = np.isfinite(shares).all(axis=(1, 2))
  eer = [_equal_error(a, r) if there else np.nan for a, r, there in zip(accept, reject, whole, strict=True)]
  return np.stack([np.where(whole, auc, np.nan), np.array(eer)], axis=-1)


def _equal_error(false_accept: np.ndarray, false_reject: np.ndarray) -> float:
  """Where the two rates cross on the straight line between the two nearest thresholds."""
  gap = false_accept - false_reject  # rises from -1 to 1
  after = int(np.argmax(gap >= 0))
  if after == 0:
    return float(false_accept[0])
  before = after - 1
  share = gap[before] / (gap[before] - gap[after])
  return float(false_accept[before] + share * (false_accept[after] - false_accept[before]))
