"""The crowd: synthetic people to train on, each walk with a camera, a segmenter, a speed and often clothes of its own.

`walkers` films few people many times by fixed cameras, as a laboratory does; networks are tested on it. Discriminants
that are to work on real recordings learn better from the opposite: many people, few walks each, and two walks of a
person that share nothing but the person (docs/experiments.md). A walk's frames are a pure function of (seed, subject,
number) and of the fields of `CrowdSource`.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_prep.sources.base import Dropped, Reading, Walk
from data_prep.walkers.anthropometry import Subject, draw_subject
from data_prep.walkers.body import build_body
from data_prep.walkers.camera import Camera, place_camera
from data_prep.walkers.clothing import KINDS, dress
from data_prep.walkers.kinematics import AS_MEASURED, Gait, draw_gait, turned, walk
from data_prep.walkers.measured import SPEED, SPEED_SPREADS, STEP_SPREADS, draw_body, draw_tempo, step_length
from data_prep.walkers.noise import Segmenter, degrade, draw_any_segmenter, draw_segmenter, lost_parts
from data_prep.walkers.randomness import around_one, generator
from data_prep.walkers.renderer import render
from fgait_jax.data.normalise import normalise
from fgait_jax.errors import DataError

SHARES = (0.55, 0.25, 0.2)  # of walks in normal clothes, with a bag, in a coat
FRAME_RATES = (18.0, 30.0)  # frames per second; each recording's is drawn between


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ingredients:
  """Sources of the crowd's variety. benchmarks/population.py measures each by leaving it out; without all of them a
  walk is made as in `walkers`."""

  bodies: bool = True  # of ANSUR II's covariance; else as the walkers'
  motion: bool = True  # joint curves that differ as measured, step length and cadence of the measured fit
  tempo: bool = True  # every walk at a speed of its own
  cameras: bool = True  # every walk from any side, distance, height and resolution; else six fixed ones
  segmenters: bool = True  # every walk by any segmenter; else one standing bias a camera
  clothes: bool = True  # most walks in clothes of their own; else one wardrobe a person
  turning: bool = True  # some walks along a curve


def draw_manner(person: Subject, name: str, *, seed: int, measured: bool) -> Gait:
  """The gait of a person of the crowd."""
  if not measured:
    return draw_gait(person, seed=seed)
  gait = draw_gait(person, seed=seed, spread=AS_MEASURED)
  rng = generator(seed, "pace", name)
  speed = SPEED * float(around_one(rng, SPEED_SPREADS[0]))
  step = step_length(person, speed, rng.normal(0, STEP_SPREADS[0]))
  # `kinematics.walk` derives the length of a step from the swing of the legs.
  swing = step / (2 * (person.thigh + person.shank))
  hip = gait.curves["hip"].copy()
  hip[:, 1] *= swing / np.abs(hip[:, 1]).mean()
  cadence = float(np.clip(speed / (2 * step), 0.6, 1.3))
  return dataclasses.replace(gait, curves=gait.curves | {"hip": hip}, cadence=cadence)


def render_walk(*, seed: int, subject: str, number: int, frames: tuple[int, int], ingredients: Ingredients) -> Reading:
  """Normalised frames of walk `number` of a person, uint8 [time, 64, 64]. Raises `Dropped` where none shows a body."""
  use = ingredients
  condition, view = place_of(seed=seed, subject=subject, number=number, cameras=use.cameras)
  person = draw_body(subject, seed=seed) if use.bodies else draw_subject(subject, seed=seed)
  gait = draw_manner(person, subject, seed=seed, measured=use.motion)
  begun = _begin(seed=seed, subject=subject, number=number, frames=frames, ingredients=use)
  rng, tempo, count = begun.rng, begun.tempo, begun.frames
  outfit = dress(person, condition, seed=seed, other_day=begun.other_day)
  pose = walk(
    person, gait, rng=rng, frames=count, rate=rng.uniform(*FRAME_RATES), carrying=outfit.carrying, tempo=tempo
  )
  if use.cameras:
    camera = Camera(
      azimuth=np.radians(float(view) + rng.uniform(-0.5, 0.5)),
      distance=rng.uniform(4.0, 12.0),
      height=rng.uniform(0.6, 3.5),
      pixels=float(np.exp(rng.uniform(np.log(32), np.log(160)))),
    )
  else:
    camera = place_camera(view, seed=seed)
  travel = np.stack([pose.travelled, np.full(count, rng.normal(0, 0.15)), np.zeros(count)], -1)
  if use.turning and rng.random() < 0.3:
    angle = np.radians(rng.normal(0, 25)) * np.linspace(-0.5, 0.5, count)
    pose = turned(pose, angle)
    along = np.gradient(pose.travelled)[:, None] * np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    travel = np.cumsum(along, axis=0)
    travel -= travel[count // 2]
  pose = dataclasses.replace(pose, joints={name: place + travel for name, place in pose.joints.items()})
  solids = build_body(person, outfit, pose)
  segmenter = _segmenter(rng, use, camera, subject, number, view, seed)
  lost = lost_parts(segmenter, solids.capsules.names, count, rng)
  walked, refused = normalise(degrade(render(solids, camera, lost=lost), segmenter, rng), min_sum=4000)
  if not len(walked):
    raise Dropped(next(iter(refused), "no frames"), f"crowd {subject}/{number}")
  return Reading(walked, refused)


class _Begun(NamedTuple):
  """The first draws of a walk, and its generator after them."""

  rng: np.random.Generator
  other_day: bool  # whether it wears other clothes
  tempo: tuple[float, float] | None  # as `draw_tempo` gives it
  frames: int


def _begin(*, seed: int, subject: str, number: int, frames: tuple[int, int], ingredients: Ingredients) -> _Begun:
  """The order of these draws decides what every stored crowd holds."""
  rng = generator(seed, "crowd", subject, str(number))
  other_day = bool(ingredients.clothes and rng.random() < 0.6)
  tempo = draw_tempo(rng) if ingredients.tempo else None
  return _Begun(rng, other_day, tempo, int(rng.integers(frames[0], frames[1] + 1)))


def _segmenter(rng, use: Ingredients, camera: Camera, subject: str, number: int, view: str, seed: int) -> Segmenter:
  if use.segmenters:
    return draw_any_segmenter(rng, pixels=camera.pixels)
  return draw_segmenter(view if not use.cameras else "090", (subject, str(number)), seed=seed)


def place_of(*, seed: int, subject: str, number: int, cameras: bool) -> tuple[str, str]:
  """(condition, view) of a walk: the clothes and load, and the camera's azimuth in whole degrees."""
  rng = generator(seed, "crowd place", subject, str(number))
  kind = KINDS[int(np.searchsorted(np.cumsum(SHARES), rng.random()))]
  view = rng.integers(0, 360) if cameras else 30 * rng.integers(0, 6)
  return f"{kind}-{number:02d}", f"{int(view):03d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrowdSource:
  """`walks` walks of each of `subjects` people, all in the split train, of `frames` (least, most) frames each."""

  subjects: int = 960
  walks: int = 8
  frames: tuple[int, int] = (30, 44)
  seed: int = 0
  ingredients: Ingredients = Ingredients()

  def __post_init__(self):
    if self.subjects < 1 or not 1 <= self.walks <= 99:
      raise DataError(f"a crowd of {self.subjects} people with {self.walks} walks each; expected 1 or more, 1 to 99")
    low, high = self.frames
    if not 2 <= low <= high:
      raise DataError(f"frames of a walk are {self.frames}; expected (least, most) with 2 <= least <= most")

  def __len__(self) -> int:
    return self.subjects * self.walks

  def splits(self) -> Mapping[str, Sequence[Walk]]:
    """`train` alone."""
    return {"train": [self.walk(row) for row in range(len(self))]}

  def walk(self, row: int) -> Walk:
    """Walk number `row`; those of a person follow each other."""
    subject, number = self.who(row)
    condition, view = place_of(seed=self.seed, subject=subject, number=number, cameras=self.ingredients.cameras)
    read = functools.partial(
      render_walk, seed=self.seed, subject=subject, number=number, frames=self.frames, ingredients=self.ingredients
    )
    return Walk(subject=subject, condition=condition, view=view, key=f"{subject}/{condition}/{view}", read=read)

  def who(self, row: int) -> tuple[str, int]:
    """(who walks, the number of the walk from 1) in `row`."""
    return f"c{row // self.walks + 1:05d}", row % self.walks + 1

  def length(self, row: int) -> int:
    """Frames of walk number `row`, without rendering it."""
    subject, number = self.who(row)
    begun = _begin(
      seed=self.seed, subject=subject, number=number, frames=self.frames, ingredients=self.ingredients
    )
    return begun.frames

  def fingerprint(self) -> str:
    """Changes with any parameter and with the code that makes the crowd."""
    code = [pathlib.Path(__file__), pathlib.Path(normalise.__code__.co_filename)]
    code += sorted(pathlib.Path(render.__code__.co_filename).parent.glob("*.*"))
    return hashlib.sha256(repr(self).encode() + b"".join(file.read_bytes() for file in code)).hexdigest()
