"""Opens recordings of a public data set in either form: OpenGait's pickles, or images as distributed."""

import pathlib
import re
from collections.abc import Mapping, Sequence

from data_prep.sources.base import Source
from data_prep.sources.images import IMAGE, ImageSource
from data_prep.sources.masks import is_frame
from data_prep.sources.opengait import OpenGaitSource
from data_prep.sources.trees import Tree, open_tree


def recordings(
  raw: str | pathlib.Path, *, partition: Mapping[str, Sequence[str]] | None, pickles: str | tuple[str, ...] = "*.pkl",
  inside: str = "", layout: str = "id/type/view", frames: str = "official",
) -> Source:
  """The source that fits the files in `raw`: pickles `id/type/view/*.pkl`, or images; whichever are more.

  `pickles` selects one file where a folder holds several, `inside` may name a folder around it; `layout` and `frames`
  are `ImageSource`'s.
  """
  tree = open_tree(raw)
  if holds_pickles(tree):
    return OpenGaitSource(root=raw, partition=partition, pickles=pickles, inside=inside, tree=tree)
  return ImageSource(raw, layout=layout, frames=frames, partition=partition, tree=tree)


def holds_pickles(tree: Tree) -> bool:
  """Whether there are at least as many pickles as images of frames: a few stray files of the other kind, such as one
  picture beside each pickle, do not matter."""
  pickled = sum(name.lower().endswith(".pkl") for name in tree)
  images = sum(re.search(IMAGE, name, re.IGNORECASE) is not None and is_frame(name) for name in tree)
  return 0 < pickled >= images
