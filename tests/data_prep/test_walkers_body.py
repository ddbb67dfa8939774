"""The people themselves: proportions, periodic motion, coats and bags that change the outline, errors of masks."""

import dataclasses

import numpy as np
import pytest

from data_prep.sources.walkers import render_walk
from data_prep.walkers import noise
from data_prep.walkers.anthropometry import draw_subject
from data_prep.walkers.body import build_body
from data_prep.walkers.camera import Camera, place_camera
from data_prep.walkers.clothing import BAGS, dress
from data_prep.walkers.kinematics import draw_gait, walk
from data_prep.walkers.noise import Segmenter, degrade, draw_segmenter, lost_parts
from data_prep.walkers.renderer import MARGIN, render

SUBJECTS = [f"{n:04d}" for n in range(1, 13)]


def pose_of(subject, *, rate=25.0, frames=100, seed=0, stream=0):
  return walk(
    subject, draw_gait(subject, seed=seed), rng=np.random.default_rng(stream), frames=frames, rate=rate,
    carrying=(1.0, 1.0),
  )


def clean(subject: str, condition: str, view: str, frames: int = 40) -> np.ndarray:
  walk = {"subject": subject, "condition": condition, "view": view}
  return render_walk(seed=0, **walk, frames=(frames, frames), clean=True).frames


def test_people_are_human_and_differ():
  people = [draw_subject(f"{n:04d}", seed=0) for n in range(300)]
  heights = np.array([p.height for p in people])
  assert 0.07 < heights.std() < 0.11
  men = np.array([p.sex for p in people], bool)
  assert 0.08 < heights[men].mean() - heights[~men].mean() < 0.18
  for p in people:
    total = p.thigh + p.shank + p.ankle_height + p.trunk + p.neck + p.skull
    assert 0.88 < total / p.height < 1.12
    assert min(p.widths.min(), p.depths.min(), *p.thigh_radii, *p.shank_radii, *p.arm_radii) > 0.01


def test_bones_keep_their_length():
  subject = draw_subject("0001", seed=0)
  joints = pose_of(subject).joints
  for a, b, length in [("hip", "knee", subject.thigh), ("knee", "ankle", subject.shank), ("shoulder", "elbow",
                       subject.upper_arm), ("elbow", "wrist", subject.forearm)]:
    for side in "01":
      measured = np.linalg.norm(joints[a + side] - joints[b + side], axis=-1)
      np.testing.assert_allclose(measured, length, rtol=1e-6)


def test_knees_bend_backwards_and_feet_stay_on_the_ground():
  for name in SUBJECTS[:4]:
    subject = draw_subject(name, seed=0)
    joints = pose_of(subject).joints
    lowest = np.minimum.reduce([joints[f"{part}{s}"][:, 2] for part in ("toe", "heel") for s in "01"])
    assert (np.abs(lowest) < 0.08).all()
    for side in "01":
      thigh = joints[f"knee{side}"] - joints[f"hip{side}"]
      shank = joints[f"ankle{side}"] - joints[f"knee{side}"]
      bend = np.arctan2(thigh[:, 0], -thigh[:, 2]) - np.arctan2(shank[:, 0], -shank[:, 2])
      assert bend.min() > -0.02
      assert 0.7 < bend.max() < 1.5


@pytest.mark.parametrize("name", SUBJECTS[:3])
def test_motion_repeats_with_the_cadence(name):
  subject = draw_subject(name, seed=0)
  gait = draw_gait(subject, seed=0)
  ankle = pose_of(subject, frames=200).joints["ankle0"][:, 0]
  ankle = ankle - ankle.mean()
  correlation = np.array([np.corrcoef(ankle[:-lag], ankle[lag:])[0, 1] for lag in range(1, 45)])
  best = 15 + correlation[14:].argmax()
  assert correlation.max() > 0.9
  assert abs(best / 25 - 1 / gait.cadence) < 0.2 / gait.cadence
  legs = pose_of(subject).joints
  assert np.corrcoef(legs["ankle0"][:, 0], legs["ankle1"][:, 0])[0, 1] < -0.5
  assert np.corrcoef(legs["ankle0"][:, 0], legs["wrist0"][:, 0])[0, 1] < -0.3


@pytest.mark.parametrize("view", ["000", "090"])
def test_a_mask_holds_the_whole_body_and_little_more(view):
  subject = draw_subject("0001", seed=0)
  solids = build_body(subject, dress(subject, "cl-01", seed=0), pose_of(subject, frames=12))
  names = solids.capsules.names
  masks = list(render(solids, place_camera(view, seed=0), lost=np.zeros((len(names), 12), bool)))
  assert len(masks) == 12
  for mask in masks:
    for edge in (mask, mask[::-1], mask.T, mask.T[::-1]):
      assert not edge[:MARGIN - 2].any()
      assert edge[:MARGIN + 4].any()


def test_silhouettes_show_the_step():
  width = (clean("0001", "nm-01", "090", frames=80)[:, 44:] > 127).any(1).sum(1).astype(float)
  width -= width.mean()
  correlation = [np.corrcoef(width[:-lag], width[lag:])[0, 1] for lag in range(8, 24)]
  assert max(correlation) > 0.6


def test_one_person_walks_differently_every_time_but_keeps_the_manner():
  subject, other = (draw_subject(name, seed=0) for name in ("0001", "0002"))

  def manner(person, stream):
    joints = pose_of(person, frames=200, stream=stream).joints
    return np.array([np.ptp(joints[f"{j}{s}"][:, 0]) for j in ("ankle", "wrist") for s in "01"])

  own = [manner(subject, stream) for stream in range(4)]
  foreign = [manner(other, stream) for stream in range(4)]
  within = np.mean([np.linalg.norm(a - b) for a in own for b in own if a is not b])
  between = np.mean([np.linalg.norm(a - b) for a in own for b in foreign])
  assert 0.002 < within < between


def test_the_arm_that_carries_swings_less():
  subject = draw_subject("0001", seed=0)

  def swings(carrying):
    joints = walk(subject, draw_gait(subject, seed=0), rng=np.random.default_rng(0), frames=100, rate=25.0,
                  carrying=carrying).joints
    return [np.ptp(joints[f"wrist{side}"][:, 0] - joints[f"shoulder{side}"][:, 0]) for side in (0, 1)]

  free, left, right = swings((1.0, 1.0)), swings((0.2, 1.0)), swings((1.0, 0.2))
  assert left[0] < 0.7 * free[0]
  assert left[1] == pytest.approx(free[1])
  assert right[0] == pytest.approx(free[0])
  assert right[1] < 0.7 * free[1]


def test_toes_point_outwards():
  subject = draw_subject("0001", seed=0)
  gait = dataclasses.replace(draw_gait(subject, seed=0), toe_out=(0.3, 0.3), pelvis_turn=0.0)
  joints = walk(subject, gait, rng=np.random.default_rng(0), frames=50, rate=25.0, carrying=(1.0, 1.0)).joints
  for side, sign in enumerate((1, -1)):  # y is to the left
    assert (sign * (joints[f"toe{side}"] - joints[f"heel{side}"])[:, 1] > 0).all()


def test_skirts_are_some_womens():
  people = [draw_subject(f"{n:04d}", seed=0) for n in range(200)]
  skirts = [dress(person, "nm-01", seed=0).skirt > 0.4 for person in people]
  assert {person.sex for person, skirt in zip(people, skirts, strict=True) if skirt} == {0}
  assert 5 < sum(skirts) < 40


def test_coat_widens_the_hips():
  rows = slice(30, 40)  # hips and upper thighs

  def width(condition):
    return np.mean([(clean(s, condition, "090", frames=24)[:, rows] / 255).sum(2).mean() for s in SUBJECTS])

  assert width("cl-01") > 1.05 * width("nm-01")


def test_bags_of_every_kind_add_body():
  kinds = {}
  for subject in SUBJECTS:
    bag = dress(draw_subject(subject, seed=0), "bg-01", seed=0).bag
    kinds.setdefault(bag, []).append(
      clean(subject, "bg-01", "090", frames=24).mean() / clean(subject, "nm-01", "090", frames=24).mean()
    )
  assert set(kinds) == set(BAGS)
  assert np.mean([r for ratios in kinds.values() for r in ratios]) > 1.02


@pytest.mark.parametrize("bag", ["shoulder bag", "hand bag"])
def test_a_bag_hangs_on_its_side(bag):
  subject = draw_subject("0001", seed=0)
  pose = pose_of(subject)
  for side, sign in enumerate((1, -1)):  # y is to the left
    outfit = dataclasses.replace(dress(subject, "bg-01", seed=0), bag=bag, bag_side=side)
    (box,) = build_body(subject, outfit, pose).boxes
    assert (sign * (box.mean(1) - pose.joints["pelvis"])[:, 1] > 0.05).all()


def test_a_skirt_hides_the_gap_between_the_thighs():
  subject = draw_subject("0001", seed=0)
  outfit = dataclasses.replace(dress(subject, "cl-01", seed=0), skirt=1.0, flare=0.05)
  pose = pose_of(subject)
  _, skirt = build_body(subject, outfit, pose).stacks
  for side in (0, 1):
    knee = pose.joints[f"knee{side}"] - skirt.centres[0]  # the lowest ellipse
    assert (np.abs(knee[:, 0]) < skirt.half_depth[0]).all()
    assert (np.abs(knee[:, 1]) < skirt.half_width[0]).all()


def test_camera_projects_up_as_up_and_scales_with_distance():
  camera = Camera(azimuth=np.pi / 2, distance=6.0, height=0.9, pixels=100)
  pixels, scale = camera.project(np.array([[0, 0, 0.9], [0, 0, 1.9], [1, 0, 0.9], [0, 1, 0.9]], float))
  np.testing.assert_allclose(pixels[0], 0, atol=1e-9)
  np.testing.assert_allclose(pixels[1], [0, -100 / 1.7], atol=1e-9)
  np.testing.assert_allclose(pixels[2], [-100 / 1.7, 0], atol=1e-9)  # walkers go left as seen from their left
  np.testing.assert_allclose(scale, 100 / 1.7 * np.array([1, 1, 1, 6 / 5]))


def test_camera_and_its_segmenter_are_fixed_in_the_room():
  assert place_camera("090", seed=0) == place_camera("090", seed=0)
  assert place_camera("090", seed=0).distance != place_camera("060", seed=0).distance
  recordings = [draw_segmenter("090", ("0001", f"nm-0{n}"), seed=0) for n in (1, 2)]
  assert recordings[0] != recordings[1]


def test_segmenter_bias_thickens_and_perfect_masks_stay():
  mask = np.zeros((120, 60), np.uint8)
  mask[10:110, 20:40] = 255
  perfect = Segmenter()

  def degraded(segmenter):
    return next(degrade([mask.copy()], segmenter, np.random.default_rng(0)))

  np.testing.assert_array_equal(degraded(perfect), mask)
  areas = [degraded(dataclasses.replace(perfect, bias=bias)).sum() for bias in (-60, 60)]
  assert areas[0] < mask.sum() < areas[1]
  ragged = degraded(Segmenter(ragged=35, blur=5))
  assert set(np.unique(ragged)) == {0, 255}
  assert 0 < (ragged != mask).mean() < 0.1


def test_noise_is_a_window_of_its_field_whatever_the_shape_of_the_mask(monkeypatch):
  resized, resize = [], noise.cv2.resize
  monkeypatch.setattr(noise.cv2, "resize", lambda *args: resized.append(args) or resize(*args))
  for shape in ((300, 90), (90, 300), (noise.FIELD, noise.FIELD)):
    masks = [np.full(shape, 255, np.uint8) for _ in range(20)]
    assert all(found.shape == shape for found in degrade(masks, Segmenter(ragged=35), np.random.default_rng(0)))
  assert not resized
  next(degrade([np.full((500, 90), 255, np.uint8)], Segmenter(ragged=35), np.random.default_rng(0)))
  assert len(resized) == 1  # taller than the field


def test_lost_parts_are_feet_and_hands_only():
  names = ("thigh", "foot", "hand")
  lost = lost_parts(Segmenter(lose_foot=0.3, lose_hand=0.3), names, 400, np.random.default_rng(0))
  assert not lost[0].any()
  assert (np.abs(lost[1:].mean(1) - 0.3) < 0.12).all()
