"""The sampler: which sequences batch n holds. Shuffled epochs of each data set, mixed in given shares; rows only."""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

import numpy as np

from fgait_jax.errors import ConfigError, DataError

MIXES = ("per_batch", "per_sequence", "per_subject")
_BLOCK = 1024  # draws within which the data sets' shares are exact; more where there are many sets


def probabilities(sizes: Sequence[int], *, factors: Sequence[float], exponent: float) -> np.ndarray:
  """Shares of the data sets, proportional to (factor * size) ** exponent (FoundationGait: exponent 1/3); sum 1."""
  if len(factors) != len(sizes):
    raise ConfigError(f"{len(factors)} factors for {len(sizes)} data sets; give one for each")
  if bad := [f for f in factors if not f > 0]:
    raise ConfigError(f"factors {bad} must be above 0; leave a data set out instead")
  weights = (np.asarray(factors, np.float64) * np.asarray(sizes, np.float64)) ** exponent
  return weights / weights.sum()


@dataclasses.dataclass(frozen=True)
class Interleave:
  """A random order of data sets with exact shares: draw m -> (data set, how often it was drawn before).

  In every block of draws each data set has its share of the draws, to within one, and the largest what the others
  leave; the order is shuffled by the seed and the block's number. There is no state: any draw can be looked up by its
  number.
  """

  shares: tuple[float, ...]
  seed: int

  def __getitem__(self, draw: int) -> tuple[int, int]:
    block, place = divmod(draw, _length(self.shares))
    order, before = _block(self.shares, self.seed, block)
    return int(order[place]), int(before[place])


@functools.lru_cache(maxsize=64)
def _block(shares: tuple[float, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
  """The data sets of one block in their order, and for each draw how many of the same data set come before it."""
  begin, end = (_drawn(shares, blocks) for blocks in (block, block + 1))
  counts = end - begin
  order = np.repeat(np.arange(len(shares)), counts)
  order = np.random.default_rng((seed, zlib.crc32(b"mixture"), block)).permutation(order)
  before = np.empty(len(order), np.int64)
  for dataset, count in enumerate(counts):
    before[order == dataset] = begin[dataset] + np.arange(count)
  return order, before


def _length(shares: tuple[float, ...]) -> int:
  """Draws of a block: so many that the largest set is due more of them than rounding of the others can take."""
  return max(_BLOCK, len(shares) ** 2)


def _drawn(shares: tuple[float, ...], blocks: int) -> np.ndarray:
  """How often each data set is drawn in the first `blocks` blocks: a number that never falls. (Differences of rounded
  cumulative shares would, for a small data set between two others.)"""
  draws = blocks * _length(shares)
  drawn = np.rint(draws * np.asarray(shares)).astype(np.int64)
  drawn[np.argmax(shares)] += draws - drawn.sum()
  return drawn


class Mixture:
  """Rows of every batch of a run: a pure function of the arguments and the batch's number.

  `mix` is one of
    "per_batch": a batch holds sequences of one data set, all different. An epoch is the whole batches that the data set
      fills; the remaining sequences wait for the next shuffle. A data set smaller than a batch is repeated within it
      (`copies`).
    "per_sequence": every place of a batch draws its data set independently. A sequence can occur twice only where an
      epoch ends within the batch.
    "per_subject": a batch holds batch_size / per_subject subjects of one data set, drawn without replacement, and
      `per_subject` sequences of each, drawn without replacement if the subject has as many, in shuffled order (P x K
      of triplet losses). There are no epochs. Only this mix needs `subjects`: by data set, each row's subject.
  In the first two, each data set is reshuffled every epoch.

  Raises `ConfigError` for arguments that cannot work and `DataError` for an empty data set.
  """

  def __init__(
    self,
    sizes: Sequence[int],
    *,
    seed: int,
    batch_size: int,
    factors: Sequence[float],
    exponent: float,
    mix: str,
    subjects: Sequence[np.ndarray] | None = None,
    per_subject: int = 0,
  ):
    if not sizes:
      raise ConfigError("no data set to draw from; name at least one")
    if empty := [i for i, size in enumerate(sizes) if size < 1]:
      raise DataError(f"no sequences in data sets number {empty}; check the split of each")
    if mix not in MIXES:
      raise ConfigError(f"mix is {mix!r}; known: {', '.join(MIXES)}")
    if batch_size < 1:
      raise ConfigError(f"batch_size is {batch_size}; it must be positive")
    if seed < 0:
      raise ConfigError(f"seed is {seed}; it must not be negative")
    self._sizes, self._batch_size, self._mix = tuple(sizes), batch_size, mix
    self._shares = shares = probabilities(sizes, factors=factors, exponent=exponent)
    self._interleave = Interleave(tuple(shares.tolist()), seed)
    self._seed = seed
    self._epochs: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
    self._per_subject = per_subject
    self._rows_of = []  # of each data set, the rows of each subject
    if mix == "per_subject":
      self._rows_of = [_rows_of_subjects(numbers) for numbers in subjects or ()]
      _check_subjects([len(rows) for rows in self._rows_of], batch_size=batch_size, per_subject=per_subject)

  def copies(self) -> list[float]:
    """For each data set, how often a batch that draws from it holds each sequence, on average; above 1 it must repeat.

    Copies of a sequence are in one group and so not each other's negatives, but a batch then has fewer negatives.
    "per_subject" repeats only sequences of one subject, by design, and counts as 0.
    """
    if self._mix == "per_subject":
      return [0.0] * len(self._sizes)
    shares = self._shares if self._mix == "per_sequence" else [1.0] * len(self._sizes)
    return [float(share * self._batch_size / size) for share, size in zip(shares, self._sizes, strict=True)]

  def batch(self, number: int, places: range) -> tuple[np.ndarray, np.ndarray]:
    """(number of the data set int32, row in it int64), each [len(places)], of the given places of batch `number`."""
    places = np.arange(places.start, places.stop)
    if self._mix == "per_batch":
      dataset, earlier = self._interleave[number]
      datasets = np.full(len(places), dataset, np.int32)
      return datasets, self._rows(dataset, self._first(dataset, earlier) + places)
    if self._mix == "per_subject":
      dataset, _ = self._interleave[number]
      return np.full(len(places), dataset, np.int32), self._subjects_batch(dataset, number)[places]
    draws = np.array([self._interleave[number * self._batch_size + int(place)] for place in places])
    datasets, rows = draws[:, 0].astype(np.int32), np.empty(len(places), np.int64)
    for dataset in np.unique(datasets):
      rows[datasets == dataset] = self._rows(int(dataset), draws[datasets == dataset, 1])
    return datasets, rows

  def _subjects_batch(self, dataset: int, number: int) -> np.ndarray:
    """Rows of the whole batch `number`."""
    rng = np.random.default_rng((self._seed, zlib.crc32(b"subjects"), number))
    rows_of, each = self._rows_of[dataset], self._per_subject
    chosen = rng.choice(len(rows_of), self._batch_size // each, replace=False)
    rows = [rng.choice(rows_of[subject], each, replace=len(rows_of[subject]) < each) for subject in chosen]
    return rng.permutation(np.concatenate(rows)).astype(np.int64)

  def _rows(self, dataset: int, draws: np.ndarray) -> np.ndarray:
    """Rows at the positions `draws` of a data set's endless shuffle, the concatenation of all its epochs."""
    epochs, places = np.divmod(draws, self._sizes[dataset])
    rows = np.empty(len(draws), np.int64)
    for epoch in np.unique(epochs):
      rows[epochs == epoch] = self._order(dataset, int(epoch))[places[epochs == epoch]]
    return rows

  def _order(self, dataset: int, epoch: int) -> np.ndarray:
    """The shuffled rows of one epoch.

    The newest odd and the newest even epoch of a data set are cached: reader threads may be on both sides of an epoch's
    end. Grain's index shuffle needs no cache, but took 250 us for a row of a data set of 113, 14 us for one of 10,000.
    """
    kept, order = self._epochs.get((dataset, epoch % 2), (-1, None))
    if kept != epoch:
      rng = np.random.default_rng((self._seed, zlib.crc32(b"rows"), dataset, epoch))
      order = rng.permutation(self._sizes[dataset]).astype(np.int32)
      self._epochs[dataset, epoch % 2] = epoch, order
    return order

  def _first(self, dataset: int, earlier: int) -> int:
    """The position in a data set's endless shuffle after `earlier` of its batches."""
    size = self._sizes[dataset]
    whole = size // self._batch_size
    if not whole:
      return earlier * self._batch_size
    epoch, batch = divmod(earlier, whole)
    return epoch * size + batch * self._batch_size


def _rows_of_subjects(numbers: np.ndarray) -> list[np.ndarray]:
  """The rows of each subject, given each row's subject."""
  order = np.argsort(numbers, kind="stable")
  _, first = np.unique(np.asarray(numbers)[order], return_index=True)
  return np.split(order, first[1:])


def _check_subjects(counts: Sequence[int], *, batch_size: int, per_subject: int) -> None:
  if per_subject < 1 or batch_size % per_subject:
    raise ConfigError(
      f"per_subject is {per_subject}; it must be positive and divide the batch of {batch_size} sequences"
    )
  if not counts or min(counts) < batch_size // per_subject:
    raise ConfigError(
      f"a batch holds {batch_size // per_subject} subjects, but the data sets have {list(counts)} to train on; choose"
      " fewer (config.fine_tune.subjects)"
    )
