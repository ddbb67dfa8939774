"""Fits the map that tells which way people walk (fgait_jax/models/facing.py), and says how often it is right.

python benchmarks/facing.py [--built built] [--learn crowd] [--sets walkers kth usf17]

Ridge regression of the sine of the camera's azimuth on the asymmetry of mean silhouettes, on one half of the people of
a crowd, tested on the other half; then the map of the code on test walks of other sets, by view.
"""

import argparse
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from rich.console import Console
from rich.table import Table

from fgait_jax.data.source import open_split
from fgait_jax.errors import FgaitError
from fgait_jax.evaluation.features import baselines
from fgait_jax.models import facing

RIDGE = 0.1  # times the mean variance of a field


def asymmetries(found) -> np.ndarray:
  """[n, 40] of mean silhouettes."""
  images = found.embeddings[..., 0].reshape(len(found.embeddings), 64, -1)
  fields = facing.asymmetry(images, facing.median_column(images))
  return np.asarray(fields, np.float64).reshape(len(images), -1)


def fitted(rows: np.ndarray, sines: np.ndarray) -> np.ndarray:
  moments = rows.T @ rows / len(rows)
  ridge = RIDGE * np.trace(moments) / len(moments) * np.eye(len(moments))
  return np.linalg.solve(moments + ridge, rows.T @ sines / len(rows))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--built", default="built")
  parser.add_argument("--learn", default="crowd", help="a crowd, whose views are azimuths in degrees")
  parser.add_argument("--sets", nargs="*", default=["walkers"], help="whose test walks are told apart by the map")
  options = parser.parse_args()

  crowd = baselines.mean_silhouettes(open_split(options.built, options.learn, "train"), max_frames=720)
  rows, sines = asymmetries(crowd), np.sin(np.radians(crowd.views.astype(float)))
  people = np.unique(crowd.subjects, return_inverse=True)[1]
  first = people < people.max() / 2
  found = rows[~first] @ fitted(rows[first], sines[first])
  error, sideways = found - sines[~first], np.abs(sines[~first]) > 0.5
  print(f"of {len(rows):,} walks, one half of the people by the other: R2 {1 - np.mean(error**2) / np.var(sines):.3f}; "
        f"{np.mean((found * sines[~first] < 0)[sideways]):.2%} of those seen from the side on the wrong one")
  print("fitted to all of them:", np.round(fitted(rows, sines).reshape(8, 5), 2).tolist())

  table = Table("walks", "view", "count", "left side", "unsure", "right side")
  for name in options.sets:
    walks = baselines.mean_silhouettes(open_split(options.built, name, "test"), max_frames=720)
    sine = asymmetries(walks) @ np.asarray(facing.AZIMUTH, np.float64).ravel()
    for view in np.unique(walks.views):
      own = sine[walks.views == view]
      shares = own > facing.UNSURE, np.abs(own) <= facing.UNSURE, own < -facing.UNSURE
      table.add_row(name, str(view), str(len(own)), *(f"{np.mean(share):.1%}" for share in shares))
  Console().print(table)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
