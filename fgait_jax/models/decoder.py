"""The decoder of masked modelling: predicts the pixels of all tokens from the features of the visible ones."""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.kernels import products
from fgait_jax.kernels.convolution import VolumeConv
from fgait_jax.models import blocks
from fgait_jax.models import tokenizer as tokens
from fgait_jax.models.blocks import LayerNorm, Linear, create_blocks, run_blocks
from fgait_jax.models.parts import FeatureMap
from fgait_jax.parallel.rules import under
from fgait_jax.typing import Array, Bool, Float

SHARDING = (
  *under("blocks", blocks.SHARDING),
  (r"embed/kernel", ("embed", "hidden")),
  (r"neighbours/kernel", ("embed", "hidden")),
  (r"predict/kernel", ("embed", "whole")),
  (r"mask_token|row_position", ()),
)


class Decoder(nnx.Module):
  """A few blocks over the whole grid of a window: only here do tokens of different strips attend to each other.

  What is hidden follows mostly from what is beside it, before and after it. A convolution over the grid brings that to
  every token before the blocks; to find it by attention alone takes far longer (docs/experiments.md).

  Args:
    features: of the encoder. pixels: numbers in a patch, each of which gets a logit.
    window_slots, patch_time, patch_columns: those of the encoder's grid.
  """

  def __init__(
    self, *, features: int, pixels: int, width: int, layers: int, heads: int, window_slots: int, patch_time: int,
    patch_columns: int, rows: int = 16, dtype=jnp.float32, remat: str = "none", rngs: nnx.Rngs,
  ):
    self.embed = Linear(features, width, dtype=dtype, rngs=rngs)
    self.neighbours = VolumeConv(width, width, dtype=dtype, rngs=rngs)
    self.mask_token = nnx.Param(0.02 * nnx.initializers.normal(1.0)(rngs.params(), (width,)))
    self.row_position = nnx.Param(0.02 * nnx.initializers.normal(1.0)(rngs.params(), (rows, width)))
    self.blocks = create_blocks(width, layers=layers, heads=heads, dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(width)
    self.predict = Linear(width, pixels, dtype=dtype, rngs=rngs)
    self.width = width
    self.window_slots = window_slots
    self.patch_time = patch_time
    self.patch_columns = patch_columns
    self.remat = remat

  def __call__(self, feature_map: FeatureMap, token_valid: Bool[Array, "b n"]) -> Float[Array, "b n v"]:
    """Logits of every pixel of every token, n = s r q. Tokens not present enter as the mask token."""
    b, s, r, q, _ = feature_map.features.shape
    slots = min(s, self.window_slots)
    x = self.embed(feature_map.features)
    x = jnp.where(feature_map.present[..., None], x, self.mask_token[...]).astype(x.dtype)  # gradient in float32
    time = tokens.time_positions(slots, patch_time=self.patch_time, features=self.width)
    across = tokens.column_positions(q, patch_columns=self.patch_columns, features=self.width)
    position = time[:, None, None] + self.row_position[...][:, None] + across
    x = x.reshape(-1, slots, r, q, self.width)
    real = token_valid.reshape(x.shape[:-1])[..., None]
    x = products.add(x + self.neighbours(jnp.where(real, x, 0)), position)
    x = x.reshape(-1, slots * r * q, self.width)
    x = run_blocks(self.blocks, x, token_valid.reshape(x.shape[:2]), remat=self.remat)
    return self.predict(self.norm(x)).reshape(b, s * r * q, -1)
