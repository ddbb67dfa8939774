"""GaitBase (Fan et al., arXiv 2211.06597): a ResNet of four blocks within frames, and 16 parts.

It is the network of models/p3d.py in the form "2d" with one block a stage. Equal to the official network in float32,
embeddings included: `python -m fgait_jax.interop.check_golden` checks it (docs/networks.md).
"""

from fgait_jax.models import p3d
from fgait_jax.models.deepgaitv2 import STRIPS
from fgait_jax.models.encoder import Backbone, Size, written_out


def variant_of(channels) -> str:
  """The variant with these channels, as `BACKBONE.size` reads it."""
  return "resnet9" if tuple(channels) == p3d.CHANNELS else "-".join(map(str, channels))


def _size(channels: tuple[int, ...]) -> Size:
  return Size(encoder={"mode": "2d", "layers": (1, 1, 1, 1), "channels": channels}, embed=channels[2])


BACKBONE = Backbone(
  name="gaitbase",
  sizes={"resnet9": _size(p3d.CHANNELS)},
  parse=lambda variant: _size(*written_out(
    variant, 4, known="resnet9, or channels of the four stages such as 8-16-32-64")),
  encoder=p3d.P3D,
  cut=STRIPS,
  sharding=p3d.SHARDING,
  low_rank=p3d.LOW_RANK,
  depth=p3d.DEPTH,
)
