"""Several kinds of image of the same walk (silhouette, parsing, depth, ...), stacked as the channels of one frame.

Two layouts: <id>/<type>/<view>/<modality>/*.png, and <modality>/<id>/<type>/<view>/*.png. The images of one frame have
the same name. All must be cut to 64 rows of 64 or 44 columns already: scaling would mix the labels of a parsing, and
images that are cut separately would no longer be aligned.
"""

import dataclasses
import functools
import io
import pathlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from data_prep.sources.base import Dropped, Reading, Walk
from data_prep.sources.images import IMAGE, check_root
from data_prep.sources.masks import LIGHT, PNG, decode, is_frame, open_image, original_of
from data_prep.sources.rates import FACTS, read_facts
from data_prep.sources.trees import Tree, fingerprint, natural
from fgait_jax.data.normalise import FrameRefused
from fgait_jax.data.schema import HEIGHT, WIDTHS
from fgait_jax.errors import DataError

# Colour types of a PNG, the 26th byte of the file.
_GREY, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 3, 4, 6

_WALK = r"(?P<subject>[^/]+)/(?P<condition>[^/]+)/(?P<view>[^/]+)"


class ModalitySource:
  """Walks whose frames have the channels of all `modalities`, names of folders, in this order.

  Grey pictures give one channel, coloured ones three (red, green, blue), those of a palette one, its indices, which are
  the labels of a parsing. Silhouettes, by their folder's name, are masks of one channel. `tree` is the result of
  `open_tree(raw)`.
  """

  def __init__(self, raw: str | pathlib.Path, *, modalities: Sequence[str], tree: Tree):
    self.raw = pathlib.Path(raw)
    self.modalities = tuple(modalities)
    self._tree = tree

  def splits(self) -> dict[str, list[Walk]]:
    """Walks, sorted by key, all "test". Raises `DataError` where no folder bears the name of a modality."""
    walks = []
    for labels, frames in self._grouped.items():
      key = "/".join(labels)
      readers = {
        frame: {modality: self._tree[name] for modality, name in frames[frame].items()}
        for frame in sorted(frames, key=natural)
      }
      read = functools.partial(read_walk, readers, self.modalities, where=key)
      file = next(iter(next(iter(frames.values())).values()))
      walk = Walk(subject=labels[0], condition=labels[1], view=labels[2], key=key, read=read, file=file)
      walks.append(dataclasses.replace(walk, rate=max((self._rate(facts) for facts in _facts(frames)), default=0)))
    return {"test": walks}

  def _rate(self, facts: str) -> float:
    return read_facts(self._tree[facts], f"{self.raw}/{facts}") if facts in self._tree else 0

  def unread(self) -> list[str]:
    """Files that lie in no folder of a modality and so belong to no walk."""
    read = {name for frames in self._grouped.values() for names in frames.values() for name in names.values()}
    read |= {facts for frames in self._grouped.values() for facts in _facts(frames)}
    return [name for name in self._tree if name not in read]

  def fingerprint(self) -> str:
    """Changes with any file's name or size, and with the modalities."""
    return fingerprint(self.raw, *self.modalities)

  @functools.cached_property
  def _grouped(self) -> dict[tuple[str, str, str], dict[str, dict[str, str]]]:
    """(subject, condition, view) -> frame -> modality -> name of the image file."""
    known = "|".join(map(re.escape, self.modalities))
    patterns = [
      re.compile(rf"(?P<root>(?:.*/)?){folders}/{IMAGE}", re.IGNORECASE)
      for folders in (rf"(?P<modality>{known})/{_WALK}", rf"{_WALK}/(?P<modality>{known})")
    ]
    proper = {name.lower(): name for name in self.modalities}
    groups, seen, roots = defaultdict(lambda: defaultdict(dict)), set(), {}
    for name in self._tree:
      match = next(filter(None, (pattern.fullmatch(name) for pattern in patterns)), None)
      if match and is_frame(name):
        check_root(roots, "all", match["root"], name, raw=self.raw)
        modality = proper[match["modality"].lower()]
        frame = groups[match["subject"], match["condition"], match["view"]][pathlib.PurePosixPath(name).stem]
        if modality in frame:
          raise DataError(f"{self.raw}: {frame[modality]} and {name} are the same frame's {modality}; remove one")
        frame[modality] = name
        seen.add(modality)
    if missing := [name for name in self.modalities if name not in seen]:
      raise DataError(
        f"{self.raw}: no pictures of {', '.join(missing)}; expected <id>/<type>/<view>/{missing[0]}/*.png or"
        f" {missing[0]}/<id>/<type>/<view>/*.png"
      )
    return dict(sorted(groups.items()))


def _facts(frames: Mapping[str, Mapping[str, str]]) -> set[str]:
  """The files beside a walk's images that would tell its frame rate, one for each modality."""
  return {f"{name.rpartition('/')[0]}/{FACTS}" for names in frames.values() for name in names.values()}


def read_walk(
  frames: Mapping[str, Mapping[str, Callable[[], bytes]]], modalities: Sequence[str], *, where: str
) -> Reading:
  """The frames that have a readable image of every modality, uint8 [time, 64, 64 or 44, channel].

  `frames` maps frame -> modality -> reader of the image's bytes. Raises `Dropped`, naming `where`, for no usable frame
  and frames of different sizes.
  """
  kept, numbers, refused = [], [], defaultdict(list)
  files = {f"{name}.png": readers for name, readers in frames.items()}  # whatever their endings were
  number = -1  # in the recording
  for name, readers in frames.items():
    try:
      if missing := [modality for modality in modalities if modality not in readers]:
        number += 1
        raise FrameRefused(f"no {missing[0]}")
      contents = {modality: readers[modality]() for modality in modalities}
      if _is_copy(f"{name}.png", contents, files):
        raise FrameRefused("copy of another frame")
      number += 1
      pictures = {modality: _picture(content, modality) for modality, content in contents.items()}
      frame = np.concatenate(list(pictures.values()), axis=-1)
      if not frame.any() or any(is_silhouette(m) and picture.max() < LIGHT for m, picture in pictures.items()):
        raise FrameRefused("all black")
      kept.append(frame)
      numbers.append(number)
    except FrameRefused as reason:
      refused[str(reason)].append(name)
    except ValueError:  # what numpy raises for pictures of two sizes
      refused["modalities of different sizes"].append(name)
  if not kept:
    reason = max(refused, key=lambda reason: len(refused[reason]))
    raise Dropped("no usable frame", f"{where}: all {len(frames)} refused, mostly: {reason}")
  if len({frame.shape for frame in kept}) > 1:
    raise Dropped("frames of different sizes", f"{where}: {sorted({frame.shape for frame in kept})}")
  return Reading(np.stack(kept), dict(refused), numbers=numbers)


def is_silhouette(modality: str) -> bool:
  """Whether a modality's name is that of silhouettes: sil, sils, silhouette, mask, mask_aligned, ..."""
  return re.fullmatch(r"(sil|silhouette|mask)s?([_-]\w+)?", modality, re.IGNORECASE) is not None


def _is_copy(name: str, contents: Mapping[str, bytes], files: Mapping[str, Mapping[str, Callable[[], bytes]]]) -> bool:
  """Whether the frame `name` of `files` is called a copy of another and holds the same."""
  original = original_of(name, files)
  readers = files[original] if original else {}
  return readers.keys() >= contents.keys() and all(readers[m]() == content for m, content in contents.items())


def _picture(content: bytes, modality: str) -> np.ndarray:
  """An image of `modality`, uint8 [64, 64 or 44, channel]."""
  depth, colours = (content[24], content[25]) if content.startswith(PNG) and len(content) > 25 else (8, None)
  if is_silhouette(modality):
    image = decode(content, own=True)[..., None]
  elif colours == _GREY and 1 < depth < 8:
    raise FrameRefused(f"{depth}-bit picture, whose values a reader scales: save it with 8 bits")
  else:
    image = open_image(content)
    image = image[..., None] if image.ndim == 2 else image
    if colours in (_GREY_ALPHA, _COLOUR_ALPHA) and np.ptp(image[..., -1]):
      raise FrameRefused("picture with transparency")
    if colours == _PALETTE:
      with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        image = np.asarray(picture)[..., None]
    elif colours == _GREY_ALPHA or image.shape[2] < 3:
      image = image[..., :1]
    else:
      image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB)
  if image.shape[0] != HEIGHT or image.shape[1] not in WIDTHS:
    raise FrameRefused(f"not cut to {HEIGHT} x {WIDTHS[0]} or {WIDTHS[1]}")
  return image
