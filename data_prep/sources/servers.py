"""Competitions whose server keeps the probes' identities secret: a gallery of known people, and walks to identify."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from data_prep.sources.base import Source, Walk, by_split, some
from fgait_jax.errors import DataError

PROBE = "probe"  # the subject of all walks to identify; their view is the video's name on the server


@dataclasses.dataclass(frozen=True)
class ServerSource:
  """The walks of `source`, split by `partition` (split name -> identities, one of them PROBE).

  OpenGait's pretreatment of HID gives all probes one view, and each its own type: then the type names the video and
  becomes the view.
  """

  source: Source
  where: pathlib.Path
  partition: Mapping[str, Sequence[str]]

  def splits(self) -> dict[str, list[Walk]]:
    """Walks by split; raises `DataError` where there are probes and no gallery to find them in."""
    walks = _with_videos([walk for each in self.source.splits().values() for walk in each])
    found = by_split(walks, self.partition, where=f"{self.where}")
    for each in found.values():
      if each and all(walk.subject == PROBE for walk in each):
        raise DataError(
          f"{self.where}: {len(each)} nameless probes and no gallery to find them in: no folder was read as one of its"
          f" people ({some(self.partition['test'], 3)}). Unpack the gallery beside the probes; files that belong to no"
          f" walk by their names: {some(self.unread(), 3) or 'none'}"
        )
    return found

  def subjects(self) -> set[str]:
    """All subjects found, in the partition or not."""
    return self.source.subjects()

  def unread(self) -> list[str]:
    """Files that belong to no walk."""
    return self.source.unread()

  def fingerprint(self) -> str:
    """The source's fingerprint; the builder adds every walk's names."""
    return self.source.fingerprint()


def _with_videos(walks: list[Walk]) -> list[Walk]:
  views = [walk.view for walk in walks if walk.subject == PROBE]
  if len(views) < 2 or len(set(views)) > 1:
    return walks
  default = views[0]
  return [
    dataclasses.replace(walk, condition=default, view=walk.condition, key=f"{PROBE}/{default}/{walk.condition}")
    if walk.subject == PROBE else walk
    for walk in walks
  ]  # fmt: skip
