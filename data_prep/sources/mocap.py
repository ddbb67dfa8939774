"""Motion capture as silhouettes: recorded joints, a body put on them, filmed from any views.

The motion is real, the silhouettes are rendered. Girths, which motion capture does not record, are drawn for each
subject once; lengths come from the recording.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_prep.sources.base import Dropped, Reading, Walk
from data_prep.sources.skeletons import Motion, read_amc, read_bvh
from data_prep.sources.trees import files_below, fingerprint
from data_prep.walkers.anthropometry import Subject, draw_subject
from data_prep.walkers.body import build_body
from data_prep.walkers.camera import azimuth_of, place_camera
from data_prep.walkers.clothing import dress
from data_prep.walkers.kinematics import Pose
from data_prep.walkers.renderer import render
from fgait_jax.data.normalise import normalise
from fgait_jax.errors import DataError

VIEWS = ("000", "030", "060", "090", "120", "150", "180")
RATE = 25.0  # pictures per second
MIN_TRAVEL = 1.0  # metres; less is no walk from which a direction could be read
SEED = 0  # of girths, clothes and cameras

# The body's joints by the names of a skeleton, left and right: Acclaim bones (their far ends), and usual BVH joints.
NAMES = (
  {"hip": "{}hipjoint", "knee": "{}femur", "ankle": "{}tibia", "toe": "{}toes", "shoulder": "{}clavicle",
   "elbow": "{}humerus", "wrist": "{}radius", "hand": "{}hand", "sides": ("l", "r"), "skull": "head"},
  {"hip": "{}UpLeg", "knee": "{}Leg", "ankle": "{}Foot", "toe": "{}ToeBase", "shoulder": "{}Arm",
   "elbow": "{}ForeArm", "wrist": "{}Hand", "hand": "{}Hand", "sides": ("Left", "Right"), "skull": "Head"},
)  # fmt: skip


def body_joints(motion: Motion, where: str) -> dict[str, np.ndarray]:
  """The joints a body is put on, [time, 3] in metres, z up; raises `Dropped` for a skeleton that lacks some."""
  missing = []
  for names in NAMES:
    wanted = {"skull": names["skull"]}
    for joint, name in names.items():
      if joint not in ("sides", "skull"):
        wanted |= {f"{joint}{side}": name.format(word) for side, word in enumerate(names["sides"])}
    if lacking := sorted(set(wanted.values()) - set(motion.joints)):
      missing.append(lacking)
      continue
    return {joint: motion.joints[name][:, [2, 0, 1]] for joint, name in wanted.items()}  # y up to z up
  raise Dropped("unknown skeleton", f"{where}: joints {min(missing, key=len)} are missing")


def _rotated(joints: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
  """The same with the way gone along +x, the ground at 0, and the middle of the way at the origin."""
  middle = (joints["hip0"] + joints["hip1"]) / 2
  way = middle[-1] - middle[0]
  if np.hypot(*way[:2]) < MIN_TRAVEL:
    raise Dropped("does not travel", f"{where}: {np.hypot(*way[:2]):.2f} m from first to last frame")
  cos, sin = way[:2] / np.hypot(*way[:2])
  turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
  ground = min(np.percentile(joints[f"toe{side}"][:, 2], 5) for side in (0, 1))
  centre = np.array([*middle.mean(0)[:2], ground])
  return {name: (place - centre) @ turn for name, place in joints.items()}


def _turn(left: np.ndarray, right: np.ndarray) -> np.ndarray:
  """Angle about z of what lies between two paired joints; 0 faces +x."""
  across = left - right
  return np.arctan2(-across[:, 0], across[:, 1])


def pose_of(motion: Motion, subject: str, where: str) -> tuple[Subject, Pose]:
  """The recorded subject, as long as the recording says, and its pose in every frame."""
  joints = _rotated(body_joints(motion, where), where)
  # The last bone ends in the middle of the skull, at 0.93 of stature (Drillis and Contini).
  height = float(np.percentile(joints["skull"][:, 2], 90)) / 0.93
  for side in (0, 1):  # markers lie on the skin above the joint
    joints[f"shoulder{side}"] = joints[f"shoulder{side}"] - (0, 0, 0.022 * height)
  hips = (joints["hip0"] + joints["hip1"]) / 2
  shoulders = (joints["shoulder0"] + joints["shoulder1"]) / 2
  trunk = shoulders - hips
  length = np.linalg.norm(trunk, axis=1)
  person = draw_subject(subject, seed=SEED)
  person = _scaled(person, height=height, trunk=float(np.median(length)))
  ahead = np.stack([np.cos(t := _turn(joints["hip0"], joints["hip1"])), np.sin(t), 0 * t], -1)
  joints["pelvis"], joints["chest"] = hips, shoulders
  joints["jaw"] = joints["skull"] + person.height * (0.022 * ahead - 0.036 * np.array([0, 0, 1.0]))
  for side in (0, 1):
    foot = joints[f"toe{side}"] - joints[f"ankle{side}"]
    joints[f"heel{side}"] = joints[f"ankle{side}"] - 0.25 * foot + (0, 0, -0.6 * person.ankle_height)
  travelled = hips[:, 0]
  joints = {name: place - travelled[:, None] * np.array([1.0, 0, 0]) for name, place in joints.items()}
  pose = Pose(
    joints=joints,
    pelvis_turn=_turn(joints["hip0"], joints["hip1"]),
    thorax_turn=_turn(joints["shoulder0"], joints["shoulder1"]),
    trunk_axis=trunk / length[:, None],
    travelled=travelled,
  )
  return person, pose


def _scaled(person: Subject, *, height: float, trunk: float) -> Subject:
  """The same build at another stature."""
  factor = height / person.height
  lengths = {}
  for field in dataclasses.fields(person):
    value = getattr(person, field.name)
    if field.name not in ("name", "sex", "stoutness"):
      lengths[field.name] = tuple(factor * v for v in value) if isinstance(value, tuple) else factor * value
  return dataclasses.replace(person, **(lengths | {"trunk": trunk}))


@functools.lru_cache(maxsize=4)
def _resampled(read: Callable[..., Motion], *files: pathlib.Path) -> Motion:
  """One trial at `RATE`; its views are read one after the other."""
  return read(*files).resampled(RATE)


def read_walk(trial: tuple, subject: str, condition: str, view: str, where: str) -> Reading:
  """Normalised frames of a recorded walk from one view, uint8 [time, 64, 64]."""
  try:
    motion = _resampled(*trial)
  except DataError as error:
    raise Dropped("unreadable motion", str(error)) from error
  person, pose = pose_of(motion, subject, where)
  travel = np.stack([pose.travelled, 0 * pose.travelled, 0 * pose.travelled], -1)
  pose = dataclasses.replace(pose, joints={name: place + travel for name, place in pose.joints.items()})
  # Every trial is another fit of the same clothes.
  solids = build_body(person, dress(person, f"nm-{1 + sum(condition.encode()) % 99:02d}", seed=SEED), pose)
  camera = place_camera(view, seed=SEED)
  nothing_lost = np.zeros((len(solids.capsules.names), len(travel)), bool)
  frames, refused = normalise(render(solids, camera, lost=nothing_lost))
  if not len(frames):
    raise Dropped("no usable frame", f"{where}: {dict(refused)}")
  return Reading(frames, refused)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MocapSource:
  """Walks of `<raw>/<session>/<session>.asf` with its `.amc` files, or of any `.bvh` in `<raw>/<session>/`.

  `same_person` maps a session to the one recorded earlier of the same person, so that both bear one subject's name.
  """

  raw: str | pathlib.Path
  partition: Mapping[str, Sequence[str]]
  views: tuple[str, ...] = VIEWS
  same_person: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def splits(self) -> dict[str, list[Walk]]:
    """Walks by split, sorted by key. Raises `DataError` where there are no recordings."""
    for view in self.views:
      azimuth_of(view)
    walks = [self._walk(*trial, view) for trial in self._trials() for view in self.views]
    if not walks:
      raise DataError(f"{self.raw}: no motion capture found: expected <session>/*.amc beside its .asf, or *.bvh")
    return {
      split: [walk for walk in walks if walk.subject in set(subjects)] for split, subjects in self.partition.items()
    }

  def subjects(self) -> set[str]:
    """All subjects found, in the partition or not."""
    return {subject for subject, _, _ in self._trials()}

  def unread(self) -> list[str]:
    """Files that are neither a trial nor a trial's skeleton."""
    raw = pathlib.Path(self.raw)
    read = {path for _, _, (_, *files) in self._trials() for path in files}
    return [file.relative_to(raw).as_posix() for file in files_below(raw) if file not in read]

  def fingerprint(self) -> str:
    """Changes with any recording and with the views."""
    return fingerprint(self.raw, *self.views)

  def _trials(self) -> list[tuple[str, str, tuple]]:
    """(subject, trial, (reader, files)) in order."""
    trials = []
    for path in sorted(pathlib.Path(self.raw).glob("*/*")):
      session = path.parent.name
      subject = self.same_person.get(session, session)
      if path.suffix.lower() == ".amc":
        trials.append((subject, path.stem, (read_amc, path, path.parent / f"{session}.asf")))
      elif path.suffix.lower() == ".bvh":
        trials.append((subject, path.stem, (read_bvh, path)))
    return trials

  def _walk(self, subject: str, condition: str, trial: tuple, view: str) -> Walk:
    key = f"{subject}/{condition}/{view}"
    reader = functools.partial(read_walk, trial, subject, condition, view, key)
    return Walk(subject=subject, condition=condition, view=view, key=key, read=reader)
