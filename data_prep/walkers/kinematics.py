"""Kinematics of a walk: joint angles as Fourier series of the gait phase, and the joint positions they give.

Axes: x the walking direction, y to the walker's left, z up; metres, radians, seconds. Average curves are normal adult
gait (after Winter, The Biomechanics and Motor Control of Human Gait, 1991), read off at a few phases. A subject
changes every harmonic a little, and timing, arms, trunk and symmetry more; a walk changes speed and adds noise.
"""

import dataclasses

import numpy as np

from data_prep.walkers.anthropometry import Subject
from data_prep.walkers.randomness import around_one, generator

HARMONICS = 5
# Percent of the cycle from heel strike -> degrees. Thigh against the vertical, knee flexion, foot against the shank.
CURVES = {
  "hip": ((0, 10, 20, 30, 40, 50, 55, 60, 70, 80, 90, 95), (26, 23, 14, 5, -5, -13, -14, -11, 6, 22, 29, 28)),
  "knee": ((0, 7, 14, 25, 40, 48, 55, 62, 70, 75, 82, 90, 96), (4, 14, 18, 13, 5, 9, 25, 45, 60, 60, 46, 20, 4)),
  "ankle": ((0, 6, 14, 30, 44, 52, 60, 64, 72, 80, 90), (0, -6, 0, 8, 11, 4, -16, -18, -8, 0, 2)),
}


def _fourier(phases: tuple, degrees: tuple) -> np.ndarray:
  """Complex coefficients [HARMONICS + 1] of the closed curve through the points; their real sum gives radians."""
  at = np.interp(np.arange(100), phases, degrees, period=100)
  coefficients = np.fft.rfft(np.radians(at))[: HARMONICS + 1] / 100
  coefficients[1:] *= 2
  return coefficients


AVERAGE = {joint: _fourier(*points) for joint, points in CURVES.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gait:
  """A manner of walking. Pairs are (left, right)."""

  curves: dict[str, np.ndarray]  # joint -> complex [2, HARMONICS + 1]
  cadence: float  # cycles per second
  half_cycle: float  # phase of the right leg behind the left; 0.5 is even
  step_width: tuple[float, float]  # sideways angle of each leg
  toe_out: tuple[float, float]
  arm_swing: tuple[float, float]
  arm_rest: tuple[float, float]
  arm_lag: tuple[float, float]
  arm_out: tuple[float, float]
  elbow: tuple[float, float]
  elbow_swing: tuple[float, float]
  pelvis_turn: float
  pelvis_drop: float
  thorax_turn: float
  lean: float  # of the trunk, forwards
  lean_swing: float
  side_lean: float  # of the trunk, to the left: what `asymmetry` measures
  side_swing: float
  sway: float  # of the pelvis, metres
  bounce: float  # metres beyond what the legs' geometry gives
  neck: float  # forwards
  nod: float


# How much wider the crowd's joint curves spread than the walkers': their means, then every harmonic. After the
# deviations of Schwartz et al. (J. Biomech. 2008) and Olshen et al. (Ann. Statist. 1989), hip, knee and ankle together.
AS_MEASURED = np.array([1.5, 1.4, 1.9, 2.2, 1.6, 1.4])


def draw_gait(subject: Subject, *, seed: int, spread: np.ndarray | None = None) -> Gait:
  """The subject's gait, the same in all walks. `spread` [HARMONICS + 1] scales the differences between persons."""
  spread = np.ones(HARMONICS + 1) if spread is None else spread
  rng = generator(seed, "gait", subject.name)
  uneven = rng.gamma(1.5, 0.4)  # most walk nearly evenly, some do not
  stride = 0.92 * around_one(rng, 0.08)
  curves = {}
  for joint, average in AVERAGE.items():
    own = average * around_one(rng, 0.08) * (stride if joint == "hip" else 1.0)
    own[1:] *= np.exp(1j * rng.normal(0, 0.06) * np.arange(1, HARMONICS + 1))
    own[1:] += np.abs(average[1:]) * 0.12 * spread[1:] * _complex_normal(rng, HARMONICS)
    own[0] = average[0] + spread[0] * np.radians(rng.normal(0, {"hip": 2.0, "knee": 3.5, "ankle": 3.0}[joint]))
    both = np.stack([own, own])
    both[:, 1:] *= 1 + 0.06 * uneven * rng.normal(0, 1, (2, 1))
    both[:, 0] += np.radians(1.2) * uneven * rng.normal(0, 1, 2)
    curves[joint] = both

  def pair(mean: float, spread: float, side_spread: float) -> tuple[float, float]:
    """Radians of both sides from degrees."""
    return tuple(np.radians(rng.normal(mean, spread) + side_spread * uneven * rng.normal(0, 1, 2)))

  swing = 22 * around_one(rng, 0.38)
  return Gait(
    curves=curves,
    cadence=float(np.clip(0.94 * np.sqrt(1.70 / subject.height) * around_one(rng, 0.07), 0.7, 1.2)),
    half_cycle=0.5 + 0.012 * uneven * rng.normal(),
    step_width=pair(0.6 + 0.8 * subject.stoutness, 1.2, 0.5),
    toe_out=pair(8, 6, 3),
    arm_swing=tuple(np.radians(swing * np.exp(0.2 * uneven * rng.normal(0, 1, 2)))),
    arm_rest=pair(-4, 6, 2),
    arm_lag=tuple(rng.normal(0.15, 0.2) + 0.1 * uneven * rng.normal(0, 1, 2)),
    arm_out=pair(8 + 7 * (subject.stoutness - 0.9), 2.5, 1),
    elbow=pair(20, 8, 4),
    elbow_swing=pair(12, 6, 3),
    pelvis_turn=np.radians(5 * around_one(rng, 0.4)),
    pelvis_drop=np.radians((5, 3.5)[subject.sex] * around_one(rng, 0.35)),
    thorax_turn=np.radians(5 * around_one(rng, 0.4)),
    lean=np.radians(rng.normal(4, 3.2)),
    lean_swing=np.radians(1.2 * around_one(rng, 0.4)),
    side_lean=np.radians(rng.normal(0, 1.6) * (0.4 + uneven)),
    side_swing=np.radians(rng.normal(2.0, 1.3)),
    sway=0.02 * around_one(rng, 0.4),
    bounce=rng.normal(0.0, 0.006),
    neck=np.radians(rng.normal(18, 7)),
    nod=np.radians(1.5 * around_one(rng, 0.5)),
  )


def _complex_normal(rng: np.random.Generator, size: int) -> np.ndarray:
  return (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pose:
  """Positions of the joints over a walk, each [time, 3], relative to the body's position; turns about z [time].

  Names of paired joints end in 0 (left) or 1 (right). `travelled` [time] is the distance covered along x, 0 in the
  middle of the walk.
  """

  joints: dict[str, np.ndarray]
  pelvis_turn: np.ndarray
  thorax_turn: np.ndarray
  trunk_axis: np.ndarray  # unit vector from the hips to the shoulders
  travelled: np.ndarray


def walk(
  subject: Subject, gait: Gait, *, rng: np.random.Generator, frames: int, rate: float, carrying: tuple[float, float],
  tempo: tuple[float, float] | None = None,
) -> Pose:
  """One walk of `frames` frames at `rate` per second. `carrying` scales the swing of the left and right arm, `tempo`
  cadence and step length; without `tempo`, the walk's pace varies a little about the person's own."""
  pace = around_one(rng, 0.06)
  length = pace * around_one(rng, 0.03)
  pace, length = tempo or (pace, length)
  time = np.arange(frames) / rate
  wander = 0.012 * np.sin(2 * np.pi * (rng.uniform(0.15, 0.4) * time + rng.random())) * rng.normal()
  phase = rng.random() + gait.cadence * pace * time + wander
  mood = np.radians(rng.normal(0, 1.4, 8))  # degrees of a day's posture
  liveliness = around_one(rng, 0.18)  # of the arms
  parts = _Parts(subject, gait, phase, rng)
  joints: dict[str, np.ndarray] = {}
  cycle = np.cos(2 * np.pi * phase)
  pelvis_turn = -gait.pelvis_turn * length * cycle
  thorax_turn = gait.thorax_turn * length * np.cos(2 * np.pi * phase - 0.3) + 0.5 * mood[0]
  drop = gait.pelvis_drop * np.sin(2 * np.pi * phase)
  pelvis = np.stack([0 * phase, -gait.sway * np.sin(2 * np.pi * phase - 0.5), 0 * phase], -1)
  joints["pelvis"] = pelvis
  for side, sign in enumerate((1.0, -1.0)):
    parts.leg(joints, side, sign, pelvis_turn, drop, length)
  forwards = gait.lean + mood[1] + 1.5 * np.radians(pace - 1) * 10 + gait.lean_swing * np.cos(4 * np.pi * phase - 0.6)
  sideways = gait.side_lean + 0.5 * mood[2] - gait.side_swing * np.sin(2 * np.pi * phase - 0.3)
  axis = _unit(np.stack([np.sin(forwards), np.sin(sideways), np.cos(forwards) * np.cos(sideways)], -1))
  chest = pelvis + subject.trunk * axis
  nod = forwards * 0.3 + gait.neck + mood[3] * 2 + gait.nod * np.cos(4 * np.pi * phase)
  up = _unit(np.stack([np.sin(nod), 0.5 * np.sin(sideways), np.cos(nod)], -1))
  joints["chest"], joints["skull"] = chest, chest + subject.neck * up
  gaze = _along(-np.radians(14) + 0.5 * nod + 2 * mood[4], 0.3 * thorax_turn)
  joints["jaw"] = joints["skull"] + subject.height * (0.022 * gaze - 0.036 * up)
  for side, sign in enumerate((1.0, -1.0)):
    parts.arm(joints, side, sign, chest, thorax_turn, length * carrying[side] * liveliness, mood[5 + side])
  lowest = np.minimum.reduce([
    joints[f"{place}{side}"][:, 2] - radius
    for side in (0, 1) for place, radius in zip(("heel", "toe"), subject.foot_radii, strict=True)
  ])
  lift = gait.bounce * np.cos(4 * np.pi * phase) - lowest
  for name in joints:
    joints[name] = joints[name] + lift[:, None] * (0.0, 0.0, 1.0)
  speed = gait.cadence * pace * length * 4.0 * (subject.thigh + subject.shank) * np.abs(gait.curves["hip"][0, 1])
  return Pose(
    joints=joints, pelvis_turn=pelvis_turn, thorax_turn=thorax_turn, trunk_axis=axis,
    travelled=speed * (time - time[-1] / 2),
  )


def turned(pose: Pose, angle: np.ndarray) -> Pose:
  """The walk with the body turned to the left by `angle` [time] radians about its own position."""
  cosine, sine = np.cos(angle), np.sin(angle)

  def rotated(vectors: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], -1)

  return dataclasses.replace(
    pose, joints={name: rotated(place) for name, place in pose.joints.items()}, trunk_axis=rotated(pose.trunk_axis),
    pelvis_turn=pose.pelvis_turn + angle, thorax_turn=pose.thorax_turn + angle,
  )


class _Parts:
  """Limbs of one walk."""

  def __init__(self, subject: Subject, gait: Gait, phase: np.ndarray, rng: np.random.Generator):
    self.subject, self.gait, self.phase, self.rng = subject, gait, phase, rng

  def _angle(self, joint: str, side: int, length: float) -> np.ndarray:
    """Radians over the walk, with this walk's own deviation and unsteadiness."""
    own = self.gait.curves[joint][side].copy()
    own[1:] += np.abs(own[1:]) * 0.08 * _complex_normal(self.rng, HARMONICS)
    own[1] *= length
    own[0] += np.radians(1.3) * self.rng.normal()
    at = self.phase - (side * self.gait.half_cycle)
    waves = np.exp(2j * np.pi * at[:, None] * np.arange(HARMONICS + 1))
    return (waves @ own).real + np.radians(0.5) * self.rng.standard_normal(len(at))

  def leg(self, joints, side, sign, pelvis_turn, drop, length) -> None:
    subject, gait = self.subject, self.gait
    thigh = self._angle("hip", side, length)
    shank = thigh - np.maximum(self._angle("knee", side, length), 0.0)
    foot = shank + self._angle("ankle", side, length)
    outwards = sign * gait.step_width[side]
    across = np.stack([-np.sin(pelvis_turn), np.cos(pelvis_turn), sign * np.sin(drop)], -1)
    hip = joints["pelvis"] + sign * subject.hip_half * across
    knee = hip + subject.thigh * _hanging(thigh, 0.6 * outwards)
    ankle = knee + subject.shank * _hanging(shank, 0.4 * outwards - 0.5 * sign * gait.step_width[side])
    ahead = _along(foot, sign * gait.toe_out[side] + 0.3 * pelvis_turn)
    below = _hanging(foot, 0.0)
    sole = ankle + (subject.ankle_height - subject.foot_radii[1]) * below
    joints[f"hip{side}"], joints[f"knee{side}"], joints[f"ankle{side}"] = hip, knee, ankle
    joints[f"heel{side}"] = (
      ankle + (subject.ankle_height - subject.foot_radii[0]) * below - 0.16 * subject.foot * ahead
    )
    joints[f"toe{side}"] = sole + 0.66 * subject.foot * ahead

  def arm(self, joints, side, sign, chest, thorax_turn, swing, mood) -> None:
    subject, gait = self.subject, self.gait
    across = np.stack([-np.sin(thorax_turn), np.cos(thorax_turn), 0 * thorax_turn], -1)
    wave = -np.cos(2 * np.pi * (self.phase - side * gait.half_cycle) - gait.arm_lag[side])
    upper = gait.arm_rest[side] + 2 * mood + gait.arm_swing[side] * swing * wave
    bend = np.maximum(gait.elbow[side] + 2 * mood + gait.elbow_swing[side] * swing * wave, np.radians(3))
    outwards = sign * gait.arm_out[side]
    shoulder = chest + sign * subject.shoulder_half * across - 0.045 * subject.height * np.array([0.0, 0.0, 1.0])
    elbow = shoulder + subject.upper_arm * _hanging(upper, outwards)
    wrist = elbow + subject.forearm * _hanging(upper + bend, 0.2 * outwards)
    joints[f"shoulder{side}"], joints[f"elbow{side}"], joints[f"wrist{side}"] = shoulder, elbow, wrist
    joints[f"hand{side}"] = wrist + subject.hand * _hanging(upper + 1.1 * bend, 0.0)


def _unit(vector: np.ndarray) -> np.ndarray:
  return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _hanging(forwards: np.ndarray, sideways: float) -> np.ndarray:
  """Unit vectors [time, 3] that point down, turned forwards and to the left."""
  return _unit(np.stack([np.sin(forwards), np.full_like(forwards, np.sin(sideways)), -np.cos(forwards)], -1))


def _along(upwards: np.ndarray, turn: np.ndarray | float) -> np.ndarray:
  """Unit vectors [time, 3] that point ahead, tipped up and turned to the left."""
  turn = np.broadcast_to(turn, upwards.shape)
  return np.stack([np.cos(upwards) * np.cos(turn), np.cos(upwards) * np.sin(turn), np.sin(upwards)], -1)
