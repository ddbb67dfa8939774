"""Part of a split as a split of its own, and the choice of its rows."""

import functools

import numpy as np


class Subset:
  """Rows `rows` of `split`, in that order, with the interface of `fgait_jax.data.source.Split`; pickles as cheaply."""

  def __init__(self, split, rows: np.ndarray, *, name: str):
    self._split = split
    self._rows = np.asarray(rows, np.int64)
    self.name = name
    self.manifest = split.manifest

  def __getstate__(self) -> dict:
    return {name: self.__dict__[name] for name in ("_split", "_rows", "name", "manifest")}

  def __len__(self) -> int:
    return len(self._rows)

  # Kept: the pipeline looks them up row by row.
  @functools.cached_property
  def num_frames(self) -> np.ndarray:
    return self._split.num_frames[self._rows]

  @functools.cached_property
  def subjects(self) -> np.ndarray:
    return self._split.subjects[self._rows]

  @functools.cached_property
  def conditions(self) -> np.ndarray:
    return self._split.conditions[self._rows]

  @functools.cached_property
  def views(self) -> np.ndarray:
    return self._split.views[self._rows]

  @functools.cached_property
  def keys(self) -> np.ndarray:
    return self._split.keys[self._rows]

  @functools.cached_property
  def attributes(self) -> dict[str, np.ndarray]:
    return {name: values[self._rows] for name, values in self._split.attributes.items()}

  def frames(self, i: int, indices: np.ndarray | None = None) -> np.ndarray:
    """Frames `indices` (default: all) of row `i` of the subset, uint8 [time, 64, 44 or 64, channel]."""
    return self._split.frames(int(self._rows[i]), indices)


def rows_of_whole_subjects(subjects: np.ndarray, most: int) -> np.ndarray:
  """Rows, int64 [n], of as many whole subjects as fit into `most` sequences (0: all), evenly spaced in sorted order.

  `subjects` [sequences] are each row's. Subjects stay whole because retrieval with half of a subject's walks is another
  task. Where not even two subjects fit, `most` evenly spaced rows are taken.
  """
  if not most or most >= len(subjects):
    return np.arange(len(subjects))
  names, counts = np.unique(subjects, return_counts=True)
  for number in range(len(names) - 1, 1, -1):
    chosen = np.linspace(0, len(names) - 1, number).round().astype(int)
    if counts[chosen].sum() <= most:
      return np.flatnonzero(np.isin(subjects, names[chosen]))
  return np.linspace(0, len(subjects) - 1, most).round().astype(int)
