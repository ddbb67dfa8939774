"""Small files of motion that would take gigabytes or minutes are refused by name, or read in no time."""

import pytest

from data_prep.sources import mocap, skeletons
from data_prep.sources.base import Dropped
from fgait_jax.errors import DataError

pytestmark = pytest.mark.usefixtures("little_memory")

BVH = """HIERARCHY
ROOT hips
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
{joints}}}
MOTION
Frames: {frames}
Frame Time: {time}
{values}"""


def bvh(path, *, joints=0, frames=2, time="0.04", depth=0):
  chain = "JOINT j{}\n{{ OFFSET 0 1 0\n CHANNELS 0\n"
  text = "".join((chain + "}}\n").format(n) for n in range(joints))
  text += "".join(chain.format(f"d{n}") for n in range(depth)) + "}\n" * depth
  path.write_text(BVH.format(joints=text, frames=frames, time=time, values="0 0 0 0 0 0\n" * min(frames, 100_000)))
  return path


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"time": "1e7"}, r"x.bvh: Frame Time is 1e7 seconds, no camera's; --frame-rate=RATE says what it is"),
    ({"time": "1e-300"}, "Frame Time is 1e-300 seconds, no camera's"),
    ({"joints": 1500}, "x.bvh: a skeleton of 1,501 joints, at most 500 are read"),
    ({"depth": 1500}, "x.bvh: a skeleton of 1,501 joints, at most 500 are read"),
    ({"joints": 400, "frames": 50_000}, "x.bvh: 50,000 frames of 401 joints are too much for one walk"),
    ({"frames": 10**8}, "x.bvh: 100,000,000 frames of 1 joints are too much for one walk"),
  ],
)
def test_motion_of_many_joints_frames_or_hours_is_refused(changes, message, tmp_path):
  with pytest.raises(DataError, match=message):
    skeletons.read_bvh(bvh(tmp_path / "x.bvh", **changes))


def test_a_long_motion_is_not_filled_up_with_frames(tmp_path):
  motion = skeletons.read_bvh(bvh(tmp_path / "x.bvh", frames=1000), rate=1e-6)  # as --frame-rate may say
  with pytest.raises(DataError, match="a motion of 1,000 frames that lasts 999,000,000 seconds"):
    motion.resampled(25.0)
  with pytest.raises(Dropped, match="unreadable motion: a motion of 1,000 frames"):
    mocap.read_walk(mocap.Trial(skeletons.read_bvh, (tmp_path / "x.bvh",), rate=1e-6), "1", "a", "090", "1/a/090")


@pytest.mark.parametrize("text", ["\n" * 1_000_000, " " * 1_000_000, "MOTION" * 100_000, "{" * 1_000_000])
def test_motion_files_of_one_character_are_read_in_no_time(text, tmp_path):
  (tmp_path / "x.bvh").write_text(text)
  with pytest.raises(DataError):
    skeletons.read_bvh(tmp_path / "x.bvh")


ASF = """:units
:root
:bonedata
{bones}
:hierarchy
begin
{lines}
end
"""
BONE = "begin\n name b{}\n direction 0 1 0\n length 1\n axis 0 0 0 XYZ\nend\n"


def asf(path, bones):
  lines = "root b0\n" + "".join(f"b{n - 1} b{n}\n" for n in reversed(range(1, bones)))
  path.write_text(ASF.format(bones="".join(BONE.format(n) for n in reversed(range(bones))), lines=lines))
  return path


def test_a_chain_of_many_bones_is_refused_and_one_of_some_is_read(tmp_path):
  with pytest.raises(DataError, match="x.asf: a skeleton of 1,500 joints, at most 500 are read"):
    skeletons.read_asf(asf(tmp_path / "x.asf", 1500))
  assert len(skeletons.read_asf(asf(tmp_path / "x.asf", 200)).bones) == 200


@pytest.mark.parametrize("text", [":bonedata\n" + "begin" * 400_000, ":" * 1_000_000, ":a\n" * 500_000])
def test_skeletons_of_one_word_are_read_in_no_time(text, tmp_path):
  (tmp_path / "x.asf").write_text(":units\n:root\n:hierarchy\n" + text)
  with pytest.raises(DataError):
    skeletons.read_asf(tmp_path / "x.asf")
