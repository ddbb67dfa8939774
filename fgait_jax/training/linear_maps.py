"""Linear maps of embeddings learnt in closed form: PCA whitening, without labels, and Fisher's linear discriminant.

All parts of a walk become one vector first: parts of one body vary together, and what they share is counted once only
by a map that sees them all. Either map is learnt from training walks, never from those it is tested on. (The "learned
whitening" of image retrieval, Radenovic et al., arXiv 1711.02512; the discriminant is Fisher's, 1936, its shrinkage
that of Friedman's regularised discriminant analysis, 1989.)
"""

import dataclasses

import numpy as np
from sklearn.decomposition import PCA

from fgait_jax.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearMap:
  """x to (x - mean) @ kernel, at unit length; mean [f], kernel [f, d]."""

  mean: np.ndarray
  kernel: np.ndarray

  def __call__(self, found):
    """`found`, a dataclass, with its `embeddings` [N, C, P], f = C * P, mapped to [N, d, 1]."""
    mapped = (_flat(found.embeddings) - self.mean) @ self.kernel
    mapped /= np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12)
    return dataclasses.replace(found, embeddings=mapped[..., None].astype(np.float32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Components:
  """The principal components of training walks: mean [f], directions [f, k], variances [k], and their scores [n, k]."""

  mean: np.ndarray
  directions: np.ndarray
  variances: np.ndarray
  scores: np.ndarray


def components(
  embeddings: np.ndarray, *, most: int, seed: int, key: str = "config.linear_maps.components"
) -> Components:
  """Of embeddings [n, C, P]: `most` components, or half as many as there are walks where these are fewer.

  Raises `ConfigError`, which names `key`, for `most` below 1 and `DataError` for fewer than four walks.
  """
  if most < 1:
    raise ConfigError(f"{key}={most} must be at least 1")
  if len(embeddings) < 4:
    raise DataError(f"{len(embeddings)} training walks are too few to learn a map from; four are needed at least")
  rows = _flat(embeddings)
  pca = PCA(min(most, len(rows) // 2, rows.shape[1]), random_state=seed).fit(rows)
  return Components(mean=pca.mean_, directions=pca.components_.T, variances=pca.explained_variance_,
                    scores=pca.transform(rows))


def whitened(found: Components, *, floor: float) -> LinearMap:
  """Every component divided by the root of its variance + `floor` x the largest one.

  0 is whitening proper, which blows up the noise of small components; a large floor leaves all as it is.
  """
  if not floor >= 0:
    raise ConfigError(f"config.linear_maps.floor={floor} must be 0 or more")
  largest = found.variances[0]
  return LinearMap(mean=found.mean, kernel=found.directions / np.sqrt(
    np.maximum(found.variances + floor * largest, 1e-12 * max(largest, 1e-30))))


def discriminant(
  found: Components, labels: np.ndarray, *, shrinkage: float, prior: float = 0.0,
  keys: tuple[str, str] = ("config.linear_maps.shrinkages", "config.linear_maps.components"),
) -> LinearMap:
  """The directions, one fewer than there are labels, in which people differ most against their own walks; `labels` [n].

  They solve B v = ratio W' v (Fisher 1936): B is the covariance of people's means, each counted once a walk, and
  W' = (1 - shrinkage) W + shrinkage trace(W) / k I the covariance W [k, k] of walks about their own person's mean,
  shrunk towards a multiple of the identity; v has length 1 under W'. (scikit-learn's LinearDiscriminantAnalysis
  shrinks the covariance of all walks too, which at shrinkage 1 leaves no difference between people.)

  Few people show in all directions how a person varies, but in few of them how people differ. With a `prior` every
  direction stays, the best first, times the root of the share of its variance that lies between people, q / (1 + q)
  (the intraclass correlation), where q = ratio + prior / people. Of few people all directions then count nearly alike,
  which whitens W'; of many those that tell people apart.

  Raises `DataError` for too few walks or people, and where W' is singular, naming the `keys` to change.
  """
  names, person, walks = np.unique(labels, return_inverse=True, return_counts=True)
  if len(names) < 2 or walks.max() < 2:
    raise DataError(f"{len(labels)} training walks of {len(names)} people, {walks.max()} of one at most: a discriminant"
                    " wants two people or more, with several walks")
  scores = found.scores.astype(np.float64)
  means = np.stack([scores[person == n].mean(axis=0) for n in range(len(names))])
  within, between = (rows.T @ rows / len(rows)
                     for rows in (scores - means[person], means[person] - scores.mean(axis=0)))
  size = len(within)
  within = (1 - shrinkage) * within + shrinkage * np.trace(within) / size * np.eye(size)
  variances, axes = np.linalg.eigh(within)
  if variances[0] <= 1e-10 * variances[-1]:  # the scores are float32: beyond it lies rounding
    raise DataError(f"the walks of {len(names)} people do not vary about their own person's mean in all of {size}"
                    f" components, and a shrinkage of {shrinkage:g} leaves it so; give {keys[0]} above 0, fewer"
                    f" {keys[1]}, or walks that are not copies of each other")
  whiten = axes / np.sqrt(variances)
  ratios, vectors = np.linalg.eigh(whiten.T @ between @ whiten)
  best = np.argsort(-ratios)
  if not prior:
    return LinearMap(mean=found.mean, kernel=found.directions @ (whiten @ vectors[:, best[: len(names) - 1]]))
  ratios = np.maximum(ratios[best], 0) + prior / len(names)
  return LinearMap(mean=found.mean, kernel=found.directions @ (whiten @ vectors[:, best]
                                                               * np.sqrt(ratios / (1 + ratios))))


def _flat(embeddings: np.ndarray) -> np.ndarray:
  return embeddings.reshape(len(embeddings), -1)
