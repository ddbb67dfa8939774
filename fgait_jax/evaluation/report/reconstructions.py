"""Picture: what the network fills in where it was shown nothing. Walks as given, as seen, and as completed."""

import pathlib
import textwrap

import matplotlib.figure
import numpy as np

from fgait_jax.training import folders

FRAMES = 8  # shown of each walk
HIDDEN = (0.36, 0.47, 0.66)  # colour of pixels the network was not shown


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
  with folders.whole(path) as half:
    figure.savefig(half)
  return path


def strip(frames: np.ndarray, *, hidden: np.ndarray | None = None, gap: int = 2) -> np.ndarray:
  """Frames [t, h, w] side by side as an image [h, w', 3] with white gaps; `hidden` pixels take the colour `HIDDEN`."""
  images = np.repeat(np.asarray(frames, np.float32)[..., None], 3, axis=-1)
  if hidden is not None:
    images = np.where(hidden[..., None], np.float32(HIDDEN), images)
  white = np.ones((images.shape[1], gap, 3), np.float32)
  return np.concatenate([piece for image in images for piece in (image, white)][:-1], axis=1)
