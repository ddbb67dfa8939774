"""Protocols of classes rather than identities: Scoliosis1K, D-Gait, RAGAR.

`embeddings` are logits [N, classes, parts].
"""

import dataclasses
import re

import numpy as np

from fgait_jax.evaluation.labels import Labels
from fgait_jax.evaluation.metrics.classification import classified
from fgait_jax.evaluation.protocols.base import Protocol, Settings, Walks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores(Protocol):
  """A protocol of class scores."""

  def _health(self, walks, seed):
    return {"channels": walks.embeddings.shape[1], "parts": walks.embeddings.shape[2]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classify(Scores):
  """Prediction = argmax of logits averaged over parts; the truth is the class whose pattern `label-type` matches.

  classes: name -> pattern, in the order of the logits. binary: the class whose score gives AUC, or "".
  """

  classes: dict[str, str]
  binary: str = ""

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    logits, names = walks.embeddings.mean(axis=-1), list(self.classes)
    if logits.shape[1] != len(names):
      raise self.refuse(walks, f"embeddings have {logits.shape[1]} channels, not the logits of {len(names)} classes")
    truth = self.truth(walks)
    return classified(truth, logits, subjects=walks.subjects, names=names, binary=self.binary,
                      resamples=settings.resamples, seed=settings.seed)

  def truth(self, walks: Labels) -> np.ndarray:
    """The number of each walk's class, int [N]; raises `DataError` where a walk is of none."""
    truth = np.full(len(walks), -1)
    named = [f"{a}-{b}" for a, b in zip(walks.subjects, walks.conditions, strict=True)]
    for index, pattern in enumerate(self.classes.values()):
      matches = [re.search(pattern, name) is not None for name in named]
      truth[np.asarray(matches) & (truth < 0)] = index
    if (truth < 0).any():
      unknown = ", ".join(np.unique(walks.conditions[truth < 0])[:10])
      raise self.refuse(walks, f"{(truth < 0).sum()} sequences of no known class: {unknown}")
    return truth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attributes(Scores):
  """Attribute values are the integers after the first "_" of the type; the logits of all attributes stand in a row.

  `sizes`: number of values of each attribute; () takes one more than the largest value met.
  """

  sizes: tuple[int, ...] = ()

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    rows = [name.split("_")[1:] for name in walks.conditions.tolist()]
    whole = all(re.fullmatch("[0-9]{1,6}", value) for row in rows for value in row)
    if not rows[0] or len({len(row) for row in rows}) > 1 or not whole:
      raise self.refuse(walks, "types do not all carry the same number of integer attributes")
    values = np.array(rows, dtype=int)
    sizes = self.sizes or tuple(int(x) + 1 for x in values.max(axis=0))
    logits = walks.embeddings.mean(axis=-1)
    if len(sizes) != values.shape[1] or sum(sizes) != logits.shape[1] or (values >= np.asarray(sizes)).any():
      raise self.refuse(walks, f"{logits.shape[1]} logits do not fit attributes of {list(sizes)} values")
    found, start = {}, 0
    for index, size in enumerate(sizes):
      part, names = logits[:, start : start + size], [str(v) for v in range(size)]
      found[f"attribute{index}"] = classified(
        values[:, index], part, subjects=walks.subjects, names=names, binary="1" if size == 2 else "",
        resamples=settings.resamples, seed=settings.seed)
      start += size
    keys = ("accuracy", "precision", "recall", "f1")
    mean = {key: float(np.mean([a["summary"][key] for a in found.values()])) for key in keys}
    return {"summary": mean, "attributes": found}
