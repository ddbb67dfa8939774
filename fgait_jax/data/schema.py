"""The data contract: what one stored walk is, how its frames are packed, which files lie beside the shards.

NumPy only: `data_prep` writes by this module and `fgait_jax.data` reads by it.
"""

import dataclasses
import json
import re
from collections.abc import Mapping

import numpy as np

from fgait_jax.errors import DataError

HEIGHT = 64  # pixels; every stored frame is this high
WIDTHS = (64, 44)  # 44 is columns 10..53 of 64: already cut, never cut again
BUILDER_VERSION = "1.2.0"
MANIFEST = "manifest.json"
SHARD = re.compile(r"[^/\0]*-(?P<split>[^-/\0]+)\.array_record-(?P<number>\d{5})-of-\d{5}")  # the name of a shard
# What the pixels of a data set are: masks of bodies; or anything else, such as labels of a parsing, depths, pictures,
# and all frames of several channels.
PIXELS = SILHOUETTES, MAPS = "silhouettes", "maps"
MOST_CHANNELS = 256  # of a frame
_FILE = {"bytes": int, "sha256": str}
_LAYOUT = {  # of what readers use of a manifest; a mapping from any name is {None: ...}
  "name": str, "builder_version": str, "kind": str, "content_hash": str, "source_fingerprint": str,
  "splits": {None: {"sequences": int, "subjects": int, "frames": int}},
  "shards": {None: {"split": str, "sequences": int, **_FILE}},
  "indices": {None: _FILE},
  "metadata": {None: _FILE},
}  # fmt: skip
_WORD = 4  # neighbouring pixels of a row that make one word of the packed form
_LONGEST_RUN = 255  # equal words that one byte counts


def index_name(split: str) -> str:
  """Name of the file of a split's labels and lengths, which lies beside the shards and can be read without frames."""
  return f"index-{split}.npz"


def parse_manifest(content: bytes) -> dict:
  """The manifest of a built data set. Raises `ValueError`, a phrase that follows the file name, where it is not one of
  this builder."""
  try:
    manifest = json.loads(content)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"is not readable ({error})") from error
  if not isinstance(manifest, dict):
    raise ValueError(f"is not as the builder writes it: it holds {type(manifest).__name__}")
  if (version := manifest.get("builder_version")) != BUILDER_VERSION:
    raise ValueError(f"is of builder {f'{version}'[:20]}, this code reads {BUILDER_VERSION}")
  if fault := _misfit(manifest, _LAYOUT, ""):
    raise ValueError(f"is not as the builder writes it: {fault}")
  for name, facts in manifest["shards"].items():
    named = match["split"] if (match := SHARD.fullmatch(name)) else None
    if named != facts["split"] or named not in manifest["splits"]:
      raise ValueError(f"is not as the builder writes it: shards.{name[:80]} is no shard of a split that it names")
  return manifest


def _misfit(value, layout, place: str) -> str | None:
  """What of `value` is not as `layout` says, None if all is."""
  if not isinstance(layout, dict):
    fits = isinstance(value, layout) and not isinstance(value, bool) and (layout is not int or value >= 0)
    return None if fits else f"{place} should be {'a whole number' if layout is int else 'text'}"
  if not isinstance(value, dict):
    return f"{place} should be an object"
  if None in layout:
    if strange := next((name for name in value if "/" in name or "\0" in name), None):
      return f"{place} names {strange[:80]!r}, which is no file's name"
    layout = dict.fromkeys(value, layout[None])
  for name, inner in layout.items():
    where = f"{place}.{name[:80]}".lstrip(".")
    if fault := (_misfit(value[name], inner, where) if name in value else f"{where} is missing"):
      return fault
  return None


def rendered_people(name: str) -> int | None:
  """People of the crowd `name` if it is one that is never built (data/rendered.py), None for other names. Raises
  `DataError` for a name that only resembles theirs."""
  if not name.lower().startswith("rendered"):
    return None
  if match := re.fullmatch(r"rendered([1-9]\d{0,5})", name):
    return int(match[1])
  raise DataError(f"{name!r}: a crowd rendered while it is read is called rendered<N>, N people from 1 to 999999")


def population_of(manifest: Mapping) -> str:
  """The population of a built data set: data sets of the same population that share an identity hold the same person.
  A manifest without the key is a population of its own."""
  return manifest.get("population", manifest["name"])


def pixels_of(manifest: Mapping, channels: int) -> str:
  """What the pixels of a built data set are, one of `PIXELS`; a manifest without the key is of silhouettes, if frames
  have one channel."""
  return manifest.get("pixels", SILHOUETTES if channels == 1 else MAPS)


def identities(manifest: Mapping, subjects: np.ndarray) -> np.ndarray:
  """Names of `subjects` of a built data set that are equal for the same person in whichever data set."""
  return np.char.add(f"{population_of(manifest)}/", np.asarray(subjects, np.str_))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequence:
  """One walk of one subject in one condition seen from one view.

  `frames` is uint8 [time, 64, 64 or 44, channel], 0 background, 255 body, grey edges kept. `key` is unique and stable
  within its data set. `attributes` are numbers from which labels of other tasks are made (scoliosis class, sex, ...).
  """

  frames: np.ndarray
  subject: str
  condition: str
  view: str
  dataset: str
  key: str
  attributes: dict[str, float] = dataclasses.field(default_factory=dict)


def check_frames(frames: np.ndarray, where: str) -> np.ndarray:
  """`frames` as [time, height, width, channel]; raises `DataError` naming `where` unless they fit the contract."""
  if frames.ndim == 3:
    frames = frames[..., None]
  if frames.dtype != np.uint8:
    raise DataError(f"{where}: frames are {frames.dtype}, expected uint8 from 0 (background) to 255 (body)")
  if frames.ndim != 4 or frames.shape[1] != HEIGHT or frames.shape[2] not in WIDTHS:
    raise DataError(
      f"{where}: frames have shape {frames.shape}, expected [time, {HEIGHT}, {WIDTHS[0]} or {WIDTHS[1]}(, channel)];"
      " normalise the silhouettes first"
    )
  if len(frames) == 0:
    raise DataError(f"{where}: no frames")
  return frames


def to_canvas(frames: np.ndarray) -> np.ndarray:
  """Frames [..., 64, 64, channel]: 44-wide ones are put into columns 10..53, those that the model's cut keeps."""
  missing = WIDTHS[0] - frames.shape[-2]
  if not missing:
    return frames
  return np.pad(frames, [(0, 0)] * (frames.ndim - 2) + [(missing // 2, missing // 2), (0, 0)])


def mirrored(frames: np.ndarray) -> np.ndarray:
  """Frames [t, 64, 64, c] mirrored about column 32, in which the normalisation puts the body's median, so that it stays
  there; `frames[:, :, ::-1]` would move it to column 31. Column 0, which comes from outside, is background."""
  turned = np.zeros_like(frames)
  turned[:, :, 1:] = frames[:, :, :0:-1]
  return turned


def pack_frames(frames: np.ndarray) -> np.ndarray:
  """Packs frames uint8 [time, height, width, channel] losslessly into flat uint8; `unpack_frames` reads any of them.

  Run-length encoding of words down the columns, the direction in which a body is longest. A word is four neighbouring
  pixels of a row, which cost no more to expand than one. Empty columns at both sides are left out. Layout, little
  endian: the end of each frame's runs, uint32 [time]; first column of words and number of columns, uint32; all words,
  uint32; all run lengths, uint8. The shards' zstd compresses further. `benchmarks/packing.py` compares this with plain
  frames, per-frame deflate, bit planes and runs of pixels.
  """
  time, _, width, _ = frames.shape
  if width % _WORD:
    raise ValueError(f"frames are {width} wide, not a multiple of {_WORD}")
  words = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).view("<u4")  # [time, channel, height, width / 4]
  shown = np.flatnonzero(words.any(axis=(0, 1, 2)))
  first, columns = (shown[0], shown[-1] + 1 - shown[0]) if len(shown) else (0, 0)
  flat = np.ascontiguousarray(words[..., first : first + columns].swapaxes(-1, -2)).reshape(time, -1)
  start = np.ones(flat.shape, bool)
  np.not_equal(flat[:, 1:], flat[:, :-1], out=start[:, 1:])
  start[:, ::_LONGEST_RUN] = True
  positions = np.flatnonzero(start)
  header = np.array([*np.cumsum(start.sum(axis=1)), first, columns], "<u4")
  lengths = np.diff(positions, append=flat.size).astype(np.uint8)
  return np.concatenate([header.view(np.uint8), flat.ravel()[positions].view(np.uint8), lengths])


def unpack_frames(
  packed: np.ndarray | bytes,
  *,
  num_frames: int,
  height: int,
  width: int,
  channels: int,
  indices: np.ndarray | None = None,
) -> np.ndarray:
  """Frames `indices` (all where None; repeats allowed) of packed frames, uint8 [time, height, width, channel].

  The cost depends only on the frames asked for. With several channels the result is a transposed view. Raises
  `DataError` where `packed` does not hold frames of this shape, `IndexError` for a frame beyond the last.
  """
  packed = np.frombuffer(packed, np.uint8)
  if num_frames < 1 or height != HEIGHT or width not in WIDTHS or not 1 <= channels <= MOST_CHANNELS:
    raise DataError(f"no frames are {num_frames} x {height} x {width} x {channels}")
  header = 4 * (num_frames + 2)
  *ends, first, columns = packed[:header].view("<u4").tolist() if len(packed) >= header else (0, 0, 0)
  if len(packed) != header + ends[-1] * (1 + _WORD):
    raise DataError(f"packed frames are {len(packed)} bytes, not {num_frames} x {height} x {width} x {channels}")
  indices = range(num_frames) if indices is None else np.asarray(indices).tolist()
  if not indices:
    return np.zeros((0, height, width, channels), np.uint8)
  if min(indices) < 0 or max(indices) >= num_frames:
    raise IndexError(f"frames {min(indices)} to {max(indices)} are asked of a sequence of {num_frames}")
  middle = header + ends[-1] * _WORD
  words, lengths = packed[header:middle].view("<u4"), packed[middle:]
  stretches, previous = [], -1  # consecutive frames are one stretch of runs
  for i in indices:
    if stretches and i == previous + 1:
      stretches[-1][1] = ends[i]
    else:
      stretches.append([ends[i - 1] if i else 0, ends[i]])
    previous = i
  lengths = np.concatenate([lengths[begin:end] for begin, end in stretches]).astype(np.intp)  # the type `repeat` needs
  words = np.concatenate([words[begin:end] for begin, end in stretches])
  frames = np.zeros((len(indices), channels, height, width // _WORD), words.dtype)
  try:
    shown = np.repeat(words, lengths).reshape(len(indices), channels, columns, height)
    frames[..., first : first + columns] = shown.swapaxes(-1, -2)
  except ValueError as error:
    raise DataError(f"packed runs do not fill {num_frames} x {height} x {width} x {channels} frames") from error
  return frames.view(np.uint8).transpose(0, 2, 3, 1)
