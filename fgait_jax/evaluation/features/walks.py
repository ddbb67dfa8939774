"""Walks that are no built data set, as a split: arrays in memory, a folder of masks, a video.

Masks are read and checked as `python -m data_prep.build own` does, so they give the frames that it would store. What
that counts in a manifest is an error here, or a line of `notes`.
"""

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_prep.sources import rates
from data_prep.sources.base import Dropped, Reading, printable, some
from data_prep.sources.images import IMAGE
from data_prep.sources.masks import (
  LIGHT,
  check_background,
  check_mask,
  is_frame,
  looks_inverted,
  made_binary,
  read_walk,
)
from data_prep.sources.trees import ARCHIVES, natural, open_tree
from data_prep.video import ENDINGS, Written, write_masks
from fgait_jax.data.normalise import FrameRefused, normalise_frame
from fgait_jax.data.schema import MANIFEST, SILHOUETTES, check_frames
from fgait_jax.errors import DataError
from fgait_jax.evaluation.labels import Labels
from fgait_jax.paths import local_path

__all__ = ["ARCHIVES", "ENDINGS", "Walks", "from_arrays", "from_masks", "from_path", "normalised"]

_LABELS = 3  # <person>/<type>/<view>
_MISSING = "00"  # of a type or view that no folder names, as data_prep.video has it


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Walks(Labels):
  """Labels and the frames of each walk, uint8 [t, 64, 64 or 44, c], read like a built split (data/source.py); `named`,
  of each, whether a folder says whose it is."""

  stored: list[np.ndarray]
  named: np.ndarray | bool = True
  notes: list[str] = dataclasses.field(default_factory=list)
  pixels: str = SILHOUETTES  # one of schema.PIXELS

  @property
  def name(self) -> str:
    return self.origin

  @functools.cached_property
  def num_frames(self) -> np.ndarray:
    return np.array([len(frames) for frames in self.stored], np.int32)

  @functools.cached_property
  def content_hash(self) -> str:
    """SHA-256 over keys and frames."""
    digest = hashlib.sha256()
    for key, frames in zip(self.keys, self.stored, strict=True):
      digest.update(f"{key} {frames.shape}\n".encode() + np.ascontiguousarray(frames).tobytes())
    return digest.hexdigest()

  def frames(self, row: int, indices: np.ndarray) -> np.ndarray:
    return self.stored[row][indices]


def from_arrays(walks: Sequence[np.ndarray], *, pixels: str = SILHOUETTES) -> Walks:
  """Each walk uint8 [t, 64, 64 or 44] or [t, 64, 64 or 44, c]; it is named by its place. Silhouettes are normalised, 0
  background and 255 body; frames without a body, such as pad a walk to a length, are left out, with a note. Of maps,
  whose values may mean anything, frames that are all 0 are. Raises `DataError` that names the first that is none."""
  if isinstance(walks, np.ndarray):
    raise DataError(f"walks are one array of shape {walks.shape}; give a list of walks, [frames] for one")
  if not isinstance(walks, Iterable):
    raise DataError(f"walks are {walks!r}; give a list of arrays uint8 [frames, 64, 64 or 44], or a path")
  stored, notes = [], []
  for place, frames in enumerate(walks):
    where = f"walk {place}"
    try:
      frames = check_frames(np.asarray(frames), where)
    except ValueError as error:
      raise DataError(f"{where}: its frames make no array ({error}); all must have as many rows and columns") from error
    if pixels == SILHOUETTES:
      _check_silhouettes(frames, where)
    lit = frames.reshape(len(frames), -1).max(axis=1) >= (LIGHT if pixels == SILHOUETTES else 1)
    if not lit.any():
      raise DataError(f"{where}: all its frames are 0")
    if not lit.all():
      notes.append(f"{where}: {(~lit).sum()} of {len(frames)} frames left out, they show no body")
    stored.append(frames[lit])
  names = np.array([str(place) for place in range(len(stored))], str)
  missing = np.full(len(stored), _MISSING)
  return _alike(Walks(subjects=names, conditions=missing, views=missing, keys=names, origin="walks", stored=stored,
                      notes=notes, pixels=pixels))


def _check_silhouettes(frames: np.ndarray, where: str) -> None:
  if (largest := int(frames.max())) < LIGHT:
    raise DataError(f"{where}: the largest value of its frames is {largest}; expected 0 (background) to 255 (body)"
                    + ("; multiply by 255" if largest == 1 else ""))
  try:
    check_background(looks_inverted(frames[..., 0]), where)
  except Dropped as reason:
    raise DataError(str(reason)) from reason


def normalised(masks: Iterable[np.ndarray]) -> np.ndarray:
  """See `fgait_jax.normalise`."""
  if isinstance(masks, str | os.PathLike) or not isinstance(masks, Iterable):
    raise DataError(f"masks are {masks!r}; expected arrays uint8 [height, width] (`embed` takes a folder as it is)")
  kept, inverted, refused = [], [], collections.Counter()
  for number, mask in enumerate(masks):
    mask = np.asarray(mask)
    if mask.dtype == object:
      raise DataError(f"mask {number} is no array of numbers but {str(mask)[:40]}; expected uint8 [height, width]."
                      " Could its file be read?")
    try:
      if mask.ndim == 2 and mask.dtype == np.uint8 and mask.max(initial=0) > 1:  # others are refused with other words
        check_mask(mask)
        inverted.append(looks_inverted(mask))
        mask = made_binary(mask)
      kept.append(normalise_frame(mask))
    except FrameRefused as reason:
      refused[str(reason)] += 1
  if not kept:
    reasons = ", ".join(f"{reason} ({count})" for reason, count in refused.items()) or "there are none"
    raise DataError(f"no usable mask: {reasons}; expected uint8 [height, width], 0 background and 255 body")
  try:
    check_background(inverted, "masks")
  except Dropped as reason:
    raise DataError(str(reason)) from reason
  return np.stack(kept)


def from_path(path: str | os.PathLike) -> Walks:
  """The walks of a folder (or archive) of masks, <person>/<type>/<view>/*.png, or of one video before a camera that
  stands still. Raises `DataError` that names what cannot be read."""
  path = local_path(path, "walks")
  if not path.exists():
    raise DataError(f"{path}: there is no such folder, archive or video")
  if path.is_dir() or path.suffix.lower() not in ENDINGS:
    return from_masks(path)
  with tempfile.TemporaryDirectory() as folder:
    # Of a name that begins with a dot no masks would be read; whose it is no video says.
    written = write_masks(path, pathlib.Path(folder, path.stem.lstrip(".") or "video"), segmenter="background")
    found = from_masks(pathlib.Path(folder))
    return dataclasses.replace(found, origin=str(path), named=False, notes=[*found.notes, *_notes(path, written)])


def _notes(path: pathlib.Path, written: Written) -> list[str]:
  """What is to be known of a video beside its masks."""
  notes = []
  if written.lost:
    notes.append(f"{path}: {written.lost} of the {written.frames + written.lost} frames that its header announces"
                 " cannot be decoded; it is damaged or cut short")
  if slow := rates.seems(written.rate):
    notes.append(f"{path}: {written.rate:g} frames a second; {slow}")
  return notes


def from_masks(folder: pathlib.Path) -> Walks:
  """The walks of a folder or archive, one for each folder that holds images: person, type and view are the names of
  the folders down to it, and those of no folder are "00"; images in `folder` itself are one walk, named after it."""
  for depth, what in (("", "is a built data set"), ("*/", "is a built data set"), ("*/*/", "holds built data sets")):
    if any(pathlib.Path(folder).glob(depth + MANIFEST)):
      raise DataError(f"{folder} {what}; configs/embed.py makes embeddings of one, to be given in its place")
  tree, groups = open_tree(folder), collections.defaultdict(list)
  for name in sorted(tree, key=natural):
    parent, _, file = name.rpartition("/")
    if re.fullmatch(IMAGE, file, re.IGNORECASE) and is_frame(name):
      groups[parent].append(name)
  if strange := [name for name in (str(folder), *groups) if printable(name) != name]:
    raise DataError(f"{printable(str(folder))}: the name {printable(strange[0])!r} is not UTF-8; rename it")
  if not groups:
    raise DataError(f"{folder}: no images of masks; expected <person>/<type>/<view>/*.png, or fewer folders")
  labels, stored, notes = [], [], _left_out(folder, tree, groups)
  for parent, names in groups.items():
    parts = parent.split("/") if parent else [_title(folder)]
    if len(parts) > _LABELS:
      raise DataError(f"{folder}: {names[0]} lies too deep; expected <person>/<type>/<view>/*.png in the folder named")
    reading = _read(tree, parent, names, folder)
    labels.append([*parts, *[_MISSING] * (_LABELS - len(parts))])
    stored.append(check_frames(reading.frames, f"{folder}/{parent}"))
    if reading.refused:
      reason, left_out = max(reading.refused.items(), key=lambda item: len(item[1]))
      count = sum(map(len, reading.refused.values()))
      notes.append(f"{folder}/{parent}: {count} of {len(names)} frames left out, mostly: {reason} (as"
                   f" {printable(left_out[0])})")
  subjects, conditions, views = np.array(labels, str).T
  keys = np.array(["/".join(row) for row in labels], str)
  twice = next((key for key, count in collections.Counter(keys).items() if count > 1), "")
  if twice:
    of = [parent or "." for parent, key in zip(groups, keys, strict=True) if key == twice]
    raise DataError(f"{folder}: the images of {' and '.join(of)} would be one walk, {twice}; rename the folders")
  return _alike(Walks(subjects=subjects, conditions=conditions, views=views, keys=keys, origin=str(folder),
                      stored=stored, notes=notes, named=np.array([bool(parent) for parent in groups])))


def _left_out(folder: pathlib.Path, tree, groups: Mapping[str, Sequence[str]]) -> list[str]:
  """A line about the files that belong to no walk, and the folders of which nothing is read."""
  read = {name for names in groups.values() for name in names} | {f"{parent}/{rates.FACTS}" for parent in groups}
  unread = [name for name in tree if name not in read and name != rates.FACTS]
  if not unread:
    return []
  known = {parent.partition("/")[0] for parent in groups}
  whole = sorted({top for top, below, _ in (name.partition("/") for name in unread) if below} - known)
  line = f"{folder}: {len(unread)} files belong to no walk by their names and are left out: {some(unread, 5)}"
  return [printable(line + (f"; nothing is read of {some(whole, 5)}" if whole else ""))]


def _title(path: pathlib.Path) -> str:
  """The name of a folder, or of an archive without its ending."""
  ending = next((end for end in ARCHIVES if path.name.lower().endswith(end)), "")
  return path.name[: len(path.name) - len(ending)] if path.is_file() else path.name


def _read(tree, parent: str, names: list[str], folder: pathlib.Path) -> Reading:
  """The frames of one walk, at the usual rate where a file of data_prep.video says theirs."""
  try:
    reading = read_walk([tree[name] for name in names], names, frames="own", where=f"{folder}/{parent}")
  except Dropped as reason:
    raise DataError(f"{reason}; mend it or leave it out") from reason
  facts = f"{parent}/{rates.FACTS}".removeprefix("/")
  rate = rates.read_facts(tree[facts], f"{folder}/{facts}") if facts in tree else 0.0
  return rates.thinned(reading, rate)


def _alike(walks: Walks) -> Walks:
  """`walks`; raises `DataError` where there are none, or their frames have different channels."""
  channels = [frames.shape[-1] for frames in walks.stored]
  if not channels:
    raise DataError(f"{walks.origin}: no walks")
  if len(set(channels)) > 1:
    other = next(place for place, count in enumerate(channels) if count != channels[0])
    raise DataError(f"{walks.origin}: walk {walks.keys[other]} has {channels[other]} channels, {walks.keys[0]} has"
                    f" {channels[0]}; all must have as many")
  return walks
