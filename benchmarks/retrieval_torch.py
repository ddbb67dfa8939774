"""Seconds of the same rankings done the usual way in PyTorch, to compare `retrieval.py` with.

  pip install -r requirements-interop.txt
  python benchmarks/retrieval_torch.py

Distances of a whole probe set to a whole gallery, part by part, then a sort of every row; across views, one pair of
views after another, with only the nearest neighbour. Neither intervals nor verification are computed.
"""

import argparse

import numpy as np
import torch
from retrieval import embed, gait3d, oumvlp, timed
from rich.console import Console
from rich.table import Table

from data_prep.arguments import whole


def distances(probe: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
  """Mean over parts of Euclidean distances, [n C P] and [m C P] to [n m]."""
  total = torch.zeros(len(probe), len(gallery))
  for part in range(probe.shape[2]):
    x, y = probe[:, :, part], gallery[:, :, part]
    squares = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T
    total += squares.clamp(min=0).sqrt()
  return total / probe.shape[2]


def across_views(embeddings, labels, types, views) -> float:
  """Mean rank-1 over pairs of different views."""
  embeddings, found = torch.from_numpy(embeddings), []
  cells = [(kind, view) for kind in ("00", "01") for view in set(views)]
  rows = {(kind, view): np.flatnonzero((types == kind) & (views == view)) for kind, view in cells}
  for first in set(views):
    for second in set(views):
      probe, gallery = rows["00", first], rows["01", second]
      nearest = distances(embeddings[probe], embeddings[gallery]).argmin(1).numpy()
      if first != second:
        found.append(np.mean(labels[gallery][nearest] == labels[probe]))
  return float(np.mean(found))


def in_one_gallery(embeddings, labels, probes: int) -> tuple[float, float]:
  """Rank-1 and mAP of the first `probes` rows as probes, with the others as gallery."""
  embeddings = torch.from_numpy(embeddings)
  order = distances(embeddings[:probes], embeddings[probes:]).numpy().argsort(1)
  matches = labels[probes:][order] == labels[:probes, None]
  precisions = []
  for match in matches[matches.any(1)]:
    ranks = np.flatnonzero(match) + 1
    precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
  return float(matches[:, 0].mean()), float(np.mean(precisions))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--cases", nargs="+", default=["oumvlp", "gait3d"], choices=("oumvlp", "gait3d"))
  parser.add_argument("--repeats", type=whole(1), default=3)
  arguments = parser.parse_args()
  title = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
  table = Table("case", "seconds", "processor s", title=title)
  for case in arguments.cases:
    labels, types, views = gait3d() if case == "gait3d" else oumvlp(515)
    embeddings = embed(labels, channels=256, parts=16)

    def run(case=case, embeddings=embeddings, labels=labels, types=types, views=views):
      if case == "gait3d":
        return in_one_gallery(embeddings, labels, probes=1000)
      return across_views(embeddings, labels, types, views)

    run()
    best = min(timed(run) for _ in range(arguments.repeats))
    table.add_row(f"{case}, {len(labels)} x 256 x 16", *[f"{value:.2f}" for value in best])
  Console().print(table)


if __name__ == "__main__":
  main()
