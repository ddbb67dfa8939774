"""Submissions to evaluation servers that keep the probes' identities to themselves: GREW and HID."""

import csv
import dataclasses
import pathlib
import re

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.metrics import retrieval
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.evaluation.metrics.rerank import rerank
from fgait_jax.evaluation.protocols.base import Protocol, Settings, Walks
from fgait_jax.training import folders


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server(Protocol):
  """Ranked gallery labels per probe video, no figures. Probes carry the label "probe" and their video id as view.

  columns: the CSV's header, the video and then one column per rank; reranked: k-reciprocal re-ranking first; numbers:
  labels are written as integers, without leading zeros, as the server's evaluator does.
  """

  columns: tuple[str, ...]
  reranked: bool = False
  numbers: bool = False

  def trials(self, walks: Walks) -> list:
    """Who the probes are only the server knows: raises `ConfigError`."""
    raise ConfigError(
      f"config.protocol={self.name} gives no figures: the names of its probes stay with the evaluation server. Embed"
      f" the walks with configs/embed.py, then --config=configs/score.py --config.protocol={self.name}"
      " --config.embeddings=FILE.npz writes the CSV for it")

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    hidden = walks.subjects == "probe"
    if not hidden.any():
      raise self.refuse(walks, "there are no probes")
    if hidden.all():
      raise self.refuse(walks, "the gallery is empty")
    probe, gallery = walks.take(hidden), walks.take(~hidden)
    names = self._written(walks, gallery.subjects)
    videos, count = np.unique(probe.views, return_counts=True)
    if (count > 1).any():
      raise self.refuse(walks, f"{count.max()} probes are of one video, {videos[count.argmax()]}, by their views")
    if not self.reranked and len(gallery) < (ranks := len(self.columns) - 1):
      raise self.refuse(walks, f"{len(gallery)} gallery sequences cannot fill the {ranks} ranks of a row of the"
                        " server's file; embed the whole gallery")
    if self.reranked:
      both = np.concatenate([probe.embeddings, gallery.embeddings])
      distances = pairwise(both, both, metric=settings.metric, budget_bytes=settings.budget_bytes)
      order = np.argsort(rerank(distances, num_probes=len(probe), **settings.rerank), axis=1, kind="stable")
    else:
      order, _ = retrieval.nearest(probe.embeddings, gallery.embeddings, count=len(self.columns) - 1,
                                   metric=settings.metric, budget_bytes=settings.budget_bytes)
    rows = [[video, *names[line[: len(self.columns) - 1]].tolist()]
            for video, line in zip(probe.views, order, strict=True)]
    return {"submission": {"columns": self.columns, "rows": rows, "reranked": self.reranked}}

  def _written(self, walks: Walks, labels: np.ndarray) -> np.ndarray:
    """The gallery's labels as the submission has them."""
    if not self.numbers:
      return labels
    if strange := [name for name in np.unique(labels).tolist() if re.fullmatch("[0-9]{1,18}", name) is None]:
      raise self.refuse(walks, f"labels that are no whole numbers: {', '.join(strange[:10])}")
    return labels.astype(np.int64)


def write_csv(result: dict, path: str | pathlib.Path) -> pathlib.Path:
  """Writes the submission in a result of a `Server` as the CSV the server takes; returns its path."""
  path = pathlib.Path(path)
  with folders.whole(path) as half, half.open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(result["submission"]["columns"])
    writer.writerows(result["submission"]["rows"])
  return path
