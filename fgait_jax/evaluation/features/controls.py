"""Controls: the same walks without their order, their direction in time, their motion, or all but the body's outline.

What a network still recognises owes nothing to what was taken away: the order of frames, or all change from frame to
frame. Gallery and probes are changed alike.
"""

import zlib

import numpy as np
from ml_collections import ConfigDict

from fgait_jax.evaluation.features.changed import ChangedSplit
from fgait_jax.models import backbones

STILL_FRAMES = 16


def still_frames(model: ConfigDict) -> int:
  """To how many frames a picture is repeated for a network of the section `model`: those that attend to each other,
  `STILL_FRAMES` at most, and so many for networks that do not cut walks into windows."""
  return min(model.attention_frames, STILL_FRAMES) if backbones.find(model.name).windows else STILL_FRAMES


def _shuffled(frames: np.ndarray, key: str, *, seed: int) -> np.ndarray:
  return np.random.default_rng((seed, zlib.crc32(key.encode()))).permutation(frames)


def _reversed(frames: np.ndarray, key: str, *, seed: int) -> np.ndarray:
  del key, seed
  return frames[::-1]


def _one_frame(frames: np.ndarray, key: str, *, seed: int) -> np.ndarray:
  del key, seed
  middle = len(frames) // 2
  return frames[middle : middle + 1]


def _mean_silhouette(frames: np.ndarray, key: str, *, seed: int) -> np.ndarray:
  del key, seed
  return np.rint(frames.mean(axis=0, keepdims=True, dtype=np.float32)).astype(np.uint8)


# Name of a control -> what a table calls it, how it changes frames, and whether it leaves one picture, which is
# repeated.
_CONTROLS = {
  "shuffled": ("frames shuffled", _shuffled, False),
  "reversed": ("time reversed", _reversed, False),
  "one_frame": ("one frame, repeated", _one_frame, True),
  "mean_silhouette": ("mean silhouette, repeated", _mean_silhouette, True),
}
TITLES = {name: title for name, (title, *_) in _CONTROLS.items()}


def controlled(split, name: str, *, max_frames: int, still_frames: int, seed: int) -> ChangedSplit:
  """All walks of `split`, their first `max_frames` frames, under the control `name`, one of `TITLES`. One picture is
  repeated to `still_frames` frames."""
  _, change, still = _CONTROLS[name]
  counts = np.minimum(np.asarray(split.num_frames), max_frames)
  repeated = f", {still_frames} times" if still else ""
  return ChangedSplit(
    split, np.arange(len(split)), how=f"{name} of {max_frames} frames{repeated}, seed {seed}",
    num_frames=np.full(len(split), still_frames) if still else counts,
    change=lambda frames, key: np.repeat(
      change(frames[:max_frames], key, seed=seed), still_frames if still else 1, axis=0),
  )
