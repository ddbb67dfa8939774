"""Motion capture files to joint positions: Acclaim (ASF skeleton, AMC motion) and BioVision (BVH).

Forward kinematics only: the joints' names, and their positions in every frame. The renderer adds the body. What a file
says of joints, frames and time is checked before arrays of that size are made.
"""

import array
import dataclasses
import io
import math
import pathlib
import re
from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from data_prep.sources.limits import told
from data_prep.sources.trees import read_file
from fgait_jax.errors import DataError

INCH = 0.0254  # metres
BVH_UNIT = 0.01  # metres: BVH files do not say their unit; centimetres are usual
ASF_RATE = 120.0  # AMC files do not say their rate; the CMU recordings are at 120 Hz
JOINTS = 500  # of a skeleton; with all fingers and twist bones some 200
POSITIONS = 1 << 24  # joints times frames, about a gigabyte: 64 joints for 36 minutes at 120 frames a second
RATES = (0.5, 10_000.0)  # frames a second that can be
_HEAD = 1 << 22  # characters of a skeleton
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
    """The motion at `rate` frames per second, joints interpolated linearly. Raises `DataError` for too long a one."""
    seconds = (len(self) - 1) / self.rate
    if seconds * rate * len(self.joints) > POSITIONS:
      raise DataError(f"a motion of {len(self):,} frames that lasts {seconds:,.0f} seconds; cut the walks out of it")
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
  raise DataError(f"{path}: {what} should be a number, found '{told(text)}'")


def _text(path: pathlib.Path) -> str:
  text = read_file(path).decode(errors="replace").removeprefix("\ufeff")
  return text.replace("\r\n", "\n").replace("\r", "\n")


def _numbers(text: str, path: pathlib.Path) -> np.ndarray:
  """All numbers of `text`, at little more memory than they take."""
  return np.array(array.array("d", (_number(word[0], path, "motion") for word in re.finditer(r"\S+", text))))


def _check_amount(joints: int, frames: int, path: pathlib.Path) -> None:
  """Raises `DataError` for more joints than bodies have, or more positions than fit into memory."""
  if joints > JOINTS:
    raise DataError(f"{path}: a skeleton of {joints:,} joints, at most {JOINTS} are read")
  if joints * frames > POSITIONS:
    raise DataError(f"{path}: {frames:,} frames of {joints} joints are too much for one walk; cut the walks out of it")


def read_asf(path: str | pathlib.Path, *, metre: float | None = None) -> Skeleton:
  """Reads an Acclaim skeleton; `metre` overrides the file's unit. Raises `DataError` naming the file and the fault."""
  path = pathlib.Path(path)
  if len(text := _text(path)) > _HEAD:
    raise DataError(f"{path}: {len(text):,} characters, a skeleton has at most {_HEAD:,}")
  text = re.sub(r"#.*", "", text)
  sections = {name.lower(): body for name, body in re.findall(r"^:(\w+)(.*?)(?=^:|\Z)", text, re.M | re.S)}
  for name in ("units", "root", "bonedata", "hierarchy"):
    if name not in sections:
      raise DataError(f"{path}: no :{name} section; expected an Acclaim skeleton (.asf)")
  units, root = _fields(sections["units"]), _fields(sections["root"])
  if metre is None:
    length = _number(_first(units, "length", "1"), path, "units length")
    if length <= 0:
      raise DataError(f"{path}: units length is {length:g}, expected a number above 0, such as 0.45")
    metre = INCH / length
  degrees = _in_degrees(_first(units, "angle", "deg"), path)
  parents = {}
  for line in sections["hierarchy"].splitlines():
    parent, *children = line.split() or [""]
    parents |= dict.fromkeys(children, parent) if parent not in ("begin", "end") else {}
  bones = {}
  for block in _blocks(sections["bonedata"]):
    name, bone = _bone(_fields(block), metre, path, degrees=degrees)
    if name not in parents:
      raise DataError(f"{path}: bone '{told(name)}' is not in the :hierarchy section")
    if name == "root":
      raise DataError(f"{path}: a bone is called root, which is the skeleton's own joint; rename it")
    bones[name] = dataclasses.replace(bone, parent=parents[name])
  if not bones:
    raise DataError(f"{path}: no bones in its :bonedata section")
  _check_amount(len(bones), 0, path)
  bones = {name: bones[name] for name in _parents_first(parents, bones, path)}
  return Skeleton(bones, metre, _root_channels(root, path), degrees)


def _fields(text: str) -> dict[str, list[str]]:
  """The first word of each line -> the others."""
  return {line.split()[0].lower(): line.split()[1:] for line in text.splitlines() if line.split()}


def _first(fields: dict[str, list[str]], name: str, default: str) -> str:
  """The first word of a field, `default` where it is absent or empty."""
  return (fields.get(name) or [default])[0]


def _blocks(text: str) -> Iterator[str]:
  """What stands between lines that begin with "begin" and "end"."""
  block = None
  for line in text.splitlines():
    word, _, rest = line.strip().partition(" ")
    if word.lower() == "begin":
      block = [rest]
    elif word.lower() == "end" and block is not None:
      yield "\n".join(block)
      block = None
    elif block is not None:
      block.append(line)


def _in_degrees(word: str, path: pathlib.Path) -> bool:
  for start, degrees in (("deg", True), ("rad", False)):
    if word.lower().startswith(start):
      return degrees
  raise DataError(f"{path}: angles in '{told(word)}'; expected deg or rad")


def _bone(field: dict[str, list[str]], metre: float, path: pathlib.Path, *, degrees: bool) -> tuple[str, _Bone]:
  if lacking := [name for name in ("name", "direction", "length", "axis") if not field.get(name)]:
    raise DataError(f"{path}: a bone lacks {', '.join(lacking)} (it has {told(', '.join(field))})")
  name = field["name"][0]
  direction = np.array([_number(value, path, f"direction of {name}") for value in field["direction"]])
  if len(direction) != 3 or len(field["axis"]) < 3:
    raise DataError(f"{path}: direction and axis of {told(name)} need three numbers each")
  length = _number(field["length"][0], path, f"length of {name}")
  angles = [_number(value, path, f"axis of {name}") for value in field["axis"][:3]]
  order = (field["axis"][3:] or ["XYZ"])[0].lower()
  channels = [dof.lower() for dof in field.get("dof", ())]
  if sorted(order) != ["x", "y", "z"] or not set(channels) <= {"rx", "ry", "rz"} or len(set(channels)) < len(channels):
    found = told(f"axis order {order!r} and dof {channels}")
    raise DataError(f"{path}: {told(name)} has {found}; only turns rx, ry, rz are understood")
  axis = Rotation.from_euler(order, angles, degrees=degrees)
  return name, _Bone("", direction * length * metre, axis, "".join(channel[1] for channel in channels))


def _root_channels(root: dict[str, list[str]], path: pathlib.Path) -> tuple[str, ...]:
  order = tuple(channel.lower() for channel in root.get("order", _ROOT_CHANNELS))
  if sorted(order) != sorted(_ROOT_CHANNELS):
    raise DataError(f"{path}: :root order {told(' '.join(order))}; expected TX TY TZ RX RY RZ in some order")
  if any(_number(value, path, "root orientation") for value in root.get("orientation", ())):
    raise DataError(f"{path}: :root orientation {told(' '.join(root['orientation']))}; only 0 0 0 is understood")
  return order  # the root's `position` moves the whole walk, which is centred anyway


def _parents_first(parents: dict[str, str], bones: dict, path: pathlib.Path) -> list[str]:
  ordered = {}  # as a set that keeps its order
  while len(ordered) < len(bones):
    ready = [n for n in bones if n not in ordered and (parents[n] == "root" or parents[n] in ordered)]
    if not ready:
      raise DataError(f"{path}: bones {told(sorted(set(bones) - set(ordered)))} hang on no root")
    ordered |= dict.fromkeys(ready)
  return list(ordered)


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
  frames = {name: array.array("d") for name in wanted}
  count = 0
  for number, line in enumerate(io.StringIO(_text(path)), 1):
    name, *rest = line.split() or ["#"]
    if name.lower().startswith((":deg", ":rad")):
      degrees = _in_degrees(name[1:], path)
    if name.startswith(("#", ":")):
      continue
    if name.isdigit() and not rest:
      count += 1
    elif name in wanted:
      if len(rest) != wanted[name]:
        raise DataError(f"{path}:{number}: {told(name)} has {len(rest)} values, its skeleton says {wanted[name]}")
      frames[name].extend(_number(value, path, f"line {number}") for value in rest)
    elif name not in bones:
      raise DataError(f"{path}:{number}: bone '{told(name)}' is not in the skeleton; is this its .asf?")
  for name, values in frames.items():
    if len(values) != count * wanted[name] or not count:
      rows = len(values) // wanted[name]
      raise DataError(f"{path}: {told(name)} has {rows} frames of {count}; the file is cut short or not an .amc")
  _check_amount(1 + len(bones), count, path)
  return {name: np.array(values).reshape(count, -1) for name, values in frames.items()}, degrees


def read_bvh(path: str | pathlib.Path, *, metre: float | None = None, rate: float | None = None) -> Motion:
  """Joint positions of a BioVision file; `metre` is the length of its unit (`BVH_UNIT` where None), `rate` overrides
  the file's own."""
  path = pathlib.Path(path)
  metre = BVH_UNIT if metre is None else metre
  head, *tail = re.split(r"^[ \t]*MOTION\b", _text(path), maxsplit=1, flags=re.M | re.I)
  if not tail:
    raise DataError(f"{path}: no MOTION section; expected a BioVision file (.bvh)")
  if len(head) > _HEAD:
    raise DataError(f"{path}: a HIERARCHY of {len(head):,} characters, at most {_HEAD:,} are read")
  joints = _bvh_joints(head, path, metre)
  count = re.search(r"Frames:\s*(\d{1,9})\b", tail[0], re.I)
  period = re.search(r"Frame\s+Time:\s*(\S+)", tail[0], re.I)
  if not count or not period:
    raise DataError(f"{path}: the MOTION section does not say 'Frames:' and 'Frame Time:'")
  if (seconds := _number(period[1], path, "Frame Time")) <= 0 and rate is None:
    raise DataError(f"{path}: Frame Time is {told(period[1])}, expected the seconds of a frame, such as 0.0333")
  if rate is None and not RATES[0] <= 1 / seconds <= RATES[1]:
    raise DataError(f"{path}: Frame Time is {told(period[1])} seconds, no camera's; --frame-rate=RATE says what it is")
  _check_amount(len(joints), int(count[1]), path)
  columns = sum(len(channels) for *_, channels in joints)
  numbers = _numbers(tail[0][period.end() :], path)
  if numbers.size != int(count[1]) * columns or not numbers.size:
    raise DataError(f"{path}: {numbers.size} motion values, expected {count[1]} frames x {columns} channels")
  positions = _bvh_positions(joints, numbers.reshape(-1, columns), metre)
  return Motion(positions, 1 / seconds if rate is None else rate, metre)


_BVH_WORDS = re.compile(r"(?:ROOT|JOINT)[ \t]+[^\n{]*|End[ \t]+Site|[{}]|[^\s{}]+", re.I)


def _bvh_joints(head: str, path: pathlib.Path, metre: float) -> list[tuple]:
  """(name, parent, offset in metres, channels such as "xrotation") of every joint and end site, parents first."""
  joints, stack = [], []
  words = (word[0] for word in _BVH_WORDS.finditer(head))
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
          joints[-1][3] = [next(words).lower() for _ in range(_channels(next(words)))]
  except (StopIteration, IndexError, ValueError) as error:
    raise DataError(f"{path}: the HIERARCHY section is damaged or cut short after {len(joints)} joints") from error
  known = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}
  if strange := sorted({channel for *_, channels in joints for channel in channels} - known):
    channels = told(", ".join(strange))
    raise DataError(f"{path}: channels {channels} are not understood, only positions and rotations are")
  if twice := next((name for name, *_, channels in joints if len(set(channels)) < len(channels)), None):
    raise DataError(f"{path}: {told(twice)} has a channel twice")
  return joints


def _channels(word: str) -> int:
  if 0 <= (count := int(word)) <= 6:
    return count
  raise ValueError(f"{count} channels")


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
