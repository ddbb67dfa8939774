"""Chooses the frames of a clip. NumPy only: this runs in reader threads and worker processes."""

import numpy as np


def draws_per_clip(window_frames: int) -> int:
  """How many uniform numbers one clip uses: one for the window's start, one for each frame of the window."""
  return window_frames + 1


def sample_clips(noise: np.ndarray, num_frames: np.ndarray, *, clip_frames: int) -> np.ndarray:
  """Frame numbers int64 [..., clip_frames] of random clips, each in walking order.

  A sequence shorter than the window is repeated as a whole until it is long enough; a window of consecutive frames
  starts uniformly at random; `clip_frames` of its frames are drawn without replacement and kept in order. With 16 of 20
  this is FoundationGait's rule ("fixed_ordered"): four frames in twenty are skipped at random places.

  `noise` [..., window_frames + 1] is uniform in [0, 1); `num_frames` [...] counts the frames of each clip's sequence,
  at least one. Needs `clip_frames` <= window_frames.
  """
  window = noise.shape[-1] - 1
  num_frames = np.asarray(num_frames, np.int64)
  tiled = num_frames * -(-window // np.minimum(num_frames, window))
  start = (noise[..., 0] * (tiled - window + 1)).astype(np.int64)
  # The frames with the smallest numbers: every subset of the window is as likely as any other.
  chosen = np.sort(np.argpartition(noise[..., 1:], clip_frames - 1, axis=-1)[..., :clip_frames], axis=-1)
  return (start[..., None] + chosen) % num_frames[..., None]


def spaced(num_frames: int, *, stride: int) -> np.ndarray:
  """All frame numbers of a sequence, int64 [num_frames], ordered so that neighbours are `stride` apart: 0, 4, 8, ..,
  1, 5, 9, ... A network then sees neighbours as far apart as in its training clips, and every frame once."""
  return np.concatenate([np.arange(first, num_frames, stride) for first in range(min(stride, num_frames))])
