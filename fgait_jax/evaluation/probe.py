"""The linear probe: one softmax layer trained on embeddings that were taken once, in evaluation mode, and never change.

The encoder takes no part: no gradient, no running statistic. (The reference's "linear probe" leaves its backbone in
training mode, FoundationGait A5, so its running statistics drift; this one can prove that nothing moved, see
`fingerprint`.)
"""

import contextlib
import dataclasses
import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.metrics import confusion_matrix, f1_score

from fgait_jax.errors import DataError
from fgait_jax.rng import key
from fgait_jax.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
  """A softmax layer on standardised features: `(x - mean) / scale @ kernel + bias` are the logits of `classes`."""

  classes: np.ndarray
  mean: np.ndarray  # [f], of the training features
  scale: np.ndarray  # [f], their standard deviation
  kernel: np.ndarray  # [f, classes]
  bias: np.ndarray  # [classes]
  losses: np.ndarray  # [steps], nats

  def logits(self, embeddings: np.ndarray) -> np.ndarray:
    """Logits [n, classes] of embeddings [n, c, p]."""
    return (_flat(embeddings) - self.mean) / self.scale @ self.kernel + self.bias


def fingerprint(*trees) -> str:
  """SHA-256 over every array of pytrees: parameters and running statistics, to prove that training left them alone."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
    value = np.asarray(leaf)
    digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
    digest.update(np.ascontiguousarray(value).tobytes())
  return digest.hexdigest()


def fit(embeddings: np.ndarray, labels: np.ndarray, *, steps: int, rate: float, weight_decay: float, batch_size: int,
        seed: int) -> Probe:
  """Trains the layer on embeddings [n, c, p] by AdamW, the rate falling to zero along a cosine, from zero weights.

  All rows are seen at every step where there are at most `batch_size`, else a random draw. Raises `DataError` unless
  `labels` name at least two classes.
  """
  classes, target = np.unique(labels, return_inverse=True)
  if len(classes) < 2:
    raise DataError(f"a probe needs two classes or more; its training walks hold {classes.tolist()}")
  features = _flat(embeddings)
  mean, scale = features.mean(axis=0), features.std(axis=0)
  scale = np.where(scale > 1e-8, scale, 1).astype(np.float32)  # a feature that never varies says nothing
  weights, losses = _train(
    jnp.asarray((features - mean) / scale), jnp.asarray(target, jnp.int32), key(seed, "probe"), classes=len(classes),
    steps=steps, rate=rate, weight_decay=weight_decay, batch_size=batch_size)
  kernel, bias = jax.tree.map(np.asarray, weights)
  return Probe(classes=classes, mean=mean, scale=scale, kernel=kernel, bias=bias, losses=np.asarray(losses))


@functools.partial(jax.jit, static_argnames=("classes", "steps", "rate", "weight_decay", "batch_size"))
def _train(features: Float[Array, "n f"], target: Int[Array, "n"], base_key: Array, *, classes: int, steps: int,
           rate: float, weight_decay: float, batch_size: int):
  optimizer = optax.adamw(optax.cosine_decay_schedule(rate, steps), weight_decay=weight_decay)
  weights = jnp.zeros((features.shape[1], classes)), jnp.zeros(classes)

  def loss_of(weights, rows):
    kernel, bias = weights
    logits = features[rows] @ kernel + bias
    return optax.softmax_cross_entropy_with_integer_labels(logits, target[rows]).mean()

  def step(carry, number):
    weights, state = carry
    count = features.shape[0]
    if count <= batch_size:
      rows = jnp.arange(count)
    else:
      rows = jax.random.randint(jax.random.fold_in(base_key, number), (batch_size,), 0, count)
    loss, gradient = jax.value_and_grad(loss_of)(weights, rows)
    updates, state = optimizer.update(gradient, state, weights)
    return (optax.apply_updates(weights, updates), state), loss

  (weights, _), losses = jax.lax.scan(step, (weights, optimizer.init(weights)), jnp.arange(steps))
  return weights, losses


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
