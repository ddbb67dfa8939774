"""The crowd without a store: synthetic people who are rendered while they are read, any number of them.

The data set `rendered<N>`, such as rendered20000, needs no build and no disk. Its walks are those that `python -m
data_prep.build crowd --people N` stores, in their order, pixel for pixel; so the first people of any two are the same,
and with those of a stored crowd they are one population. A walk costs some ten milliseconds of a core, a stored one
less than one: give a run `config.data.workers`.
"""

import functools

import numpy as np

from data_prep.datasets.crowd import RECORD
from data_prep.sources.base import Dropped
from data_prep.sources.crowd import CrowdSource
from fgait_jax.data import schema
from fgait_jax.errors import DataError


class Rendered:
  """The walks of the first `people` of the crowd, read like a split of a built data set (`data.source.Split`)."""

  def __init__(self, people: int):
    self._people = people
    self._source = CrowdSource(subjects=people)
    self.name = f"rendered{people}/train"
    self.manifest = {
      "name": f"rendered{people}", "kind": RECORD.kind, "population": RECORD.population, "licence": RECORD.licence,
      "citation": RECORD.citation, "homepage": RECORD.homepage, "content_hash": self._source.fingerprint(),
    }  # fmt: skip
    self.num_frames = _Lengths(self._source)
    self.attributes: dict[str, np.ndarray] = {}

  def __reduce__(self):
    return Rendered, (self._people,)

  def __len__(self) -> int:
    return len(self._source)

  def __repr__(self) -> str:
    return f"Rendered({self.name!r}, sequences={len(self)}, subjects={self._people})"

  @functools.cached_property
  def subjects(self) -> np.ndarray:
    return np.array([self._source.place(row)[0] for row in range(len(self))])

  @functools.cached_property
  def conditions(self) -> np.ndarray:
    return np.array([self._source.walk(row).condition for row in range(len(self))])

  @functools.cached_property
  def views(self) -> np.ndarray:
    return np.array([self._source.walk(row).view for row in range(len(self))])

  @functools.cached_property
  def keys(self) -> np.ndarray:
    return np.array([self._source.walk(row).key for row in range(len(self))])

  def frames(self, i: int, indices: np.ndarray | None = None) -> np.ndarray:
    """Frames `indices` of walk `i` (all where None), uint8 [time, 64, 64, 1]. Raises `DataError` where none shows a
    body."""
    if not 0 <= i < len(self):
      raise IndexError(f"{self.name} has {len(self)} sequences, there is no {i}")
    try:
      frames = self._source.walk(i).read().frames[..., None]
    except Dropped as error:
      raise DataError(f"{self.name}: walk {i} cannot be rendered: {error}") from error
    return frames if indices is None else frames[indices]


class _Lengths:
  """Numbers of frames, drawn when they are asked for: drawing those of a million walks takes a minute."""

  def __init__(self, source: CrowdSource):
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, rows):
    if np.ndim(rows) == 0:
      return np.int32(self._source.length(range(len(self))[rows]))
    return np.array([self._source.length(int(row)) for row in rows], np.int32)

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return np.array([self._source.length(row) for row in range(len(self))], dtype or np.int32)


def open_split(name: str, split: str) -> Rendered:
  """The data set `name`; raises `DataError` unless `split` is "train"."""
  if split != "train":
    raise DataError(
      f"{name} has no split {split!r}: a rendered crowd is all train; for fewer people name fewer, such as rendered500"
    )
  return Rendered(int(schema.RENDERED.fullmatch(name)[1]))
