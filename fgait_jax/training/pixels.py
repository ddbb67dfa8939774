"""Which frames a network takes: of how many channels, and whether silhouettes or anything else (`schema.PIXELS`)."""

import numpy as np
from ml_collections import ConfigDict

from fgait_jax.data import schema


def of(split) -> tuple[str, int]:
  """What the pixels of a split (or of walks in memory) are, one of `schema.PIXELS`, and the channels of its frames."""
  channels = split.frames(0, np.arange(1)).shape[-1]
  return getattr(split, "pixels", "") or schema.pixels_of(split.manifest, channels), channels


def misfit(split, model: ConfigDict) -> str:
  """How the frames of `split` differ from those of a network of the section `model`; "" where they do not."""
  pixels, channels = of(split)
  if (pixels, channels) == (model.pixels, model.channels):
    return ""
  return (f"frames are {pixels} of {channels} channel{'s' * (channels > 1)}, the network takes {model.pixels} of"
          f" {model.channels}")
