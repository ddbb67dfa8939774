"""All backbones by name, the network built on one, and the tables of its parameters.

A table joins the rows of the backbone and of the modules on top of it. `tests/golden/parameters.txt` lists all sizes.
"""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.mappings import by_name
from fgait_jax.models import (
  adapters,
  deepgaitv2,
  gaitbase,
  gaitset,
  gaitssb,
  heads,
  network,
  p3d,
  prompts,
  recognition,
  swingait,
  transformer,
)  # fmt: skip
from fgait_jax.models.encoder import Backbone
from fgait_jax.models.network import GaitNetwork
from fgait_jax.models.parts import TEMPORAL
from fgait_jax.parallel import rules

BACKBONES = by_name(
  module.BACKBONE for module in (transformer, p3d, deepgaitv2, gaitbase, gaitset, gaitssb, swingait)
)
REMAT = ("none", "dots", "full")
DTYPES = ("float32", "bfloat16")


def find(name: str) -> Backbone:
  """The record of a backbone; raises `ConfigError` naming the known ones."""
  return BACKBONES[_known(name, BACKBONES, "name")]


def create_network(
  *, name: str, variant: str, channels: int = 1, dtype="float32", remat: str = "none", stem: str = "conv",
  attention_frames: int = 16, temporal_pooling: str = "max", body_heads: int = 0, facing: bool = False,
  discriminant: int = 0, projects: bool = True, rngs: nnx.Rngs,
) -> GaitNetwork:
  """The network `variant` of backbone `name`; the arguments are the keys of `model` in `fgait_jax/defaults`, and
  `projects`, as in `GaitNetwork`.

  Raises `ConfigError` naming the known values for an unknown one.
  """
  backbone = find(name)
  size = backbone.size(variant)
  dtype = jnp.dtype(_known(dtype if isinstance(dtype, str) else jnp.dtype(dtype).name, DTYPES, "dtype"))
  common = {"dtype": dtype, "remat": _known(remat, REMAT, "remat"), "rngs": rngs}
  stem = _known(stem, backbone.stems, "stem")
  choice = {"stem": stem} if len(backbone.stems) > 1 else {}
  choice |= {"window_frames": attention_frames} if backbone.windows else {}
  encoder = backbone.encoder(**size.encoder, **choice, in_channels=channels, **common)
  return GaitNetwork(
    encoder, cut=backbone.cut, embed_features=size.embed, heads=backbone.heads, cosine_head=backbone.cosine_head,
    projects=projects,
    decoder=backbone.decoder(encoder, **size.decoder, **common) if backbone.masks else None,
    temporal=_known(temporal_pooling, TEMPORAL, "temporal_pooling"), body_heads=body_heads, facing=facing,
    discriminant=discriminant, dtype=dtype, rngs=rngs,
  )


def sharding(backbone: Backbone) -> rules.Table:
  """Rows of all parameters of a network on `backbone`, those that fine-tuning adds included: exactly one for each."""
  return (
    *rules.VECTORS, *rules.under("encoder", backbone.sharding), *network.SHARDING, *recognition.SHARDING,
    *prompts.SHARDING, *adapters.SHARDING,
  )


def low_rank(backbone: Backbone) -> tuple[tuple[str, int], ...]:
  """Rows of the kernels that `adapters.create` adapts in a network on `backbone`."""
  return (*rules.under("encoder", backbone.low_rank), *rules.under("projector", heads.LOW_RANK))


def depth(backbone: Backbone) -> tuple[tuple[str, bool], ...]:
  """Groups of layers of a network on `backbone`, and of their low-rank updates, from input to output."""
  return rules.under(f"({adapters.PREFIX})?encoder", backbone.depth)


def _known(value: str, known, key: str) -> str:
  if value not in known:
    raise ConfigError(f"config.model.{key}={value!r} is not known; known: {', '.join(known)}")
  return value
