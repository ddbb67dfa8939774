"""A token for every part of every frame: the second head of GaitJEPA (docs/networks.md), beside its part embedding."""

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.models.blocks import LayerNorm, Linear
from fgait_jax.models.parts import Cut, FeatureMap, part_pool
from fgait_jax.typing import Array, Float

SHARDING = ((r"linear/kernel", ("embed", "whole")),)


class FrameTokens(nnx.Module):
  """Layer norm and a linear layer over the parts of each frame, the same for all parts. A frame that is not valid gives
  zeros."""

  def __init__(self, features_in: int, features: int, *, cut: Cut, rngs: nnx.Rngs):
    self.norm = LayerNorm(features_in)
    self.linear = Linear(features_in, features, rngs=rngs)
    self.cut = cut

  def __call__(self, feature_map: FeatureMap) -> Float[Array, "b s p e"]:
    # One walk at a time: its slots stand where the walks of a batch do, and none is pooled with another.
    pooled = jax.vmap(lambda x: part_pool(x.features, x.present, cut=self.cut))(feature_map)
    seen = jnp.any(feature_map.present, axis=(2, 3))[:, :, None, None]
    return jnp.where(seen, self.linear(self.norm(pooled.astype(jnp.float32))), 0)
