"""Visual prompts: what is learned stands beside the network's input, and the network stays as it is.

Tokens for a transformer (Jia et al., arXiv 2203.12119, shallow), a border of pixels for any encoder (Bahng et al.,
arXiv 2203.17274).
"""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.models.blocks import run_blocks
from fgait_jax.models.transformer import GaitTransformer
from fgait_jax.typing import Array, Bool, Float


class PromptedTransformer(GaitTransformer):
  """A transformer whose windows (and strips) begin with the same learned tokens; they attend, and are then dropped."""

  def _attend(self, x: Float[Array, "b s r q d"], present: Bool[Array, "b s r q"], masked_fraction: float) -> Array:
    if masked_fraction:
      raise ValueError("prompts are for fine-tuning, where nothing is masked")
    shape, count = x.shape, len(self.prompt_tokens[...])
    prompts = jnp.broadcast_to(self.prompt_tokens[...], (shape[0], count, shape[-1])).astype(x.dtype)
    x = jnp.concatenate([prompts, x.reshape(shape[0], -1, shape[-1])], axis=1)
    present = jnp.concatenate([jnp.ones((shape[0], count), bool), present.reshape(shape[0], -1)], axis=1)
    x = run_blocks(self.blocks, x, present, remat=self.remat)
    return self.norm(x)[:, count:].reshape(shape)


def add_tokens(encoder: GaitTransformer, count: int, *, rngs: nnx.Rngs) -> PromptedTransformer:
  """`encoder` itself with `count` prompt tokens, drawn small (0.02); its parameters keep their paths."""
  # The same parameters under the same names, one more beside them: only the class says how they are used.
  encoder.__class__ = PromptedTransformer
  encoder.prompt_tokens = nnx.Param(0.02 * nnx.initializers.normal(1.0)(rngs.params(), (count, encoder.features)))
  return encoder


class PixelBorder(nnx.Module):
  """Adds a learned picture to every frame, zero at the start and within the border at all times."""

  def __init__(self, frame: tuple[int, int, int], *, width: int):
    self.prompt_pixels = nnx.Param(jnp.zeros(frame))
    self.width = width

  def __call__(self, frames: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    rows, columns, _ = self.prompt_pixels.shape
    inside = jnp.zeros((rows, columns, 1), bool).at[self.width : -self.width, self.width : -self.width].set(True)
    return frames + jnp.where(inside, 0, self.prompt_pixels[...]).astype(frames.dtype)
