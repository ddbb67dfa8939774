"""Picture: what the network fills in where it was shown nothing. Walks as given, as seen, and as completed."""

import functools
import pathlib
import textwrap
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np

from fgait_jax.data.augment import prepare
from fgait_jax.evaluation.features.extraction import pad_batch, read_walk
from fgait_jax.rng import key
from fgait_jax.training.pretrained import Pretrained

FRAMES = 8  # shown of each walk
CLIP = 16  # frames of the clip they are taken from
HIDDEN = (0.36, 0.47, 0.66)  # colour of pixels the network was not shown


def of_network(path: pathlib.Path, *, network: Pretrained, split, count: int, seed: int, mirror: Iterable[str],
               subtitle: str) -> pathlib.Path:
  """Draws `count` walks of `split`, each of another subject where there are enough, masked as in pretraining."""
  order = np.random.default_rng(seed).permutation(len(split))
  first = np.unique(np.asarray(split.subjects)[order], return_index=True)[1]
  rows = order[np.sort(first)][:count]
  walks = [read_walk(split, int(row), max_frames=CLIP, mirror=mirror) for row in rows]
  frames, valid = pad_batch(walks, length=CLIP, size=len(rows))
  fraction = network.config.student.masked_fraction
  given, visible, predicted = reconstruct(network, frames, valid, masked_fraction=fraction, seed=seed)
  real = np.broadcast_to(valid[:, :, None, None], visible.shape)
  right = ((predicted > 0.5) == (given > 0.5))[~visible & real].mean()
  body = ((predicted > 0.5) & (given > 0.5))[~visible & real].sum() / max(
    ((predicted > 0.5) | (given > 0.5))[~visible & real].sum(), 1)
  names = [f"{split.subjects[row]}, {split.conditions[row]}, {split.views[row]}" for row in rows]
  return draw(path, frames=given, visible=visible, predicted=predicted, names=names, subtitle=(
    f"{subtitle}. {fraction:.0%} of the tokens hidden (blue). Of the hidden pixels {right:.1%} are right;"
    f" the hidden body overlaps by {body:.1%} (intersection over union)."))


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


def draw(path: pathlib.Path, *, frames: np.ndarray, visible: np.ndarray, predicted: np.ndarray, names: list[str],
         subtitle: str) -> pathlib.Path:
  """Draws walks in three rows each, two walks side by side: as given, with hidden pixels in blue, and completed.

  frames, predicted: [walks, t, h, w], 0..1; visible: bool of that shape. In the completed row visible pixels are the
  given ones and hidden pixels the prediction. `FRAMES` frames are spread evenly over t. `names` stand over the walks.
  """
  shown = np.linspace(0, frames.shape[1] - 1, min(FRAMES, frames.shape[1])).round().astype(int)
  given, seen, filled = (x[:, shown] for x in (frames, visible, predicted))
  columns = 2 if len(frames) > 1 else 1
  lines = -(-len(frames) // columns)
  figure = matplotlib.figure.Figure(figsize=(7.4 * columns, 1.1 + 3.78 * lines), dpi=110, facecolor="white")
  figure.suptitle("What the network fills in where it was shown nothing", x=0.02, y=1 - 0.16 / figure.get_figheight(),
                  ha="left", va="top", fontsize=17, fontweight="bold")
  figure.text(0.02, 1 - 0.56 / figure.get_figheight(), textwrap.fill(subtitle, 70 * columns + 10), ha="left",
              va="top", fontsize=11, color="0.3")
  top = 1 - 1.1 / figure.get_figheight()
  axes = figure.subplots(lines, columns, squeeze=False, gridspec_kw={
    "left": 0.085 if columns == 2 else 0.15, "right": 0.995, "bottom": 0.01, "top": top - 0.25 / figure.get_figheight(),
    "wspace": 0.19, "hspace": 0.08})
  for number, axis in enumerate(axes.ravel()):
    axis.set_axis_off()
    if number >= len(frames):
      continue
    rows = [strip(given[number]), strip(given[number], hidden=~seen[number]),
            strip(np.where(seen[number], given[number], filled[number]))]
    gap = np.ones((3, rows[0].shape[1], 3))
    image = np.concatenate([rows[0], gap, rows[1], gap, rows[2]])
    axis.imshow(np.clip(image, 0, 1), interpolation="nearest")
    axis.set_title(names[number], fontsize=11, loc="left", pad=3)
    height = rows[0].shape[0] + 3
    for place, label in enumerate(("walk", "shown to\nthe network", "completed")):
      axis.text(-5, place * height + height / 2, label, ha="right", va="center", fontsize=10.5)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path)
  return path


def strip(frames: np.ndarray, *, hidden: np.ndarray | None = None, gap: int = 2) -> np.ndarray:
  """Frames [t, h, w] side by side as an image [h, w', 3] with white gaps; `hidden` pixels take the colour `HIDDEN`."""
  images = np.repeat(np.asarray(frames, np.float32)[..., None], 3, axis=-1)
  if hidden is not None:
    images = np.where(hidden[..., None], np.float32(HIDDEN), images)
  white = np.ones((images.shape[1], gap, 3), np.float32)
  return np.concatenate([piece for image in images for piece in (image, white)][:-1], axis=1)
