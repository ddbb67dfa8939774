"""Corruptions: alike for a walk, harder with severity, in time and in space."""

import functools

import cv2
import numpy as np
import pytest

from fgait_jax.data.normalise import MIN_SUM
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.features import baselines, corruption, extraction


@functools.cache
def walk(frames=40, seed=0):
  """A figure with a head, a trunk and swinging limbs, uint8 [t, 64, 64, 1]."""
  out = np.zeros((frames, 256, 256), np.uint8)
  for n, frame in enumerate(out):
    swing = int(34 * np.sin(0.5 * n + seed))
    cv2.circle(frame, (128, 22), 18, 255, -1)
    cv2.ellipse(frame, (128, 90), (28, 56), 0, 0, 360, 255, -1)
    for side in (-1, 1):
      cv2.line(frame, (128, 130), (128 + side * swing, 250), 255, 20)
      cv2.line(frame, (128, 55), (128 - side * (swing + 10), 130), 255, 12)
  return np.stack([cv2.resize(f, (64, 64), interpolation=cv2.INTER_AREA) for f in out])[..., None]


def overlap(first, second):
  first, second = first >= 128, second >= 128
  return (first & second).sum() / (first | second).sum()


def corrupted(kind, severity, *, seed=0, key="001/nm-01/090", frames=None):
  return corruption.corrupt(walk() if frames is None else frames, kind=kind, severity=severity, seed=seed, key=key)


def test_there_are_fifteen_types_of_five_severities():
  assert len(corruption.TYPES) == 15
  assert all(len(strengths) == len(corruption.LEVELS) == 5 for strengths in corruption.STRENGTHS.values())


@pytest.mark.parametrize("kind", [k for k in corruption.TYPES if k not in corruption.TEMPORAL])
def test_masks_differ_more_with_severity(kind):
  clean = walk(8)
  found = [np.mean([overlap(clean, corrupted(kind, s, frames=clean, key=f"{n}")) for n in range(24)])
           for s in corruption.LEVELS]
  assert (np.diff(found) < 0).all(), found
  assert found[0] > 0.6, found
  assert 0.15 < found[-1] < 0.85, found


@pytest.mark.parametrize("kind", corruption.TYPES)
def test_a_walk_is_always_corrupted_alike_and_walks_differ(kind):
  clean = walk(32)
  first = corrupted(kind, 3, frames=clean)
  assert first.dtype == np.uint8
  assert first.shape[1:] == (64, 64, 1)
  np.testing.assert_array_equal(first, corrupted(kind, 3, frames=clean))
  if kind not in ("sampling", "defocus_blur", "zoom_blur"):  # these draw nothing
    assert (first != corrupted(kind, 3, frames=clean, key="002/nm-01/090")).any()
    assert (first != corrupted(kind, 3, frames=clean, seed=1)).any()


def test_frozen_walks_keep_their_length_and_repeat_frames():
  counted = walk() * 0 + np.arange(40, dtype=np.uint8)[:, None, None, None]
  distinct = [len(np.unique(corrupted("freeze", s, frames=counted))) for s in corruption.LEVELS]
  assert distinct == [34, 28, 20, 13, 7]
  assert len(corrupted("freeze", 5)) == 40
  assert (np.diff(corrupted("freeze", 3, frames=counted)[:, 0, 0, 0].astype(int)) >= 0).all()


def test_sampling_keeps_one_frame_in_so_many():
  lengths = [len(corrupted("sampling", s)) for s in corruption.LEVELS]
  assert lengths == [20, 14, 10, 7, 5]
  assert [corruption.length_after(40, kind="sampling", severity=s) for s in corruption.LEVELS] == lengths
  assert len(corrupted("sampling", 5, frames=walk(1))) == 1


@pytest.mark.parametrize("kind", corruption.TYPES)
def test_empty_and_single_frames_are_no_accident(kind):
  assert corrupted(kind, 5, frames=np.zeros((1, 64, 64, 1), np.uint8)).shape == (1, 64, 64, 1)
  assert corrupted(kind, 5, frames=np.full((2, 64, 64, 1), 255, np.uint8)).dtype == np.uint8


IN_SPACE = [kind for kind in corruption.TYPES if kind not in corruption.TEMPORAL]


@pytest.mark.parametrize("kind", IN_SPACE)
@pytest.mark.parametrize("severity", [1, 5])
def test_what_is_left_is_normalised_as_after_any_segmentation(kind, severity):
  found = corrupted(kind, severity, frames=walk(6))
  assert found[:, 0].any(axis=(1, 2)).all()  # the body begins in the first row
  assert found[:, -1].any(axis=(1, 2)).all()  # and ends in the last
  mass = np.cumsum(found[..., 0].sum(axis=1, dtype=np.int64), axis=1)
  middle = np.argmax(mass > mass[:, -1:] / 2, axis=1)
  assert (np.abs(middle - 32) <= 1).all(), middle


@pytest.mark.parametrize("kind", corruption.TEMPORAL)
def test_a_missing_frame_leaves_masks_where_they_were(kind):
  aside = np.roll(walk(8), 5, axis=2)
  found = corrupted(kind, 1, frames=aside)
  assert all((frame == aside).all(axis=(1, 2, 3)).any() for frame in found)


def flickering():
  """Ten frames of a body, ten of one that fog leaves nothing of."""
  frames = walk(20).copy()
  frames[10:] = 0
  frames[10:, 20:50, 31:33] = 255
  return frames


def test_frames_without_a_body_are_dropped_and_a_walk_of_none_stays():
  found = corrupted("fog", 5, frames=flickering())
  assert len(found) == 10
  assert found.any(axis=(1, 2, 3)).all()
  gone = corrupted("fog", 5, frames=flickering()[10:])
  assert gone.shape == (10, 64, 64, 1)
  assert (gone.sum(axis=(1, 2, 3), dtype=np.int64) <= MIN_SUM).all()  # specks, which are no body


class Walks:
  name, manifest, num_frames = "walkers/test", {"content_hash": "d"}, np.array([40, 40, 7])
  subjects, conditions, views = np.array(["1", "2", "3"]), np.array(["nm"] * 3), np.array(["090"] * 3)
  keys = np.array(["a", "b", "c"])

  def frames(self, i, indices=None):
    cut = walk(int(self.num_frames[i]), seed=i)[:, :, 10:54]
    return cut if indices is None else cut[indices]


def test_a_corrupted_split_is_a_split():
  split = corruption.CorruptedSplit(Walks(), np.array([2, 0]), kind="sampling", severity=2, seed=0)
  assert split.keys.tolist() == ["c", "a"]
  assert split.num_frames.tolist() == [3, 14]
  assert [len(split.frames(i)) for i in range(len(split))] == [3, 14]
  rain = corruption.CorruptedSplit(Walks(), np.array([2, 0]), kind="rain", severity=2, seed=0)
  np.testing.assert_array_equal(rain.frames(1, np.array([3, 3])), rain.frames(1)[[3, 3]])
  assert rain.frames(1).shape == (40, 64, 64, 1)
  cases = ([2, 0], "rain", 2, 1), ([2, 1], "rain", 2, 0), ([2, 0], "rain", 3, 0), ([2, 0], "fog", 2, 0)
  others = [corruption.CorruptedSplit(Walks(), np.array(rows), kind=kind, severity=severity, seed=seed).name
            for rows, kind, severity, seed in cases]
  assert len({*others, rain.name}) == 5  # embeddings are cached by name


def test_a_corrupted_split_is_read_to_the_last_frame_that_shows_a_body(monkeypatch):
  monkeypatch.setattr(Walks, "frames", lambda self, i, indices=None: flickering()[indices])
  monkeypatch.setattr(Walks, "num_frames", np.array([20, 20, 20]))
  split = corruption.CorruptedSplit(Walks(), np.array([1]), kind="fog", severity=5, seed=0)
  assert split.num_frames.tolist() == [20]
  assert len(split.frames(0)) == len(split.frames(0, np.arange(20))) == 10
  assert len(extraction.read_walk(split, 0, max_frames=15)) == 10
  (gei,) = baselines.mean_silhouettes(split, max_frames=15).embeddings
  np.testing.assert_allclose(gei[:, 0].reshape(64, 44), split.frames(0)[:, :, 10:54, 0].mean(axis=0) / 255, rtol=1e-6)
  batch, valid = extraction.pad_batch([extraction.read_walk(split, 0, max_frames=15)], length=16, size=1)
  assert valid.sum() == 10
  assert batch[0][~valid[0]].sum() == 0


def test_what_cannot_be_corrupted_is_said():
  with pytest.raises(ConfigError, match="config.robustness.types names 'hail'; known: gaussian_noise, defocus_blur"):
    corrupted("hail", 1)
  with pytest.raises(ConfigError, match="config.robustness.severities names 6; known: 1, 2, 3, 4, 5"):
    corrupted("rain", 6)
  with pytest.raises(DataError, match=r"a/b: corruptions act on silhouettes uint8 .* got uint8 \(4, 64, 44, 1\)"):
    corrupted("rain", 1, frames=np.zeros((4, 64, 44, 1), np.uint8), key="a/b")
