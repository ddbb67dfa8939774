"""Draws the build of a subject: stature, limb proportions, girths and hair.

Segment lengths are fractions of stature after Drillis and Contini (Body Segment Parameters, 1966); statures are roughly
those of European adults; spreads of 3 to 6 % (lengths) and 8 to 12 % (girths) have the published order of magnitude.
"""

import dataclasses

import numpy as np

from data_prep.walkers.randomness import around_one, generator

# Trunk sections from crotch to neck: height above the hip joints as a fraction of the hip-to-shoulder length.
SECTIONS = np.array([-0.17, 0.0, 0.2, 0.42, 0.72, 0.9, 1.0, 1.07])
# Half-widths and half-depths of those sections (women, men), and how far they lie before the spine, in statures.
HALF_WIDTHS = np.array(
  [[0.070, 0.104, 0.094, 0.076, 0.084, 0.082, 0.052, 0.032], [0.066, 0.096, 0.090, 0.082, 0.092, 0.092, 0.058, 0.036]]
)
HALF_DEPTHS = np.array(
  [[0.052, 0.070, 0.066, 0.056, 0.068, 0.056, 0.044, 0.032], [0.050, 0.064, 0.063, 0.060, 0.066, 0.058, 0.046, 0.034]]
)
FORWARD = np.array([-0.004, -0.010, -0.002, 0.006, 0.008, 0.000, -0.004, 0.000])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
  """A body. Lengths and radii in metres; `widths`, `depths`, `forward` are half-axes of the trunk at `SECTIONS`."""

  name: str
  sex: int  # 0 woman-like, 1 man-like build
  height: float
  stoutness: float  # girths relative to the average of that stature
  thigh: float
  shank: float
  foot: float
  ankle_height: float
  upper_arm: float
  forearm: float
  hand: float
  trunk: float  # hip joints to shoulder joints
  neck: float  # shoulder line to centre of the skull
  hip_half: float  # hip joint from the middle
  shoulder_half: float
  skull: float  # radius
  jaw: float
  thigh_radii: tuple[float, float, float]  # at hip, middle, knee
  shank_radii: tuple[float, float, float]  # below the knee, at the calf, at the ankle
  arm_radii: tuple[float, float, float]  # at shoulder, elbow, wrist
  foot_radii: tuple[float, float]  # heel, toes
  widths: np.ndarray
  depths: np.ndarray
  forward: np.ndarray
  hair: float  # radius of a bun or loose hair at the back of the head; 0 none
  hair_drop: float  # how far it hangs down


def draw_subject(name: str, *, seed: int) -> Subject:
  """The subject called `name` in the population `seed`."""
  rng = generator(seed, "build", name)
  sex = int(rng.random() < 0.5)
  height = float(np.clip(rng.normal((1.64, 1.77)[sex], (0.065, 0.07)[sex]), 1.45, 2.0))
  stoutness = float(np.clip(np.sqrt(rng.gamma(36, 24.0 / 36) / 23.0), 0.84, 1.35))  # body mass index 24 +- 4
  legs = around_one(rng, 0.03)

  def length(fraction: float, spread: float = 0.035) -> float:
    return float(height * fraction * around_one(rng, spread))

  def girths(*fractions: float, spread: float = 0.08, share: float = 0.8) -> tuple[float, ...]:
    common = around_one(rng, spread) * stoutness**share
    return tuple(float(height * f * common * around_one(rng, 0.04)) for f in fractions)

  belly = max(0.0, stoutness - 1.0) * rng.uniform(0.3, 1.6)
  bulge = 1 + belly * np.array([0, 0.2, 0.8, 1.0, 0.4, 0, 0, 0])
  hips = around_one(rng, 0.08) ** np.array([1, 1, 0.7, 0, 0, 0, 0, 0])
  shoulders = around_one(rng, 0.08) ** np.array([0, 0, 0, 0.2, 0.8, 1, 1, 0.3])
  stout = stoutness ** np.array([0.7, 0.9, 1, 1, 0.9, 0.6, 0.5, 0.6])
  long_hair = rng.random() < (0.6, 0.08)[sex]
  posture = rng.normal(0, 0.008, 3)  # buttocks, belly, chest, as fractions of stature
  return Subject(
    name=name,
    sex=sex,
    height=height,
    stoutness=stoutness,
    thigh=length(0.242 * legs),
    shank=length(0.240 * legs),
    foot=length(0.150),
    ankle_height=length(0.040),
    upper_arm=length(0.180),
    forearm=length(0.146),
    hand=length(0.076),
    trunk=length(0.290 * (2 - legs)),
    neck=length(0.112, 0.06),
    hip_half=length(0.050, 0.05),
    shoulder_half=length((0.096, 0.104)[sex], 0.05),
    skull=length(0.0590, 0.05),
    jaw=length(0.0470, 0.05),
    thigh_radii=girths(0.046, 0.042, 0.032),
    shank_radii=girths(0.031, 0.033, 0.022),
    arm_radii=girths(0.032, 0.026, 0.019),
    foot_radii=girths(0.025, 0.017, share=0.2),
    widths=height * HALF_WIDTHS[sex] * stout * hips * shoulders * around_one(rng, 0.03, 8),
    depths=height * HALF_DEPTHS[sex] * stout * bulge * around_one(rng, 0.05, 8),
    forward=height * (FORWARD + np.array([0.5, 1, 0.4, 0, 0, 0, 0, 0]) * posture[0]
                      + np.array([0, 0, 0.7, 1, 0.4, 0, 0, 0]) * (posture[1] + 0.05 * belly)
                      + np.array([0, 0, 0, 0.2, 1, 0.6, 0.2, 0]) * posture[2]),
    hair=height * rng.uniform(0.022, 0.045) if long_hair else 0.0,
    hair_drop=height * rng.uniform(-0.02, 0.10) if long_hair else 0.0,
  )
