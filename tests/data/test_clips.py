"""Clips follow the reference's rule: tile, window, draw without replacement, keep the order."""

import itertools

import numpy as np
import pytest

from fgait_jax.data.clips import draws_per_clip, sample_clips, spaced


def many(num_frames, *, clip_frames, window_frames, number=4000, seed=0):
  noise = np.random.default_rng(seed).random((number, draws_per_clip(window_frames)))
  return sample_clips(noise, np.full(number, num_frames), clip_frames=clip_frames)


@pytest.mark.parametrize("num_frames", [20, 21, 90])
def test_frames_are_distinct_ordered_and_of_one_window(num_frames):
  clips = many(num_frames, clip_frames=16, window_frames=20)
  assert clips.shape == (4000, 16)
  assert (np.diff(clips, axis=1) > 0).all()
  assert clips.min() == 0
  assert clips.max() == num_frames - 1
  assert (clips[:, -1] - clips[:, 0]).max() == 19


@pytest.mark.parametrize("num_frames, tiled", [(1, 20), (7, 21), (10, 20), (16, 32), (19, 38)])
def test_short_sequences_are_tiled_until_they_fill_the_window(num_frames, tiled):
  clips = many(num_frames, clip_frames=16, window_frames=20)
  assert clips.min() == 0
  assert clips.max() == num_frames - 1
  # Walking order with returns to the first frame: unrolled, the clip lies in a window of the tiled sequence.
  steps = np.diff(clips, axis=1) % num_frames
  steps[steps == 0] = num_frames
  assert steps.sum(1).max() <= 19
  starts = np.unique(many(num_frames, clip_frames=20, window_frames=20)[:, 0])
  np.testing.assert_array_equal(starts, np.unique(np.arange(tiled - 20 + 1) % num_frames))


def test_every_start_and_every_subset_is_equally_likely():
  clips = many(5, clip_frames=2, window_frames=3, number=60_000)
  found, counts = np.unique(clips, axis=0, return_counts=True)
  likely = {}
  for start in range(3):
    for pair in itertools.combinations(range(start, start + 3), 2):
      likely[pair] = likely.get(pair, 0) + 1 / 9
  assert [tuple(row) for row in found] == sorted(likely)
  np.testing.assert_allclose(counts / 60_000, [likely[pair] for pair in sorted(likely)], atol=0.007)


def test_sequences_of_different_lengths_are_sampled_at_once():
  noise = np.random.default_rng(0).random((3, 2, draws_per_clip(20)))
  clips = sample_clips(noise, np.array([[5], [20], [200]]), clip_frames=16)
  assert clips.shape == (3, 2, 16)
  assert (clips.max((1, 2)) < [5, 20, 200]).all()
  np.testing.assert_array_equal(clips[2, 1], sample_clips(noise[2, 1], np.array(200), clip_frames=16))


@pytest.mark.parametrize("num_frames, stride", [(1, 4), (3, 4), (10, 4), (33, 4), (33, 1)])
def test_spaced_frames_are_all_frames_once_each_a_stride_after_its_neighbour(num_frames, stride):
  order = spaced(num_frames, stride=stride)
  np.testing.assert_array_equal(np.sort(order), np.arange(num_frames))
  begins = order[1:] < stride  # the next run through the sequence
  assert (np.diff(order)[~begins] == stride).all()
  assert begins.sum() == min(stride, num_frames) - 1


def test_a_whole_sequence_is_taken_at_the_stride_of_clips_from_its_beginning():
  np.testing.assert_array_equal(spaced(10, stride=4), [0, 4, 8, 1, 5, 9, 2, 6, 3, 7])
  np.testing.assert_array_equal(spaced(3, stride=4), [0, 1, 2])
