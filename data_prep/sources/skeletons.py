"""Motion capture files to joint positions: Acclaim (ASF skeleton, AMC motion) and BioVision (BVH).

Only forward kinematics: what a joint is called and where it is, frame by frame. Bodies are put on by the renderer.
"""

import dataclasses
import pathlib
import re

import numpy as np
from scipy.spatial.transform import Rotation

from fgait_jax.errors import DataError

INCH = 0.0254  # metres
ASF_RATE = 120.0  # AMC files do not say their rate; the CMU recordings are at 120 Hz


@dataclasses.dataclass(frozen=True)
class Motion:
  """Joint name -> float64 [time, 3] in metres, y up; `rate` in frames per second."""

  joints: dict[str, np.ndarray]
  rate: float

  def __len__(self) -> int:
    return len(next(iter(self.joints.values())))

  def resampled(self, rate: float) -> "Motion":
    """The motion at `rate` frames per second, joints interpolated linearly."""
    old = np.arange(len(self)) / self.rate
    new = np.arange(0, old[-1] + 1e-9, 1 / rate)
    joints = {
      name: np.stack([np.interp(new, old, xyz[:, axis]) for axis in range(3)], axis=1)
      for name, xyz in self.joints.items()
    }
    return Motion(joints, rate)


@dataclasses.dataclass(frozen=True)
class _Bone:
  parent: str
  offset: np.ndarray  # bone's end in its parent's frame, in metres
  axis: Rotation  # of the frame its own angles are measured in
  channels: str  # of x, y, z, in file order


def _number(text: str, path: pathlib.Path, what: str) -> float:
  try:
    return float(text)
  except ValueError:
    raise DataError(f"{path}: {what} should be a number, found {text!r}") from None


def read_asf(path: str | pathlib.Path) -> tuple[dict[str, _Bone], float]:
  """Bones of an Acclaim skeleton in an order that has parents first, and the metres that one of its units is."""
  path = pathlib.Path(path)
  text = re.sub(r"#.*", "", path.read_text(errors="replace"))
  sections = dict(re.findall(r"^:(\w+)(.*?)(?=^:|\Z)", text, re.MULTILINE | re.DOTALL))
  for name in ("units", "bonedata", "hierarchy"):
    if name not in sections:
      raise DataError(f"{path}: no :{name} section; expected an Acclaim skeleton (.asf)")
  scale = re.search(r"length\s+(\S+)", sections["units"])
  metre = INCH / (_number(scale[1], path, "units length") if scale else 1.0)
  parents = {}
  for line in sections["hierarchy"].splitlines():
    parent, *children = line.split() or [""]
    parents |= dict.fromkeys(children, parent) if parent not in ("begin", "end") else {}
  bones = {}
  for block in re.findall(r"begin(.*?)end", sections["bonedata"], re.DOTALL):
    field = {line.split()[0]: line.split()[1:] for line in block.splitlines() if line.split()}
    name = field["name"][0]
    if name not in parents:
      raise DataError(f"{path}: bone {name!r} is not in the :hierarchy section")
    direction = np.array([_number(value, path, f"direction of {name}") for value in field["direction"]])
    length = _number(field["length"][0], path, f"length of {name}")
    angles = [_number(value, path, f"axis of {name}") for value in field["axis"][:3]]
    channels = "".join(dof[1] for dof in field["dof"]) if "dof" in field else ""
    bones[name] = _Bone(
      parents[name], direction * length * metre, Rotation.from_euler("xyz", angles, degrees=True), channels
    )
  return {name: bones[name] for name in _parents_first(parents, bones, path)}, metre


def _parents_first(parents: dict[str, str], bones: dict, path: pathlib.Path) -> list[str]:
  ordered = []
  while len(ordered) < len(bones):
    ready = [n for n in bones if n not in ordered and (parents[n] == "root" or parents[n] in ordered)]
    if not ready:
      raise DataError(f"{path}: bones {sorted(set(bones) - set(ordered))} hang on no root")
    ordered += ready
  return ordered


def read_amc(path: str | pathlib.Path, asf: str | pathlib.Path, *, rate: float = ASF_RATE) -> Motion:
  """Joint positions of an Acclaim motion; every bone's joint is its far end, and "root" the pelvis."""
  path = pathlib.Path(path)
  bones, metre = read_asf(asf)
  values = _amc_values(path, bones)
  root = values["root"]
  rotations = {"root": Rotation.from_euler("xyz", root[:, 3:6], degrees=True)}
  joints = {"root": root[:, :3] * metre}
  for name, bone in bones.items():
    rotation = rotations[bone.parent]
    if bone.channels:
      angles = np.zeros((len(root), 3))
      angles[:, ["xyz".index(channel) for channel in bone.channels]] = values[name]
      rotation = rotation * bone.axis * Rotation.from_euler("xyz", angles, degrees=True) * bone.axis.inv()
    rotations[name] = rotation
    joints[name] = joints[bone.parent] + rotation.apply(bone.offset)
  return Motion(joints, rate)


def _amc_values(path: pathlib.Path, bones: dict[str, _Bone]) -> dict[str, np.ndarray]:
  """Channel values of every moving bone, [time, channels]."""
  wanted = {"root": 6} | {name: len(bone.channels) for name, bone in bones.items() if bone.channels}
  frames: dict[str, list] = {name: [] for name in wanted}
  count = 0
  for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
    name, *rest = line.split() or ["#"]
    if name.startswith(("#", ":")):
      continue
    if name.isdigit() and not rest:
      count += 1
    elif name in wanted:
      if len(rest) != wanted[name]:
        raise DataError(f"{path}:{number}: {name} has {len(rest)} values, its skeleton says {wanted[name]}")
      frames[name].append([_number(value, path, f"line {number}") for value in rest])
    elif name not in bones:
      raise DataError(f"{path}:{number}: bone {name!r} is not in the skeleton; is this its .asf?")
  for name, rows in frames.items():
    if len(rows) != count or not count:
      raise DataError(f"{path}: {name} has {len(rows)} frames of {count}; the file is cut short or not an .amc")
  return {name: np.array(rows) for name, rows in frames.items()}


def read_bvh(path: str | pathlib.Path, *, metre: float = 0.01) -> Motion:
  """Joint positions of a BioVision file; `metre` is the length of its unit (centimetres by default)."""
  path = pathlib.Path(path)
  head, found, tail = path.read_text(errors="replace").partition("MOTION")
  if not found:
    raise DataError(f"{path}: no MOTION section; expected a BioVision file (.bvh)")
  joints, stack = [], []  # (name, parent, offset, channels)
  words = iter(head.split())
  for word in words:
    if word in ("ROOT", "JOINT", "End"):
      name = next(words)
      joints.append([f"{stack[-1]}_end" if word == "End" else name, stack[-1] if stack else None, np.zeros(3), []])
    elif word == "{":
      stack.append(joints[-1][0])
    elif word == "}":
      stack.pop()
    elif word == "OFFSET":
      joints[-1][2] = np.array([_number(next(words), path, "OFFSET") for _ in range(3)]) * metre
    elif word == "CHANNELS":
      joints[-1][3] = [next(words) for _ in range(int(next(words)))]
  count = re.search(r"Frames:\s*(\d+)", tail)
  period = re.search(r"Frame Time:\s*(\S+)", tail)
  if not count or not period:
    raise DataError(f"{path}: the MOTION section does not say 'Frames:' and 'Frame Time:'")
  columns = sum(len(channels) for *_, channels in joints)
  numbers = np.array([_number(value, path, "motion") for value in tail[period.end() :].split()])
  if numbers.size != int(count[1]) * columns or not numbers.size:
    raise DataError(f"{path}: {numbers.size} motion values, expected {count[1]} frames x {columns} channels")
  return Motion(_bvh_positions(joints, numbers.reshape(-1, columns), metre), 1 / float(period[1]))


def _bvh_positions(joints: list, values: np.ndarray, metre: float) -> dict[str, np.ndarray]:
  positions, rotations, column = {}, {}, 0
  for name, parent, offset, channels in joints:
    block = values[:, column : column + len(channels)]
    column += len(channels)
    turns = [i for i, channel in enumerate(channels) if channel.endswith("rotation")]
    order = "".join(channels[i][0] for i in turns)
    own = Rotation.from_euler(order, block[:, turns], degrees=True) if turns else Rotation.identity()
    place = np.tile(offset, (len(values), 1))
    for i, channel in enumerate(channels):
      if channel.endswith("position"):
        place[:, "XYZ".index(channel[0])] = block[:, i] * metre
    rotations[name] = own if parent is None else rotations[parent] * own
    positions[name] = place if parent is None else positions[parent] + rotations[parent].apply(place)
  return positions
