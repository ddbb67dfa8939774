"""Normalises raw masks to frames as OpenGait's pretreatment does, and gives a reason for every mask it refuses.

A mask is cropped to the body's rows, scaled to 64 rows keeping its proportions (bicubic) and centred on the column that
halves its mass. Results are bit for bit the official ones; where the official script would crash, the mask is refused.
"""

from collections import defaultdict
from collections.abc import Iterable

import cv2
import numpy as np

SIZE = 64  # rows and columns of a normalised frame
WIDEST = 64 * SIZE  # columns that a body scaled to 64 rows may take; that of a row of pixels would take gigabytes
MIN_SUM = 10_000  # sum of pixels (0..255) up to which a mask shows no walker: under forty body pixels


class FrameRefused(Exception):
  """A mask that shows no usable body; manifests count refused frames by its message."""


def normalise_frame(
  mask: np.ndarray, *, min_sum: int = MIN_SUM, interpolation: int = cv2.INTER_CUBIC
) -> np.ndarray:
  """The body of `mask` (uint8 [height, width], 0 background) as uint8 [64, 64].

  Raises `FrameRefused` where there is no body to be centred. CCPG's own script uses `cv2.INTER_AREA` and no `min_sum`.
  """
  if mask.ndim != 2 or mask.dtype != np.uint8:
    raise FrameRefused(f"not an 8-bit grey image: {mask.dtype} {mask.shape}")
  # A row whose sum is beyond 32 bits is too wide in any case.
  by_row = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S) if mask.size else np.zeros(1, np.int32)
  total = by_row.sum(dtype=np.int64)
  # Of 0 and 1 the official script makes a frame of 0 and 1. Only a sum this small can be of such a mask.
  if total <= mask.size and mask.max(initial=0) <= 1:
    raise FrameRefused("values of 0 and 1 in place of 0 and 255: multiply by 255" if total else "all black")
  if total <= min_sum:
    raise FrameRefused("too little body")
  rows = np.flatnonzero(by_row)
  body = mask[rows[0] : rows[-1] + 1]
  width = int(SIZE * body.shape[1] / body.shape[0])
  if width == 0:
    raise FrameRefused("too narrow")
  if width > WIDEST:
    raise FrameRefused("too wide")
  body = cv2.resize(body, (width, SIZE), interpolation=interpolation)
  mass = np.cumsum(cv2.reduce(body, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S))
  centre = int(np.argmax(mass > mass[-1] / 2))  # first column beyond half of the mass
  if centre == 0:
    raise FrameRefused("no centre")
  left = centre - SIZE // 2
  if left >= 0 and left + SIZE <= width:
    return body[:, left : left + SIZE]
  frame = np.zeros((SIZE, SIZE), np.uint8)  # black beyond the border, as the official script pads
  shown = body[:, max(left, 0) : left + SIZE]
  frame[:, max(-left, 0) : max(-left, 0) + shown.shape[1]] = shown
  return frame


def normalise(masks: Iterable[np.ndarray], **options) -> tuple[np.ndarray, dict[str, list[int]]]:
  """All usable frames of a sequence, uint8 [time, 64, 64] in order, and the numbers of those refused, by reason."""
  kept, refused = [], defaultdict(list)
  for number, mask in enumerate(masks):
    try:
      kept.append(normalise_frame(mask, **options))
    except FrameRefused as reason:
      refused[str(reason)].append(number)
  return np.stack(kept) if kept else np.zeros((0, SIZE, SIZE), np.uint8), dict(refused)
