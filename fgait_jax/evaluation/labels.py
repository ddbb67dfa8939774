"""Who walks, how, and seen from where: `Labels`, and `Features`, which are labels with embeddings.

Inside there is one vocabulary: subject, condition, view. Only .npz files (features/files.py) and the arguments of
`Protocol.evaluate` keep OpenGait's names for them: labels, types, views.
"""

import collections
import dataclasses

import numpy as np

from fgait_jax.errors import DataError

LARGEST = 1e15  # magnitude of an embedding's values, at most: their squares are summed in float32
NAMED = 20  # how many walks a message or a result names before it only counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
  """str arrays [N]; `keys` names each walk of a data set (None where a file has no names); `origin` in messages."""

  subjects: np.ndarray
  conditions: np.ndarray
  views: np.ndarray
  keys: np.ndarray | None = None
  origin: str = "data"

  @classmethod
  def of(cls, split, rows: np.ndarray | None = None, *, origin: str = "") -> "Labels":
    """The labels of `rows` (default: all) of a split."""
    rows = np.arange(len(split.subjects)) if rows is None else rows
    text = {n: np.asarray(getattr(split, n))[rows].astype(np.str_) for n in ("subjects", "conditions", "views", "keys")}
    return cls(**text, origin=origin or split.name)

  def __len__(self) -> int:
    return len(self.subjects)

  def take(self, rows: np.ndarray):
    """The given rows (indices or booleans), in that order, of all arrays."""
    if rows.dtype == bool and rows.all():
      return self  # spares a copy of what may be gigabytes
    arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return dataclasses.replace(self, **{k: v[rows] for k, v in arrays.items() if isinstance(v, np.ndarray)})

  def names(self) -> np.ndarray:
    """`subject-condition-view` of every walk, as the public identity lists write it."""
    columns = zip(self.subjects, self.conditions, self.views, strict=True)
    return np.array(["-".join(column) for column in columns], dtype=str)

  def came(self) -> str:
    """What came, in a line, for messages; in OpenGait's words, as the user's files have them."""
    types, views = (_some(collections.Counter(column.tolist())) for column in (self.conditions, self.views))
    return f"came: {len(self)} sequences, types {types}, views {views}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features(Labels):
  """Labels, and the embeddings float32 [N, C, P] (P parts of C channels) of the same walks."""

  embeddings: np.ndarray

  def check(self) -> None:
    """Raises `DataError` on embeddings with NaN, values too large to be squared, or that are all the same."""
    found = self.embeddings
    if not max(found.max(), -found.min()) <= LARGEST:  # of NaN too
      finite = np.isfinite(found).all(axis=(1, 2))
      bad = ~finite if not finite.all() else np.abs(found).max(axis=(1, 2)) > LARGEST
      what = f"larger than {LARGEST:g}; scale them down" if finite.all() else "not finite"
      named = ", ".join(self.take(bad).names()[:NAMED])
      raise DataError(f"{self.origin}: {bad.sum()} of {len(bad)} embeddings are {what}: {named}")
    if len(found) > 1 and (found[0] == found[-1]).all() and (found == found[:1]).all():
      raise DataError(f"{self.origin}: all {len(found)} embeddings are the same: they are of copies"
                      " of one walk, or the network behind them has collapsed")


def features_of(embeddings, labels, types, views, *, origin: str) -> Features:
  """Arrays of any tool as features: embeddings [N, C, P] (or [N, C], one part) and text labels, types and views [N].

  Raises `DataError`, which names `origin`, on wrong shapes and dtypes; `Features.check` looks at the values.
  """
  embeddings = np.asarray(embeddings)
  if embeddings.ndim == 2:
    embeddings = embeddings[:, :, None]
  if embeddings.ndim != 3 or not all(embeddings.shape):
    raise DataError(f"{origin}: embeddings have shape {embeddings.shape}; wanted [sequences, channels, parts], or"
                    " [sequences, channels] of one part, and none of these 0")
  if embeddings.dtype.kind != "f":
    raise DataError(f"{origin}: embeddings are {embeddings.dtype}; wanted floating point")
  columns = []
  for name, column in (("labels", labels), ("types", types), ("views", views)):
    column = np.asarray(column)
    if column.shape != embeddings.shape[:1]:
      raise DataError(f"{origin}: {name} have shape {column.shape}; wanted one for each of {len(embeddings)} rows")
    if column.dtype.kind not in "UO" or any(not isinstance(x, str) for x in column.tolist()):
      raise DataError(f"{origin}: {name} are {column.dtype}; wanted text, as the data set writes them")
    columns.append(column.astype(str))
  subjects, conditions, views = columns
  with np.errstate(over="ignore"):
    embeddings = embeddings.astype(np.float32, copy=False)
  return Features(embeddings=embeddings, subjects=subjects, conditions=conditions, views=views, origin=origin)


def _some(counter) -> str:
  names = sorted(counter)
  return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
