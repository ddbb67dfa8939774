"""Motion capture files to joint positions: Acclaim (ASF skeleton, AMC motion) and BioVision (BVH).

Forward kinematics only: the joints' names, and their positions in every frame. The renderer adds the body.
"""

import dataclasses
import math
import pathlib
import re

import numpy as np
from scipy.spatial.transform import Rotation

from fgait_jax.errors import DataError

INCH = 0.0254  # metres
BVH_UNIT = 0.01  # metres: BVH files do not say their unit; centimetres are usual
ASF_RATE = 120.0  # AMC files do not say their rate; the CMU recordings are at 120 Hz
_ROOT_CHANNELS = ("tx", "ty", "tz", "rx", "ry", "rz")


@dataclasses.dataclass(frozen=True)
class Motion:
  """Joint name -> float64 [time, 3] in metres, in the file's own axes; `rate` in frames per second; `metre` is the
  assumed length of one unit of the file."""

  joints: dict[str, np.ndarray]
  rate: float
  metre: float = 1.0

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
    return Motion(joints, rate, self.metre)


@dataclasses.dataclass(frozen=True)
class _Bone:
  parent: str
  offset: np.ndarray  # bone's end in its parent's frame, in metres
  axis: Rotation  # of the frame its own angles are measured in
  channels: str  # of x, y, z, in the order in which the file lists and applies them


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """An Acclaim skeleton: `bones` by name, parents first; `metre` of one of its units; the `root`'s channels in their
  order; whether its angles are in `degrees`."""

  bones: dict[str, _Bone]
  metre: float
  root: tuple[str, ...]
  degrees: bool


def _number(text: str, path: pathlib.Path, what: str) -> float:
  try:
    if math.isfinite(number := float(text.replace(",", "."))):  # some programs write a decimal comma
      return number
  except ValueError:
    pass
  raise DataError(f"{path}: {what} should be a number, found {text!r}")


def read_asf(path: str | pathlib.Path, *, metre: float | None = None) -> Skeleton:
  """Reads an Acclaim skeleton; `metre` overrides the file's unit. Raises `DataError` naming the file and the fault."""
  path = pathlib.Path(path)
  text = re.sub(r"#.*", "", path.read_text(errors="replace"))
  sections = {name.lower(): body for name, body in re.findall(r"^:(\w+)(.*?)(?=^:|\Z)", text, re.M | re.S)}
  for name in ("units", "root", "bonedata", "hierarchy"):
    if name not in sections:
      raise DataError(f"{path}: no :{name} section; expected an Acclaim skeleton (.asf)")
  units, root = _fields(sections["units"]), _fields(sections["root"])
  if metre is None:
    metre = INCH / (_number(units["length"][0], path, "units length") if "length" in units else 1.0)
  degrees = _in_degrees(units.get("angle", ["deg"])[0], path)
  parents = {}
  for line in sections["hierarchy"].splitlines():
    parent, *children = line.split() or [""]
    parents |= dict.fromkeys(children, parent) if parent not in ("begin", "end") else {}
  bones = {}
  for block in re.findall(r"begin(.*?)end", sections["bonedata"], re.S):
    name, bone = _bone(_fields(block), metre, path, degrees=degrees)
    if name not in parents:
      raise DataError(f"{path}: bone {name!r} is not in the :hierarchy section")
    bones[name] = dataclasses.replace(bone, parent=parents[name])
  bones = {name: bones[name] for name in _parents_first(parents, bones, path)}
  return Skeleton(bones, metre, _root_channels(root, path), degrees)


def _fields(text: str) -> dict[str, list[str]]:
  """The first word of each line -> the others."""
  return {line.split()[0].lower(): line.split()[1:] for line in text.splitlines() if line.split()}


def _in_degrees(word: str, path: pathlib.Path) -> bool:
  for start, degrees in (("deg", True), ("rad", False)):
    if word.lower().startswith(start):
      return degrees
  raise DataError(f"{path}: angles in {word!r}; expected deg or rad")


def _bone(field: dict[str, list[str]], metre: float, path: pathlib.Path, *, degrees: bool) -> tuple[str, _Bone]:
  if lacking := [name for name in ("name", "direction", "length", "axis") if not field.get(name)]:
    raise DataError(f"{path}: a bone lacks {', '.join(lacking)} (it has {', '.join(field)})")
  name = field["name"][0]
  direction = np.array([_number(value, path, f"direction of {name}") for value in field["direction"]])
  length = _number(field["length"][0], path, f"length of {name}")
  angles = [_number(value, path, f"axis of {name}") for value in field["axis"][:3]]
  order = (field["axis"][3:] or ["XYZ"])[0].lower()
  channels = [dof.lower() for dof in field.get("dof", ())]
  if sorted(order) != ["x", "y", "z"] or not set(channels) <= {"rx", "ry", "rz"} or len(set(channels)) < len(channels):
    raise DataError(f"{path}: {name} has axis order {order!r} and dof {channels}; only turns rx, ry, rz are understood")
  axis = Rotation.from_euler(order, angles, degrees=degrees)
  return name, _Bone("", direction * length * metre, axis, "".join(channel[1] for channel in channels))


def _root_channels(root: dict[str, list[str]], path: pathlib.Path) -> tuple[str, ...]:
  order = tuple(channel.lower() for channel in root.get("order", _ROOT_CHANNELS))
  if sorted(order) != sorted(_ROOT_CHANNELS):
    raise DataError(f"{path}: :root order {' '.join(order)}; expected TX TY TZ RX RY RZ in some order")
  if any(_number(value, path, "root orientation") for value in root.get("orientation", ())):
    raise DataError(f"{path}: :root orientation {' '.join(root['orientation'])}; only 0 0 0 is understood")
  return order  # the root's `position` moves the whole walk, which is centred anyway


def _parents_first(parents: dict[str, str], bones: dict, path: pathlib.Path) -> list[str]:
  ordered = []
  while len(ordered) < len(bones):
    ready = [n for n in bones if n not in ordered and (parents[n] == "root" or parents[n] in ordered)]
    if not ready:
      raise DataError(f"{path}: bones {sorted(set(bones) - set(ordered))} hang on no root")
    ordered += ready
  return ordered


def read_amc(
  path: str | pathlib.Path, asf: str | pathlib.Path, *, metre: float | None = None, rate: float | None = None
) -> Motion:
  """Joint positions of an Acclaim motion; the joint of a bone is its far end, and "root" is the pelvis.

  `rate` is the motion's in frames per second, `ASF_RATE` where None; `metre` is that of `read_asf`.
  """
  path = pathlib.Path(path)
  skeleton = read_asf(asf, metre=metre)
  values, degrees = _amc_values(path, skeleton)
  root = values["root"]
  places = [skeleton.root.index(channel) for channel in ("tx", "ty", "tz")]
  turns = [i for i, channel in enumerate(skeleton.root) if channel[0] == "r"]
  order = "".join(skeleton.root[i][1] for i in turns)
  rotations = {"root": Rotation.from_euler(order, root[:, turns], degrees=degrees)}
  joints = {"root": root[:, places] * skeleton.metre}
  for name, bone in skeleton.bones.items():
    rotation = rotations[bone.parent]
    if bone.channels:
      own = Rotation.from_euler(bone.channels, values[name], degrees=degrees)
      rotation = rotation * bone.axis * own * bone.axis.inv()
    rotations[name] = rotation
    joints[name] = joints[bone.parent] + rotation.apply(bone.offset)
  return Motion(joints, ASF_RATE if rate is None else rate, skeleton.metre)


def _amc_values(path: pathlib.Path, skeleton: Skeleton) -> tuple[dict[str, np.ndarray], bool]:
  """Channel values of every moving bone, [time, channels], and whether the angles are in degrees."""
  bones, degrees = skeleton.bones, skeleton.degrees
  wanted = {"root": 6} | {name: len(bone.channels) for name, bone in bones.items() if bone.channels}
  frames: dict[str, list] = {name: [] for name in wanted}
  count = 0
  for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
    name, *rest = line.split() or ["#"]
    if name.lower().startswith((":deg", ":rad")):
      degrees = _in_degrees(name[1:], path)
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
  return {name: np.array(rows) for name, rows in frames.items()}, degrees


def read_bvh(path: str | pathlib.Path, *, metre: float | None = None, rate: float | None = None) -> Motion:
  """Joint positions of a BioVision file; `metre` is the length of its unit (`BVH_UNIT` where None), `rate` overrides
  the file's own."""
  path = pathlib.Path(path)
  metre = BVH_UNIT if metre is None else metre
  head, *tail = re.split(r"^\s*MOTION\b", path.read_text(errors="replace"), maxsplit=1, flags=re.M | re.I)
  if not tail:
    raise DataError(f"{path}: no MOTION section; expected a BioVision file (.bvh)")
  joints = _bvh_joints(head, path, metre)
  count = re.search(r"Frames:\s*(\d+)", tail[0], re.I)
  period = re.search(r"Frame\s+Time:\s*(\S+)", tail[0], re.I)
  if not count or not period:
    raise DataError(f"{path}: the MOTION section does not say 'Frames:' and 'Frame Time:'")
  if (seconds := _number(period[1], path, "Frame Time")) <= 0 and rate is None:
    raise DataError(f"{path}: Frame Time is {period[1]}, expected the seconds of a frame, such as 0.0333")
  columns = sum(len(channels) for *_, channels in joints)
  numbers = np.array([_number(value, path, "motion") for value in tail[0][period.end() :].split()])
  if numbers.size != int(count[1]) * columns or not numbers.size:
    raise DataError(f"{path}: {numbers.size} motion values, expected {count[1]} frames x {columns} channels")
  positions = _bvh_positions(joints, numbers.reshape(-1, columns), metre)
  return Motion(positions, 1 / seconds if rate is None else rate, metre)


_BVH_WORDS = re.compile(r"(?:ROOT|JOINT)[ \t]+[^\n{]*|End[ \t]+Site|[{}]|[^\s{}]+", re.I)


def _bvh_joints(head: str, path: pathlib.Path, metre: float) -> list[tuple]:
  """(name, parent, offset in metres, channels such as "xrotation") of every joint and end site, parents first."""
  joints, stack = [], []
  words = iter(_BVH_WORDS.findall(head))
  try:
    for word in words:
      kind, _, name = word.partition(" ") if " " in word else word.partition("\t")
      match kind.upper():
        case "ROOT" | "JOINT":
          joints.append([name.strip(), stack[-1] if stack else None, np.zeros(3), []])
        case "END":
          joints.append([f"{stack[-1]}_end", stack[-1], np.zeros(3), []])
        case "{":
          stack.append(joints[-1][0])
        case "}":
          stack.pop()
        case "OFFSET":
          joints[-1][2] = np.array([_number(next(words), path, "OFFSET") for _ in range(3)]) * metre
        case "CHANNELS":
          joints[-1][3] = [next(words).lower() for _ in range(int(next(words)))]
  except (StopIteration, IndexError, ValueError) as error:
    raise DataError(f"{path}: the HIERARCHY section is damaged or cut short after {len(joints)} joints") from error
  known = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}
  if strange := sorted({channel for *_, channels in joints for channel in channels} - known):
    raise DataError(f"{path}: channels {', '.join(strange)} are not understood, only positions and rotations are")
  return joints


def _bvh_positions(joints: list, values: np.ndarray, metre: float) -> dict[str, np.ndarray]:
  positions, rotations, column = {}, {}, 0
  for name, parent, offset, channels in joints:
    block = values[:, column : column + len(channels)]
    column += len(channels)
    turns = [i for i, channel in enumerate(channels) if channel.endswith("rotation")]
    order = "".join(channels[i][0] for i in turns).upper()  # capitals: each turn about the axes turned so far
    own = Rotation.from_euler(order, block[:, turns], degrees=True) if turns else Rotation.identity()
    place = np.tile(offset, (len(values), 1))
    for i, channel in enumerate(channels):
      if channel.endswith("position"):
        place[:, "xyz".index(channel[0])] = block[:, i] * metre
    rotations[name] = own if parent is None else rotations[parent] * own
    positions[name] = place if parent is None else positions[parent] + rotations[parent].apply(place)
  return positions
