"""DeepGaitV2 (Fan et al., arXiv 2303.03301): the encoder of models/p3d.py in three forms, and 16 parts.

Equal to the official network in float32, embeddings included: `python -m fgait_jax.interop.check_golden` checks it
(docs/networks.md).
"""

from fgait_jax.errors import ConfigError
from fgait_jax.models import p3d
from fgait_jax.models.encoder import Backbone, Size
from fgait_jax.models.parts import Cut

STRIPS = Cut(bins=(16,))


def sizes(variant: str) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
  """(mode, layers, channels) of a variant such as "p3d-1-4-4-1" or "2d-1-1-1-1@8-16-32-64"; the mode is a name of
  `p3d.BLOCKS`, the rest as in `p3d.sizes`. Raises `ConfigError`."""
  mode, _, size = variant.partition("-")
  if mode not in p3d.BLOCKS or not size[:1].isdigit():
    raise ConfigError(
      f"config.model.variant={variant!r} is not known; known: {', '.join(BACKBONE.sizes)}, or any mode"
      f" ({', '.join(p3d.BLOCKS)}) and blocks a stage such as p3d-1-2-2-1, with other channels as"
      " p3d-1-1-1-1@8-8-16-16"
    )
  return mode, *p3d.sizes(size)


def variant_of(mode: str, layers, channels) -> str:
  """The inverse of `sizes`."""
  return f"{mode}-{p3d.variant_of(layers, channels)}"


def _size(variant: str) -> Size:
  mode, layers, channels = sizes(variant)
  return Size(encoder={"mode": mode, "layers": layers, "channels": channels}, embed=channels[2])


BACKBONE = Backbone(
  name="deepgaitv2",
  # As released for Gait3D and GREW (1-4-4-1) and for the other data sets (1-1-1-1), and the forms of the paper.
  sizes={variant: _size(variant) for variant in ("p3d-1-4-4-1", "p3d-1-1-1-1", "2d-1-4-4-1", "3d-1-4-4-1")},
  parse=_size,
  encoder=p3d.P3D,
  cut=STRIPS,
  sharding=p3d.SHARDING,
  low_rank=p3d.LOW_RANK,
  depth=p3d.DEPTH,
)
