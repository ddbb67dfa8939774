"""The interface of readers of raw recordings to the builder: a list of walks, each read only when it is stored."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from fgait_jax.errors import DataError


class Dropped(Exception):
  """A sequence that cannot be stored: `reason` is a short phrase the manifest counts by, `detail` names the file."""

  def __init__(self, reason: str, detail: str):
    super().__init__(reason, detail)
    self.reason = reason
    self.detail = detail

  def __str__(self) -> str:
    return f"{self.reason}: {self.detail}"


@dataclasses.dataclass(frozen=True)
class Reading:
  """A walk as read: `frames` uint8 [time, 64, 64 or 44(, channel)]. `refused` maps a reason to the frames left out for
  it, by file name or number; `altered` a change to the file names of those of `frames` that have it, by their place.
  `numbers` are those of `frames` in the recording, where some of it were refused; (): there was nothing else.
  """

  frames: np.ndarray
  refused: Mapping[str, Sequence[str | int]] = dataclasses.field(default_factory=dict)
  altered: Mapping[str, Mapping[int, str]] = dataclasses.field(default_factory=dict)
  numbers: Sequence[int] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk:
  """One walk that can be read. `read()` returns a `Reading`, or its frames alone, or raises `Dropped`.

  `file` is the file name from which the labels were read, "" where they come from elsewhere. `rate` is the recording's,
  in frames a second, 0 where it is unknown or that of the whole data set.
  `read` must pickle (a `functools.partial` of a module-level function), because worker processes call it.
  """

  subject: str
  condition: str
  view: str
  key: str
  read: Callable[[], np.ndarray | Reading]
  attributes: Mapping[str, float] = dataclasses.field(default_factory=dict)
  file: str = ""
  rate: float = 0.0


class Source(Protocol):
  """A raw data set in one layout."""

  def splits(self) -> Mapping[str, Sequence[Walk]]:
    """Walks of every split, in a stable order; raises `DataError` where the layout or partition is wrong."""


def with_bodies(frames: np.ndarray, where: str) -> Reading:
  """The frames that are not black; the others are refused. Raises `Dropped` where all are black."""
  shows = frames.any(axis=tuple(range(1, frames.ndim)))
  if not shows.any():
    raise Dropped("no usable frame", f"{where}: all {len(frames)} frames are black")
  if shows.all():
    return Reading(frames)
  refused, numbers = np.flatnonzero(~shows).tolist(), np.flatnonzero(shows).tolist()
  return Reading(frames[shows], {"all black": refused}, numbers=numbers)


def by_split(
  walks: Sequence[Walk], partition: Mapping[str, Sequence[str]] | None, *, where: str
) -> dict[str, list[Walk]]:
  """Walks of each split of `partition` (split -> subjects), others left out; None: all are "test".

  Raises `DataError` naming `where` if there are walks, and the partition lists none of their subjects.
  """
  if partition is None:
    return {"test": list(walks)}
  split_of = {subject: split for split, subjects in partition.items() for subject in subjects}
  found = {split: [] for split in partition}
  for walk in walks:
    if walk.subject in split_of:
      found[split_of[walk.subject]].append(walk)
  if walks and not any(found.values()):
    subjects = some(sorted({walk.subject for walk in walks}))
    raise DataError(
      f"{where}: none of its ids ({subjects}) is in the partition ({some(sorted(split_of))}); walks of your own are"
      " the data set own (masks) or own_mocap (motion capture)"
    )
  return found


def printable(name: str) -> str:
  """`name` with the bytes that are not UTF-8 replaced, so that it can be printed and stored."""
  return name.encode(errors="surrogateescape").decode(errors="replace")


def some(names: Iterable[str], count: int = 10) -> str:
  """The first `count` of `names` as a phrase, with their number where there are more."""
  names = list(names)
  return ", ".join(names[:count]) + (f", ... ({len(names)} in all)" if len(names) > count else "")
