"""Controls take away what their names say, and nothing else."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from fgait_jax.evaluation.features import baselines, controls

STILL = 8


class Walks:
  """Three walks of different lengths, every frame unlike the others, stored 44 wide."""

  name, manifest, num_frames = "walkers/test", {"content_hash": "d"}, np.array([9, 30, 5])
  subjects, conditions, views = np.array(["1", "2", "3"]), np.array(["nm"] * 3), np.array(["090"] * 3)
  keys = np.array(["a", "b", "c"])

  def __len__(self):
    return 3

  def frames(self, i, indices=None):
    drawn = np.random.default_rng(i).integers(0, 256, (self.num_frames[i], 64, 44, 1), dtype=np.uint8)
    return drawn if indices is None else drawn[indices]


def frames_of(name, i, *, max_frames=720, seed=0):
  split = controls.controlled(Walks(), name, max_frames=max_frames, still_frames=STILL, seed=seed)
  found = split.frames(i, np.arange(split.num_frames[i]))
  assert len(found) == split.num_frames[i]
  assert found.shape[1:] == (64, 64, 1)
  return found[:, :, 10:54]


def test_shuffled_frames_are_the_same_frames_in_another_order():
  walk, found = Walks().frames(1), frames_of("shuffled", 1)
  assert (found != walk).any()
  order = [int(np.flatnonzero((walk == frame).all(axis=(1, 2, 3)))[0]) for frame in found]
  assert sorted(order) == list(range(30))
  np.testing.assert_array_equal(found, frames_of("shuffled", 1))  # a walk is always shuffled alike
  assert (found != frames_of("shuffled", 1, seed=1)).any()


def test_time_runs_backwards():
  np.testing.assert_array_equal(frames_of("reversed", 0), Walks().frames(0)[::-1])


def test_what_is_left_without_motion_is_one_picture():
  walk = Walks().frames(0)
  for name, picture in (("one_frame", walk[4]), ("mean_silhouette", np.rint(walk.mean(axis=0)))):
    found = frames_of(name, 0)
    assert len(found) == STILL
    for frame in found:
      np.testing.assert_array_equal(frame, picture.astype(np.uint8))


@pytest.mark.parametrize("name", controls.TITLES)
def test_no_frame_beyond_the_first_ones_is_used(name, monkeypatch):
  found = frames_of(name, 1, max_frames=12)
  monkeypatch.setattr(Walks, "num_frames", np.array([9, 12, 5]))
  whole = Walks.frames
  monkeypatch.setattr(Walks, "frames", lambda self, i, indices=None: whole(self, i)[indices])
  np.testing.assert_array_equal(found, frames_of(name, 1))


@pytest.mark.parametrize("name", ["shuffled", "reversed", "mean_silhouette"])
def test_a_method_without_time_does_not_notice(name):
  """The GEI sees neither order nor motion: the controls without these leave it as it is."""
  split = controls.controlled(Walks(), name, max_frames=20, still_frames=STILL, seed=0)
  plain = baselines.mean_silhouettes(Walks(), max_frames=20)
  found = baselines.mean_silhouettes(split, max_frames=20)
  np.testing.assert_allclose(found.embeddings, plain.embeddings, atol=0.51 / 255)  # a mean is rounded to a grey level
  assert found.keys.tolist() == plain.keys.tolist()


@pytest.mark.parametrize("name, frames, repeated", [("transformer", 4, 4), ("transformer", 32, 16), ("p3d", 4, 16)])
def test_a_picture_is_repeated_as_often_as_a_network_sees_it_at_once(name, frames, repeated):
  assert controls.still_frames(ConfigDict({"name": name, "attention_frames": frames})) == repeated


def test_every_control_has_a_name_for_the_cache():
  names = {controls.controlled(Walks(), name, max_frames=frames, still_frames=still, seed=seed).name
           for name in controls.TITLES for frames in (20, 30) for still in (4, 16) for seed in (0, 1)}
  assert len(names) == 4 * 2 + 8 * 2  # what is still is also named by how long
