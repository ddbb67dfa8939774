"""The synthetic population as a data set: same bytes anywhere, people who differ, walks that are not copies."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from data_prep.sources import walkers as sources_walkers
from data_prep.sources.walkers import WalkersSource, render_walk
from fgait_jax.data.schema import check_frames
from fgait_jax.errors import DataError

FRAMES = (32, 36)


@pytest.fixture(scope="module")
def source() -> WalkersSource:
  return WalkersSource(
    subjects=1, test_subjects=8, views=("000", "090"), normal=2, bag=1, coat=1, frames=FRAMES, seed=3
  )


@pytest.fixture(scope="module")
def walks(source):
  return source.splits()["test"]


@pytest.fixture(scope="module")
def rendered(walks) -> dict[str, np.ndarray]:
  return {walk.key: walk.read().frames for walk in walks}


def read(walk) -> np.ndarray:
  return walk.read().frames


def gei(frames: np.ndarray) -> np.ndarray:
  return frames.mean(0) / 255


def test_splits_share_no_person_and_name_every_walk_once(source):
  splits = source.splits()
  assert {w.subject for w in splits["train"]}.isdisjoint(w.subject for w in splits["test"])
  keys = [w.key for walks in splits.values() for w in walks]
  assert len(keys) == len(set(keys)) == 9 * 4 * 2
  assert keys[0] == "0001/nm-01/000"
  assert source.conditions == ("nm-01", "nm-02", "bg-01", "cl-01")


def test_default_is_the_documented_size():
  splits = WalkersSource().splits()
  assert {name: len(walks) for name, walks in splits.items()} == {"train": 120 * 48, "test": 40 * 48}
  heights = [w.attributes["height"] for w in splits["train"][::48]]
  assert 1.62 < np.mean(heights) < 1.78
  assert 0.35 < np.mean([w.attributes["sex"] for w in splits["train"][::48]]) < 0.65


def test_frames_keep_the_contract(rendered):
  for key, frames in rendered.items():
    assert frames.shape == check_frames(frames, key).shape[:3]
    assert frames.shape[1:] == (64, 64)
    assert FRAMES[0] <= len(frames) <= FRAMES[1]
    assert (frames.reshape(len(frames), -1).max(1) == 255).all(), key
    grey = ((frames > 0) & (frames < 255)).mean()
    assert 0.005 < grey < 0.1


def test_body_fills_the_height_and_stands_in_the_middle(rendered):
  for key, frames in rendered.items():
    assert frames[:, [0, -1]].any(axis=2).all(), key
    mass = frames.astype(np.int64).sum(1).cumsum(1)
    middle = (mass > mass[:, -1:] / 2).argmax(1)
    assert (np.abs(middle - 32) <= 1).all(), key


def test_same_bytes_in_any_process_and_order(walks, rendered):
  with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
    for walk, frames in zip(reversed(walks[-6:]), pool.map(read, reversed(walks[-6:])), strict=True):
      np.testing.assert_array_equal(frames, rendered[walk.key])
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(walks[0])).read().frames, rendered[walks[0].key])


def test_person_does_not_depend_on_who_else_is_there():
  few, many = (WalkersSource(subjects=n, test_subjects=1, frames=(8, 8)) for n in (2, 5))
  assert few.splits()["train"][50].key == many.splits()["train"][50].key
  np.testing.assert_array_equal(few.splits()["train"][50].read().frames, many.splits()["train"][50].read().frames)


def test_seed_changes_everyone():
  one, other = (
    render_walk(seed=s, subject="0001", condition="nm-01", view="090", frames=(30, 30), clean=True).frames
    for s in (0, 1)
  )
  assert np.abs(gei(one) - gei(other)).mean() > 0.01


def test_a_walk_is_its_own_whatever_was_rendered_before():
  """Views of a walk share what was drawn for it, and no other walk does."""
  asked = [{"seed": 3, "subject": "0001", "condition": "nm-01", "view": "090", "frames": [32, 36]}]
  asked += [asked[0] | other for other in (
    {"seed": 4}, {"subject": "0002"}, {"condition": "nm-02"}, {"frames": [20, 24]}, {"view": "000"})]
  alone = []
  for walk in asked:
    sources_walkers._walk.cache_clear()
    alone.append(render_walk(**walk).frames)
  for walk, frames in zip(asked, alone, strict=True):  # each after another one
    np.testing.assert_array_equal(render_walk(**asked[0]).frames, alone[0])
    np.testing.assert_array_equal(render_walk(**walk).frames, frames)
  assert all(len(frames) != len(alone[0]) or (frames != alone[0]).any() for frames in alone[1:])


def test_people_differ_more_between_than_within(rendered, walks):
  subjects = sorted({w.subject for w in walks})
  for view in ("000", "090"):
    first, second = (
      np.stack([gei(rendered[f"{s}/nm-0{n}/{view}"]).ravel() for s in subjects]) for n in (1, 2)
    )
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    within, between = np.diag(distances), distances[~np.eye(len(subjects), dtype=bool)]
    assert within.min() > 0.5, "two walks are nearly the same pictures"
    assert np.median(between) > 1.25 * np.median(within)


def test_views_of_a_walk_share_its_length_and_not_its_pictures(rendered, walks):
  for walk in walks:
    front, side = (rendered[f"{walk.subject}/{walk.condition}/{view}"] for view in ("000", "090"))
    assert len(front) == len(side)
    assert np.abs(gei(front) - gei(side)).mean() > 0.02


@pytest.mark.parametrize(
  "options, message",
  [
    ({"views": ("90",)}, "view '90'.*three digits"),
    ({"views": ("360",)}, "view '360'.*000 \\(front\\) to 359"),
    ({"views": ("090", "090")}, "none twice"),
    ({"normal": 0, "bag": 0, "coat": 0}, "walks per condition.*not all 0"),
    ({"frames": (9, 8)}, r"frames of a walk.*least <= most"),
    ({"test_subjects": -1}, "expected 0 to 99"),
    ({"coat": 100}, "expected 0 to 99 each"),
    ({"frames": (0, 8)}, "expected .least, most. with 1 <= least"),
    ({"views": ()}, "expected at least one"),
  ],
)
def test_impossible_populations_are_refused(options, message):
  with pytest.raises(DataError, match=message):
    WalkersSource(**options)
  assert WalkersSource(normal=99, bag=0, coat=0, subjects=0, frames=(1, 1)).conditions[-1] == "nm-99"


@pytest.mark.parametrize("condition", ["xx-01", "nm", "nm-1", "nm-011"])
def test_unknown_condition_is_refused(condition):
  with pytest.raises(DataError, match=f"condition '{condition}'.*nm-01"):
    render_walk(seed=0, subject="0001", condition=condition, view="090", frames=(8, 8))
