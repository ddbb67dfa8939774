"""Folders (or archives) of mask images, one image per frame, in the layouts in which public data sets are distributed.

A layout is a pattern over file names that gives subject, condition and view. The frames of a walk are its files in the
order of their names, numbers by value.
"""

import dataclasses
import functools
import pathlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from data_prep.sources.base import Walk, by_split
from data_prep.sources.masks import PREPARATIONS, is_frame, read_walk
from data_prep.sources.rates import FACTS, read_facts
from data_prep.sources.trees import Tree, fingerprint, natural, open_tree, packed
from fgait_jax.errors import DataError

IMAGE = r"[^/]+\.(?:png|jpg|jpeg|bmp)"


@dataclasses.dataclass(frozen=True)
class Layout:
  """How file names give the labels: `subject`, `condition` and `view` are filled from the named groups of `pattern`."""

  example: str
  pattern: str
  subject: str = "{subject}"
  condition: str = "{condition}"
  view: str = "{view}"


def _layout(example: str, folders: str, **labels) -> Layout:
  return Layout(example, rf"(?P<root>(?:.*/)?){folders}/{IMAGE}", **labels)


# Sources: the data sets' own pages and OpenGait's data set guides. A name may match one layout of a tuple only.
LAYOUTS: dict[str, tuple[Layout, ...]] = {
  "id/type/view": (_layout("001/nm-01/090/*.png", r"(?P<subject>[^/]+)/(?P<condition>[^/]+)/(?P<view>[^/]+)"),),
  "oumvlp": (
    _layout(
      "Silhouette_090-00/00001/*.png", r"Silhouette_(?P<view>\d{3})-(?P<condition>\d{2})/(?P<subject>\d{5})"
    ),
  ),
  "grew": (
    _layout("train/00001/4XPn5Z28/*.png", r"train/(?P<subject>\d{5})/(?P<view>[^/]+)",
            subject="{subject}train", condition="00"),
    _layout("test/gallery/00001/79XJefi8/*.png", r"test/gallery/(?P<subject>\d{5})/(?P<view>[^/]+)",
            condition="gallery"),  # numbered 01 and 02 below, in name order
    _layout("test/probe/etaGVnWf/*.png", r"test/probe/(?P<view>[^/]+)", subject="probe", condition="03"),
  ),
  "casia_e": (
    _layout(
      "001/H/scene1/bg/000/1/*.jpg",
      r"(?P<subject>\d{3,4})/(?P<height>[HL])/(?P<scene>[^/]+)/(?P<clothes>[^/]+)/(?P<view>\d{3})/(?P<number>\d+)",
      condition="{height}-{scene}-{clothes}-{number}",
    ),
  ),
  "hid": (
    _layout("HID2022_test_probe/0001/*.png", r"[^/]*probe[^/]*/(?P<view>[^/]+)", subject="probe", condition="00"),
    # Four digits in 2022 and before, five since.
    _layout("train/0000/001/*.png", r"(?!probe)(?P<subject>\d{4,5})/(?P<view>[^/]+)", condition="00"),
  ),
  "sustech1k": (
    _layout("0000/00-nm/000/Sils_aligned/*.png",
            r"(?P<subject>\d{4})/(?P<condition>[^/]+)/(?P<view>[^/]+)/Sils_aligned"),
  ),
}  # fmt: skip


class ImageSource:
  """Walks found in a tree of images by `layout`, split by `partition` (split -> identities; None: all are "test").

  `frames` is one of PREPARATIONS; `tree` is the result of `open_tree(raw)`, if the caller has it already.
  """

  def __init__(
    self, raw: str | pathlib.Path, *, layout: str = "id/type/view", frames: str = "official",
    partition: Mapping[str, Sequence[str]] | None = None, tree: Tree | None = None,
  ):
    self.raw = pathlib.Path(raw)
    self._tree = open_tree(raw) if tree is None else tree
    self.layout = layout
    self.frames = frames
    self.partition = partition

  def splits(self) -> dict[str, list[Walk]]:
    """Walks by split, sorted by key; subjects of no split are left out. Raises `DataError` for another layout."""
    walks = [self._walk(labels, names) for labels, names in self._grouped.items()]
    return by_split(walks, self.partition, where=f"{self.raw}")

  def subjects(self) -> set[str]:
    """All subjects found, in the partition or not."""
    return {subject for subject, _, _ in self._grouped}

  def unread(self) -> list[str]:
    """Files that do not fit the layout's pattern and so belong to no walk."""
    read = {name for names in self._grouped.values() for name in (*names, _facts(names[0]))}
    return [name for name in self._tree if name not in read]

  def fingerprint(self) -> str:
    """Changes with any file's name or size, and with how the images are read."""
    # "1" is the second version of these readings: in the first, own masks kept grey values and CASIA-E's were resized.
    changed = ("1",) if self.frames in ("own", "casia_e") else ()
    return fingerprint(self.raw, self.layout, self.frames, *changed)

  @functools.cached_property
  def _grouped(self) -> dict[tuple[str, str, str], list[str]]:
    """File names, in order, by (subject, condition, view)."""
    layouts = [(layout, re.compile(layout.pattern, re.IGNORECASE)) for layout in LAYOUTS[self.layout]]
    groups, roots = defaultdict(list), {}
    for name in self._tree:
      for layout, pattern in layouts:
        if (match := pattern.fullmatch(name)) and is_frame(name):
          found = match.groupdict()
          labels = tuple(text.format(**found) for text in (layout.subject, layout.condition, layout.view))
          # The names of other layouts' folders are specific; <id>/<type>/<view> fits any three folders.
          check_root(roots, "all" if self.layout == "id/type/view" else labels, found["root"], name, raw=self.raw)
          groups[labels].append(name)
          break
    if not groups:
      examples = ", ".join(layout.example for layout in LAYOUTS[self.layout])
      seen = ", ".join(list(self._tree)[:3]) or "no files at all"
      raise DataError(f"{self.raw}: no images in the layout {self.layout!r} (such as {examples}); found {seen}"
                      f"{packed(self._tree)}")
    ordered = {labels: sorted(names, key=natural) for labels, names in groups.items()}
    for names in ordered.values():
      _check_apart(names, raw=self.raw)
    if self.layout == "grew":  # elsewhere "gallery" is a type like any other
      ordered = _number_gallery(ordered)
    return dict(sorted(ordered.items()))

  def _walk(self, labels: tuple[str, str, str], names: list[str]) -> Walk:
    subject, condition, view = labels
    key = "/".join(labels)
    readers = [self._tree[name] for name in names]
    read = functools.partial(read_walk, readers, names, frames=self.frames, where=key)
    walk = Walk(subject=subject, condition=condition, view=view, key=key, read=read, file=names[0])
    if PREPARATIONS[self.frames].own and (facts := _facts(names[0])) in self._tree:
      return dataclasses.replace(walk, rate=read_facts(self._tree[facts], f"{self.raw}/{facts}"))
    return walk


def _facts(name: str) -> str:
  return f"{name.rpartition('/')[0]}/{FACTS}"


def check_root(roots: dict, key, root: str, name: str, *, raw: pathlib.Path) -> None:
  """Raises `DataError` if files of `key` lie below another folder than `root`: they would be mixed into one walk."""
  first, example = roots.setdefault(key, (root, name))
  if root != first:
    raise DataError(
      f"{raw}: {example} and {name} lie in two trees, {first or './'} and {root or './'}: --raw must name the one"
      " folder that holds the walks of one data set"
    )


def _check_apart(names: Sequence[str], *, raw: pathlib.Path) -> None:
  """Raises `DataError` for two images of one name but for its ending: a frame's mask, and the picture it is of."""
  first: dict[str, str] = {}
  for name in names:
    if (other := first.setdefault(name.rpartition(".")[0], name)) != name:
      raise DataError(f"{raw}: {other} and {name} would be two frames of one walk; leave the masks alone in their"
                      " folder")


def _number_gallery(groups: dict[tuple[str, str, str], list[str]]) -> dict[tuple[str, str, str], list[str]]:
  """GREW's gallery walks carry no condition: the first of a subject, by name, is "01", the next "02"."""
  seen = Counter()
  numbered = {}
  for subject, condition, view in sorted(groups):
    if condition == "gallery":
      seen[subject] += 1
    number = f"{seen[subject]:02d}" if condition == "gallery" else condition
    numbered[subject, number, view] = groups[subject, condition, view]
  return numbered
