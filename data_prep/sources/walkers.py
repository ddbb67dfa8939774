"""The synthetic population as a source: subjects, conditions and views, each walk rendered when it is read.

All views of one (subject, condition) show the same walk, as cameras in one room do. A walk's frames are a pure function
of (seed, subject, condition, view) and of the ranges given to `WalkersSource`.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.sources.base import Dropped, Reading, Walk
from data_prep.walkers.anthropometry import Subject, draw_subject
from data_prep.walkers.body import build_body
from data_prep.walkers.camera import azimuth_of, place_camera
from data_prep.walkers.clothing import KINDS, Outfit, dress
from data_prep.walkers.kinematics import Pose, draw_gait, walk
from data_prep.walkers.noise import Segmenter, degrade, draw_segmenter, lost_parts
from data_prep.walkers.randomness import generator
from data_prep.walkers.renderer import render
from fgait_jax.data.normalise import normalise
from fgait_jax.errors import DataError

VIEWS = ("000", "030", "060", "090", "120", "150")
FRAME_RATES = (25.0, 30.0)  # frames per second; each recording's is drawn between


def render_walk(
  *, seed: int, subject: str, condition: str, view: str, frames: tuple[int, int], clean: bool = False
) -> Reading:
  """Normalised frames of one walk, uint8 [time, 64, 64], between `frames[0]` and `frames[1]` of them.

  `clean` leaves the segmenter's errors out. Raises `Dropped` where no frame shows a body.
  """
  person, outfit, pose = _walk(seed=seed, subject=subject, condition=condition, frames=tuple(frames))
  recording = generator(seed, "recording", subject, condition, view)
  camera = place_camera(view, seed=seed)
  camera = dataclasses.replace(
    camera,
    azimuth=camera.azimuth + np.radians(np.clip(recording.normal(0, 2), -5, 5)),  # nobody walks the line exactly
    pixels=camera.pixels * recording.uniform(0.85, 1.15),
  )
  travel = np.stack([pose.travelled, np.full_like(pose.travelled, recording.normal(0, 0.15)), 0 * pose.travelled], -1)
  pose = dataclasses.replace(pose, joints={name: place + travel for name, place in pose.joints.items()})
  solids = build_body(person, outfit, pose)
  segmenter = Segmenter() if clean else draw_segmenter(view, (subject, condition), seed=seed)
  lost = lost_parts(segmenter, solids.capsules.names, len(travel), recording)
  masks = degrade(render(solids, camera, lost=lost), segmenter, recording)
  walked, refused = normalise(masks)
  if not len(walked):
    raise Dropped(next(iter(refused), "no frames"), f"walkers {subject}/{condition}/{view}")
  return Reading(walked, refused)


@functools.lru_cache(maxsize=1)  # the views of a walk follow each other
def _walk(*, seed: int, subject: str, condition: str, frames: tuple[int, int]) -> tuple[Subject, Outfit, Pose]:
  """What all views of a walk share, which nobody may change."""
  person = draw_subject(subject, seed=seed)
  outfit = dress(person, condition, seed=seed)
  motion = generator(seed, "motion", subject, condition)
  pose = walk(
    person,
    draw_gait(person, seed=seed),
    rng=motion,
    frames=int(motion.integers(frames[0], frames[1] + 1)),
    rate=motion.uniform(*FRAME_RATES),
    carrying=outfit.carrying,
  )
  return person, outfit, pose


@dataclasses.dataclass(frozen=True, kw_only=True)
class WalkersSource:
  """Walks of `subjects` people to train on and of `test_subjects` others to test on.

  `normal`, `bag` and `coat` are the numbers of walks in each condition, `frames` the least and most frames of a walk.
  The default takes about a minute on two cores; tests use a smaller one of the same shape.
  """

  subjects: int = 120
  test_subjects: int = 40
  views: tuple[str, ...] = VIEWS
  normal: int = 4
  bag: int = 2
  coat: int = 2
  frames: tuple[int, int] = (30, 44)
  seed: int = 0
  clean: bool = False

  def __post_init__(self):
    for view in self.views:
      azimuth_of(view)
    if len(set(self.views)) != len(self.views) or not self.views:
      raise DataError(f"views of the walkers are {self.views}; expected at least one and none twice")
    counts = self.normal, self.bag, self.coat
    if min(*counts, self.subjects, self.test_subjects) < 0 or not sum(counts) or max(counts) > 99:
      raise DataError(f"walks per condition (normal, bag, coat) are {counts}; expected 0 to 99 each, not all 0")
    low, high = self.frames
    if not 1 <= low <= high:
      raise DataError(f"frames of a walk are {self.frames}; expected (least, most) with 1 <= least <= most")

  @property
  def conditions(self) -> tuple[str, ...]:
    """Names such as `nm-01`, normal first."""
    counts = zip(KINDS, (self.normal, self.bag, self.coat), strict=True)
    return tuple(f"{kind}-{number:02d}" for kind, count in counts for number in range(1, count + 1))

  def splits(self) -> Mapping[str, Sequence[Walk]]:
    """`train` and `test`, with no person in both."""
    names = [f"{number:04d}" for number in range(1, self.subjects + self.test_subjects + 1)]
    return {"train": self._walks(names[: self.subjects]), "test": self._walks(names[self.subjects :])}

  def fingerprint(self) -> str:
    """Changes with any parameter and with the code that makes the walkers."""
    code = [pathlib.Path(__file__), pathlib.Path(normalise.__code__.co_filename)]
    code += sorted(pathlib.Path(render.__code__.co_filename).parent.glob("*.py"))
    return hashlib.sha256(repr(self).encode() + b"".join(file.read_bytes() for file in code)).hexdigest()

  def _walks(self, subjects: list[str]) -> list[Walk]:
    walks = []
    for subject in subjects:
      person = draw_subject(subject, seed=self.seed)
      gait = draw_gait(person, seed=self.seed)
      attributes = {
        "sex": float(person.sex),
        "height": round(person.height, 3),
        "asymmetry": round(float(np.degrees(abs(gait.side_lean))), 2),
      }
      for condition in self.conditions:
        for view in self.views:
          read = functools.partial(
            render_walk, seed=self.seed, subject=subject, condition=condition, view=view, frames=self.frames,
            clean=self.clean,
          )
          key = f"{subject}/{condition}/{view}"
          walks.append(
            Walk(subject=subject, condition=condition, view=view, key=key, read=read, attributes=attributes)
          )
    return walks
