"""Motion capture rendered: direction, phase and size by construction, refusals by name, real walkers where present."""

import functools

import numpy as np
import pytest

from data_prep import datasets
from data_prep.sources.base import Dropped
from data_prep.sources.mocap import MocapSource, read_walk
from data_prep.sources.skeletons import Motion
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
  return read_walk((functools.partial(strider, **options),), "a", "01", view, "a/01").frames


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


def test_the_room_may_be_turned():
  np.testing.assert_allclose(frames_of("090").mean(0), frames_of("090", heading=130.0).mean(0), atol=25)


def test_standing_still_and_foreign_skeletons_are_dropped_by_name():
  with pytest.raises(Dropped, match=r"does not travel: a/01: 0\.\d\d m"):
    frames_of("090", speed=0.0)
  motion = strider()
  del motion.joints["lfemur"]
  with pytest.raises(Dropped, match=r"unknown skeleton: a/01: joints \['lfemur'\] are missing"):
    read_walk((lambda: motion,), "a", "01", "090", "a/01")


def test_an_empty_folder_says_what_was_expected(tmp_path):
  with pytest.raises(DataError, match=r"no motion capture found: expected <session>/\*\.amc beside its \.asf"):
    MocapSource(raw=tmp_path, partition={"train": ["a"]}).splits()


def test_files_that_are_no_motion_are_named(tmp_path):
  for name in ("07/07.asf", "07/07_01.amc", "07/07_02.c3d", "08/walk.bvh", "08/old/deep.bvh", "index.html"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
  source = MocapSource(raw=tmp_path, partition={"train": ["07", "08"]})
  assert [walk.condition for walk in source.splits()["train"][:: len(source.views)]] == ["07_01", "walk"]
  assert source.unread() == ["07/07_02.c3d", "08/old/deep.bvh", "index.html"]


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
