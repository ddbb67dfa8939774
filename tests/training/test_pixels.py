"""Silhouettes for networks of silhouettes, maps for networks of maps, of as many channels."""

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError
from fgait_jax.training import pixels, pretraining


class Walks:
  name = "mine/test"

  def __init__(self, channels, **manifest):
    self.channels, self.manifest = channels, manifest

  def frames(self, row, indices):
    return np.zeros((len(indices), 64, 44, self.channels), np.uint8)


def model(**values):
  section = defaults.model()
  section.update(values)
  return section


def test_what_fits_has_the_same_pixels_and_channels():
  assert not pixels.misfit(Walks(1), model())
  assert not pixels.misfit(Walks(1, pixels="maps"), model(pixels="maps"))
  assert not pixels.misfit(Walks(3), model(pixels="maps", channels=3))


@pytest.mark.parametrize(("walks", "values", "words"), [
  (Walks(1, pixels="maps"), {}, "frames are maps of 1 channel, the network takes silhouettes of 1"),
  (Walks(1), {"pixels": "maps"}, "frames are silhouettes of 1 channel, the network takes maps of 1"),
  (Walks(2), {"pixels": "maps"}, "frames are maps of 2 channels, the network takes maps of 1"),
])
def test_what_does_not_fit_is_refused(walks, values, words):
  with pytest.raises(ConfigError, match=f"mine/test: {words}; set config.model.channels and config.model.pixels"):
    pretraining.check_frames([walks], model(**values))
