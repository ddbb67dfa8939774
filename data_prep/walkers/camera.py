"""Cameras: one per view, fixed in the room, while the walker passes through the origin.

View names are azimuths in degrees as in CASIA-B: `000` from the front, `090` from the side, `180` from behind.
"""

import dataclasses
import functools
import re

import numpy as np

from data_prep.walkers.randomness import generator
from fgait_jax.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
  """A pinhole camera that looks at the middle of the walk. `distance` and `height` in metres, `azimuth` in radians."""

  azimuth: float
  distance: float
  height: float
  pixels: float  # height of a person of 1.7 m at the origin

  @functools.cached_property
  def place(self) -> np.ndarray:
    return np.array(
      [self.distance * np.cos(self.azimuth), self.distance * np.sin(self.azimuth), self.height], np.float64
    )

  @functools.cached_property
  def axes(self) -> np.ndarray:
    """Rows: right, down, ahead."""
    ahead = np.array([0.0, 0.0, 0.9]) - self.place
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead])

  def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [..., 2] (right, down) of world points [..., 3], and pixels per metre there [...]."""
    seen = (points - self.place) @ self.axes.T
    scale = self.pixels / 1.7 * self.distance / np.maximum(seen[..., 2], 0.5)
    return seen[..., :2] * scale[..., None], scale


def azimuth_of(view: str) -> float:
  """The azimuth in degrees that a view's name states; raises `DataError` on anything but three digits below 360."""
  if not re.fullmatch(r"\d{3}", view) or int(view) >= 360:
    raise DataError(f"view {view!r} of the walkers is not an azimuth of three digits, 000 (front) to 359")
  return float(int(view))


def place_camera(view: str, *, seed: int) -> Camera:
  """The camera of `view`: the same for all subjects, a little off its nominal azimuth."""
  degrees = azimuth_of(view)
  rng = generator(seed, "camera", view)
  return Camera(
    azimuth=np.radians(degrees + np.clip(rng.normal(0, 2), -4, 4)),
    distance=rng.uniform(5.0, 8.0),
    height=rng.uniform(1.0, 2.4),
    pixels=rng.uniform(90, 130),
  )
