"""Motion capture: forward kinematics by hand, rigid bones on real recordings, and errors that name file and line."""

import numpy as np
import pytest

from data_prep.sources.skeletons import Motion, read_amc, read_bvh
from fgait_jax.errors import DataError

ASF = """:version 1.10
:units
  length 0.0254
:root
  order TX TY TZ RX RY RZ
:bonedata
  begin
    name thigh
    direction 0 -1 0
    length 2
    axis 0 0 0 XYZ
    dof rx ry rz
  end
  begin
    name shin
    direction 0 -1 0
    length 1
    axis 0 0 0 XYZ
    dof rx
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = """:FULLY-SPECIFIED
1
root 0 3 0 0 0 0
thigh 0 0 0
shin 0
2
root 0 3 0 0 0 90
thigh 90 0 0
shin 90
"""
BVH = """HIERARCHY
ROOT hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT knee
  {
    OFFSET 0 -50 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -40 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.04
0 90 0 0 0 0 0 0 0
0 90 0 0 90 0 0 -90 0
"""


@pytest.fixture
def files(tmp_path):
  for name, text in {"a.asf": ASF, "a.amc": AMC, "a.bvh": BVH}.items():
    (tmp_path / name).write_text(text)
  return tmp_path


def test_acclaim_kinematics_by_hand(files):
  joints = read_amc(files / "a.amc", files / "a.asf").joints
  np.testing.assert_allclose(joints["thigh"][0], [0, 1, 0], atol=1e-12)  # units are metres here: 0.0254 inches each
  np.testing.assert_allclose(joints["shin"][0], [0, 0, 0], atol=1e-12)
  # Second frame: the body lies to +x, the thigh turns forward, and the shin turns back against it.
  np.testing.assert_allclose(joints["thigh"][1], [0, 3, -2], atol=1e-12)
  np.testing.assert_allclose(joints["shin"][1], [-1, 3, -2], atol=1e-12)


def test_the_rate_and_unit_that_are_given_count_in_both_formats(files):
  for read in (lambda **given: read_amc(files / "a.amc", files / "a.asf", **given),
               lambda **given: read_bvh(files / "a.bvh", **given)):  # fmt: skip
    usual, given = read(), read(rate=60.0, metre=2.0)
    assert (given.rate, given.metre) == (60.0, 2.0)
    for name, places in given.joints.items():
      np.testing.assert_allclose(places, usual.joints[name] * 2.0 / usual.metre, atol=1e-9)
  assert (read_amc(files / "a.amc", files / "a.asf").rate, read_bvh(files / "a.bvh").rate) == (120.0, 25.0)
  (files / "b.bvh").write_text(BVH.replace("0.04", "0"))  # as some converters write it
  assert read_bvh(files / "b.bvh", rate=60.0).rate == 60.0


def test_acclaim_angles_in_radians_and_channels_in_another_order(files):
  expected = read_amc(files / "a.amc", files / "a.asf").joints
  turned = AMC.replace("90", f"{np.pi / 2:.12f}").replace(":FULLY-SPECIFIED", ":FULLY-SPECIFIED\n:RADIANS")
  (files / "rad.amc").write_text(turned)
  (files / "order.asf").write_text(ASF.replace("TX TY TZ RX RY RZ", "RX RY RZ TZ TX TY"))
  (files / "order.amc").write_text(AMC.replace("root 0 3 0 0 0 0", "root 0 0 0 0 0 3").replace(
    "root 0 3 0 0 0 90", "root 0 0 90 0 0 3"))
  (files / "rad.asf").write_text(ASF.replace("length 0.0254", "length 0.0254\n  angle rad").replace(
    "axis 0 0 0 XYZ\n    dof rx ry", f"axis 0 0 {np.pi / 2} XYZ\n    dof rx ry"))
  (files / "deg.asf").write_text(ASF.replace("axis 0 0 0 XYZ\n    dof rx ry", "axis 0 0 90 XYZ\n    dof rx ry"))
  for amc, asf in (("rad", "a"), ("order", "order")):
    for name, places in read_amc(files / f"{amc}.amc", files / f"{asf}.asf").joints.items():
      np.testing.assert_allclose(places, expected[name], atol=1e-9, err_msg=f"{amc} {name}")
  other = read_amc(files / "a.amc", files / "deg.asf").joints  # the AMC does not say: its skeleton does
  for name, places in read_amc(files / "rad.amc", files / "rad.asf").joints.items():
    np.testing.assert_allclose(places, other[name], atol=1e-9)
  assert not np.allclose(other["shin"], expected["shin"])


def test_acclaim_files_in_capitals_are_the_same(files):
  expected = read_amc(files / "a.amc", files / "a.asf").joints
  text = ASF.replace(":units", ":UNITS").replace(":bonedata", ":BoneData")
  for word in ("length", "order", "name", "direction", "axis", "dof"):
    text = text.replace(f"{word} ", f"{word.upper()} ")
  (files / "b.asf").write_text(text)
  for name, places in read_amc(files / "a.amc", files / "b.asf").joints.items():
    np.testing.assert_allclose(places, expected[name], atol=1e-12)


def test_the_order_of_the_roots_turns_is_that_of_its_channels(files):
  (files / "b.asf").write_text(ASF.replace("RX RY RZ", "RZ RY RX"))
  (files / "b.amc").write_text(AMC.replace("root 0 3 0 0 0 90", "root 0 3 0 90 0 90"))  # about z first, then about x
  thigh = read_amc(files / "b.amc", files / "b.asf").joints["thigh"][1] - [0, 3, 0]
  # Hanging down, turned forward to -z by its own angle; the root's z leaves that alone, its x turns it up.
  np.testing.assert_allclose(thigh, [0, 2, 0], atol=1e-12)


def test_biovision_kinematics_by_hand(files):
  motion = read_bvh(files / "a.bvh")
  assert motion.rate == 25
  np.testing.assert_allclose(motion.joints["knee"], [[0, 0.4, 0], [0, 0.9, -0.5]], atol=1e-12)
  np.testing.assert_allclose(motion.joints["knee_end"], [[0, 0, 0], [0, 0.5, -0.5]], atol=1e-12)


def test_resampling_keeps_straight_lines():
  motion = Motion({"root": np.linspace(0, 1, 121)[:, None] * np.ones(3)}, 120.0)
  slow = motion.resampled(25.0)
  assert len(slow) == 26
  np.testing.assert_allclose(slow.joints["root"][:, 0], np.linspace(0, 1, 26), atol=1e-12)


@pytest.mark.parametrize(
  ("name", "old", "new", "message"),
  [
    ("a.amc", "shin 90", "shin 90 1", r"a\.amc:9: shin has 2 values, its skeleton says 1"),
    ("a.amc", "thigh 90 0 0", "thigh 90 0 x", r"a\.amc: line 8 should be a number, found 'x'"),
    ("a.amc", AMC.removeprefix(":FULLY-SPECIFIED\n"), "", r"a\.amc: root has 0 frames of 0; .* not an \.amc"),
    ("a.amc", "shin 90\n", "", r"a\.amc: shin has 1 frames of 2; the file is cut short"),
    ("a.amc", "shin 0", "tail 0", r"a\.amc:5: bone 'tail' is not in the skeleton"),
    ("a.asf", "thigh shin", "shin shin", r"a\.asf: bones \['shin'\] hang on no root"),
    ("a.asf", ":hierarchy", ":other", r"a\.asf: no :hierarchy section"),
    ("a.asf", "TX TY TZ", "TX TY L", r"a\.asf: :root order tx ty l rx ry rz; expected TX TY TZ RX RY RZ in some order"),
    ("a.asf", ":bonedata", "orientation 0 90 0\n:bonedata", r":root orientation 0 90 0; only 0 0 0 is understood"),
    ("a.asf", "dof rx ry rz", "dof rx ty", r"thigh has axis order 'xyz' and dof \['rx', 'ty'\]"),
    ("a.asf", "length 0.0254", "length 0.0254\n angle gon", r"a\.asf: angles in 'gon'; expected deg or rad"),
    ("a.asf", "direction 0 -1 0\n    length 2", "length 2", r"a\.asf: a bone lacks direction"),
    ("a.amc", "thigh 90 0 0", "thigh nan 0 0", r"a\.amc: line 8 should be a number, found 'nan'"),
    ("a.asf", "length 2", "length inf", r"a\.asf: length of thigh should be a number, found 'inf'"),
  ],
)
def test_errors_name_the_file_and_what_is_wrong(files, name, old, new, message):
  (files / name).write_text((files / name).read_text().replace(old, new))
  with pytest.raises(DataError, match=message):
    read_amc(files / "a.amc", files / "a.asf")


def test_a_biovision_file_cut_short_is_named(files):
  (files / "a.bvh").write_text(BVH[:-10])
  with pytest.raises(DataError, match=r"a\.bvh: \d+ motion values, expected 2 frames x 9 channels"):
    read_bvh(files / "a.bvh")


def test_biovision_files_of_other_spelling_are_the_same(files):
  expected = read_bvh(files / "a.bvh")
  for old, new in (
    ("0.04", "0,04"), ("Frames:", "FRAMES:"), ("Frame Time:", "frame time:"), ("rotation", "Rotation"),
    ("JOINT knee\n  {", "JOINT knee{"), ("0 90 0 0 90", "0 90 0 0 90,0"), ("ROOT hips", "root hips"),
  ):  # fmt: skip
    (files / "b.bvh").write_text(BVH.replace(old, new))
    found = read_bvh(files / "b.bvh")
    assert found.rate == expected.rate, old
    assert found.joints.keys() == expected.joints.keys(), old
    for name in found.joints:
      np.testing.assert_allclose(found.joints[name], expected.joints[name])


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ("0.04", "0", r"b\.bvh: Frame Time is 0, expected the seconds of a frame"),
    ("0.04", "fast", r"b\.bvh: Frame Time should be a number, found 'fast'"),
    ("Xposition", "Xscale", r"b\.bvh: channels xscale are not understood"),
    ("CHANNELS 3 Zrotation", "CHANNELS x Zrotation", r"b\.bvh: the HIERARCHY section is damaged or cut short after 2"),
    ("OFFSET 0 0 0", "}", r"b\.bvh: the HIERARCHY section is damaged"),
  ],
)
def test_what_a_biovision_file_may_not_say_is_named(files, old, new, message):
  (files / "b.bvh").write_text(BVH.replace(old, new, 1))
  with pytest.raises(DataError, match=message):
    read_bvh(files / "b.bvh")


def test_real_walkers_have_rigid_bones_and_human_size(shared_data):
  for asf in sorted((shared_data / "cmu_mocap").glob("*/*.asf")):
    amc = sorted(asf.parent.glob("*.amc"))[0]
    joints = read_amc(amc, asf).joints
    shin = np.linalg.norm(joints["ltibia"] - joints["lfemur"], axis=1)
    assert shin.std() < 1e-9
    assert 0.3 < shin[0] < 0.5
    height = joints["head"][:, 1] - np.minimum(joints["ltoes"][:, 1], joints["rtoes"][:, 1])
    assert 1.35 < height.max() < 1.9, amc
