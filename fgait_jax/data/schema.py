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
