"""The data contract: what one stored walk is, how its frames are packed, what lies beside the shards.

NumPy only: `data_prep` writes by this page and `fgait_jax.data` reads by it.
"""

import dataclasses

import numpy as np

from fgait_jax.errors import DataError

HEIGHT = 64  # pixels; every stored frame is this high
WIDTHS = (64, 44)  # 44 is columns 10..53 of 64: already cut, never cut again
BUILDER_VERSION = "1.1.0"
MANIFEST = "manifest.json"
_LONGEST_RUN = 255  # of equal pixels in a pack


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

  Runs of equal pixels down the columns, where a body is longest: little-endian uint32 run counts [time], then all
  lengths, then all values. A grey edge pixel is a run of its own. The shards' own zstd does the rest; chosen by
  `benchmarks/packing.py` over plain frames, per-frame deflate and bit planes.
  """
  flat = np.ascontiguousarray(frames.transpose(0, 3, 2, 1)).reshape(len(frames), -1)
  start = np.ones(flat.shape, bool)
  np.not_equal(flat[:, 1:], flat[:, :-1], out=start[:, 1:])
  start[:, ::_LONGEST_RUN] = True
  positions = np.flatnonzero(start)
  counts = start.sum(axis=1, dtype="<u4").view(np.uint8)
  lengths = np.diff(positions, append=flat.size).astype(np.uint8)
  return np.concatenate([counts, lengths, flat.ravel()[positions]])


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

  Costs what the frames asked for cost, whatever lies between. The result is a transposed view. Raises `DataError` where
  `packed` is not such frames.
  """
  packed = np.frombuffer(packed, np.uint8)
  header = 4 * num_frames
  counts = packed[:header].view("<u4") if len(packed) >= header else np.zeros(1, "<u4")
  ends = header + np.cumsum(counts, dtype=np.int64)
  runs = int(ends[-1]) - header  # a run's value lies this far behind its length
  if len(packed) != header + 2 * runs:
    raise DataError(f"packed frames are {len(packed)} bytes, not {num_frames} x {height} x {width} x {channels}")
  indices = np.arange(num_frames) if indices is None else np.asarray(indices)
  if not len(indices):
    return np.zeros((0, height, width, channels), np.uint8)
  first, last = int(indices.min()), int(indices.max())
  if first < 0 or last >= num_frames:
    raise IndexError(f"frames {first} to {last} are asked of a sequence of {num_frames}")
  breaks = np.flatnonzero(np.diff(indices) != 1)  # frames that follow each other are one stretch of runs
  begins = (ends - counts)[indices[np.concatenate([[0], breaks + 1])]].tolist()
  stops = ends[indices[np.concatenate([breaks, [-1]])]].tolist()
  stretches = list(zip(begins, stops, strict=True))
  lengths = np.concatenate([packed[begin:stop] for begin, stop in stretches])
  values = np.concatenate([packed[begin + runs : stop + runs] for begin, stop in stretches])
  try:
    frames = np.repeat(values, lengths).reshape(-1, channels, width, height)
  except ValueError as error:
    raise DataError(f"packed runs do not fill {num_frames} x {height} x {width} x {channels} frames") from error
  return frames.transpose(0, 3, 2, 1)
