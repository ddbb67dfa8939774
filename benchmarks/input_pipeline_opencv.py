"""Clips per second and core of the usual way to feed such a network: pickles, NumPy and OpenCV, clip by clip.

  python benchmarks/input_pipeline_opencv.py

The counterpart of `benchmarks/input_pipeline.py`; run both in turn. From 90-frame sequences of 64x64, two clips of 16
of 20 frames each are cut to 44 columns and scaled to 0..1 in float32, with and without the six augmentations of
FoundationGait's pretraining (arXiv 2512.00691) at its probabilities. Pickles are in memory, so no disk is timed. Our
pipeline leaves cutting, scaling and augmenting to the device: add `benchmarks/augment.py` to compare all the work.
"""

import argparse
import pickle
import time

import cv2
import numpy as np
from input_pipeline import walker  # beside this script
from rich.console import Console
from rich.table import Table

from data_prep.arguments import whole

SIZE, SHIFT = 64, 10
ELEMENTS = (
  *((cv2.MORPH_RECT, size) for size in ((5, 3), (5, 5), (3, 5))),
  *((cv2.MORPH_CROSS, size) for size in ((3, 3), (3, 5), (5, 3))),
  *((cv2.MORPH_ELLIPSE, size) for size in ((3, 3), (3, 5), (5, 3))),
)


def clip_of(rng, frames):
  """16 of a window of 20 consecutive frames, in order."""
  start = rng.integers(len(frames) - 20 + 1)
  return frames[start + np.sort(rng.choice(20, 16, replace=False))]


def augmented(rng, clip):
  """A clip uint8 [16, 64, 64] as float32 [16, 64, 44], each step drawn once for all its frames."""
  corners = np.array([(0, 0), (SIZE, 0), (0, SIZE)])
  if rng.random() < 0.2:
    moved = rng.integers(0, SHIFT, (2, 3, 2)) * ((1, 1), (-1, 1), (1, -1)) + corners
    matrix = cv2.getAffineTransform(*moved.astype(np.float32))
    clip = np.stack([cv2.warpAffine(frame, matrix, (SIZE, SIZE)) for frame in clip])
  if rng.random() < 0.2:
    left, right = rng.integers(0, SHIFT, 2), SIZE - SHIFT + rng.integers(0, SHIFT, 2)
    seen = np.array([(left[0], 0), (right[0], 0), (left[1], SIZE), (right[1], SIZE)], np.float32)
    canvas = np.array([*corners, (SIZE, SIZE)], np.float32)
    matrix = cv2.getPerspectiveTransform(seen, canvas)
    clip = np.stack([cv2.warpPerspective(frame, matrix, (SIZE, SIZE)) for frame in clip])
  clip = cut(clip)
  if rng.random() < 0.5:
    clip = clip[:, :, ::-1]
  if rng.random() < 0.2:
    first, end = rng.integers(9, 21), rng.integers(39, 51)
    element = cv2.getStructuringElement(*ELEMENTS[rng.integers(len(ELEMENTS))])
    clip = clip.copy()
    for frame in clip:
      frame[first:end] = cv2.dilate(frame[first:end], element)
  if rng.random() < 0.2:
    first, end = rng.integers(9, 21), rng.integers(39, 51)
    clip = clip.copy()
    for frame in clip:
      frame[first:end] = cv2.GaussianBlur(frame[first:end], (3, 3), 0) > 0.2
  return np.ascontiguousarray(clip)


def cut(clip):
  return clip[:, :, SHIFT : SIZE - SHIFT].astype(np.float32) / 255


def measure(packs, change, sequences):
  """Clips per second of processor time."""
  rng = np.random.default_rng(0)
  started = time.process_time()
  for number in range(sequences):
    frames = pickle.loads(packs[number % len(packs)])
    for _ in range(2):
      change(rng, clip_of(rng, frames))
  return 2 * sequences / (time.process_time() - started)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sequences", type=whole(1), default=2048)
  arguments = parser.parse_args()
  cv2.setNumThreads(1)
  packs = [pickle.dumps(walker(90, seed=i)[..., 0]) for i in range(50)]
  table = Table(title="two clips of 16 frames a sequence of 90, OpenCV on one core")
  table.add_column("what")
  table.add_column("clips/s of processor time", justify="right")
  for name, change in (("cut and scaled", lambda rng, clip: cut(clip)), ("and augmented", augmented)):
    measure(packs, change, arguments.sequences // 8)
    table.add_row(name, f"{measure(packs, change, arguments.sequences):,.0f}")
  Console().print(table)


if __name__ == "__main__":
  main()
