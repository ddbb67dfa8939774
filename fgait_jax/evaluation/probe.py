"""The linear probe: multinomial logistic regression on embeddings that were taken once, in evaluation mode, and never
change.

Solved to convergence by L-BFGS, its L2 penalty chosen on walks or people kept back, for every representation alike
(Kornblith et al., CVPR 2019; Radford et al., arXiv 2103.00020, appendix A.3): a fixed penalty flatters the
representation it happens to suit. The encoder takes no part: no gradient, no running statistic. (The reference's
"linear probe" leaves its backbone in training mode, FoundationGait A5, so its running statistics drift; this one can
prove that nothing moved, see `fingerprint`.)
"""

import contextlib
import dataclasses
import hashlib
import warnings
from collections.abc import Sequence

import jax
import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from threadpoolctl import threadpool_limits

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.targets import Parts

TOLERANCE = 1e-6  # of the largest component of the gradient, in nats per unit of weight
SMALL = 10**8  # multiplications of a step: fewer are faster on one thread than handed to several


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
  """A softmax layer: `(x - mean) / scale @ kernel + bias` are the logits of `classes`.

  `tried` maps each penalty to the mean cross-entropy (nats) of the rows kept back; {} where there was one penalty only.
  """

  classes: np.ndarray
  mean: np.ndarray  # [f], of the training embeddings
  scale: float  # root of their total variance: walks have squared length 1 on average, whatever f
  kernel: np.ndarray  # [f, classes]
  bias: np.ndarray  # [classes]
  penalty: float
  tried: dict[float, float]
  loss: float  # mean cross-entropy of the training rows, nats
  converged: bool

  def logits(self, embeddings: np.ndarray) -> np.ndarray:
    """Logits [n, classes] of embeddings [n, c, p]."""
    return (_flat(embeddings) - self.mean) / self.scale @ self.kernel + self.bias

  def described(self) -> dict:
    """What a row of a result says of it."""
    return {"penalty": self.penalty, "tried": {f"{p:g}": loss for p, loss in self.tried.items()},
            "train_loss": self.loss, "converged": self.converged}


def told(rows: Sequence[dict]) -> list[str]:
  """Sentences on the probes among the `rows` of a result: how penalties were chosen, and what did not converge."""
  layers = [(f"{row['title']} {name}".strip(), layer) for row in rows
            for name, layer in row.get("layers", {"": row}).items() if "penalty" in layer]
  if not layers:
    return []
  chosen = ", ".join(f"{title} {layer['penalty']:g}" for title, layer in layers)
  kept = ", each by the least cross-entropy on training walks or people kept back" if layers[0][1]["tried"] else ""
  notes = [f"Logistic regression to convergence; L2 penalties{kept}: {chosen}."]
  if early := [title for title, layer in layers if not layer["converged"]]:
    notes.append(f"Not converged, raise config.probe.iterations: {', '.join(early)}.")
  return notes


def fingerprint(*trees) -> str:
  """SHA-256 over every array of pytrees: parameters and running statistics, to prove that training left them alone."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
    value = np.asarray(leaf)
    digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
    digest.update(np.ascontiguousarray(value).tobytes())
  return digest.hexdigest()


def fit(embeddings: np.ndarray, labels: np.ndarray, *, rows: np.ndarray, parts: Parts, penalties: Sequence[float],
        iterations: int) -> Probe:
  """The layer learnt from `rows` of embeddings [n, c, p] and labels [n]: least mean cross-entropy plus penalty / 2 x
  the squared norm of its kernel.

  Of several `penalties` it takes the one under which a layer learnt from `parts.fit` has the least mean cross-entropy
  on `parts.validation`, the larger among equals. They are tried from the largest down until two in a row were worse
  than the best: smaller ones take longest. `iterations` of L-BFGS at most; see `Probe.converged`. Raises `DataError`
  unless the labels of `rows` name two classes or more.
  """
  penalties, tried = sorted(penalties, reverse=True), {}
  if len(penalties) > 1:
    asked = parts.validation[np.isin(labels[parts.validation], labels[parts.fit])]
    for layer in _path(embeddings[parts.fit], labels[parts.fit], penalties, iterations):
      tried[layer.penalty] = cross_entropy(layer.logits(embeddings[asked]), labels[asked], layer.classes)
      if min(list(tried.values())[-2:]) > min(tried.values()):
        break
  best = min(tried, key=tried.get) if tried else penalties[0]
  # Down to the penalty that was chosen, each from the one before: faster than from nothing.
  *_, layer = _path(embeddings[rows], labels[rows], [p for p in penalties if p >= best], iterations)
  return dataclasses.replace(layer, tried=tried)


def check(settings, parts: Parts) -> None:
  """Raises `ConfigError`, before anything is embedded, where `config.probe` cannot choose a penalty on `parts`."""
  found = tuple(settings.penalties)
  if not found or not all(0 < p < np.inf for p in found) or len(set(found)) < len(found):
    raise ConfigError(f"config.probe.penalties={found} must be different numbers above 0")
  if settings.iterations < 1:
    raise ConfigError(f"config.probe.iterations={settings.iterations} must be at least 1")
  if len(found) > 1 and not len(parts.validation):
    raise ConfigError(f"config.probe.penalties={found} are chosen from on what is kept back of {len(parts.fit)}"
                      f" training walks, and config.probe.validation_fraction={settings.validation_fraction} keeps back"
                      " none (nobody's only walk is); give one penalty, or more walks to learn from")


def keep_back_walks(labels: np.ndarray, rows: np.ndarray, *, fraction: float, seed: int) -> Parts:
  """Draws `fraction` of the `rows` of each label, one at least where it has two or more, none where it has one."""
  if not 0 <= fraction < 1:
    raise ConfigError(f"config.probe.validation_fraction={fraction} must be at least 0 and below 1")
  generator, kept = np.random.default_rng((seed, 0x9B0BE)), [np.zeros(0, int)]
  for name in np.unique(labels[rows]) if fraction else ():
    own = generator.permutation(rows[labels[rows] == name])
    kept.append(own[: min(max(round(fraction * len(own)), 1), len(own) - 1)])
  validation = np.sort(np.concatenate(kept))
  return Parts(fit=np.setdiff1d(rows, validation), validation=validation)


def cross_entropy(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> float:
  """Mean over rows, nats; every label is one of `classes`, which are sorted."""
  place = np.searchsorted(classes, labels)
  return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), place]))


def _path(embeddings: np.ndarray, labels: np.ndarray, penalties: Sequence[float], iterations: int):
  """Yields the layer of each penalty, each begun at the one before."""
  classes = np.unique(labels)
  if len(classes) < 2:
    raise DataError(f"a probe needs two classes or more; its training walks hold {classes.tolist()}")
  rows = _flat(embeddings).astype(np.float64)
  mean = rows.mean(axis=0)
  rows -= mean
  scale = float(np.sqrt(np.mean(np.sum(rows**2, axis=1)))) or 1.0
  rows /= scale
  # The kernel lies in the span of the rows, and a rotation changes neither loss nor norm: of few rows the same problem
  # has only as many unknowns a class as there are rows.
  basis = None
  if 2 * len(rows) < rows.shape[1]:
    basis, triangle = scipy.linalg.qr(rows.T, mode="economic", overwrite_a=True)
    rows = triangle.T
  threads = 1 if rows.size * len(classes) < SMALL else None
  solver = LogisticRegression(max_iter=iterations, tol=TOLERANCE, warm_start=True)
  for penalty in penalties:
    solver.C = 1 / (penalty * len(rows))  # scikit-learn weighs the sum of the losses
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads):
      warnings.simplefilter("always", ConvergenceWarning)
      solver.fit(rows, labels)
    kernel, bias = solver.coef_.T, solver.intercept_
    if len(classes) == 2:  # one score, of the second against the first
      kernel, bias = np.concatenate([0 * kernel, kernel], axis=1), np.concatenate([[0.0], bias])
    yield Probe(classes=classes, mean=mean, scale=scale, kernel=kernel if basis is None else basis @ kernel, bias=bias,
                penalty=penalty, tried={}, loss=cross_entropy(rows @ kernel + bias, labels, classes),
                converged=not any(issubclass(w.category, ConvergenceWarning) for w in caught))


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
    "macro_f1": 100 * float(f1_score(labels, order[:, 0], labels=known, average="macro", zero_division=0)),
  }
  if len(classes) <= 5:
    del result["top5"]
  return result, right


def confusion(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> dict:
  """{classes, true_by_predicted}: how often walks of each class (rows) were given each (columns). Numbers in order."""
  named = np.unique(np.concatenate([classes, labels]))
  with contextlib.suppress(ValueError):  # names, not numbers: alphabetical
    named = named[np.argsort(named.astype(float), kind="stable")]
  return {"classes": named.tolist(),
          "true_by_predicted": confusion_matrix(labels, classes[logits.argmax(axis=1)], labels=named)}


def guessing(train_labels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """What knowing no walk gives, in per cent: always naming the most frequent class of the training walks."""
  names, counts = np.unique(train_labels, return_counts=True)
  ranked = names[np.argsort(-counts, kind="stable")]
  logits = -np.argsort(np.argsort(-counts, kind="stable"))[None].repeat(len(labels), 0).astype(np.float32)
  result, _ = figures(logits, labels, names)
  return result | {"always": str(ranked[0])}


def _flat(embeddings: np.ndarray) -> np.ndarray:
  return np.asarray(embeddings, np.float32).reshape(len(embeddings), -1)
