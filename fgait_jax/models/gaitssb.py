"""GaitSSB (Fan et al., arXiv 2206.13964): the encoder of GaitBase under 31 parts, a projector and a predictor.

It is compared by its prediction or, fine-tuned, by a layer with columns of unit length over its projection. Equal to
the official networks in float32, embeddings included: `python -m fgait_jax.interop.check_golden` checks it
(docs/networks.md).
"""

import dataclasses

from fgait_jax.models import gaitbase
from fgait_jax.models.encoder import Size
from fgait_jax.models.parts import BODY


def _wide(size: Size) -> Size:
  """The heads are as wide as the last stage."""
  return dataclasses.replace(size, embed=size.encoder["channels"][-1])


BACKBONE = dataclasses.replace(
  gaitbase.BACKBONE,
  name="gaitssb",
  sizes={name: _wide(size) for name, size in gaitbase.BACKBONE.sizes.items()},
  parse=lambda variant: _wide(gaitbase.BACKBONE.size(variant)),
  cut=BODY,
  heads="reference",
  cosine_head=True,
)
