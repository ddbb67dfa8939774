"""Errors of segmentation: ragged and biased edges, holes, lost feet and hands, specks.

Every camera has a constant bias, every recording adds one, and every frame has random errors: two views of one walk
share the motion but not the errors.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from data_prep.walkers.randomness import around_one, generator

FIELD = 384  # pixels of a side of the noise images
FIELDS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmenter:
  """Strengths of the errors of one recording; all zero is a perfect mask."""

  bias: float = 0.0  # grey levels of 255 by which the threshold moves: positive thickens
  ragged: float = 0.0  # grey levels of the noise on the blurred mask
  blur: int = 3  # pixels of the blur, odd
  edge: float = 0.0  # by how much the outline moves, as a fraction of the body's height: positive thickens
  holes: float = 0.0  # probability of a hole a frame
  specks: float = 0.0  # probability of a spurious blob at the body a frame
  lose_hand: float = 0.0  # share of frames without a given hand
  lose_foot: float = 0.0
  shadow: float = 0.0  # thickness of a remnant of shadow at the feet, as a fraction of the body's height
  reach: float = 0.0  # by how much the shadow reaches beyond the feet on either side, as a fraction of the height
  streak: float = 0.0  # probability of a thin line of shadow or ground beside the feet a frame
  gaps: float = 0.0  # probability of a piece of the upper body lost a frame


def draw_segmenter(view: str, recording: tuple[str, ...], *, seed: int) -> Segmenter:
  """The segmenter of one recording: the camera's constant bias, and what the recording adds."""
  camera, own = generator(seed, "segmenter", view), generator(seed, "segmenter", view, *recording)
  ragged, holes, specks, hand, foot = np.split(around_one(camera, 0.3, 5) * around_one(own, 0.3, 5), 5)
  return Segmenter(
    bias=float(np.clip(camera.normal(6, 20) + own.normal(0, 14), -50, 60)),
    ragged=min(20 * float(ragged[0]), 32.0),
    blur=int(own.choice([3, 5, 7])),
    holes=0.03 * float(holes[0]),
    specks=0.03 * float(specks[0]),
    lose_hand=0.04 * float(hand[0]),
    lose_foot=0.02 * float(foot[0]),
    shadow=float(camera.uniform(0.0, 0.02) * own.uniform(0, 1.5)) if camera.random() < 0.5 else 0.0,
  )


def draw_any_segmenter(rng: np.random.Generator, *, pixels: float) -> Segmenter:
  """A segmenter of any quality, from a modern network's smooth masks to background subtraction outdoors, for a body of
  `pixels` in height. The overall quality is drawn first, then the strength of each error."""
  rough = rng.beta(1.0, 1.3)
  strength = rough * rng.uniform(0.3, 1.0, 8)
  widest = max(1, int(pixels / 14))
  return Segmenter(
    bias=float(np.clip(rng.normal(0, 22), -60, 60)),
    ragged=4 + 44 * float(strength[0]),
    blur=int(2 * rng.integers(1, 1 + max(1, min(4, widest // 2))) + 1) if widest > 2 else 3,
    holes=0.5 * float(strength[1]) ** 2,
    specks=0.25 * float(strength[2]) ** 2,
    lose_hand=0.12 * float(strength[3]),
    lose_foot=0.08 * float(strength[4]),
    shadow=float(rng.uniform(0.004, 0.06)) if rng.random() < 0.6 else 0.0,
    streak=float(strength[6]) if rng.random() < 0.35 else 0.0,
    gaps=0.3 * float(strength[7]) ** 2,
    edge=float(rng.normal(0, 0.015)),
    reach=float(rng.uniform(0, 0.2)),
  )


@functools.cache
def _fields() -> np.ndarray:
  """Smooth noise of unit deviation [FIELDS, FIELD, FIELD], the same for all frames, which draw windows of it."""
  rng = generator(0, "noise fields")
  fields = np.stack([
    cv2.GaussianBlur(rng.standard_normal((FIELD, FIELD)).astype(np.float32), (0, 0), sigma) for sigma in (1.5, 2, 3, 4)
  ])
  return np.clip(fields / fields.std(axis=(1, 2), keepdims=True), -2, 2)


def lost_parts(segmenter: Segmenter, names: tuple[str, ...], frames: int, rng: np.random.Generator) -> np.ndarray:
  """Which solids are missing when, bool [solid, time]; a part stays lost for a few frames."""
  share = np.array([{"hand": segmenter.lose_hand, "foot": segmenter.lose_foot}.get(name, 0.0) for name in names])
  starts = rng.random((len(names), frames)) < share[:, None] / 3
  lost = starts.copy()
  for delay in (1, 2):
    lost[:, delay:] |= starts[:, :-delay]
  return lost


def degrade(masks: Iterable[np.ndarray], segmenter: Segmenter, rng: np.random.Generator) -> Iterator[np.ndarray]:
  """Yields binary masks uint8 [height, width] of one recording with the segmenter's errors, binary again.

  Changes the given masks in place.
  """
  # A positive bias thickens: background is at 0, body at 255, and the edge lies where their mixture passes the middle.
  limits = segmenter.ragged * _fields()[rng.integers(FIELDS)]
  np.clip(np.subtract(127.5 - segmenter.bias, limits, out=limits), 8, 247, out=limits)
  limits = limits.astype(np.uint8)
  for mask in masks:
    chance = rng.random(4)
    if segmenter.edge:
      mask = _move_edge(mask, segmenter.edge)
    if segmenter.shadow:
      _add_shadow(mask, segmenter, rng)
    if segmenter.streak and rng.random() < segmenter.streak:
      _add_streak(mask, rng)
    if segmenter.gaps and rng.random() < segmenter.gaps:
      _lose_piece(mask, rng)
    if chance[0] < segmenter.holes:
      _blob(mask, 0, rng, 0.05)
    if chance[1] < segmenter.specks:
      _blob(mask, 255, rng, 0.035)
    if not segmenter.ragged and not segmenter.bias:
      yield mask
      continue
    height, width = mask.shape
    top, left = (int(share * (FIELD - min(size, FIELD))) for share, size in zip(chance[2:], mask.shape, strict=True))
    limit = limits[top : top + height, left : left + width]
    if limit.shape != mask.shape:
      limit = cv2.resize(limit, (width, height))
    yield cv2.compare(cv2.blur(mask, (segmenter.blur, segmenter.blur)), limit, cv2.CMP_GT)


def _blob(mask: np.ndarray, value: int, rng: np.random.Generator, size: float) -> None:
  rows, columns = np.nonzero(mask[::4, ::4])
  if len(rows):
    at = rng.integers(len(rows))
    axes = np.maximum(1, mask.shape[0] * size * rng.uniform(0.3, 1.0, 2)).astype(int)
    centre = int(columns[at]) * 4, int(rows[at]) * 4
    cv2.ellipse(mask, centre, tuple(int(a) for a in axes), rng.uniform(0, 180), 0, 360, value, -1)


def _move_edge(mask: np.ndarray, distance: float) -> np.ndarray:
  """The mask thickened, or thinned where `distance`, a fraction of the body's height, is negative."""
  radius = round(abs(distance) * cv2.boundingRect(mask)[3])
  if not radius:
    return mask
  kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
  return cv2.dilate(mask, kernel) if distance > 0 else cv2.erode(mask, kernel)


def _add_shadow(mask: np.ndarray, segmenter: Segmenter, rng: np.random.Generator) -> None:
  """A flat ellipse under the body, as wide as the feet stand apart or wider."""
  _, top, _, height = cv2.boundingRect(mask)
  lowest = top + height - 1
  columns = np.flatnonzero(mask[max(lowest - 4, 0) : lowest + 1].any(0))
  if not len(columns):
    return
  thickness = segmenter.shadow * height * rng.uniform(0.6, 1.2)
  axes = int(0.55 * np.ptp(columns) + segmenter.reach * height + 4), max(1, int(thickness))
  cv2.ellipse(mask, (int(columns.mean()), lowest), axes, 0, 0, 360, 255, -1)


def _add_streak(mask: np.ndarray, rng: np.random.Generator) -> None:
  """A thin level line from the feet to one side, as a shadow's edge or a kerb leaves it."""
  left, top, width, height = cv2.boundingRect(mask)
  thickness = max(1, int(0.015 * height * rng.uniform(0.5, 1.5)))
  lowest = top + height - 1 - int(rng.uniform(0, 0.03) * height)
  reach = int(rng.uniform(0.05, 0.3) * height)
  middle = left + width // 2
  end = middle - width // 3 - reach if rng.random() < 0.5 else middle + width // 3 + reach
  cv2.line(mask, (middle, lowest), (int(np.clip(end, 0, mask.shape[1] - 1)), lowest), 255, thickness)


def _lose_piece(mask: np.ndarray, rng: np.random.Generator) -> None:
  """Removes a piece of head, arms or trunk, as where it looks like the background."""
  left, top, width, height = cv2.boundingRect(mask)
  centre = int(left + width * rng.uniform(0.2, 0.8)), int(top + height * rng.uniform(0.0, 0.6))
  axes = max(1, int(height * rng.uniform(0.02, 0.08))), max(1, int(height * rng.uniform(0.02, 0.12)))
  cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 0, -1)
