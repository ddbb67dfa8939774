"""Recordings of a public data set in whichever form they are at hand: OpenGait's pickles, or images as handed out."""

import pathlib
from collections.abc import Mapping, Sequence

from data_prep.sources.base import Source
from data_prep.sources.images import ImageSource
from data_prep.sources.opengait import OpenGaitSource
from data_prep.sources.trees import open_tree


def recordings(
  raw: str | pathlib.Path, *, partition: Mapping[str, Sequence[str]] | None, pickles: str | tuple[str, ...] = "*.pkl",
  layout: str = "id/type/view", frames: str = "official",
) -> Source:
  """The source that fits what lies in `raw`: pickles of `id/type/view/*.pkl` where there are any, else images.

  `pickles` selects one file where a folder holds several; `layout` and `frames` are `ImageSource`'s.
  """
  if any(name.endswith(".pkl") for name in open_tree(raw)):
    return OpenGaitSource(root=raw, partition=partition, pickles=pickles)
  return ImageSource(raw, layout=layout, frames=frames, partition=partition)
