"""The solids of every frame: limbs as tapered capsules, trunk and coat as stacks of ellipses, bags as boxes."""

import dataclasses

import numpy as np

from data_prep.walkers.anthropometry import SECTIONS, Subject
from data_prep.walkers.clothing import Outfit
from data_prep.walkers.kinematics import Pose

SKIRT_STEPS = 5  # ellipses of the garment below the hips


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capsules:
  """Convex hulls of two balls: centres [solid, time, 3] and radii [solid] in metres, `names` of the body parts."""

  names: tuple[str, ...]
  starts: np.ndarray
  ends: np.ndarray
  start_radii: np.ndarray
  end_radii: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack:
  """Level ellipses, lowest first: centres [section, time, 3], half-axes and turn about z, each [section, time]."""

  centres: np.ndarray
  half_depth: np.ndarray  # along the body's own forward direction
  half_width: np.ndarray
  turn: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solids:
  """Everything that covers the background in a walk; `boxes` are corner points [box, time, 8, 3]."""

  capsules: Capsules
  stacks: tuple[Stack, ...]
  boxes: np.ndarray


def build_body(subject: Subject, outfit: Outfit, pose: Pose) -> Solids:
  """The solids of the dressed body in every frame of `pose`."""
  return Solids(
    capsules=_limbs(subject, outfit, pose),
    stacks=(_trunk(subject, outfit, pose), _skirt(subject, outfit, pose)),
    boxes=_bag(subject, outfit, pose),
  )


def _limbs(subject: Subject, outfit: Outfit, pose: Pose) -> Capsules:
  joints, solids = pose.joints, []

  def add(name, start, start_radius, end, end_radius):
    solids.append((name, start, end, start_radius, end_radius))

  for side in (0, 1):
    hip, knee, ankle, toe, heel, shoulder, elbow, wrist, hand = (
      joints[f"{name}{side}"]
      for name in ("hip", "knee", "ankle", "toe", "heel", "shoulder", "elbow", "wrist", "hand")
    )
    thigh = np.array(subject.thigh_radii) + outfit.trousers
    shank = np.array(subject.shank_radii) + 0.8 * outfit.trousers
    middle, calf = hip + 0.45 * (knee - hip), knee + 0.3 * (ankle - knee)
    add("thigh", hip, thigh[0], middle, thigh[1])
    add("thigh", middle, thigh[1], knee, thigh[2])
    add("shank", knee, thigh[2], calf, max(shank[1], 0.8 * shank[0]) + 0.4 * outfit.hem)
    add("shank", calf, shank[1] + 0.4 * outfit.hem, ankle, shank[2] + outfit.hem)
    add("foot", heel, subject.foot_radii[0] + outfit.shoe, toe, subject.foot_radii[1] + outfit.shoe)
    add("foot", ankle, shank[2], heel + 0.45 * (toe - heel), subject.foot_radii[0] + outfit.shoe)
    arm = np.array(subject.arm_radii) + outfit.sleeve
    add("arm", shoulder, arm[0] + 0.3 * outfit.top, elbow, arm[1])
    add("arm", elbow, arm[1], wrist, arm[2])
    add("hand", wrist, subject.arm_radii[2], hand, 0.9 * subject.arm_radii[2])
  skull, jaw, chest = joints["skull"], joints["jaw"], joints["chest"]
  nape = skull - 0.5 * (jaw - skull) * (1.0, 1.0, 0.0) - (0.0, 0.0, 0.02 * subject.height)
  add("head", skull, subject.skull, jaw, subject.jaw)
  add("neck", chest, 0.038 * subject.height + outfit.hood, nape, 0.036 * subject.height + 0.8 * outfit.hood)
  if subject.hair:
    loose = nape - (0.01 * subject.height, 0.0, subject.hair_drop)
    add("hair", skull - (0.015, 0.0, 0.0), subject.skull * 1.04, loose, subject.hair)
  return Capsules(
    names=tuple(s[0] for s in solids),
    starts=np.stack([s[1] for s in solids]),
    ends=np.stack([s[2] for s in solids]),
    start_radii=np.array([s[3] for s in solids]),
    end_radii=np.array([s[4] for s in solids]),
  )


def _trunk(subject: Subject, outfit: Outfit, pose: Pose) -> Stack:
  turn = pose.pelvis_turn + np.clip(SECTIONS, 0, 1)[:, None] * (pose.thorax_turn - pose.pelvis_turn)
  centres = pose.joints["pelvis"] + subject.trunk * SECTIONS[:, None, None] * pose.trunk_axis
  ahead = np.stack([np.cos(turn), np.sin(turn), 0 * turn], -1)
  loose = outfit.top * np.array([0.7, 1.0, 1.2, 1.3, 0.9, 0.7, 0.5, 0.4])
  return Stack(
    centres=centres + subject.forward[:, None, None] * ahead,
    half_depth=np.broadcast_to((subject.depths + loose)[:, None], turn.shape),
    half_width=np.broadcast_to((subject.widths + loose)[:, None], turn.shape),
    turn=turn,
  )


def _skirt(subject: Subject, outfit: Outfit, pose: Pose) -> Stack:
  """The garment below the hips: wide enough for the hips above and for both thighs at every level."""
  down = outfit.skirt * np.linspace(1, 0, SKIRT_STEPS)[:, None, None]
  legs = np.stack([pose.joints[f"hip{s}"] + down * (pose.joints[f"knee{s}"] - pose.joints[f"hip{s}"]) for s in (0, 1)])
  centres = legs.mean(0)
  spread = np.abs(legs[0] - legs[1]) / 2
  share = down[..., 0] / max(outfit.skirt, 1e-6)  # 1 at the hem
  radius = np.interp(down[..., 0], (0, 0.45, 1), subject.thigh_radii) + outfit.trousers + outfit.flare * share
  hips = np.array([subject.depths[1], subject.widths[1]]) + outfit.top
  # Cloth hangs from the hips, and the legs push it out: the larger of both sizes counts.
  hang = 1 - 0.25 * down[..., 0]
  legs_depth, legs_width = spread[..., 0] + radius, spread[..., 1] + radius
  return Stack(
    centres=centres,
    half_depth=np.maximum(legs_depth, hang * hips[0] + outfit.flare * share),
    half_width=np.maximum(legs_width, hang * hips[1] + outfit.flare * share),
    turn=np.broadcast_to(pose.pelvis_turn, share.shape[:1] + pose.pelvis_turn.shape),
  )


def _bag(subject: Subject, outfit: Outfit, pose: Pose) -> np.ndarray:
  frames = len(pose.pelvis_turn)
  if not outfit.bag:
    return np.zeros((0, frames, 8, 3))
  turn, side = pose.pelvis_turn, 1.0 - 2 * outfit.bag_side
  middle = pose.joints["pelvis"] + subject.trunk * outfit.bag_height * pose.trunk_axis
  if outfit.bag == "backpack":
    turn = pose.thorax_turn
    offset = -(np.interp(outfit.bag_height, SECTIONS, subject.depths) + 0.7 * outfit.bag_size[0] + outfit.top), 0.0
  elif outfit.bag == "shoulder bag":
    offset = -0.03, side * (subject.widths[1] + outfit.top + 0.7 * outfit.bag_size[1])
  else:
    middle = pose.joints[f"hand{outfit.bag_side}"] - (0.0, 0.0, outfit.bag_size[2] + 0.07)
    offset = 0.0, side * 0.02
  ahead = np.stack([np.cos(turn), np.sin(turn), 0 * turn], -1)[:, None]
  left = np.stack([-np.sin(turn), np.cos(turn), 0 * turn], -1)[:, None]
  up = (pose.trunk_axis if outfit.bag == "backpack" else np.broadcast_to((0.0, 0.0, 1.0), middle.shape))[:, None]
  signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * outfit.bag_size
  signs[:, :2] *= np.where(signs[:, 2:] > 0, 0.85, 1.0)  # narrower at the top
  corners = signs[:, :1] * ahead + signs[:, 1:2] * left + signs[:, 2:] * up
  return (middle[:, None] + offset[0] * ahead + offset[1] * left + corners)[None]
