"""Picture: probes and the gallery walks that lie nearest, right or wrong marked."""

import pathlib
import textwrap

import matplotlib.figure
import numpy as np

from fgait_jax.evaluation.report.reconstructions import strip
from fgait_jax.training import folders

FRAMES = 4  # shown of each walk
NEAREST = 5
RIGHT, WRONG, PROBE = "#1a9641", "#d7191c", "#3b4252"


def draw(path: pathlib.Path, *, probes: list[dict], subtitle: str) -> pathlib.Path:
  """Draws a line per probe: its walk, then its nearest gallery walks, each framed green (same person) or red.

  A probe is {"frames" [t, h, w] in 0..1, "text", "neighbours": [{"frames", "text", "distance", "right"}]}.
  """
  figure = matplotlib.figure.Figure(figsize=(16, 1.7 + 1.24 * len(probes)), dpi=110, facecolor="white")
  high = figure.get_figheight()
  figure.suptitle("Who walks most like this? Each walk and its five nearest in the gallery", x=0.012, y=1 - 0.16 / high,
                  ha="left", va="top", fontsize=17, fontweight="bold")
  figure.text(0.012, 1 - 0.55 / high, textwrap.fill(subtitle, 165), ha="left", va="top", fontsize=11, color="0.3")
  axes = figure.subplots(len(probes), 1 + NEAREST, squeeze=False, gridspec_kw={
    "left": 0.012, "right": 0.994, "bottom": 0.32 / high, "top": 1 - 1.35 / high, "wspace": 0.07, "hspace": 0.42})
  for line, probe in zip(axes, probes, strict=True):
    walks = [probe | {"colour": PROBE}]
    walks += [n | {"colour": RIGHT if n["right"] else WRONG} for n in probe["neighbours"]]
    for axis, walk in zip(line, walks, strict=False):
      _draw_walk(axis, walk)
    for axis in line[len(walks):]:
      axis.set_axis_off()
  heads = ("probe", "nearest", "second", "third", "fourth", "fifth")
  for axis, head in zip(axes[0], heads, strict=True):
    axis.set_title(head, fontsize=12, color="0.25", pad=6)
  with folders.whole(path) as half:
    figure.savefig(half)
  return path


def _draw_walk(axis, walk: dict) -> None:
  image = strip(walk["frames"], gap=1)
  axis.imshow(np.clip(image, 0, 1), interpolation="nearest")
  axis.set_xticks([])
  axis.set_yticks([])
  for side in axis.spines.values():
    side.set_color(walk["colour"])
    side.set_linewidth(4 if walk["colour"] != PROBE else 2)
  text = walk["text"]
  if "right" in walk:
    text = f"{'✓' if walk['right'] else '✗'} {text}   {walk['distance']:.3f}"
  axis.set_xlabel(text, fontsize=11, color=walk["colour"], labelpad=4)


def frames_of(walk: np.ndarray, *, count: int = FRAMES) -> np.ndarray:
  """`count` frames [count, 64, 44] in 0..1 from the middle second or so of a walk uint8 [t, 64, 64, c], 4 apart."""
  gap = max(1, min(4, len(walk) // count))
  start = max(0, (len(walk) - gap * (count - 1)) // 2)
  rows = np.minimum(start + gap * np.arange(count), len(walk) - 1)
  return walk[rows, :, 10:54].max(axis=-1) / np.float32(255)
