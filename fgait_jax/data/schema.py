"""The data contract: what one stored walk is, how its frames are packed, what lies beside the shards.

NumPy only: `data_prep` writes by this page and `fgait_jax.data` reads by it.
"""

import dataclasses

import numpy as np

from fgait_jax.errors import DataError

HEIGHT = 64  # pixels; every stored frame is this high
WIDTHS = (64, 44)  # 44 is columns 10..53 of 64: already cut, never cut again
BUILDER_VERSION = "1.0.0"
MANIFEST = "manifest.json"


def index_name(split: str) -> str:
  """File of a split's rows beside the shards: who, how, from where, how long, without touching a frame."""
  return f"index-{split}.npz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequence:
  """One walk of one subject in one condition seen from one view.

  `frames` is uint8 [time, 64, 64 or 44, channel], 0 background, 255 body, grey edges kept. `key` is unique and stable
  within its data set. `attributes` are numbers that labels of other tasks are made of (scoliosis class, sex, ...).
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
  """Frames at width 64: a 44-wide source is set back into columns 10..53, from which the model's cut takes it whole."""
  missing = WIDTHS[0] - frames.shape[-2]
  if not missing:
    return frames
  return np.pad(frames, [(0, 0)] * (frames.ndim - 2) + [(missing // 2, missing // 2), (0, 0)])


def pack_frames(frames: np.ndarray) -> np.ndarray:
  """Frames [time, height, width, channel] as flat uint8, lossless; `unpack_frames` takes out any of them.

  Nearly all pixels are 0 or 255, so a frame is two bit planes (body; grey) and the values of its grey pixels, in
  order: little-endian uint32 grey counts [time], body planes, grey planes, grey values. The shards' own zstd does the
  rest. `benchmarks/packing.py` measures this against plain frames and per-frame deflate.
  """
  flat = frames.reshape(len(frames), -1)
  grey = (flat != 0) & (flat != 255)
  counts = grey.sum(axis=1, dtype="<u4").view(np.uint8)
  planes = (np.packbits(bits, axis=1).ravel() for bits in (flat >= 128, grey))
  return np.concatenate([counts, *planes, flat[grey]])


def unpack_frames(
  packed: np.ndarray | bytes,
  *,
  num_frames: int,
  height: int,
  width: int,
  channels: int,
  indices: np.ndarray | None = None,
) -> np.ndarray:
  """Frames `indices` (all where None; repeats allowed) of a pack, uint8 [time, height, width, channel].

  Raises `DataError` where `packed` cannot hold that many frames of that shape.
  """
  packed = np.frombuffer(packed, np.uint8)
  pixels = height * width * channels
  plane = -(-pixels // 8)
  start_values = num_frames * (4 + 2 * plane)
  counts = packed[: 4 * num_frames].view("<u4") if len(packed) >= start_values else np.zeros(1, "<u4")
  ends = start_values + np.cumsum(counts, dtype=np.int64)
  if len(packed) != ends[-1]:
    raise DataError(f"packed frames are {len(packed)} bytes, not {num_frames} x {height} x {width} x {channels}")
  planes = packed[4 * num_frames : start_values].reshape(2, num_frames, plane)
  if indices is None:
    values = packed[start_values:]
  else:
    indices = np.asarray(indices)
    planes = planes[:, indices]
    values = [packed[end - count : end] for end, count in zip(ends[indices], counts[indices], strict=True)]
    values = np.concatenate(values) if values else packed[:0]
  frames, grey = np.unpackbits(planes, axis=-1, count=pixels)
  frames *= 255
  frames[grey.view(bool)] = values
  return frames.reshape(-1, height, width, channels)
