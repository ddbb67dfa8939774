"""How far apart a network sees frames at test."""

import numpy as np
import pytest

from fgait_jax.data.clips import draws_per_clip, sample_clips
from fgait_jax.training.pretrained import stride_of

CLIPS = [(4, 30, 8), (8, 30, 4), (16, 20, 1), (30, 34, 1), (5, 5, 1)]  # frames, of a window, their stride at test


@pytest.mark.parametrize(("clip", "window", "stride"), CLIPS)
def test_the_stride_is_window_over_clip(clip, window, stride):
  assert stride_of({"clip_frames": clip, "window_frames": window}) == stride


@pytest.mark.parametrize(("clip", "window", "stride"), CLIPS)
def test_neighbours_of_training_are_somewhat_closer(clip, window, stride):
  """Drawn without replacement they lie (window + 1) / (clip + 1) apart on average, more than half of the stride."""
  noise = np.random.default_rng(0).random((4000, draws_per_clip(window)))
  apart = np.diff(sample_clips(noise, np.full(4000, window), clip_frames=clip), axis=1).mean()
  assert apart == pytest.approx((window + 1) / (clip + 1), rel=0.02)
  assert stride / 2 < apart < stride + 0.5
