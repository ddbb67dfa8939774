"""What a network fills in where it was shown nothing, masked as in pretraining."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.data.augment import prepare
from fgait_jax.rng import key
from fgait_jax.training.pretrained import Pretrained


def reconstruct(network: Pretrained, frames: np.ndarray, valid: np.ndarray, *, masked_fraction: float,
                seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What the network was given, which pixels of it it saw, and its prediction of all: each [b, t, 64, width].

  frames uint8 [b, t, 64, 64, c], valid [b, t]. Several channels are drawn as their largest.
  """
  outputs = _reconstruct(network.params, network.stats, frames, valid, key(seed, "picture"), network.graph,
                         network.config.augment.width, masked_fraction)
  given, visible, predicted = (np.asarray(pixels).max(axis=-1) for pixels in outputs)
  return given, visible > 0.5, predicted


@functools.partial(jax.jit, static_argnames=("graph", "width", "masked_fraction"))
def _reconstruct(params, stats, frames, valid, base_key, graph, width, masked_fraction):
  network = graph.merge(params, stats)
  network.eval()
  output = network.pretrain(prepare(frames, width=width), valid, crop_list=(1,), masked_fraction=masked_fraction,
                            key=base_key)
  shown = (~output.masked[..., None]).astype(jnp.float32)
  return tuple(
    network.encoder.unpatchify(values, t=frames.shape[1], w=width)
    for values in (output.targets, shown, jax.nn.sigmoid(output.logits))
  )
