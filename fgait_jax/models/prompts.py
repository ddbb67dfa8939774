"""Visual prompts: learned additions to the network's input; the network's own parameters stay unchanged.

Tokens for a transformer (Jia et al., arXiv 2203.12119, shallow), a border of pixels for any encoder (Bahng et al.,
arXiv 2203.17274).
"""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models.encoder import PromptedEncoder
from fgait_jax.models.network import GaitNetwork
from fgait_jax.typing import Array, Float

SHARDING = ((r"encoder/prompt_tokens|border/prompt_pixels", ()),)


class PixelBorder(nnx.Module):
  """Adds a learned border of `width` pixels to every frame; starts at zero and never changes the pixels inside it."""

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

  Raises `ConfigError` for tokens where the encoder takes none.
  """
  if tokens:
    if not isinstance(network.encoder, PromptedEncoder):
      raise ConfigError(
        f"config.fine_tune.prompt_tokens={tokens}: this encoder takes no tokens; set it to 0 and"
        " config.fine_tune.prompt_pixels to the width of a learned border"
      )
    shape = tokens, network.encoder.features
    network.encoder.prompt_tokens = nnx.Param(0.02 * nnx.initializers.normal(1.0)(rngs.params(), shape))
  if pixels:
    network.border = PixelBorder(frame, width=pixels)
