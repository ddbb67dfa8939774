"""Segments the walker in a video's frames: two segmenters, and the choice of one body in each mask.

`pose` is MediaPipe's pose model (an optional extra; the package contains its weights), for any camera and background.
`background` needs only OpenCV, and a camera that stands still: its mask is what differs from the median frame.
"""

import contextlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from fgait_jax.errors import DataError

LEAST_SHARE = 0.002  # of a frame's pixels; a smaller body is no walker
_SAMPLED = 48  # frames of which the median is taken
_CONTRAST = 25  # of 255; a smaller difference is the sensor's noise


def background_masks(frames: Iterable[np.ndarray], background: np.ndarray) -> Iterator[np.ndarray]:
  """Masks bool [height, width] of what differs from `background`, uint8 [height, width, 3] like the frames."""
  square = np.ones((3, 3), np.uint8)
  for frame in frames:
    differs = cv2.absdiff(frame, background).max(axis=2)
    # Otsu's threshold separates the walker from the background. In an empty frame it would separate noise.
    threshold = max(cv2.threshold(differs, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0] / 2, _CONTRAST)
    mask = cv2.morphologyEx((differs > threshold).astype(np.uint8), cv2.MORPH_OPEN, square)
    yield cv2.morphologyEx(mask, cv2.MORPH_CLOSE, square).astype(bool)


def median_picture(frames: Iterable[np.ndarray], count: int) -> np.ndarray:
  """The median of some of `count` frames, uint8 [height, width, 3]: the scene without the people who pass."""
  wanted = set(np.linspace(0, count - 1, min(_SAMPLED, count)).astype(int).tolist())
  return np.median([frame for i, frame in enumerate(frames) if i in wanted], axis=0).astype(np.uint8)


def pose_masks(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """Masks bool [height, width] of the person that MediaPipe's pose model tracks; all False where it sees none.

  Raises `DataError` without MediaPipe.
  """
  try:
    from mediapipe.python.solutions.pose import Pose
  except ImportError as error:
    raise DataError(
      f"the segmenter pose needs MediaPipe ({error}); install it in an environment of its own:"
      " pip install -r requirements-video.txt. With a camera that stands still, --segmenter background needs nothing"
    ) from error
  with contextlib.closing(Pose(enable_segmentation=True)) as pose:
    for frame in frames:
      found = pose.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).segmentation_mask
      yield np.zeros(frame.shape[:2], bool) if found is None else found > 0.5


def track_body(masks: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
  """The walker in each mask, bool [height, width], or None where there is no body of LEAST_SHARE.

  Of several bodies it takes the one that overlaps the previous frame's walker most; at first, the largest.
  """
  last = None
  for mask in masks:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count == 1 or areas.max() < LEAST_SHARE * mask.size:
      last = None
      yield None
      continue
    overlaps = np.bincount(labels[last], minlength=count)[1:] if last is not None else np.zeros(count - 1)
    overlaps = np.where(areas >= LEAST_SHARE * mask.size, overlaps, 0)
    last = labels == 1 + int(np.argmax(overlaps if overlaps.any() else areas))
    yield last
