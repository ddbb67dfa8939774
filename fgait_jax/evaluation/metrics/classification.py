"""Figures of classification, in per cent: of classes that are fixed and known to all (`classified`), and of names that
a layer has learnt, among which a label may be missing (`figures`)."""

import contextlib

import numpy as np
from sklearn import metrics

from fgait_jax.evaluation.metrics import statistics, verification


def classified(truth: np.ndarray, logits: np.ndarray, *, subjects: np.ndarray, names: list[str], binary: str,
               resamples: int, seed: int) -> dict:
  """Accuracy, macro precision, recall and F1 (absent predictions count 0), per-class figures, intervals; percent.

  truth int [n], logits [n, classes], subjects str [n]; `names` in the order of the logits; `binary`: the one whose
  score gives AUC and EER, or "".
  """
  predicted, count = logits.argmax(axis=1), len(names)
  confusion = metrics.confusion_matrix(truth, predicted, labels=range(count))
  people, subject = np.unique(subjects, return_inverse=True)
  each = np.zeros((len(people), count, count), np.float32)
  np.add.at(each, (subject, truth, predicted), 1)
  summary = {name: 100 * float(value) for name, value in _from_confusion(confusion[None].astype(float)).items()}
  intervals, drawn = {}, None
  if resamples and len(people) > 1:
    weights = statistics.subject_weights(len(people), resamples=resamples, seed=seed)
    drawn = (weights @ each.reshape(len(people), -1)).reshape(-1, count, count)
    intervals = {name: statistics.interval(100 * values) for name, values in _from_confusion(drawn).items()}
  classes = {}
  for index, name in enumerate(names):
    found = _of_class(confusion, index)
    classes[name] = {key: 100 * float(value) for key, value in found.items()} | {
      "sequences": int(confusion[index].sum()),
      "ci": {} if drawn is None else {key: statistics.interval(100 * values)
                                      for key, values in _of_class(drawn, index).items() if np.isfinite(found[key])}}
  if binary:
    index = names.index(binary)
    score = logits[:, index] - np.delete(logits, index, axis=1).mean(axis=1)
    found = verification.exact(-score, truth == index)
    summary |= {"auc": 100 * found.auc, "eer": 100 * found.eer}
    if resamples and np.isfinite(found.auc) and len(people) > 1:
      counts = verification.counts_by_subject(-score, truth == index, subject)
      samples = 100 * verification.bootstrap(counts, resamples=resamples, seed=seed)
      intervals |= {"auc": statistics.interval(samples[:, 0]), "eer": statistics.interval(samples[:, 1])}
  return {
    "summary": summary | {"ci": intervals, "majority_class": 100 * float(confusion.sum(1).max() / confusion.sum()),
                          "by_subject": statistics.by_subject(truth == predicted, subjects)},
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


def _of_class(confusion: np.ndarray, index: int) -> dict[str, np.ndarray]:
  """Sensitivity, specificity and precision 0..1 of one class, of confusion matrices [..., true, predicted]; NaN where
  there is nothing to count."""
  hits, total = confusion[..., index, index], confusion.sum((-2, -1))
  actual, claimed = confusion[..., index, :].sum(-1), confusion[..., index].sum(-1)
  with np.errstate(invalid="ignore"):
    return {"sensitivity": np.divide(hits, actual), "precision": np.divide(hits, claimed),
            "specificity": np.divide(total - actual - claimed + hits, total - actual)}


def told_apart(classes: dict[str, dict]) -> str:
  """The sensitivity and specificity of each of `classified`'s classes, in words, with their intervals over people."""

  def said(found: dict, key: str) -> str:
    if not np.isfinite(found[key]):
      return "no walk to tell"
    low, high = found["ci"].get(key) or (None, None)
    return f"{found[key]:.1f}" + ("" if low is None else f" [{low:.1f} to {high:.1f}]")

  each = (f"{name} {said(found, 'sensitivity')} / {said(found, 'specificity')}" for name, found in classes.items())
  return f"Of walks, not of patients; sensitivity / specificity, %: {'; '.join(each)}."


def figures(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
  """Accuracy, top-5 accuracy, balanced accuracy (mean recall) and macro F1 in per cent, and which rows [n] are right.

  Labels that the probe never saw count as errors. Top-5 is absent where there are five classes or fewer.
  """
  order = classes[np.argsort(-logits, axis=1, kind="stable")]
  right = order[:, 0] == labels
  known = np.unique(labels)
  result = {
    "accuracy": 100 * float(right.mean()),
    "top5": 100 * float((order[:, :5] == labels[:, None]).any(axis=1).mean()),
    "balanced_accuracy": 100 * float(np.mean([right[labels == k].mean() for k in known])),
    "macro_f1": macro_f1(labels, order[:, 0]),
  }
  if len(classes) <= 5:
    del result["top5"]
  return result, right


def confusion(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> dict:
  """{classes, true_by_predicted}: how often walks of each class (rows) were given each (columns). Numbers in order."""
  named = in_order(np.unique(np.concatenate([classes, labels])))
  return {"classes": named.tolist(),
          "true_by_predicted": metrics.confusion_matrix(labels, classes[logits.argmax(axis=1)], labels=named)}


def guessing(train_labels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """What knowing no walk gives, in per cent: always naming the most frequent class of the training walks."""
  names, counts = np.unique(train_labels, return_counts=True)
  ranked = names[np.argsort(-counts, kind="stable")]
  logits = -np.argsort(np.argsort(-counts, kind="stable"))[None].repeat(len(labels), 0).astype(np.float32)
  result, _ = figures(logits, labels, names)
  return result | {"always": str(ranked[0])}


def accuracy_interval(right: np.ndarray, subjects: np.ndarray, *, resamples: int, seed: int) -> dict:
  """{"accuracy": its interval} over the subjects [n] of walks `right`, bool [n]; {} of one subject or no resamples."""
  names, subject = np.unique(subjects, return_inverse=True)
  if not resamples or len(names) < 2:
    return {}
  weights = statistics.subject_weights(len(names), resamples=resamples, seed=seed)
  hits, walks = np.bincount(subject, weights=right), np.bincount(subject)
  return {"accuracy": statistics.interval(100 * (weights @ hits) / (weights @ walks))}


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
  """Macro F1 in per cent over the classes that were seen or said, as `classified` has it."""
  return 100 * float(metrics.f1_score(truth, predicted, average="macro", zero_division=0))


def in_order(names: np.ndarray) -> np.ndarray:
  """Different class names by number where all are numbers, else as they are."""
  with contextlib.suppress(ValueError):
    return names[np.argsort(names.astype(float), kind="stable")]
  return names
