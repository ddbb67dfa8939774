"""What a network fills in where it was shown nothing, masked as in pretraining."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.data.augment import prepare
from fgait_jax.models.tokenizer import unpatchify
from fgait_jax.rng import key
from fgait_jax.training.pretrained import Pretrained


def reconstruct(network: Pretrained, frames: np.ndarray, valid: np.ndarray, *, masked_fraction: float,
                seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What the network was given, which pixels of it it saw, and its prediction of all: each [b, t, 64, width].

  frames uint8 [b, t, 64, 64, c], valid [b, t]. Several channels are drawn as their largest.
  """
  outputs = _reconstruct(network.params, network.stats, frames, valid, key(seed, "picture"), network.graph,
                         network.config.augment.width, masked_fraction)
  width = network.config.augment.width
  trimmed = []
  for pixels in outputs:
    side = (pixels.shape[3] - width) // 2
    trimmed.append(np.asarray(pixels)[:, :, :, side:side + width].max(axis=-1))
  given, visible, predicted = trimmed
  return given, visible > 0.5, predicted


@functools.partial(jax.jit, static_argnames=("graph", "width", "masked_fraction"))
def _reconstruct(params, stats, frames, valid, base_key, graph, width, masked_fraction):
  network = graph.merge(params, stats)
  network.eval()
  output = network.pretrain(prepare(frames, width=width), valid, crop_list=(1,), masked_fraction=masked_fraction,
                            key=base_key)
  grid = network.encoder.tokenizer
  slots = -(-frames.shape[1] // grid.patch_time)

  def pixels(values):
    return unpatchify(values.reshape(len(values), slots, 16, -1, values.shape[-1]), patch_time=grid.patch_time,
                      patch_columns=grid.patch_columns)

  shown = jnp.broadcast_to(~output.masked[..., None], output.targets.shape).astype(jnp.float32)
  return pixels(output.targets), pixels(shown), pixels(jax.nn.sigmoid(output.logits))
