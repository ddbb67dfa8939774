"""A pretrained encoder and projector under a new head: the network of supervised fine-tuning (FoundationGait A5).

Identities: projection, unit length, a linear layer per part to the embedding that evaluation compares, and a neck of
class scores for training only. Classes: all parts of the projection as one vector under one neck.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.models.heads import PART_KERNEL, PartLinear, PartNorm, unit
from fgait_jax.models.network import GaitNetwork
from fgait_jax.models.parts import pool
from fgait_jax.typing import Array, Bool, Float

# Rows of the heads; those of the encoder and projector are in `backbones.sharding`.
SHARDING = ((r"head/embed/kernel", PART_KERNEL), (r"head/neck/classes/kernel", ("whole", "embed", "whole")))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recognition:
  """The network's outputs; None for those not asked for. For classes `embedding` is the unit projection of all parts,
  [b 1 p*e]."""

  embedding: Float[Array, "b p e"] | None
  logits: Float[Array, "b p classes"] | None  # cosines


class Neck(nnx.Module):
  """Batch normalisation, unit length, cosine with each class's unit weights (BNNeck, arXiv 1903.07071), per part."""

  def __init__(self, parts: int, features: int, classes: int, *, rngs: nnx.Rngs):
    self.norm = PartNorm(parts, features, rngs=rngs)
    self.classes = PartLinear(parts, features, classes, rngs=rngs)

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p classes"]:
    x = unit(self.norm(x.astype(jnp.float32)))
    return jnp.einsum("bpd,pdc->bpc", x, unit(self.classes.kernel[...], axis=1))


class IdentityHead(nnx.Module):
  """The embedding of each part, not normalised, and the scores of training identities."""

  def __init__(self, parts: int, features_in: int, features: int, classes: int, *, rngs: nnx.Rngs):
    self.embed = PartLinear(parts, features_in, features, rngs=rngs)
    self.neck = Neck(parts, features, classes, rngs=rngs)

  def __call__(self, projection: Float[Array, "b p d"]) -> Recognition:
    embedding = self.embed(unit(projection.astype(jnp.float32)))
    return Recognition(embedding, self.neck(embedding))


class ClassHead(nnx.Module):
  """Scores of a few classes from all parts at once."""

  def __init__(self, parts: int, features_in: int, classes: int, *, rngs: nnx.Rngs):
    self.neck = Neck(1, parts * features_in, classes, rngs=rngs)

  def __call__(self, projection: Float[Array, "b p d"]) -> Recognition:
    flat = unit(projection.astype(jnp.float32)).reshape(projection.shape[0], 1, -1)
    return Recognition(flat, self.neck(flat))


class Recognizer(nnx.Module):
  """Encoder (with its prompts, if it has any), part pooling and projector of `network`, and a head.

  Args:
    head: "identity" or "classes"; `classes` scores of it; `features` of a part's embedding (identity only).
  """

  def __init__(self, network: GaitNetwork, *, head: str, classes: int, features: int, rngs: nnx.Rngs):
    if head not in ("identity", "classes"):
      raise ValueError(f'head={head!r}; known: "identity", "classes"')
    self.encoder, self.projector = network.encoder, network.projector
    self.border = nnx.data(network.border)
    self.temporal = network.temporal
    parts, wide = self.projector.parts, self.projector.fc2.kernel.shape[-1]
    if head == "identity":
      self.head = IdentityHead(parts, wide, features, classes, rngs=rngs)
    else:
      self.head = ClassHead(parts, wide, classes, rngs=rngs)

  def __call__(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...] = ()
  ) -> Recognition:
    """`frames` in 0..1. A crop list cuts the batch into groups of strips, as in pretraining; with () bodies are whole,
    as in evaluation."""
    if self.border is not None:
      frames = self.border(frames)
    if crop_list:
      found = self.encoder.encode_parts(frames, valid, crop_list=tuple(crop_list))
    else:
      found = self.encoder.encode(frames, valid)
    return self.head(self.projector(pool(found, temporal=self.temporal)))
