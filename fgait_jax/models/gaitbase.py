"""GaitBase (Fan et al., arXiv 2211.06597): a ResNet of four blocks within frames, and 16 parts.

It is the network of models/p3d.py in the form "2d" with one block a stage. Equal to the official network in float32,
embeddings included: `python -m fgait_jax.interop.check_golden` checks it (docs/networks.md).
"""

import re

from fgait_jax.errors import ConfigError
from fgait_jax.models import p3d
from fgait_jax.models.deepgaitv2 import STRIPS
from fgait_jax.models.encoder import Backbone, Size


def variant_of(channels) -> str:
  """The variant with these channels, as `BACKBONE.size` reads it."""
  return "resnet9" if tuple(channels) == p3d.CHANNELS else "-".join(map(str, channels))


def _size(channels: tuple[int, ...]) -> Size:
  return Size(encoder={"mode": "2d", "layers": (1, 1, 1, 1), "channels": channels}, embed=channels[2])


def _parse(variant: str) -> Size:
  if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*){3}", variant):
    raise ConfigError(f"config.model.variant={variant!r} is not known; known: resnet9, or channels of the four stages"
                      " such as 8-16-32-64")
  return _size(tuple(int(n) for n in variant.split("-")))


BACKBONE = Backbone(
  name="gaitbase",
  sizes={"resnet9": _size(p3d.CHANNELS)},
  parse=_parse,
  encoder=p3d.P3D,
  cut=STRIPS,
  sharding=p3d.SHARDING,
  low_rank=p3d.LOW_RANK,
  depth=p3d.DEPTH,
)
