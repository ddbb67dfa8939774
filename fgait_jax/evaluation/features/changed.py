"""Walks of a split in another form: what corruption leaves of them, or what a control takes away."""

import hashlib
from collections.abc import Callable

import numpy as np

from fgait_jax.data.schema import to_canvas


class ChangedSplit:
  """`rows` of `split` with their frames changed: a split itself, whose name begins with that of `split` and `how`.

  `change(frames uint8 [t, 64, 64, c], key)` gives the new frames of a walk. `num_frames` [rows] counts them at most:
  where a change leaves fewer, `frames` gives fewer than were asked for.
  """

  def __init__(
    self, split, rows: np.ndarray, *, how: str, num_frames: np.ndarray, change: Callable[[np.ndarray, str], np.ndarray]
  ):
    self._split, self._rows, self._change = split, rows, change
    which = hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()[:8]
    self.name = f"{split.name} {how} rows {which}"
    self.manifest = split.manifest
    self.num_frames = num_frames
    names = ("subjects", "conditions", "views", "keys")
    self.subjects, self.conditions, self.views, self.keys = (np.asarray(getattr(split, n))[rows] for n in names)

  def __len__(self) -> int:
    return len(self._rows)

  def frames(self, i: int, indices: np.ndarray | None = None) -> np.ndarray:
    """As `Split.frames`, uint8 [t, 64, 64, c] on the 64-wide canvas."""
    row = int(self._rows[i])
    whole = to_canvas(np.asarray(self._split.frames(row, np.arange(self._split.num_frames[row]))))
    found = self._change(whole, str(self.keys[i]))
    return found if indices is None else found[indices[indices < len(found)]]
