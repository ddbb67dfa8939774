"""The crowd without a store: synthetic people who are rendered while they are read, any number of them.

The data set `rendered<N>`, such as rendered20000, needs no build and no disk. Its walks are those that `python -m
data_prep.build crowd --people N` stores, in their order, pixel for pixel; person k of any two crowds, stored or not, is
the same person. A walk costs some ten milliseconds of a core, a stored one less than one: give a run
`config.data.workers`. Labels and lengths are drawn when they are asked for, a tenth of a millisecond each.
"""

import functools
import hashlib
from collections.abc import Callable

import numpy as np

from data_prep.datasets.crowd import RECORD
from data_prep.sources.base import Dropped
from data_prep.sources.crowd import CrowdSource
from fgait_jax.data import schema
from fgait_jax.errors import DataError

_PROBED = 32  # walks that stand for all in the content hash


class Rendered:
  """The walks of the first `people` of the crowd, read like a split of a built data set (`data.source.Split`)."""

  def __init__(self, people: int):
    self._people = people
    self._source = source = CrowdSource(subjects=people)
    self.name = f"rendered{people}/train"
    self.num_frames = _Column(len(source), source.length, np.int32)
    self.conditions = _Column(len(source), lambda row: source.walk(row).condition, np.str_)
    self.views = _Column(len(source), lambda row: source.walk(row).view, np.str_)
    self.keys = _Column(len(source), lambda row: source.walk(row).key, np.str_)
    self.attributes: dict[str, np.ndarray] = {}

  def __reduce__(self):
    return Rendered, (self._people,)

  def __len__(self) -> int:
    return len(self._source)

  def __repr__(self) -> str:
    return f"Rendered({self.name!r}, sequences={len(self)}, subjects={self._people})"

  @functools.cached_property
  def manifest(self) -> dict:  # not made in a worker, which only reads
    return {
      "name": f"rendered{self._people}", "kind": RECORD.kind, "population": RECORD.population,
      "licence": RECORD.licence, "citation": RECORD.citation, "homepage": RECORD.homepage,
      "content_hash": _content_hash(self._source),
    }  # fmt: skip

  @functools.cached_property
  def subjects(self) -> np.ndarray:
    each = self._source.walks
    return np.repeat([self._source.who(row)[0] for row in range(0, len(self), each)], each)

  def frames(self, i: int, indices: np.ndarray | None = None) -> np.ndarray:
    """Frames `indices` of walk `i` (all where None), uint8 [time, 64, 64, 1]. Raises `DataError` where one shows no
    body."""
    if not 0 <= i < len(self):
      raise IndexError(f"{self.name} has {len(self)} sequences, there is no {i}")
    try:
      reading = self._source.walk(i).read()
    except Dropped as error:
      raise DataError(f"{self.name}: walk {i} cannot be rendered: {error}") from error
    if reading.refused:
      raise DataError(f"{self.name}: walk {i} has frames without a body: {dict(reading.refused)}")
    frames = reading.frames[..., None]
    if indices is None:
      return frames
    if np.min(indices) < 0 or np.max(indices) >= len(frames):
      raise IndexError(f"frames {np.min(indices)} to {np.max(indices)} are asked of a sequence of {len(frames)}")
    return frames[indices]


class _Column:
  """A label of every walk, found by its row when it is asked for: those of a million walks take minutes."""

  def __init__(self, rows: int, of_row: Callable[[int], object], dtype):
    self._rows, self._of_row, self._dtype = rows, of_row, dtype

  def __len__(self) -> int:
    return self._rows

  def __getitem__(self, rows):
    if isinstance(rows, (int, np.integer)):
      return self._dtype(self._of_row(range(self._rows)[rows]))
    return np.array([self._of_row(row) for row in np.arange(self._rows)[rows].tolist()], self._dtype)

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    found = self[:]
    return found if dtype is None else found.astype(dtype, copy=False)


def _content_hash(source: CrowdSource) -> str:
  """SHA-256 of the parameters and of `_PROBED` walks, so that a run goes on under code that renders the same."""
  content = hashlib.sha256(repr(source).encode())
  for row in np.linspace(0, len(source) - 1, min(_PROBED, len(source))).astype(int).tolist():
    walk = source.walk(row)
    content.update(walk.key.encode() + walk.read().frames.tobytes())
  return content.hexdigest()


def open_split(name: str, split: str) -> Rendered:
  """The data set `name`; raises `DataError` unless `split` is "train"."""
  if split != "train":
    raise DataError(
      f"{name} has no split {split!r}: a rendered crowd is all train (--split train, --config.split=train); for fewer"
      " people name fewer, such as rendered500"
    )
  return Rendered(schema.rendered_people(name))
