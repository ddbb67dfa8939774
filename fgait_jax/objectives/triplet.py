"""Batch-all triplets on the embeddings of parts, as the recipes of FoundationGait (A5) and OpenGait have them."""

import dataclasses

import jax
import jax.numpy as jnp

from fgait_jax.objectives.base import Objective
from fgait_jax.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Triplet(Objective):
  """`triplet` of the embeddings that are compared at test."""

  identities = True

  margin: float

  def needs(self, key, config):
    return [(self.margin >= 0, f"{key}.margin={self.margin} must be at least 0")]

  def __call__(self, student, teacher, batch, state):
    loss, active = triplet(student.embedding, batch["label"], margin=self.margin)
    return loss, {"triplet": (loss, 1.0), "active_triplets": (active, 1.0)}, state


def triplet(
  embedding: Float[Array, "b p e"], subject: Int[Array, " b"], *, margin: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Batch-all triplet loss (Hermans et al., arXiv 1703.07737) and the share 0..1 of triplets that are not yet zero.

  Euclidean distances per part; every (anchor, positive, negative) of the batch gives relu(d_ap - d_an + margin). A
  part's loss is their sum over the number of non-zero terms (0 where there is none), the loss the mean over parts. The
  anchor counts among its own positives, as in the reference; its distance to itself is exactly 0 here, where rounding
  leaves the reference a little above. Triplets are never laid out: negatives are sorted once an anchor, and the terms
  of a positive are those of the negatives below its threshold, so memory is p b^2.
  """
  # About their mean, which leaves distances as they are: far from the origin those of near embeddings are lost to
  # rounding, and with them the gradient that would part them.
  embedding = embedding.astype(jnp.float32)
  distance = _distances(embedding - jax.lax.stop_gradient(jnp.mean(embedding, axis=0)))
  same = subject[:, None] == subject[None, :]
  negatives = jnp.sort(jnp.where(same, jnp.inf, distance), axis=-1)
  sums = jnp.cumsum(jnp.where(jnp.isfinite(negatives), negatives, 0), axis=-1)
  sums = jnp.pad(sums, ((0, 0), (0, 0), (1, 0)))  # sums[k] is that of the k closest negatives
  threshold = distance + margin
  below = jax.vmap(jax.vmap(jnp.searchsorted))(jax.lax.stop_gradient(negatives), jax.lax.stop_gradient(threshold))
  terms = below * threshold - jnp.take_along_axis(sums, below, axis=-1)
  count = jnp.sum(below * same, axis=(1, 2)).astype(jnp.float32)
  loss = jnp.mean(jnp.sum(jnp.where(same, terms, 0), axis=(1, 2)) / jnp.maximum(count, 1))
  positives = jnp.sum(same, axis=1)
  triplets = jnp.sum((positives * (len(subject) - positives)).astype(jnp.float32))
  return loss, jnp.mean(count) / jnp.maximum(triplets, 1)


def _distances(x: Float[Array, "b p e"]) -> Float[Array, "p b b"]:
  """sqrt(|x|^2 + |y|^2 - 2 x.y) per part, with a zero gradient where it is zero."""
  squared = jnp.sum(jnp.square(x), axis=-1).T
  products = jnp.einsum("ape,bpe->pab", x, x, precision=jax.lax.Precision.HIGHEST)
  found = squared[:, :, None] + squared[:, None, :] - 2 * products
  apart = (found > 0) & ~jnp.eye(len(x), dtype=bool)
  return jnp.where(apart, jnp.sqrt(jnp.where(apart, found, 1)), 0)
