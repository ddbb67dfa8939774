"""Corrupted silhouettes: what RobustGait's 15 corruptions of a video leave in its masks, at 5 severities.

RobustGait (WACV 2026, arXiv 2511.13065) corrupts the RGB video and segments it again; neither its generator nor its
parameters are public. These are silhouette forms of the same 15 types, drawn directly on normalised masks; the
parameters are ours, so figures compare methods here and are no figures of that benchmark. NumPy and OpenCV only.

What is left of a mask is normalised again, as every pipeline does after segmentation: cropped to the body's rows,
scaled to 64 and centred, and frames without a body are dropped (data/normalise.py). Frozen and missing frames leave
masks as they were.
"""

import hashlib
from collections.abc import Callable

import cv2
import numpy as np

from fgait_jax.data.normalise import normalise
from fgait_jax.data.schema import HEIGHT, WIDTHS
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.features.changed import ChangedSplit

LEVELS = (1, 2, 3, 4, 5)
TEMPORAL = ("freeze", "sampling")
_SHAPE = (HEIGHT, WIDTHS[0])

# One strength per severity; the unit is in the line of each type below.
STRENGTHS: dict[str, tuple] = {
  "gaussian_noise": (0.35, 0.5, 0.7, 1.0, 1.4),  # standard deviation at the outline, 1 is body against background
  "defocus_blur": (1.5, 2.5, 3.5, 5.0, 7.0),  # radius of the disk, pixels
  "zoom_blur": (1.06, 1.12, 1.2, 1.3, 1.45),  # largest zoom within an exposure
  "impulse_noise": (0.2, 0.27, 0.33, 0.38, 0.43),  # probability that a pixel is drawn anew before the median
  "speckle_noise": (0.35, 0.5, 0.7, 1.0, 1.5),  # standard deviation on the body
  "shot_noise": (0.35, 0.5, 0.7, 1.0, 1.5),  # standard deviation on the body
  "zoom_in": (1.1, 1.2, 1.35, 1.5, 1.75),  # zoom of the camera
  "freeze": (0.15, 0.3, 0.5, 0.7, 0.85),  # share of frames that repeat the one before
  "sampling": (2, 3, 4, 6, 8),  # one frame in so many is kept
  "low_light": (0.1, 0.2, 0.3, 0.42, 0.55),  # share of the body that is not found
  "rain": (14, 30, 52, 80, 120),  # streaks a frame
  "snow": (14, 32, 58, 95, 150),  # flakes a frame
  "fog": (0.7, 1.1, 1.6, 2.2, 2.8),  # pixels lost at the outline, on average
  "occlusion": (0.12, 0.22, 0.32, 0.42, 0.55),  # height of the band or side of the box, in canvases
  "impulse_noise2": (0.02, 0.05, 0.09, 0.14, 0.2),  # probability that a cell of 3 x 3 pixels is drawn anew
}
TYPES = tuple(STRENGTHS)


def corrupt(frames: np.ndarray, *, kind: str, severity: int, seed: int, key: str) -> np.ndarray:
  """Frames uint8 [t, 64, 64, 1] under corruption `kind` at `severity` 1..5, normalised; fewer where "sampling" or the
  normaliser drops some. A walk of which no frame shows a body keeps its frames as they were left: it is to be searched
  for all the same.

  A walk, known by `key`, is always corrupted alike under the same seed, type and severity. Raises ConfigError for an
  unknown type or severity and DataError for frames that are not silhouettes on the 64-wide canvas.
  """
  check(kind, severity)
  if frames.ndim != 4 or frames.shape[1:] != (*_SHAPE, 1) or frames.dtype != np.uint8 or not len(frames):
    raise DataError(f"{key}: corruptions act on silhouettes uint8 [t, 64, 64, 1], got {frames.dtype} {frames.shape}")
  drawn = hashlib.sha256(f"{seed}/{kind}/{severity}/{key}".encode()).digest()
  rng = np.random.default_rng(int.from_bytes(drawn[:8], "little"))
  strength = STRENGTHS[kind][severity - 1]
  if kind in TEMPORAL:
    return frames[_IN_TIME[kind](rng, len(frames), strength)]
  soft = frames[..., 0].astype(np.float32) / 255
  left = np.round(255 * np.clip(_IN_SPACE[kind](rng, soft, strength), 0, 1)).astype(np.uint8)
  usable, _ = normalise(left)
  return (usable if len(usable) else left)[..., None]


def check(kind: str, severity: int) -> None:
  """Raises ConfigError, which names the known ones, unless both are known."""
  if kind not in STRENGTHS:
    raise ConfigError(f"config.robustness.types names {kind!r}; known: {', '.join(TYPES)}")
  if severity not in LEVELS:
    raise ConfigError(f"config.robustness.severities names {severity!r}; known: {', '.join(map(str, LEVELS))}")


def length_after(num_frames: np.ndarray, *, kind: str, severity: int) -> np.ndarray:
  """Frames that are left of walks of `num_frames` frames, before the normaliser drops those without a body."""
  return -(-num_frames // STRENGTHS[kind][severity - 1]) if kind == "sampling" else num_frames


class CorruptedSplit(ChangedSplit):
  """Rows of a split as the corrupted camera would have given them.

  `num_frames` counts frames without a body too: `frames` then gives fewer than were asked for.
  """

  def __init__(self, split, rows: np.ndarray, *, kind: str, severity: int, seed: int):
    check(kind, severity)
    super().__init__(
      split, rows, how=f"{kind} {severity} seed {seed}",
      num_frames=length_after(np.asarray(split.num_frames)[rows], kind=kind, severity=severity),
      change=lambda frames, key: corrupt(frames, key=key, kind=kind, severity=severity, seed=seed),
    )


# In time. Each returns the source frame of every frame.


def _freeze(rng, count: int, share: float) -> np.ndarray:
  """The picture stands still for up to 8 frames at a time: frames repeat the one before."""
  blocks = rng.permutation(-(-count // 8))
  order = np.concatenate([np.arange(8 * b, min(8 * b + 8, count)) for b in blocks])
  live = np.ones(count, bool)
  live[order[order > 0][: round(share * (count - 1))]] = False
  return np.maximum.accumulate(np.where(live, np.arange(count), 0))


def _sampling(rng, count: int, stride: int) -> np.ndarray:
  """A camera of fewer frames a second: the walk is shorter and seems faster."""
  del rng
  return np.arange(0, count, stride)


# In space. Each takes masks float32 [t, 64, 64] in 0..1 and returns such.


def _gaussian_noise(rng, soft, strength):
  """Sensor noise: the segmenter errs where it is unsure, so outlines fray and specks and holes lie beside them."""
  near = np.exp(-np.abs(_signed(soft)) / 4)
  return _segment(soft + strength * near * _noise(rng, soft.shape, 0.8))


def _defocus_blur(rng, soft, radius):
  """A lens out of focus: thin arms vanish, gaps between the legs close, corners go round."""
  del rng
  size = 2 * int(np.ceil(radius)) + 1
  y, x = np.mgrid[:size, :size] - size // 2
  disk = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
  return _segment(_each(soft, lambda f: cv2.filter2D(f, -1, disk / disk.sum(), borderType=cv2.BORDER_CONSTANT)))


def _zoom_blur(rng, soft, largest):
  """A zoom during the exposure: smeared away from the centre, most at head and feet, then cut at half."""
  del rng
  return _segment(np.mean([_zoomed(soft, z, 32, 32) for z in np.linspace(1, largest, 7)], axis=0))


def _impulse_noise(rng, soft, share):
  """Dead and hot pixels: a median repairs single ones, the rest is holes in the body and specks around it."""
  hit = rng.random(soft.shape) < share
  drawn = np.where(hit, rng.integers(0, 2, soft.shape), soft >= 0.5).astype(np.uint8) * 255
  return _each(drawn, lambda f: cv2.medianBlur(f, 3)).astype(np.float32) / 255


def _impulse_noise2(rng, soft, share):
  """Lost cells of a compressed picture: squares of 3 x 3 pixels that are body or background by chance."""
  cells = (len(soft), -(-HEIGHT // 3), -(-WIDTHS[0] // 3))
  hit, value = rng.random(cells) < share, rng.integers(0, 2, cells).astype(np.float32)
  hit, value = (np.repeat(np.repeat(a, 3, 1), 3, 2)[:, :HEIGHT, :WIDTHS[0]] for a in (hit, value))
  return np.where(hit, value, soft)


def _speckle_noise(rng, soft, strength):
  """Noise that grows with the signal, coarse: holes as large as a hand in the body, none outside."""
  return _segment(soft * (1 + strength * _noise(rng, soft.shape, 2.0)))


def _shot_noise(rng, soft, strength):
  """Too few photons: fine holes all over the body, none outside."""
  return _segment(soft + strength * np.sqrt(soft) * _noise(rng, soft.shape, 0.7))


def _zoom_in(rng, soft, zoom):
  """A camera too near: head, feet or a side are out of the picture, and the rest is as high as a whole body."""
  return _zoomed(soft, zoom, 32 + rng.uniform(-8, 8), 32 + rng.uniform(-20, 20))


def _low_light(rng, soft, share):
  """Dark clothes before a dark wall: whole parts of the body are not found, the same ones for a while."""
  field = _slow(rng, soft.shape, 5.0, 6.0)
  body = soft >= 0.5
  if not body.any():
    return soft
  return np.where(field < np.quantile(field[body], share), 0, soft)


def _rain(rng, soft, count):
  """Streaks before the walker: thin slanted cuts through the body, others in every frame."""
  slant = rng.uniform(-0.3, 0.3)

  def wet(frame):
    frame = frame.copy()
    for x, y, length in zip(rng.integers(0, 64, count), rng.integers(-8, 64, count), rng.integers(6, 16, count),
                            strict=True):
      cv2.line(frame, (int(x), int(y)), (int(x + slant * length), int(y + length)), 0.0, 1)
    return frame

  return _each(soft, wet)


def _snow(rng, soft, count):
  """Flakes before the walker are round holes; flakes beside are taken for body where they touch it."""

  def snowed(frame):
    near = cv2.dilate(frame, np.ones((5, 5), np.uint8)) >= 0.5
    holes, lumps = np.zeros(_SHAPE, np.uint8), np.zeros(_SHAPE, np.uint8)
    for n, (x, y) in enumerate(rng.integers(0, 64, (count, 2)).tolist()):
      cv2.circle(lumps if n % 4 == 0 else holes, (x, y), int(rng.integers(1, 3)), 1, -1)
    return np.where(holes > 0, 0, np.where((lumps > 0) & near, 1, frame))

  return _each(soft, snowed).astype(np.float32)


def _fog(rng, soft, depth):
  """Haze: contrast at the outline is lost, more in denser swathes, so that bodies are thin and limbs break off."""
  density = 1 + 0.5 * np.clip(_slow(rng, soft.shape, 8.0, 12.0), -2, 2)
  return np.minimum(soft, np.clip(_signed(soft) - depth * density + 0.5, 0, 1))


def _occlusion(rng, soft, share):
  """Something between camera and walker: a band across (a bench, a wall) or a box that passes slowly (a car, a bag)."""
  size = max(1, round(share * HEIGHT))
  out = soft.copy()
  if rng.random() < 0.5:
    top = int(rng.integers(8, 57 - size)) if size < 48 else 8
    out[:, top : top + size] = 0
    return out
  y, x, speed = rng.uniform(4, 60 - size), rng.uniform(20, 44) - size / 2, rng.uniform(-0.2, 0.2)
  for n in range(len(out)):
    left = int(np.clip(x + speed * n, 16 - size / 2, 48 - size / 2))
    out[n, int(y) : int(y) + size, max(left, 0) : left + size] = 0
  return out


_IN_TIME: dict[str, Callable] = {"freeze": _freeze, "sampling": _sampling}
_IN_SPACE: dict[str, Callable] = {
  "gaussian_noise": _gaussian_noise, "defocus_blur": _defocus_blur, "zoom_blur": _zoom_blur,
  "impulse_noise": _impulse_noise, "speckle_noise": _speckle_noise, "shot_noise": _shot_noise, "zoom_in": _zoom_in,
  "low_light": _low_light, "rain": _rain, "snow": _snow, "fog": _fog, "occlusion": _occlusion,
  "impulse_noise2": _impulse_noise2,
}


def _each(masks: np.ndarray, change: Callable) -> np.ndarray:
  return np.stack([change(mask) for mask in masks])


def _segment(field: np.ndarray) -> np.ndarray:
  """What a segmenter makes of a soft field: cut at one half, with edges a little grey as those of a scaled mask."""
  return np.clip(4 * (field - 0.5) + 0.5, 0, 1)


def _noise(rng, shape, sigma: float) -> np.ndarray:
  """Unit-variance noise, smooth over `sigma` pixels."""
  drawn = rng.standard_normal(shape, dtype=np.float32)
  smooth = _each(drawn, lambda f: cv2.GaussianBlur(f, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))
  return smooth / max(float(smooth.std()), 1e-6)


def _slow(rng, shape, sigma: float, frames: float) -> np.ndarray:
  """Unit-variance noise that is smooth over `sigma` pixels and changes over about `frames` frames."""
  stops = 2 + int(shape[0] / frames)
  still = _noise(rng, (stops, *shape[1:]), sigma)
  place = np.arange(shape[0]) / frames
  low = place.astype(int)
  weight = (place - low)[:, None, None].astype(np.float32)
  mixed = (1 - weight) * still[low] + weight * still[low + 1]
  return mixed / np.sqrt((1 - weight) ** 2 + weight**2)


def _signed(soft: np.ndarray) -> np.ndarray:
  """Distance to the outline in pixels, positive on the body."""

  def distance(mask):
    return cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]

  return np.stack([distance(f >= 0.5) - cv2.distanceTransform((f < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
                   for f in soft])


def _zoomed(soft: np.ndarray, zoom: float, x: float, y: float) -> np.ndarray:
  """Enlarged about the point (x, y) of the canvas."""
  matrix = np.array([[zoom, 0, x * (1 - zoom)], [0, zoom, y * (1 - zoom)]], np.float32)
  return _each(soft, lambda f: cv2.warpAffine(f, matrix, (WIDTHS[0], HEIGHT), flags=cv2.INTER_LINEAR))
