"""One row per checkpoint: recognition of people outside the training sets, synthetic and real, plain and centred.

python benchmarks/transfer.py runs/first [runs/other ...] [--built built] [--learn walkers,crowd] [--walks 1920]

Columns: walkers NM/BG/CL; USF A/B/C and the mean of D to G; KTH d4/d3/d2; rank-1 % and, in brackets, mean AUC %.
`--learn` adds rows with Fisher's discriminant applied, fitted on `--walks` training walks of each named data set.
"""

import argparse
import functools
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from data_prep.arguments import whole
from fgait_jax.data.schema import identities
from fgait_jax.data.source import open_split
from fgait_jax.data.subset import Subset, rows_of_whole_subjects
from fgait_jax.errors import FgaitError
from fgait_jax.evaluation import protocols
from fgait_jax.evaluation.features import baselines, extraction
from fgait_jax.evaluation.labels import Features
from fgait_jax.training import linear_maps
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.preflight import use_compilation_cache

TESTS = {"walkers": (), "usf17": (), "kth": ("*-l",)}
CENTRE = {"usf17": "condition_view", "kth": "condition"}


def cell(name: str, found: Features, by: str) -> str:
  found = baselines.centred(found, by)
  figures = protocols.get(name).score(found, bootstrap=0)["conditions"]
  rank1 = {condition: values["rank1"] for condition, values in figures.items()}
  if None in [values["auc"] for values in figures.values()]:
    raise FgaitError(f"{name}: too few walks for a figure; take more --test-walks")
  if name == "usf17":
    easy = "/".join(f"{rank1[c]:.0f}" for c in "ABC")
    hard = np.mean([rank1[c] for c in "DEFG"])
    return f"{easy} {hard:.1f} ({np.mean([figures[c]['auc'] for c in 'DEFG']):.1f})"
  auc = np.mean([values["auc"] for values in figures.values()])
  return "/".join(f"{value:.0f}" for value in rank1.values()) + f" ({auc:.1f})"


def test_splits(built: str, walks: int) -> dict:
  """The splits of `TESTS`, by name; of the walkers the first people with `walks` walks, all for 0."""
  splits = {name: open_split(built, name, "test") for name in TESTS}
  rows = rows_of_whole_subjects(splits["walkers"].subjects, walks)
  return splits | {"walkers": Subset(splits["walkers"], rows, name="walkers/test")}


def embedded(network, split, mirror: tuple[str, ...], embedding: str) -> Features:
  return extraction.extract_by(network, split, embedding=embedding, max_frames=720, batch_frames=512, mirror=mirror)


def print_heads() -> None:
  heads = ["walkers NM/BG/CL", "USF A/B/C, D-G", "centred", "KTH d4/d3/d2", "centred"]
  print(f"{'':44}" + "".join(f"{head:>24}" for head in heads), flush=True)


def show(title: str, found: dict[str, Features]) -> None:
  """Prints one row; `found` by the names of `TESTS`, in their order."""
  cells = []
  for name, walks in found.items():
    cells.append(cell(name, walks, "none"))
    if name in CENTRE:
      cells.append(cell(name, walks, CENTRE[name]))
  print(f"{title:44}" + "".join(f"{text:>24}" for text in cells), flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("checkpoints", nargs="*")
  parser.add_argument("--built", default="built")
  parser.add_argument("--learn", default="", help="data sets to fit a discriminant on, such as walkers,crowd")
  parser.add_argument("--walks", type=whole(1), default=1920, help="walks of each to fit it on")
  parser.add_argument("--test-walks", type=whole(0), default=960, help="test walks of the walkers; 0 takes all")
  parser.add_argument("--embedding", default="prediction", choices=extraction.EMBEDDINGS)
  options = parser.parse_args()
  use_compilation_cache("~/.cache/fgait_jax")
  splits = test_splits(options.built, options.test_walks)
  fitted_on = []
  for name in filter(None, options.learn.split(",")):
    split = open_split(options.built, name, "train")
    fitted_on.append(Subset(split, rows_of_whole_subjects(split.subjects, options.walks), name=split.name))
  print_heads()

  def report(title: str, embed) -> None:
    found = {name: embed(split, mirror) for name, split, mirror in ((n, splits[n], TESTS[n]) for n in TESTS)}
    show(title, found)
    if fitted_on:
      training = [embed(split, ()) for split in fitted_on]
      embeddings = np.concatenate([walks.embeddings for walks in training])
      people = np.concatenate([identities(split.manifest, walks.subjects)
                               for split, walks in zip(fitted_on, training, strict=True)])
      basis = linear_maps.components(embeddings, most=400, seed=0)
      for shrinkage in (0.1, 0.3):
        mapped = linear_maps.discriminant(basis, people, shrinkage=shrinkage)
        show(f"{title} + LDA {shrinkage:g}", {name: mapped(walks) for name, walks in found.items()})

  report("raw GEI, facing one way",
         lambda split, mirror: baselines.faced(baselines.mean_silhouettes(split, max_frames=720, mirror=mirror)))
  for path in options.checkpoints:
    network = load_network(path)
    report(path[-44:], functools.partial(embedded, network, embedding=options.embedding))


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
