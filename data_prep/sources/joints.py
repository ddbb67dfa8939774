"""Finds a body's joints in any maker's skeleton by their names, turns them upright and checks the stature."""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.sources.base import Dropped, some
from data_prep.sources.skeletons import Motion

# Acclaim's joints are the far ends of its bones.
_ACCLAIM = {
  "hip": ("hipjoint",), "knee": ("femur",), "ankle": ("tibia",), "toe": ("toes",), "shoulder": ("clavicle",),
  "elbow": ("humerus",), "wrist": ("radius",), "hand": ("hand",),
}  # fmt: skip
# In other formats a joint is where its bone begins. The first name found is taken: a "shoulder" is the collar bone
# where there is an "arm", and a "foot" is the toes where there is an "ankle" (SMPL).
_OTHERS = {
  "hip": ("upleg", "upperleg", "thigh", "hip"),
  "knee": ("leg", "lowerleg", "shin", "calf", "knee"),
  "ankle": ("ankle", "foot"),
  "toe": ("toebase", "toe", "toes", "toe0", "ball", "foot", "footend"),
  "shoulder": ("arm", "upperarm", "shldr", "shoulder"),
  "elbow": ("forearm", "lowerarm", "elbow"),
  "wrist": ("wrist", "hand"),
  "hand": ("hand", "palm", "wrist"),
}
_SIDES = (("left", "right"), ("l", "r"))
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "cmu": 0.0254 / 0.45}  # metres; cmu: as CMU's own .asf
UP = ("x", "y", "z", "-x", "-y", "-z")
# Which axes of the file become ours, z up, without mirroring.
_AXES = {"x": [1, 2, 0], "y": [2, 0, 1], "z": [0, 1, 2]}
STATURES = (1.0, 2.3)  # metres; of a person who walks
REACH = 3.0  # metres from the hips, beyond any joint of theirs
SKULL = 0.93  # of stature: the last bone ends in the middle of the skull (Drillis and Contini)


def body_joints(motion: Motion, where: str, *, up: str = "y") -> dict[str, np.ndarray]:
  """The joints on which a body is built, "hip0" (left) to "hand1" and "skull", each [time, 3] in metres, z up.

  `up` is the motion's axis that points up. Raises `Dropped` for a skeleton that lacks a joint, is not upright, or has
  no human stature; the message names the flag that corrects it.
  """
  found = {slot: motion.joints[name] for slot, name in _slots(list(motion.joints), where).items()}
  _check_upright(found, where, up=up)
  order = _AXES[up[-1]]
  turn = (1, -1, -1) if up[0] == "-" else (1, 1, 1)
  placed = {slot: xyz[:, order] * turn for slot, xyz in found.items()}
  _check_stature(stature_of(placed), where, metre=motion.metre)
  _check_reach(placed, where)
  return placed


def stature_of(joints: Mapping[str, np.ndarray]) -> float:
  """The person's stature in metres; `joints` [time, 3] have z up."""
  sole = np.minimum(joints["toe0"][:, 2], joints["toe1"][:, 2])
  return float(np.percentile(joints["skull"][:, 2] - sole, 90)) / SKULL


def _named(joints: Sequence[str]) -> dict[str, str]:
  """Plain name -> the file's name. Plain: without prefix ("mixamorig:", "Bip01 "), capitals and separators."""
  bare = {name: name.rpartition(":")[2] for name in joints}
  prefix = os.path.commonprefix(list(bare.values())[1:])  # the root may bear a name of its own
  return {re.sub(r"[^a-z0-9]", "", name.removeprefix(prefix).lower()): whole for whole, name in bare.items()}


def _slots(joints: Sequence[str], where: str) -> dict[str, str]:
  """Joint of the body -> the skeleton's name for it; raises `Dropped` where some are missing."""
  named, lacking = _named(joints), []
  for table in (_ACCLAIM, _OTHERS):
    for sides in _SIDES:
      found, missing = {}, []
      for slot, names in {**table, "skull": ("head",)}.items():
        for side, word in enumerate(sides) if slot != "skull" else ((0, ""),):
          wanted = [form for name in names for form in (f"{word}{name}", f"{name}{word}")]
          taken = found.get(f"ankle{side}") if slot == "toe" else None  # "foot" is either
          match = next((named[form] for form in wanted if form in named and named[form] != taken), None)
          if match is None:
            missing.append(wanted[0])
          else:
            found[slot if slot == "skull" else f"{slot}{side}"] = match
      if not missing:
        return found
      lacking.append(missing)
  raise Dropped(
    "unknown skeleton", f"{where}: joints {min(lacking, key=len)} are missing; it has {some(map(str, joints), 30)}"
  )


def _check_upright(joints: Mapping[str, np.ndarray], where: str, *, up: str) -> None:
  tall = np.median(joints["skull"] - (joints["ankle0"] + joints["ankle1"]) / 2, axis=0)
  axis = int(np.argmax(np.abs(tall)))
  actual = ("-" if tall[axis] < 0 else "") + "xyz"[axis]
  if actual != up:
    raise Dropped(
      "the head is not above the feet",
      f"{where}: {actual} points up in this file, {up} was expected; if all recordings are so, give --up={actual}",
    )


def _check_reach(joints: Mapping[str, np.ndarray], where: str) -> None:
  """A joint that is far away in any frame would make a picture as large as the way there."""
  middle = (joints["hip0"] + joints["hip1"]) / 2
  for name, place in joints.items():
    if not (far := np.abs(place - middle).max()) <= REACH:
      raise Dropped("a joint is far from the body", f"{where}: {name} is {far:.3g} m from the hips in a frame")


def _check_stature(stature: float, where: str, *, metre: float) -> None:
  low, high = STATURES
  if low <= stature <= high:
    return
  message = f"{where}: {stature:.3g} m tall if a unit of the file is {metre:.3g} m"
  usual = {name: stature / metre * other for name, other in UNITS.items()}
  likely = min(usual, key=lambda name: abs(np.log(usual[name] / 1.7)))
  if low <= usual[likely] <= high:
    message += f"; it seems to be {likely} ({usual[likely]:.2f} m tall), which --unit={likely} sets"
  raise Dropped("no human stature", f"{message}; expected {low:g} to {high:g} m")
