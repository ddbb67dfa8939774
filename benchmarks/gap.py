"""What separates real walks from the synthetic ones that taught the closing discriminant, and what that costs.

python benchmarks/gap.py runs/first [--built built] [--real kth] [--synthetic crowd] [--walks 1920]

In the space of a run's discriminant, before rows are brought to unit length: the directions in which the training
people of `--real` vary most about their own mean, in units of the deviation that people of `--synthetic` have there,
and the mean of every condition along them. Then recognition of other people, as benchmarks/transfer.py measures it:
as it is; without the first few of these directions, which takes their names; and with the real walks' principal
components whitened in place of the discriminant, which takes none.
"""

import argparse
import dataclasses
import sys

import numpy as np
import transfer  # beside this script
from rich.console import Console
from rich.table import Table

from data_prep.arguments import whole
from fgait_jax import defaults
from fgait_jax.data.source import open_split
from fgait_jax.data.subset import Subset, rows_of_whole_subjects
from fgait_jax.errors import ConfigError, FgaitError
from fgait_jax.models.discriminant import is_fitted
from fgait_jax.training import linear_maps
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.preflight import use_compilation_cache

SHOWN = 6  # directions of the table


def about_people(rows: np.ndarray, people: np.ndarray) -> np.ndarray:
  """Covariance [d, d] of `rows` [n, d] about the mean of their own person."""
  names, person, walks = np.unique(people, return_inverse=True, return_counts=True)
  means = np.zeros((len(names), rows.shape[1]))
  np.add.at(means, person, rows)
  apart = rows - (means / walks[:, None])[person]
  return apart.T @ apart / (len(rows) - len(names))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("checkpoint")
  parser.add_argument("--built", default="built")
  parser.add_argument("--real", default="kth", help="data set whose training people are looked at")
  parser.add_argument("--synthetic", default="crowd_pairs", help="a data set that taught the discriminant")
  parser.add_argument("--walks", type=whole(1), default=1920, help="of it")
  parser.add_argument("--test-walks", type=whole(0), default=960, help="test walks of the walkers; 0 takes all")
  options = parser.parse_args()
  use_compilation_cache("~/.cache/fgait_jax")
  network = load_network(options.checkpoint)
  if not is_fitted(network.stats):
    raise ConfigError(f"{options.checkpoint} has no closing discriminant; pretrain with config.model.discriminant"
                      " above 0")
  known = network.stats["discriminant"]
  mean, kernel = np.asarray(known["mean"]), np.asarray(known["kernel"])

  def pooled(split, mirror=()):
    found = transfer.embedded(network, split, mirror, "pooled")
    # The discriminant takes part after part; `Features` holds [channels, parts].
    return dataclasses.replace(found, embeddings=np.swapaxes(found.embeddings, 1, 2))

  def projected(found) -> np.ndarray:
    return (found.embeddings.reshape(len(found.embeddings), -1).astype(np.float64) - mean) @ kernel

  real = pooled(open_split(options.built, options.real, "train"), transfer.TESTS.get(options.real, ()))
  split = open_split(options.built, options.synthetic, "train")
  synthetic = pooled(Subset(split, rows_of_whole_subjects(split.subjects, options.walks), name=split.name))
  rows = projected(real)
  variances, directions = np.linalg.eigh(about_people(rows, real.subjects))
  directions, variances = directions[:, ::-1], variances[::-1]
  usual = np.diag(directions.T @ about_people(projected(synthetic), synthetic.subjects) @ directions)
  conditions = np.unique(real.conditions)
  print(f"deviations within people of {options.real} and means of their conditions, times those within people of"
        f" {options.synthetic}:")
  table = Table("direction", "within", *conditions)
  for number, axis in enumerate(directions.T[:SHOWN]):
    along = (rows - rows.mean(axis=0)) @ axis / np.sqrt(usual[number])
    table.add_row(str(number + 1), f"{np.sqrt(variances[number] / usual[number]):.1f}",
                  *(f"{along[real.conditions == name].mean():+.1f}" for name in conditions))
  Console().print(table)

  tests = transfer.test_splits(options.built, options.test_walks)
  found = {name: pooled(split, transfer.TESTS[name]) for name, split in tests.items()}
  maps = {"as it is": linear_maps.LinearMap(mean=mean, kernel=kernel)}
  for count in (1, 2, 4, 8):
    without = kernel - kernel @ directions[:, :count] @ directions[:, :count].T
    maps[f"without {count} of these directions"] = linear_maps.LinearMap(mean=mean, kernel=without)
  usual_maps = defaults.evaluation().linear_maps
  basis = linear_maps.components(real.embeddings, most=usual_maps.components, seed=0)
  maps[f"walks of {options.real} whitened instead"] = linear_maps.whitened(basis, floor=usual_maps.floor)
  transfer.print_heads()
  for title, mapped in maps.items():
    transfer.show(title, {name: mapped(walks) for name, walks in found.items()})


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
