"""Visual prompts: what is learned stands beside the network's input, and the network stays as it is.

Tokens for a transformer (Jia et al., arXiv 2203.12119, shallow), a border of pixels for any encoder (Bahng et al.,
arXiv 2203.17274).
"""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models.blocks import run_blocks
from fgait_jax.models.network import GaitNetwork
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


class PixelBorder(nnx.Module):
  """Adds a learned picture to every frame, zero at the start and within the border at all times."""

  def __init__(self, frame: tuple[int, int, int], *, width: int):
    self.prompt_pixels = nnx.Param(jnp.zeros(frame))
    self.width = width

  def __call__(self, frames: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    rows, columns, _ = self.prompt_pixels.shape
    inside = jnp.zeros((rows, columns, 1), bool).at[self.width : -self.width, self.width : -self.width].set(True)
    return frames + jnp.where(inside, 0, self.prompt_pixels[...]).astype(frames.dtype)


def add_prompts(
  network: GaitNetwork, *, tokens: int, pixels: int, frame: tuple[int, int, int], rngs: nnx.Rngs
) -> None:
  """Gives `network` `tokens` prompt tokens, drawn small (0.02), and a border of `pixels` around every frame of `frame`
  = (rows, columns, channels); 0 for none. Its own parameters keep their paths.

  Raises `ConfigError` for tokens in a network that is no transformer.
  """
  if tokens:
    if not isinstance(network.encoder, GaitTransformer):
      raise ConfigError(
        f"config.fine_tune.prompt_tokens={tokens}: only a transformer takes tokens; set it to 0 and"
        " config.fine_tune.prompt_pixels to the width of a learned border"
      )
    # The same parameters under the same names, one more beside them: only the class says how they are used.
    network.encoder.__class__ = PromptedTransformer
    shape = tokens, network.encoder.features
    network.encoder.prompt_tokens = nnx.Param(0.02 * nnx.initializers.normal(1.0)(rngs.params(), shape))
  if pixels:
    network.border = PixelBorder(frame, width=pixels)
