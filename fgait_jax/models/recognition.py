"""A pretrained encoder under a new head: the network of supervised fine-tuning.

The head reads each part's projection at unit length (FoundationGait A5), or, without a projector, the pooled parts as
they are (DeepGaitV2, GaitBase, GaitSet, SwinGait). Identities: a linear layer per part to the embedding that evaluation
compares, and a neck of class scores for training only. Classes: all parts as one vector under one neck. Or identities
by a discriminant of all pooled parts, which is learnt further from its closed form.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.kernels.unit import unit
from fgait_jax.models.heads import PART_KERNEL, PartLinear, PartNorm
from fgait_jax.models.network import GaitNetwork, head_input, pooled_parts
from fgait_jax.typing import Array, Bool, Float

# Rows of the heads; those of the encoder and projector are in `backbones.sharding`.
SHARDING = ((r"head/embed/kernel", PART_KERNEL), (r"head/(neck/)?classes/kernel", ("whole", "embed", "whole")))
HEADS = ("identity", "discriminant", "classes")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recognition:
  """The network's outputs; None for those not asked for. For classes `embedding` is all that the head reads, [b 1
  p*e]."""

  embedding: Float[Array, "b p e"] | None
  logits: Float[Array, "b p classes"] | None  # cosines


class Neck(nnx.Module):
  """Batch normalisation, unit length, cosine with each class's unit weights (BNNeck, arXiv 1903.07071), per part."""

  def __init__(self, parts: int, features: int, classes: int, *, rngs: nnx.Rngs):
    self.norm = PartNorm(parts, features, rngs=rngs)
    self.classes = PartLinear(parts, features, classes, cosine=True, rngs=rngs)

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p classes"]:
    return self.classes(unit(self.norm(x.astype(jnp.float32))))


class IdentityHead(nnx.Module):
  """The embedding of each part, not normalised, and the scores of training identities; `cosine` as in `PartLinear`."""

  def __init__(
    self, parts: int, features_in: int, features: int, classes: int, *, cosine: bool = False, rngs: nnx.Rngs
  ):
    self.embed = PartLinear(parts, features_in, features, cosine=cosine, rngs=rngs)
    self.neck = Neck(parts, features, classes, rngs=rngs)

  def __call__(self, x: Float[Array, "b p d"]) -> Recognition:
    embedding = self.embed(x)
    return Recognition(embedding, self.neck(embedding))


class ClassHead(nnx.Module):
  """Scores of a few classes from all parts at once."""

  def __init__(self, parts: int, features_in: int, classes: int, *, rngs: nnx.Rngs):
    self.neck = Neck(1, parts * features_in, classes, rngs=rngs)

  def __call__(self, x: Float[Array, "b p d"]) -> Recognition:
    flat = x.reshape(x.shape[0], 1, -1)
    return Recognition(flat, self.neck(flat))


class DiscriminantHead(nnx.Module):
  """`models.discriminant.Discriminant` with a kernel that trains, one embedding at unit length, and as scores of
  training identities its cosines with a direction for each. `training.discriminant.head` says where both begin."""

  def __init__(self, parts: int, features_in: int, features: int, classes: int, *, rngs: nnx.Rngs):
    self.mean = nnx.BatchStat(jnp.zeros(parts * features_in))
    self.embed = PartLinear(1, parts * features_in, features, rngs=rngs)
    self.classes = PartLinear(1, features, classes, cosine=True, rngs=rngs)

  def __call__(self, pooled: Float[Array, "b p d"]) -> Recognition:
    x = unit(pooled).reshape(pooled.shape[0], 1, -1)
    embedding = unit(self.embed(x - self.mean[...]))
    return Recognition(embedding, self.classes(embedding))


class Recognizer(nnx.Module):
  """Encoder (with its prompts, if it has any), part pooling and projector (if it has one) of `network`, and a head.

  Args:
    head: of `HEADS`; `classes` scores of it; `features` of a part's embedding ("identity"), or of all ("discriminant").
  """

  def __init__(self, network: GaitNetwork, *, head: str, classes: int, features: int, rngs: nnx.Rngs):
    if head not in HEADS:
      raise ValueError(f"head={head!r}; known: {', '.join(HEADS)}")
    self.encoder, self.projector = network.encoder, nnx.data(network.projector)
    self.border = nnx.data(network.border)
    self.facing = network.facing
    self.temporal, self.cut = network.temporal, network.cut
    parts, wide = network.head_input_shape
    if head == "identity":
      self.head = IdentityHead(parts, wide, features, classes, cosine=network.cosine_head, rngs=rngs)
    elif head == "discriminant":
      self.head = DiscriminantHead(parts, wide, features, classes, rngs=rngs)
    else:
      self.head = ClassHead(parts, wide, classes, rngs=rngs)

  def __call__(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...] = ()
  ) -> Recognition:
    """`frames` in 0..1. A crop list cuts the batch into groups of strips, as in pretraining; with () bodies are whole,
    as in evaluation."""
    return self.head(self.read(pooled_parts(self, frames, valid, crop_list=tuple(crop_list))))

  def read(self, pooled: Float[Array, "b n d"]) -> Float[Array, "b p e"]:
    """What the head reads of pooled parts."""
    return head_input(pooled, None if self.projector is None else self.projector(pooled))
