"""OpenGait's layout: <root>/<id>/<type>/<view>/<name>.pkl, one pickled uint8 array of a walk's frames.

OpenGait's pretreatment writes it for every data set it knows: silhouettes [time, 64, 64 or 44], or maps of several
channels, on the last axis or right after time. Width 44 counts as already cut; silhouettes of 128 rows are halved.
"""

import dataclasses
import fnmatch
import functools
import pathlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from data_prep.sources.base import Dropped, Reading, Walk, by_split, some, with_bodies
from data_prep.sources.masks import LIGHT, check_background, looks_inverted
from data_prep.sources.pickles import load_array
from data_prep.sources.trees import Tree, fingerprint, open_tree, packed
from fgait_jax.data.schema import HEIGHT, WIDTHS
from fgait_jax.errors import DataError

LAYOUT = "<id>/<type>/<view>/<name>.pkl"
MAX_CHANNELS = 16  # a longer axis is not one of channels but of rows or columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenGaitSource:
  """Walks of `root` (a folder or archive) whose id is in `partition` (split name -> ids; None: all are "test").

  `pickles` is a pattern for file names (e.g. "*-sils.pkl"); of several that match it the one with "sil" in its name is
  taken. A tuple of patterns takes one pickle each from every folder and stacks their channels in this order. One
  folder, such as an archive's, may enclose all ids, and one of the name `inside` the pickles of a walk. `tree` is the
  result of `open_tree(root)`, if the caller has it already.
  """

  root: str | pathlib.Path
  partition: Mapping[str, Sequence[str]] | None
  pickles: str | tuple[str, ...] = "*.pkl"
  inside: str = ""
  tree: Tree | None = dataclasses.field(default=None, repr=False)

  def splits(self) -> Mapping[str, Sequence[Walk]]:
    """Walks by split, sorted by key; subjects of no split are left out. Raises `DataError` for another layout."""
    folders = defaultdict(list)
    for name in self._files:
      if len(parts := name.removeprefix(self._prefix).split("/")) != 4:
        raise DataError(f"{self.root}: expected {LAYOUT}, found {name}; --raw must name the folder that holds the ids")
      folders["/".join(parts[:3])].append(name)
    return by_split([self._walk(*item) for item in folders.items()], self.partition, where=f"{self.root}")

  def subjects(self) -> set[str]:
    """All ids of the folder, in the partition or not."""
    return {name.removeprefix(self._prefix).split("/")[0] for name in self._files}

  def unread(self) -> list[str]:
    """Files whose names do not match `pickles` and so belong to no walk."""
    return [name for name in self._tree if self._placed(name) not in self._files]

  def fingerprint(self) -> str:
    """Changes with any file's name or size, and with the choice of pickles; not with dates or the folder's place."""
    return fingerprint(self.root, *self._patterns)

  @property
  def _patterns(self) -> tuple[str, ...]:
    return (self.pickles,) if isinstance(self.pickles, str) else self.pickles

  def _walk(self, key: str, names: Sequence[str]) -> Walk:
    subject, condition, view = key.split("/")
    files = []
    for pattern in self._patterns:
      matching = [name for name in names if _matches(name, pattern)]
      if len(matching) > 1 and isinstance(self.pickles, str):
        matching = [name for name in matching if "sil" in name.rsplit("/", 1)[-1].lower()] or matching
      if len(matching) > 1:
        mend = ("leave one of them in each such folder, that of the silhouettes with 'sil' in its name"
                if isinstance(self.pickles, str) else "let --modalities name more of the one that is meant")
        raise DataError(f"{self.root}/{key} holds several pickles that match {pattern!r}: {', '.join(matching)};"
                        f" {mend}")
      files.append((self._files[matching[0]], matching[0]) if matching else (None, f"{key}/{pattern}"))
    kinds = "maps" if isinstance(self.pickles, tuple) else "masks"
    read = functools.partial(read_walk, *zip(*files, strict=True), kinds=kinds)
    return Walk(subject=subject, condition=condition, view=view, key=key, read=read, file=names[0])

  @functools.cached_property
  def _tree(self) -> Tree:
    return open_tree(self.root) if self.tree is None else self.tree

  @functools.cached_property
  def _prefix(self) -> str:
    """The folders that enclose the ids of all walks, such as an archive's own; "" where there are none."""
    heads = {tuple(name.split("/")[:-4]) for name in self._files}
    return "".join(f"{folder}/" for folder in heads.pop()) if len(heads) == 1 else ""

  @functools.cached_property
  def _files(self) -> Tree:
    tree = self._tree
    files, origin = {}, {}
    for name in (name for name in tree if any(_matches(name, pattern) for pattern in self._patterns)):
      if (placed := self._placed(name)) in files:
        raise DataError(f"{self.root}: {origin[placed]} and {name} are two files of one walk; remove one")
      files[placed], origin[placed] = tree[name], name
    if not files:
      instead = some(tree) or "nothing"
      raise DataError(f"{self.root}: no walks found: expected {LAYOUT} matching {self.pickles!r}, found {instead}"
                      f"{packed(tree)}")
    return files

  def _placed(self, name: str) -> str:
    """`name` without the folder `inside`."""
    folder, _, file = name.rpartition("/")
    return f"{folder.removesuffix(f'/{self.inside}')}/{file}" if self.inside else name


def read_walk(
  readers: Sequence[Callable[[], bytes] | None], names: Sequence[str], *, kinds: str = "masks"
) -> Reading:
  """One walk's frames that are not black; raises `Dropped` naming the file and what is wrong.

  `kinds` are "masks" of 0 and 255 with grey edges, or "maps", whose values may mean anything.
  """
  stack = []
  for read, name in zip(readers, names, strict=True):
    if read is None:
      raise Dropped("a modality is missing", name)
    frames = load_array(read(), name)
    frames = channels_last(halved(frames) if kinds == "masks" else frames, name)  # labels must not be mixed
    if kinds == "masks" and (frames.ndim == 3 or frames.shape[3] == 1):
      masks = frames.reshape(frames.shape[:3])
      if 0 < masks.max() < LIGHT:
        raise Dropped("not a mask of 0 and 255", f"{name}: no value above {masks.max()}")
      check_background(looks_inverted(masks), name)
    stack.append(frames)
  return with_bodies(stack[0] if len(stack) == 1 else stack_channels(stack, names), names[0])


def halved(frames: np.ndarray) -> np.ndarray:
  """Silhouettes uint8 [time, 128, 128 or 88], such as HID's, at half the size (cubic); other arrays unchanged."""
  if frames.dtype != np.uint8 or frames.shape[1:] not in {(2 * HEIGHT, 2 * width) for width in WIDTHS}:
    return frames
  size = frames.shape[2] // 2, HEIGHT
  return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in frames])


def channels_last(frames: np.ndarray, where: str) -> np.ndarray:
  """Frames [time, 64, 64 or 44(, channel)] of an array in that order or with channels right after time.

  An axis of at most `MAX_CHANNELS` holds channels: the last, or else the second. `Dropped` where neither fits.
  """
  if frames.dtype != np.uint8:
    raise Dropped("wrong dtype", f"{where}: {frames.dtype}, expected uint8 from 0 to 255")
  if frames.ndim == 4 and 1 <= frames.shape[1] <= MAX_CHANNELS:
    ordered = np.moveaxis(frames, 1, -1)
  else:
    ordered = frames
  channels = ordered.shape[3] if ordered.ndim == 4 else 1
  fits = ordered.ndim in {3, 4} and ordered.shape[1] == HEIGHT and ordered.shape[2] in WIDTHS
  if not fits or not 1 <= channels <= MAX_CHANNELS:
    size = f"{HEIGHT}, {WIDTHS[0]} or {WIDTHS[1]}"
    raise Dropped(
      "wrong shape",
      f"{where}: {frames.shape}, expected [frames, {size}], [frames, {size}, channels] or [frames, channels, {size}]"
      f" of at most {MAX_CHANNELS} channels",
    )
  if len(frames) == 0:
    raise Dropped("no frames", where)
  return ordered


def stack_channels(stack: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
  """The modalities in `stack` as channels of one array; `Dropped` unless numbers and sizes of frames are equal."""
  if len({frames.shape[:3] for frames in stack}) > 1:
    shapes = ", ".join(f"{name} {frames.shape[:3]}" for name, frames in zip(names, stack, strict=True))
    raise Dropped("modalities do not fit each other", f"{shapes}: [frames, height, width] must be equal")
  return np.concatenate([f if f.ndim == 4 else f[..., None] for f in stack], axis=-1)


def _matches(name: str, pattern: str) -> bool:
  return fnmatch.fnmatch(name.rsplit("/", 1)[-1].lower(), pattern.lower())
