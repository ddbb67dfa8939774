"""Draws random walks of a built data set as a contact sheet and an animated GIF, to check them by eye.

  python -m data_prep.preview built/kth --out preview
"""

import argparse
import pathlib
import sys

import matplotlib
import numpy as np
from PIL import Image

from data_prep import arguments
from fgait_jax.data.schema import BUILDER_VERSION, SILHOUETTES, pixels_of, to_canvas
from fgait_jax.data.source import Split, open_split
from fgait_jax.errors import DataError, FgaitError

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

GIF_MILLISECONDS = 40  # per frame: 25 frames a second


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(prog="python -m data_prep.preview", description=__doc__.split("\n\n")[0])
  parser.add_argument("dataset", type=arguments.path("dataset"), help="folder of a built data set, such as built/kth")
  parser.add_argument("--split", default="test", help="default: %(default)s")
  parser.add_argument("--out", type=arguments.path("--out"), default="preview", help="folder of the pictures")
  parser.add_argument("--walks", type=arguments.whole(1), default=12, help="random walks shown (default: %(default)s)")
  parser.add_argument("--seed", type=arguments.whole(0), default=0, help="of the choice")
  try:
    args = parser.parse_args(argv)
    folder = args.dataset.resolve()
    if folder.name == BUILDER_VERSION:
      folder = folder.parent
    split = open_split(folder.parent, folder.name, args.split)
    for path in preview(split, args.out, walks=args.walks, seed=args.seed):
      print(path)
  except (FgaitError, OSError) as error:  # the text of both names the file
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


def preview(split: Split, out: pathlib.Path, *, walks: int, seed: int = 0, columns: int = 12) -> list[pathlib.Path]:
  """Writes <name>-<split>.png with `columns` frames of each walk, and <name>-<split>.gif with all walks moving.

  Returns both paths; `walks` is 1 or more. Raises `DataError` for an empty split.
  """
  if len(split) == 0:
    raise DataError(f"{split.name}: the split is empty; there is nothing to show")
  rows = np.sort(np.random.default_rng(seed).choice(len(split), min(walks, len(split)), replace=False))
  out.mkdir(parents=True, exist_ok=True)
  name = split.name.replace("/", "-")
  sheet, film = out / f"{name}.png", out / f"{name}.gif"
  _draw_sheet(split, rows, columns, sheet)
  _draw_film(split, rows, film)
  return [sheet, film]


def _draw_sheet(split: Split, rows: np.ndarray, columns: int, path: pathlib.Path) -> None:
  strips, labels = [], []
  for row in rows:
    count = int(split.num_frames[row])
    chosen = np.linspace(0, count - 1, columns).round().astype(int)
    strips.append(np.concatenate(list(_shown(split, row, chosen)), axis=1))
    labels.append(f"{split.keys[row]}  ({count} frames)".replace("$", r"\$"))  # Matplotlib reads $ as a formula
  height, width = strips[0].shape
  figure, axes = plt.subplots(figsize=(width / 72 + 3, len(rows) * height / 72 + 0.8), layout="constrained")
  axes.imshow(np.concatenate(strips), cmap="gray", vmin=0, vmax=255)
  axes.set_yticks(np.arange(len(rows)) * height + height / 2, labels, fontsize=8)
  axes.set_xticks([])
  for edge in np.arange(1, len(rows)) * height:
    axes.axhline(edge, color="0.4", linewidth=0.5)
  manifest = split.manifest
  kind = manifest["kind"]
  axes.set_title(f"{split.name}: {len(rows)} of {len(split):,} walks, {columns} frames of each ({kind})", fontsize=10)
  figure.savefig(path, dpi=100)
  plt.close(figure)


def _draw_film(split: Split, rows: np.ndarray, path: pathlib.Path, wide: int = 6) -> None:
  length = int(split.num_frames[rows].max())
  films = [_shown(split, row, np.arange(length) % split.num_frames[row]) for row in rows]
  films += [np.zeros_like(films[0])] * (-len(films) % wide)
  lines = [np.concatenate(films[i : i + wide], axis=2) for i in range(0, len(films), wide)]
  pictures = [Image.fromarray(picture) for picture in np.concatenate(lines, axis=1)]
  pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=GIF_MILLISECONDS, loop=0)


def _shown(split: Split, row: int, indices: np.ndarray) -> np.ndarray:
  """Frames of a walk on the full canvas, uint8 [time, 64, 64]; of maps the channels one above the other, each from its
  own largest value, which is white: labels are small numbers."""
  frames = to_canvas(split.frames(row, indices))
  if pixels_of(split.manifest, frames.shape[-1]) == SILHOUETTES:
    return frames[..., 0]
  white = np.maximum(frames.max(axis=(0, 1, 2)), 1)
  stretched = frames.astype(np.uint16) * 255 // white
  return np.concatenate(list(np.moveaxis(stretched, -1, 0)), axis=1).astype(np.uint8)


if __name__ == "__main__":
  sys.exit(main())
