"""What a map of a network's pooled parts is worth that is learnt from few people: Fisher's discriminant, whitening
within people, and what lies between (`training.linear_maps.discriminant`, `prior`).

python benchmarks/few_people.py runs/first [--built built] [--people 6,12,24,60,120] [--priors 0,10,1e9]

A row for each number of people of walkers/train, drawn once, and one of all of kth/train; mean AUC % over the
conditions of the test split, of other people, first of the parts as they are.
"""

import argparse
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks.transfer import TESTS, embedded
from fgait_jax.data.source import open_split
from fgait_jax.errors import FgaitError
from fgait_jax.evaluation import protocols
from fgait_jax.evaluation.labels import Features
from fgait_jax.training import linear_maps
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.preflight import use_compilation_cache

COMPONENTS, SHRINKAGE = 800, 0.1


def auc(name: str, found: Features) -> float:
  figures = protocols.get(name).score(found, bootstrap=0)["conditions"]
  return float(np.mean([values["auc"] for values in figures.values()]))


def row(title: str, name: str, train: Features, test: Features, priors: list[float]) -> None:
  basis = linear_maps.components(train.embeddings, most=COMPONENTS, seed=0)
  maps = [linear_maps.discriminant(basis, train.subjects, shrinkage=SHRINKAGE, prior=prior) for prior in priors]
  figures = [auc(name, test), *(auc(name, found(test)) for found in maps)]
  print(f"{title:24}" + "".join(f"{figure:>13.1f}" for figure in figures), flush=True)


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("run", help="a run's folder, or one of weights")
  parser.add_argument("--built", default="built", help="folder of built data sets (default: %(default)s)")
  parser.add_argument("--people", type=lambda text: [int(n) for n in text.split(",")], default=[6, 12, 24, 60, 120])
  parser.add_argument("--priors", type=lambda text: [float(p) for p in text.split(",")], default=[0.0, 10.0, 1e9])
  options = parser.parse_args()
  use_compilation_cache("")
  network = load_network(options.run)
  print(f"{'learnt from':24}{'nothing':>13}" + "".join(f"{f'prior {prior:g}':>13}" for prior in options.priors))
  for name in ("walkers", "kth"):
    train, test = (embedded(network, open_split(options.built, name, split), TESTS[name], "pooled")
                   for split in ("train", "test"))
    names = np.unique(train.subjects)
    rng = np.random.default_rng(0)
    for people in options.people if name == "walkers" else [len(names)]:
      rows = np.flatnonzero(np.isin(train.subjects, rng.permutation(names)[:people]))
      row(f"{people} people of {name}", name, train.take(rows), test, options.priors)
  return 0


if __name__ == "__main__":
  try:
    sys.exit(main())
  except FgaitError as error:
    sys.exit(f"error: {error}")
