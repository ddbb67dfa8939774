"""Multinomial logistic regression on embeddings that were taken once and never change: the layer of a linear probe.

Solved to convergence by L-BFGS, its L2 penalty chosen on walks or people kept back, for every representation alike
(Kornblith et al., CVPR 2019; Radford et al., arXiv 2103.00020, appendix A.3): a fixed penalty flatters the
representation it happens to suit. The encoder takes no part: no gradient, no running statistic. (The reference's
"linear probe" leaves its backbone in training mode, FoundationGait A5, so its running statistics drift.)
"""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from fgait_jax.data.held_out import Parts
from fgait_jax.errors import ConfigError, DataError

TOLERANCE = 1e-6  # of the largest component of the gradient, in nats per unit of weight
SMALL = 10**8  # multiplications of a step: fewer are faster on one thread than handed to several


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftmaxLayer:
  """`(x - mean) / scale @ kernel + bias` are the logits of `classes`.

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


def fit(embeddings: np.ndarray, labels: np.ndarray, *, rows: np.ndarray, parts: Parts, penalties: Sequence[float],
        iterations: int) -> SoftmaxLayer:
  """The layer learnt from `rows` of embeddings [n, c, p] and labels [n]: least mean cross-entropy plus penalty / 2 x
  the squared norm of its kernel.

  Of several `penalties` it takes the one under which a layer learnt from `parts.fit` has the least mean cross-entropy
  on `parts.validation`, the larger among equals. They are tried from the largest down until two in a row were worse
  than the best: smaller ones take longest. `iterations` of L-BFGS at most; see `SoftmaxLayer.converged`. Raises
  `DataError` unless the labels of `rows` name two classes or more.
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
  """Raises `ConfigError`, before anything is embedded, where `config.linear_probe`, `settings`, cannot choose a penalty
  on `parts`."""
  found = tuple(settings.penalties)
  if not found or not all(0 < p < np.inf for p in found) or len(set(found)) < len(found):
    raise ConfigError(f"config.linear_probe.penalties={found} must be different numbers above 0")
  if settings.iterations < 1:
    raise ConfigError(f"config.linear_probe.iterations={settings.iterations} must be at least 1")
  if len(found) > 1 and not len(parts.validation):
    raise ConfigError(f"config.linear_probe.penalties={found} are chosen from on what is kept back of {len(parts.fit)}"
                      f" training walks, and config.linear_probe.validation_fraction={settings.validation_fraction}"
                      " keeps back none (nobody's only walk is); give one penalty, or more walks to learn from")


def cross_entropy(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> float:
  """Mean over rows, nats; every label is one of `classes`, which are sorted."""
  place = np.searchsorted(classes, labels)
  return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), place]))


def _path(embeddings: np.ndarray, labels: np.ndarray, penalties: Sequence[float],
          iterations: int) -> Iterator[SoftmaxLayer]:
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
    yield SoftmaxLayer(
      classes=classes, mean=mean, scale=scale, kernel=kernel if basis is None else basis @ kernel, bias=bias,
      penalty=penalty, tried={}, loss=cross_entropy(rows @ kernel + bias, labels, classes),
      converged=not any(issubclass(w.category, ConvergenceWarning) for w in caught))


def _flat(embeddings: np.ndarray) -> np.ndarray:
  return np.asarray(embeddings, np.float32).reshape(len(embeddings), -1)
