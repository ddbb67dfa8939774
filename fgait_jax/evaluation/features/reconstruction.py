"""What a network fills in where it was shown nothing, masked as in pretraining, and what fills in without learning."""

import functools
import sys
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.data.augment import prepare
from fgait_jax.evaluation.features.extraction import read_walk
from fgait_jax.rng import key
from fgait_jax.training.pretrained import Pretrained


def clips(network: Pretrained, split, rows: np.ndarray, *, mirror: Iterable[str] = (),
          max_frames: int = sys.maxsize) -> np.ndarray:
  """Clips uint8 [b, t, 64, 64, c] of walks, of their first `max_frames` frames, as the network was trained on: the
  first `data.clip_frames` that lie `stride` apart. A shorter walk is repeated, as in training."""
  count, stride = network.config.data.clip_frames, network.stride
  found = []
  for row in rows:
    walk = read_walk(split, int(row), max_frames=min(count * stride, max_frames), mirror=mirror)
    found.append(walk[np.arange(count) * stride % len(walk)])
  return np.stack(found)


def without_learning(given: np.ndarray, visible: np.ndarray) -> dict[str, np.ndarray]:
  """Simple fill-ins of clips `given` [b, t, 64, width] in 0..1 of which only `visible` pixels were seen.

  "in_time" is the mean of the pixel over the frames of its clip that show it, "mean_silhouette" over those of all
  clips; 0 where none does. Where no frame of its clip shows a pixel, the first takes the second."""
  everywhere = (given * visible).sum(axis=(0, 1)) / np.maximum(visible.sum(axis=(0, 1)), 1)
  silhouette = np.broadcast_to(everywhere, given.shape)
  count = visible.sum(axis=1, keepdims=True)
  in_time = (given * visible).sum(axis=1, keepdims=True) / np.maximum(count, 1)
  return {"in_time": np.where(count > 0, in_time, silhouette), "mean_silhouette": silhouette}


def overlap(predicted: np.ndarray, given: np.ndarray, hidden: np.ndarray) -> np.ndarray:
  """Of each clip [b, t, h, w], pixels among the `hidden` that are body in both, that are body in either, that agree,
  and that there are: [b, 4]."""
  first, second = predicted > 0.5, given > 0.5
  counted = first & second, first | second, first == second, np.ones_like(first)
  return np.stack([(pixels & hidden).sum(axis=(1, 2, 3)) for pixels in counted], axis=1)


def reconstruct(network: Pretrained, frames: np.ndarray, *, masked_fraction: float, seed: int,
                batch: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What the network was given, which pixels of it it saw, and its prediction of all: each [b, t, 64, width].

  frames uint8 [b, t, 64, 64, c]. Every `batch` hides other tokens. Several channels are drawn as their largest.
  """
  valid = np.ones(frames.shape[:2], bool)
  outputs = _reconstruct(network.params, network.stats, frames, valid, key(seed, "picture", batch), network.graph,
                         network.config.augment.width, masked_fraction)
  given, visible, predicted = (np.asarray(pixels).max(axis=-1) for pixels in outputs)
  return given, visible > 0.5, predicted


@functools.partial(jax.jit, static_argnames=("graph", "width", "masked_fraction"))
def _reconstruct(params, stats, frames, valid, base_key, graph, width, masked_fraction):
  network = graph.merge(params, stats)
  network.eval()
  output = network.pretrain(prepare(frames, width=width), valid, crop_list=(1,), masked_fractions=(masked_fraction,),
                            key=base_key)
  shown = (~output.masked[..., None]).astype(jnp.float32)
  return tuple(
    network.encoder.unpatchify(values, t=frames.shape[1], w=width)
    for values in (output.targets, shown, jax.nn.sigmoid(output.logits))
  )
