"""OpenGait's layout: <root>/<id>/<type>/<view>/<name>.pkl, one pickled uint8 array [frames, 64, 64 or 44] a walk.

What OpenGait's own pretreatment writes for every data set it knows. Width 44 is taken as already cut.
"""

import dataclasses
import fnmatch
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_prep.sources.base import Dropped, Walk
from data_prep.sources.pickles import load_array
from data_prep.sources.trees import fingerprint, open_tree
from fgait_jax.data.schema import HEIGHT, WIDTHS
from fgait_jax.errors import DataError

LAYOUT = "<id>/<type>/<view>/<name>.pkl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenGaitSource:
  """Walks of `root` (a folder or archive) whose id stands in `partition` (split name -> ids).

  `pickles` is a pattern for file names, needed where a folder holds several modalities (e.g. "*-sils.pkl").
  """

  root: str | pathlib.Path
  partition: Mapping[str, Sequence[str]]
  pickles: str = "*.pkl"

  def splits(self) -> Mapping[str, Sequence[Walk]]:
    """Walks by split, sorted by key; subjects of no split are left out. Raises `DataError` for another layout."""
    walks: dict[str, Walk] = {}
    for name, read in self._files.items():
      if len(parts := name.split("/")) != 4:
        raise DataError(f"{self.root}: expected {LAYOUT}, found {name}; --raw must name the folder that holds the ids")
      key = "/".join(parts[:3])
      if key in walks:
        raise DataError(
          f"{self.root}/{key} holds several pickles that match {self.pickles!r}; name one kind, such as '*-sils.pkl'"
        )
      walks[key] = Walk(
        subject=parts[0], condition=parts[1], view=parts[2], key=key,
        read=functools.partial(read_walk, read, name),
      )  # fmt: skip
    split_of = {identity: split for split, identities in self.partition.items() for identity in identities}
    found = {split: [] for split in self.partition}
    for walk in walks.values():
      if walk.subject in split_of:
        found[split_of[walk.subject]].append(walk)
    if not any(found.values()):
      subjects = sorted({walk.subject for walk in walks.values()})
      raise DataError(
        f"{self.root}: none of its ids ({_some(subjects)}) stands in the partition ({_some(sorted(split_of))})"
      )
    return found

  def subjects(self) -> set[str]:
    """All ids of the folder, in the partition or not."""
    return {name.split("/")[0] for name in self._files}

  def fingerprint(self) -> str:
    """Changes with any file's name or size, and with the choice of pickles; not with dates or the folder's place."""
    return fingerprint(self.root, self.pickles)

  @functools.cached_property
  def _files(self) -> dict[str, Callable[[], bytes]]:
    tree = open_tree(self.root)
    files = {name: read for name, read in tree.items() if fnmatch.fnmatch(name.rsplit("/", 1)[-1], self.pickles)}
    if not files:
      instead = _some(list(tree)) or "nothing"
      raise DataError(f"{self.root}: no walks found: expected {LAYOUT} matching {self.pickles!r}, found {instead}")
    return files


def read_walk(read: Callable[[], bytes], where: str) -> np.ndarray:
  """One walk's frames, uint8 [time, 64, 64 or 44(, channel)]; raises `Dropped` naming the file and what is wrong."""
  frames = load_array(read(), where)
  if frames.dtype != np.uint8:
    raise Dropped("wrong dtype", f"{where}: {frames.dtype}, expected uint8 from 0 to 255")
  if frames.ndim not in {3, 4} or frames.shape[1] != HEIGHT or frames.shape[2] not in WIDTHS:
    raise Dropped("wrong shape", f"{where}: {frames.shape}, expected [frames, {HEIGHT}, {WIDTHS[0]} or {WIDTHS[1]}]")
  if len(frames) == 0:
    raise Dropped("no frames", where)
  return frames


def _some(names: Sequence[str], count: int = 5) -> str:
  return ", ".join(names[:count]) + (f", ... ({len(names)} in all)" if len(names) > count else "")
