"""Protocols of classes rather than identities: Scoliosis1K, D-Gait, RAGAR.

`embeddings` are logits [N, classes, parts].
"""

import dataclasses
import re

import numpy as np
from sklearn import metrics

from fgait_jax.evaluation.metrics import statistics, verification
from fgait_jax.evaluation.protocols.base import Protocol, Settings, Walks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classify(Protocol):
  """Prediction = argmax of logits averaged over parts; the truth is the class whose pattern `label-type` matches.

  classes: name -> pattern, in the order of the logits. binary: the class whose score gives AUC, or "".
  """

  classes: dict[str, str]
  binary: str = ""

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    logits, names = walks.embeddings.mean(axis=-1), list(self.classes)
    if logits.shape[1] != len(names):
      raise self.refuse(walks, f"embeddings have {logits.shape[1]} channels, not the logits of {len(names)} classes")
    truth = self._truth(walks)
    return classified(truth, logits, labels=walks.labels, names=names, binary=self.binary, settings=settings)

  def _truth(self, walks: Walks) -> np.ndarray:
    truth = np.full(len(walks), -1)
    for index, pattern in enumerate(self.classes.values()):
      matches = [re.search(pattern, f"{a}-{b}") is not None for a, b in zip(walks.labels, walks.types, strict=True)]
      truth[np.asarray(matches) & (truth < 0)] = index
    if (truth < 0).any():
      unknown = ", ".join(np.unique(walks.types[truth < 0])[:10])
      raise self.refuse(walks, f"{(truth < 0).sum()} sequences of no known class: {unknown}")
    return truth

  def _health(self, walks, seed):
    return {"channels": walks.embeddings.shape[1], "parts": walks.embeddings.shape[2]}


def classified(truth, logits, *, labels, names, binary, settings: Settings) -> dict:
  """Accuracy, macro precision, recall and F1 (absent predictions count 0), per-class figures, intervals; percent.

  truth int [n], logits [n, classes], labels (subjects) str [n]; `names` in the order of the logits.
  """
  predicted, count = logits.argmax(axis=1), len(names)
  confusion = metrics.confusion_matrix(truth, predicted, labels=range(count))
  subjects, subject = np.unique(labels, return_inverse=True)
  each = np.zeros((len(subjects), count, count), np.float32)
  np.add.at(each, (subject, truth, predicted), 1)
  summary = {name: 100 * float(value) for name, value in _from_confusion(confusion[None].astype(float)).items()}
  intervals = {}
  if settings.resamples and len(subjects) > 1:
    weights = statistics.subject_weights(len(subjects), resamples=settings.resamples, seed=settings.seed)
    drawn = (weights @ each.reshape(len(subjects), -1)).reshape(-1, count, count)
    intervals = {name: statistics.interval(100 * values) for name, values in _from_confusion(drawn).items()}
  true_positive, total = np.diag(confusion), confusion.sum()
  false_negative, false_positive = confusion.sum(1) - true_positive, confusion.sum(0) - true_positive
  true_negative = total - true_positive - false_negative - false_positive
  classes = {}
  for index, name in enumerate(names):
    classes[name] = {
      "sensitivity": _percent(true_positive[index], true_positive[index] + false_negative[index]),
      "specificity": _percent(true_negative[index], true_negative[index] + false_positive[index]),
      "precision": _percent(true_positive[index], true_positive[index] + false_positive[index]),
      "sequences": int(confusion[index].sum()),
    }
  if binary:
    index = names.index(binary)
    score = logits[:, index] - np.delete(logits, index, axis=1).mean(axis=1)
    found = verification.exact(-score, truth == index)
    summary |= {"auc": 100 * found.auc, "eer": 100 * found.eer}
    if settings.resamples and np.isfinite(found.auc) and len(subjects) > 1:
      counts = verification.counts_by_subject(-score, truth == index, subject)
      samples = 100 * verification.bootstrap(counts, resamples=settings.resamples, seed=settings.seed)
      intervals |= {"auc": statistics.interval(samples[:, 0]), "eer": statistics.interval(samples[:, 1])}
  return {
    "summary": summary | {"ci": intervals, "majority_class": _percent(confusion.sum(1).max(), total),
                          "by_subject": statistics.by_subject(truth == predicted, labels)},
    "classes": classes,
    "confusion": {"classes": names, "true_by_predicted": confusion},
  }


def _from_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
  """Figures 0..1 of confusion matrices [b, true, predicted]; macro means run over classes seen or predicted."""
  hits = np.diagonal(confusion, axis1=1, axis2=2)
  actual, claimed = confusion.sum(2), confusion.sum(1)
  seen = np.maximum((actual + claimed > 0).sum(1), 1)
  precision, recall = hits / np.maximum(claimed, 1), hits / np.maximum(actual, 1)
  f1 = 2 * hits / np.maximum(actual + claimed, 1)
  out = {"accuracy": hits.sum(1) / np.maximum(confusion.sum((1, 2)), 1)}
  for name, value in (("precision", precision), ("recall", recall), ("f1", f1)):
    out[name] = value.sum(1) / seen
  return {name: value if len(value) > 1 else value[0] for name, value in out.items()}


def _percent(part, whole) -> float:
  return 100 * float(part) / float(whole) if whole else float("nan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attributes(Protocol):
  """Attribute values are the integers after the first "_" of the type; the logits of all attributes stand in a row.

  `sizes`: number of values of each attribute; () takes one more than the largest value met.
  """

  sizes: tuple[int, ...] = ()

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    rows = [name.split("_")[1:] for name in walks.types.tolist()]
    if not rows[0] or len({len(row) for row in rows}) > 1 or not all(x.isdigit() for row in rows for x in row):
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
        values[:, index], part, labels=walks.labels, names=names, binary="1" if size == 2 else "", settings=settings
      )
      start += size
    keys = ("accuracy", "precision", "recall", "f1")
    mean = {key: float(np.mean([a["summary"][key] for a in found.values()])) for key in keys}
    return {"summary": mean, "attributes": found}

  def _health(self, walks, seed):
    return {"channels": walks.embeddings.shape[1], "parts": walks.embeddings.shape[2]}
