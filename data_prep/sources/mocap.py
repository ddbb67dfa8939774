"""Renders motion capture as silhouettes: a body is built on the recorded joints and filmed from any view.

The motion is real, the silhouettes are rendered. Lengths come from the recording; girths, which motion capture does
not record, are drawn once per subject.
"""

import dataclasses
import functools
import pathlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_prep.sources.base import Dropped, Reading, Walk, by_split, some
from data_prep.sources.joints import SKULL, body_joints
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
RATE = 25.0  # frames per second
MIN_TRAVEL = 1.0  # metres; a shorter way has no reliable direction
SEED = 0  # of girths, clothes and cameras


def _rotated(joints: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
  """`joints` turned and moved: the walk goes along +x, the ground is at z = 0, the walk's middle at the origin."""
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
  """The direction that two paired joints face, as an angle about z [time]; 0 is +x."""
  across = left - right
  return np.arctan2(-across[:, 0], across[:, 1])


def pose_of(joints: Mapping[str, np.ndarray], subject: str, where: str) -> tuple[Subject, Pose]:
  """The subject, with the recording's lengths, and its pose in every frame; `joints` are those of `body_joints`."""
  joints = _rotated(joints, where)
  height = float(np.percentile(joints["skull"][:, 2], 90)) / SKULL
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


@dataclasses.dataclass(frozen=True)
class Trial:
  """A recording: `read(*files, metre=, rate=)` gives its motion (see `read_amc`, `read_bvh`)."""

  read: Callable[..., Motion]
  files: tuple[pathlib.Path, ...] = ()
  metre: float | None = None
  rate: float | None = None


@functools.lru_cache(maxsize=4)
def _resampled(trial: Trial) -> Motion:
  """The trial's motion at `RATE`; cached because the views of a trial are read one after the other."""
  return trial.read(*trial.files, metre=trial.metre, rate=trial.rate).resampled(RATE)


def read_walk(trial: Trial, subject: str, condition: str, view: str, where: str, *, up: str = "y") -> Reading:
  """Normalised frames of a recorded walk from one view, uint8 [time, 64, 64]; `up` is that of `body_joints`."""
  try:
    motion = _resampled(trial)
  except DataError as error:
    raise Dropped("unreadable motion", str(error)) from error
  person, pose = pose_of(body_joints(motion, where, up=up), subject, where)
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
  """Walks of `<raw>/<id>/*.bvh`, or `<raw>/<id>/*.amc` with the skeleton `.asf` of the same name, of the folder's, or
  the only one there.

  Subjects are split by `partition` (None: all are "test"). `same_person` maps a folder to an earlier folder of the same
  person, whose name both get. `unit` (metres) and `rate` (frames a second) override the values that the files state, or
  the defaults where they state none; `up` is the files' axis that points up.
  """

  raw: str | pathlib.Path
  partition: Mapping[str, Sequence[str]] | None
  views: tuple[str, ...] = VIEWS
  same_person: Mapping[str, str] = dataclasses.field(default_factory=dict)
  unit: float | None = None
  up: str = "y"
  rate: float | None = None

  def splits(self) -> dict[str, list[Walk]]:
    """Walks by split, sorted by key. Raises `DataError` where there are no recordings, or none of the partition's."""
    for view in self.views:
      azimuth_of(view)
    walks = [self._walk(*trial, view) for trial in self._trials for view in self.views]
    if not walks:
      seen = some(file.relative_to(self.raw).as_posix() for file in self._files) or "no files"
      raise DataError(
        f"{self.raw}: no motion capture found: expected the folders <id>/*.bvh, or <id>/*.amc with their .asf,"
        f" unpacked; found {seen}"
      )
    return by_split(walks, self.partition, where=f"{self.raw}")

  def subjects(self) -> set[str]:
    """All subjects found, in the partition or not."""
    return {subject for subject, _, _ in self._trials}

  def unread(self) -> list[str]:
    """Files that are neither a trial nor a trial's skeleton."""
    read = {path for _, _, trial in self._trials for path in trial.files}
    return [file.relative_to(self.raw).as_posix() for file in self._files if file not in read]

  def fingerprint(self) -> str:
    """Changes with any recording, with the views and with how the files are read."""
    changed = [f"{name} {value}" for name, value in self._reading.items() if value is not None]
    return fingerprint(self.raw, *self.views, *changed, *(["up", self.up] if self.up != "y" else ()))

  @property
  def _reading(self) -> dict[str, float | None]:
    return {"metre": self.unit, "rate": self.rate}

  @functools.cached_property
  def _files(self) -> list[pathlib.Path]:
    return files_below(pathlib.Path(self.raw)) if pathlib.Path(self.raw).is_dir() else []

  @functools.cached_property
  def _trials(self) -> list[tuple[str, str, Trial]]:
    """(subject, trial's name, trial) in order."""
    trials = []
    beside = defaultdict(list)  # files of one folder need not follow each other: a folder in it may stand between them
    for file in self._files:
      beside[file.parent].append(file)
    for folder, files in beside.items():
      if len(folder.relative_to(self.raw).parts) != 1:
        continue
      subject = self.same_person.get(folder.name, folder.name)
      for file in files:
        if file.suffix.lower() == ".bvh":
          trials.append((subject, file.stem, Trial(read_bvh, (file,), **self._reading)))
        elif file.suffix.lower() == ".amc":
          trials.append((subject, file.stem, Trial(read_amc, (file, _skeleton(file, files)), **self._reading)))
    return trials

  def _walk(self, subject: str, condition: str, trial: Trial, view: str) -> Walk:
    key = f"{subject}/{condition}/{view}"
    reader = functools.partial(read_walk, trial, subject, condition, view, key, up=self.up)
    file = trial.files[0].relative_to(self.raw).as_posix()
    return Walk(subject=subject, condition=condition, view=view, key=key, read=reader, file=file)


def _skeleton(motion: pathlib.Path, beside: Sequence[pathlib.Path]) -> pathlib.Path:
  """The .asf of an .amc. Where none fits, a file that does not exist: reading it raises the error."""
  skeletons = {file.stem.lower(): file for file in beside if file.suffix.lower() == ".asf"}
  for name in (motion.stem.lower(), motion.parent.name.lower()):
    if name in skeletons:
      return skeletons[name]
  return next(iter(skeletons.values())) if len(skeletons) == 1 else motion.parent / f"{motion.parent.name}.asf"
