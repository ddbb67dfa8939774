"""How well a synthetic population represents real people: Fisher's discriminant of mean silhouettes is fitted on it and
applied to recordings of real people, with each ingredient of the crowd left out in turn. All of them face one way. No
network is trained.

python benchmarks/population.py [--people 480] [--built built] [--real usf17 kth] [--only all bodies motion ...]

Real data sets must be built (python -m data_prep.build usf17 --raw ...); nothing is fitted on them.
"""

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
os.environ["JAX_PLATFORMS"] = "cpu"

import transfer

from data_prep.arguments import whole
from data_prep.sources.base import Dropped
from data_prep.sources.crowd import CrowdSource, Ingredients
from data_prep.sources.walkers import WalkersSource
from fgait_jax.data.source import open_split
from fgait_jax.errors import FgaitError
from fgait_jax.evaluation.features import baselines
from fgait_jax.evaluation.labels import Features
from fgait_jax.training import linear_maps

SHRINKAGE = 0.3


def silhouette(walk) -> np.ndarray | None:
  """The mean silhouette of a walk, columns 10..53, 0..1."""
  try:
    frames = walk.read().frames
  except Dropped:
    return None
  return frames[:, :, 10:54].mean(axis=0, dtype=np.float32).ravel() / 255


def silhouettes(walks, pool) -> Features:
  images = list(pool.map(silhouette, walks, chunksize=32))
  kept = [(walk, image) for walk, image in zip(walks, images, strict=True) if image is not None]
  text = {
    name: np.array([getattr(walk, one) for walk, _ in kept])
    for name, one in (("subjects", "subject"), ("conditions", "condition"), ("views", "view"), ("keys", "key"))
  }
  return Features(embeddings=np.stack([image for _, image in kept])[..., None], **text)


def line(title: str, real: dict[str, Features], mapped) -> str:
  cells = [
    transfer.cell(name, mapped(found), by) for name, found in real.items() for by in ("none", transfer.CENTRE[name])
  ]
  return f"{title:24}" + "".join(f"{cell:>24}" for cell in cells)


def populations(people: int) -> dict[str, list]:
  """Name of the population -> its walks: walkers, the crowd, and the crowd without each ingredient."""
  whole = {"crowd": CrowdSource(subjects=people)}
  for field in dataclasses.fields(Ingredients):
    whole[f"without {field.name}"] = CrowdSource(
      subjects=people, ingredients=dataclasses.replace(Ingredients(), **{field.name: False})
    )
  walks = {name: source.splits()["train"] for name, source in whole.items()}
  laboratory = WalkersSource(subjects=max(2, people // 6), test_subjects=0).splits()["train"]
  return {"walkers": laboratory, **walks}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--people", type=whole(1), default=480, help="of the crowd, eight walks each")
  parser.add_argument("--built", default="built", help="folder of built data sets")
  names = list(transfer.CENTRE)
  parser.add_argument("--real", nargs="+", default=names, choices=names, help="data sets of real people")
  parser.add_argument("--only", nargs="*", default=[], help='populations, such as crowd walkers "without motion"')
  options = parser.parse_args()
  walks_of = populations(options.people)
  if unknown := set(options.only) - set(walks_of):
    parser.error(f"--only: no population {', '.join(sorted(unknown))}; known: {', '.join(walks_of)}")
  real = {}
  for name in options.real:
    split = open_split(options.built, name, "test")
    real[name] = baselines.faced(baselines.mean_silhouettes(split, max_frames=720, mirror=transfer.TESTS[name]))
  heads = [f"{name}{how}" for name in real for how in (" rank-1 (AUC)", " centred")]
  print(f"{'fitted on':24}" + "".join(f"{head:>24}" for head in heads))
  print(line("nothing (raw GEI)", real, lambda found: found), flush=True)
  with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
    for name, walks in walks_of.items():
      if options.only and name not in options.only:
        continue
      training = baselines.faced(silhouettes(walks, pool))
      basis = linear_maps.components(training.embeddings, most=400, seed=0)
      mapped = linear_maps.discriminant(basis, training.subjects, shrinkage=SHRINKAGE)
      print(line(name, real, mapped), flush=True)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
