"""Motion capture rendered: direction, phase and size by construction, refusals by name, real walkers where present."""

import pathlib

import numpy as np
import pytest

from data_prep import build, datasets
from data_prep.datasets import own_mocap
from data_prep.sources.base import Dropped
from data_prep.sources.joints import body_joints, stature_of
from data_prep.sources.mocap import MocapSource, Trial, pose_of, read_walk
from data_prep.sources.skeletons import Motion
from fgait_jax.data.source import open_split
from fgait_jax.errors import DataError

RATE = 50.0


def strider(seconds: float = 2.0, heading: float = 0.0, speed: float = 1.3) -> Motion:
  """A stiff walker of 1.7 m whose legs and arms swing once a second, heading `heading` degrees from +z to +x."""
  time = np.arange(int(seconds * RATE)) / RATE
  swing = 0.45 * np.sin(2 * np.pi * time)
  joints = {"head": (0, 1.58, 0 * swing)}
  for side, sign in (("l", 1), ("r", -1)):
    joints |= {
      f"{side}hipjoint": (sign * 0.09, 0.92, 0 * swing),
      f"{side}femur": (sign * 0.09, 0.5, sign * 0.4 * swing),
      f"{side}tibia": (sign * 0.09, 0.09, sign * 0.9 * swing),
      f"{side}toes": (sign * 0.09, 0.02, sign * 0.9 * swing + 0.18),
      f"{side}clavicle": (sign * 0.18, 1.42, 0 * swing),
      f"{side}humerus": (sign * 0.2, 1.12, -sign * 0.25 * swing),
      f"{side}radius": (sign * 0.2, 0.87, -sign * 0.5 * swing),
      f"{side}hand": (sign * 0.2, 0.8, -sign * 0.55 * swing),
    }
  angle = np.radians(heading)
  turned = {}
  for name, (left, up, ahead) in joints.items():
    ahead = ahead + speed * time
    turned[name] = np.stack(
      [np.cos(angle) * left + np.sin(angle) * ahead, up + 0 * time, np.cos(angle) * ahead - np.sin(angle) * left], -1
    )
  return Motion(turned, RATE)


def frames_of(view: str, **options) -> np.ndarray:
  return read_walk(Trial(lambda metre, rate: strider(**options)), "a", "01", view, "a/01").frames


def widths(frames: np.ndarray, rows: slice) -> np.ndarray:
  return (frames[:, rows] > 128).any(axis=1).sum(axis=1)


def test_a_side_view_shows_the_stride_and_a_front_view_does_not():
  side, front = frames_of("090"), frames_of("000")
  assert side.shape[1:] == (64, 64)
  assert len(side) == 50  # two seconds at 25 pictures a second
  assert np.ptp(widths(side, slice(45, 64))) > 2 * np.ptp(widths(front, slice(45, 64)))
  opened = widths(side, slice(45, 64)).astype(float)
  spectrum = np.abs(np.fft.rfft(opened - opened.mean()))
  assert np.argmax(spectrum) == 4  # legs open twice in each of two one-second cycles


def test_the_stature_reaches_beyond_the_last_joint():
  """The strider's head joint is 1.58 m high, in the middle of a skull."""
  person, _ = pose_of(body_joints(strider(), "a"), "a", "a")
  assert person.height == pytest.approx(1.7, abs=0.03)
  joints = body_joints(strider(), "a")
  stature = stature_of(joints)
  joints["toe1"] = joints["toe1"] + (0, 0, 0.4)  # a raised foot
  assert stature_of(joints) == stature == pytest.approx(1.68, abs=0.03)


def test_the_ground_is_where_feet_are_set_down():
  joints = body_joints(strider(), "a")
  stature = pose_of(dict(joints), "a", "a")[0].height
  for side in (0, 1):  # both in the air but for one frame in eight
    joints[f"toe{side}"] = joints[f"toe{side}"].copy()
    joints[f"toe{side}"][np.arange(len(joints["toe0"])) % 8 > 0, 2] += 0.2
  assert pose_of(joints, "a", "a")[0].height == pytest.approx(stature, abs=1e-6)


def test_shoulders_lie_below_the_markers_on_the_skin():
  recorded = body_joints(strider(), "a")
  person, pose = pose_of(recorded, "a", "a")
  marker = (recorded["shoulder0"] - recorded["hip0"])[:, 2].mean()
  joint = (pose.joints["chest"] - pose.joints["pelvis"])[:, 2].mean()
  assert marker - joint == pytest.approx(0.022 * person.height, abs=1e-3)
  assert person.trunk == pytest.approx(joint, abs=1e-3)


def test_the_jaw_is_below_and_ahead_of_the_skull_and_hips_and_shoulders_turn_by_themselves():
  joints = body_joints(strider(), "a")
  for name, degrees in (("shoulder", 20), ("hip", -10)):
    across, angle = joints[f"{name}0"] - joints[f"{name}1"], np.radians(degrees)
    turned = across @ [[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    middle = (joints[f"{name}0"] + joints[f"{name}1"]) / 2
    joints[f"{name}0"], joints[f"{name}1"] = middle + turned / 2, middle - turned / 2
  person, pose = pose_of(joints, "a", "a")
  np.testing.assert_allclose(np.degrees(pose.thorax_turn), 20, atol=1e-6)
  np.testing.assert_allclose(np.degrees(pose.pelvis_turn), -10, atol=1e-6)
  jaw = (pose.joints["jaw"] - pose.joints["skull"]) / person.height
  np.testing.assert_allclose(jaw[:, 2], -0.036, atol=1e-9)
  np.testing.assert_allclose(np.hypot(jaw[:, 0], jaw[:, 1]), 0.022, atol=1e-9)
  assert (jaw[:, 0] > 0).all()


def test_the_room_may_be_turned():
  np.testing.assert_allclose(frames_of("090").mean(0), frames_of("090", heading=130.0).mean(0), atol=25)


def test_the_same_clothes_fit_differently_in_every_trial():
  trial = Trial(lambda metre, rate: strider())
  first, again, other = (read_walk(trial, "a", name, "090", "a").frames for name in ("walk1", "walk1", "walk2"))
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_standing_still_and_foreign_skeletons_are_dropped_by_name():
  with pytest.raises(Dropped, match=r"does not travel: a/01: 0\.\d\d m"):
    frames_of("090", speed=0.0)
  motion = strider()
  del motion.joints["lfemur"]
  with pytest.raises(Dropped, match=r"unknown skeleton: a/01: joints \['lfemur'\] are missing; it has head,"):
    body_joints(motion, "a/01")


def test_an_empty_folder_and_an_archive_are_told_what_was_expected(tmp_path):
  (tmp_path / "empty").mkdir()
  (tmp_path / "packed.zip").touch()
  for name in ("empty", "packed.zip"):
    with pytest.raises(DataError, match=rf"{name}: no motion .*folders <id>/.*asf, unpacked; found no files"):
      MocapSource(raw=tmp_path / name, partition={"train": ["a"]}).splits()
  (tmp_path / "empty" / "walk.c3d").touch()
  with pytest.raises(DataError, match=r"unpacked; found walk\.c3d"):
    MocapSource(raw=tmp_path / "empty", partition=None).splits()


def test_files_that_are_no_motion_are_named(tmp_path):
  for name in (
    "07/07.ASF", "07/07_01.AMC", "07/07_02.c3d", "08/walk.Bvh", "08/old/deep.bvh", "index.html", "07/._07_01.amc",
    ".trash/01.bvh",
  ):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
  source = MocapSource(raw=tmp_path, partition={"train": ["07", "08"]})
  assert [walk.condition for walk in source.splits()["train"][:: len(source.views)]] == ["07_01", "walk"]
  assert source.unread() == ["07/07_02.c3d", "08/old/deep.bvh", "index.html"]


def test_the_skeleton_is_of_the_motions_name_or_the_folders_or_the_only_one(tmp_path):
  (tmp_path / "a").mkdir()

  def skeleton(*names):
    for file in (tmp_path / "a").iterdir():
      file.unlink()
    for name in ("walk.amc", *names):
      (tmp_path / "a" / name).touch()
    source = MocapSource(raw=tmp_path, partition=None)
    unread = source.unread()
    return next(name for name in names if f"a/{name}" not in unread) if len(unread) < len(names) else None

  assert skeleton("a.asf", "b.asf", "Walk.ASF") == "Walk.ASF"
  assert skeleton("b.asf", "a.asf") == "a.asf"
  assert skeleton("b.asf") == "b.asf"
  assert skeleton("b.asf", "c.asf") is None
  (tmp_path / "a" / "notes").mkdir()
  (tmp_path / "a" / "notes" / "readme.txt").touch()  # by name between the skeleton and the motion
  (tmp_path / "a" / "b.asf").unlink()
  (tmp_path / "a" / "c.asf").rename(tmp_path / "a" / "body.asf")
  assert MocapSource(raw=tmp_path, partition=None).unread() == ["a/notes/readme.txt"]


def test_sessions_of_one_person_bear_the_name_of_the_first(tmp_path):
  for session in ("07", "38", "08"):
    (tmp_path / session).mkdir()
    (tmp_path / session / f"{session}_01.bvh").write_text("")
  walks = [walk for each in datasets.get("cmu_mocap").source(tmp_path).splits().values() for walk in each]
  assert {(walk.file, walk.subject) for walk in walks} == {
    ("07/07_01.bvh", "07"), ("38/38_01.bvh", "07"), ("08/08_01.bvh", "08"),
  }  # fmt: skip


def test_sessions_of_one_person_stay_on_one_side(shared_data):
  splits = datasets.get("cmu_mocap").source(shared_data / "cmu_mocap").splits()
  subjects = {split: {walk.subject for walk in walks} for split, walks in splits.items()}
  sessions = {split: {walk.condition.split("_")[0] for walk in walks} for split, walks in splits.items()}
  assert not subjects["train"] & subjects["test"]
  for pair in ({"07", "38"}, {"08", "39"}, {"06", "10"}):
    assert pair <= sessions["train"] or pair <= sessions["test"]
  walk = next(walk for walk in splits["test"] if walk.view == "090")
  frames = walk.read().frames
  assert len(frames) > 25
  assert ((frames > 128).sum(axis=(1, 2)) > 500).all()


# Joints of the strider by the names of other makers: hip, knee, ankle, toe, shoulder, elbow, wrist.
MAKERS = {
  "usual": ("{}UpLeg", "{}Leg", "{}Foot", "{}ToeBase", "{}Arm", "{}ForeArm", "{}Hand"),
  "mixamo": ("mixamorig:{}UpLeg", "mixamorig:{}Leg", "mixamorig:{}Foot", "mixamorig:{}ToeBase", "mixamorig:{}Arm",
             "mixamorig:{}ForeArm", "mixamorig:{}Hand"),
  "underlined": ("m_{}_UpLeg", "m_{}_Leg", "m_{}_Foot", "m_{}_Toe", "m_{}_Arm", "m_{}_ForeArm", "m_{}_Hand"),
  "rokoko": ("{}Thigh", "{}Shin", "{}Foot", "{}Toe", "{}Arm", "{}ForeArm", "{}Hand"),
  "xsens": ("{}Hip", "{}Knee", "{}Ankle", "{}Toe", "{}Shoulder", "{}Elbow", "{}Wrist"),
  "smpl": ("{}_hip", "{}_knee", "{}_ankle", "{}_foot", "{}_shoulder", "{}_elbow", "{}_wrist"),
  "unreal": ("thigh_{}", "calf_{}", "foot_{}", "ball_{}", "upperarm_{}", "lowerarm_{}", "hand_{}"),
}  # fmt: skip
PARTS = ("hipjoint", "femur", "tibia", "toes", "clavicle", "humerus", "radius")


def write_bvh(
  path: pathlib.Path, *, unit: float = 0.01, maker: str = "usual", axes=(0, 1, 2), signs=(1, 1, 1), rate=None, **options
) -> None:
  """The strider as a file of positions: its axes `axes` times `signs` of ours (y up), `unit` metres to a unit."""
  motion = strider(**options)
  sides = ("l", "r") if maker == "unreal" else ("left", "right") if maker == "smpl" else ("Left", "Right")
  joints = {}
  for own, name in zip(PARTS, MAKERS[maker], strict=True):
    joints |= {name.format(side): motion.joints[f"{'lr'[i]}{own}"] for i, side in enumerate(sides)}
  prefix = {"mixamo": "mixamorig:", "underlined": "m_"}.get(maker, "")
  joints[f"{prefix}Head"] = motion.joints["head"]
  lines = ["HIERARCHY", f"ROOT {prefix}Hips", "{", "OFFSET 0 0 0", "CHANNELS 3 Xposition Yposition Zposition"]
  for name in joints:
    lines += [f"JOINT {name}", "{", "OFFSET 0 0 0", "CHANNELS 3 Xposition Yposition Zposition", "}"]
  values = np.stack([np.zeros_like(motion.joints["head"]), *joints.values()], 1)[..., list(axes)] * signs / unit
  lines += ["}", "MOTION", f"Frames: {len(values)}", f"Frame Time: {rate or 1 / RATE}"]
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("\n".join(lines + [" ".join(f"{v:.6f}" for v in row.ravel()) for row in values]) + "\n")


def built(raw, out, *flags) -> dict[str, np.ndarray]:
  assert build.main(["own_mocap", "--raw", str(raw), "--out", str(out), "--workers", "1", *flags]) == 0
  split = open_split(out, "own_mocap", "test")
  return {key: split.frames(i) for i, key in enumerate(split.keys)}


def refused(raw, out, capsys, *flags) -> str:
  assert build.main(["own_mocap", "--raw", str(raw), "--out", str(out), "--workers", "1", *flags]) == 1
  return capsys.readouterr().err


def test_own_motion_capture_is_built_by_people_under_its_own_name(tmp_path, capsys):
  for subject in ("anna", "Bo B", "cy"):
    write_bvh(tmp_path / "raw" / subject / "walk1.bvh")
  (tmp_path / "train.txt").write_text("cy\n")
  flags = ("--name", "lab", "--train-subjects", str(tmp_path / "train.txt"), "--population", "other")
  args = ["own_mocap", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "1", *flags]
  assert build.main(args) == 0
  told = capsys.readouterr().out
  assert "read as subject cy, type walk1, view 000, from cy/walk1.bvh" in told
  assert "real motion, rendered" in told
  test, train = (open_split(tmp_path / "out", "lab", split) for split in ("test", "train"))
  assert sorted(set(test.subjects)) == ["Bo B", "anna"]
  assert train.keys.tolist() == [f"cy/walk1/{view}" for view in ("000", "030", "060", "090", "120", "150", "180")]
  assert (train.manifest["choices"], train.manifest["population"]) == ({"train_subjects": "train.txt"}, "other")


def test_the_same_walk_is_the_same_in_any_unit_axis_and_names(tmp_path):
  write_bvh(tmp_path / "cm" / "a" / "1.bvh")
  expected = built(tmp_path / "cm", tmp_path / "out_cm")
  cases = {
    "mm": ({"unit": 0.001}, ("--unit", "mm")),
    "cmu": ({"unit": 0.0254 / 0.45}, ("--unit", "cmu")),
    "metres": ({"unit": 0.5}, ("--unit", "0.5")),
    "z": ({"axes": (0, 2, 1), "signs": (1, -1, 1)}, ("--up", "z")),
    "x": ({"axes": (1, 0, 2), "signs": (1, -1, 1)}, ("--up", "x")),
    "down": ({"signs": (-1, -1, 1)}, ("--up=-y",)),
    "rate": ({"rate": 1.0}, ("--frame-rate", f"{RATE}")),
    **{maker: ({"maker": maker}, ()) for maker in MAKERS},
  }
  for name, (options, flags) in cases.items():
    write_bvh(tmp_path / name / "a" / "1.bvh", **options)
    found = built(tmp_path / name, tmp_path / f"out_{name}", *flags)
    assert found.keys() == expected.keys()
    for key, frames in found.items():  # the room may be turned against the cameras' own small errors
      assert len(frames) == len(expected[key]), (name, key)
      overlap = ((frames > 127) & (expected[key] > 127)).sum() / ((frames > 127) | (expected[key] > 127)).sum()
      assert overlap > 0.98, (name, key, overlap)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"unit": 0.001}, "16.8 m tall if a unit of the file is 0.01 m; it seems to be mm (1.68 m tall), which --unit=mm"),
    ({"unit": 0.0254}, "0.66 m tall if a unit of the file is 0.01 m; it seems to be inch (1.68 m tall)"),
    ({"unit": 1.0}, "it seems to be m (1.68 m tall), which --unit=m sets; expected 1 to 2.3 m"),
    ({"unit": 0.3}, "0.0559 m tall if a unit of the file is 0.01 m; expected 1 to 2.3 m"),
    ({"axes": (0, 2, 1), "signs": (1, -1, 1)}, "z points up in this file, y was expected; if all recordings are so"),
    ({"signs": (-1, -1, 1)}, "-y points up in this file, y was expected; if all recordings are so, give --up=-y"),
  ],
)
def test_a_wrong_unit_or_axis_is_refused_and_the_right_one_named(options, message, tmp_path, capsys):
  write_bvh(tmp_path / "raw" / "a" / "1.bvh", **options)
  told = refused(tmp_path / "raw", tmp_path / "out", capsys)
  assert message in told
  assert "--limit-dropped" not in told  # it would leave nothing


def test_the_arm_begins_below_the_collar_bone_and_roots_bear_any_name():
  recorded = strider().joints
  joints = {"Reference": recorded["head"], "m_Head": recorded["head"]}
  for i, side in enumerate(("Left", "Right")):
    joints |= {MAKERS["underlined"][k].format(side): recorded[f"{'lr'[i]}{part}"] for k, part in enumerate(PARTS)}
    joints[f"m_{side}_Shoulder"] = recorded["head"]  # what many makers call the collar bone
  found = body_joints(Motion(joints, RATE), "a")
  expected = body_joints(strider(), "a")
  for name in ("shoulder0", "shoulder1", "toe1"):
    np.testing.assert_array_equal(found[name], expected[name])


def test_how_files_are_read_is_kept_to_the_last_digit():
  assert own_mocap.reading_of(unit="0.0253", up="-z", frame_rate=29.97) == {"unit": 0.0253, "up": "-z", "rate": 29.97}
  assert own_mocap.reading_of(unit=None, up=None, frame_rate=None) == {}
  made = {"unit": "inch", "up": "z", "frame_rate": 59.94}
  assert datasets.choose("cmu_mocap", made).choices == datasets.choose("own_mocap", made).choices == made


def test_recordings_read_otherwise_are_another_data_set(tmp_path):
  write_bvh(tmp_path / "a" / "1.bvh")
  readings = ({}, {"up": "z"}, {"up": "-z"}, {"unit": 0.001}, {"rate": 60.0}, {"views": ("090",)})
  prints = {MocapSource(raw=tmp_path, partition=None, **reading).fingerprint() for reading in readings}
  assert len(prints) == len(readings)


def test_choices_that_cannot_be_are_refused(tmp_path, capsys):
  write_bvh(tmp_path / "raw" / "a" / "1.bvh")
  assert "--unit ell: expected one of m, cm," in refused(tmp_path / "raw", tmp_path / "out", capsys, "--unit", "ell")
  for unit in ("0", "-1", "100", "nan"):
    told = refused(tmp_path / "raw", tmp_path / "out", capsys, f"--unit={unit}")
    assert f"--unit {unit}: expected one of m, cm," in told
  assert "--up w: expected one of x, y, z," in refused(tmp_path / "raw", tmp_path / "out", capsys, "--up", "w")
  write_bvh(tmp_path / "flat" / "1.bvh")
  assert "expected the folders <id>/*.bvh" in refused(tmp_path / "flat", tmp_path / "out", capsys)
  args = ["cmu_mocap", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]
  assert build.main(args) == 1
  assert "walks of your own are the data set own (masks) or own_mocap (motion capture)" in capsys.readouterr().err
