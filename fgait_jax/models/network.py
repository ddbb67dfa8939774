"""Encoder, part pooling and per-part heads: the network that is trained, averaged, saved and evaluated."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.kernels.unit import unit
from fgait_jax.models import crops, frame_tokens
from fgait_jax.models import decoder as decoders
from fgait_jax.models import heads as part_heads
from fgait_jax.models.decoder import Decoder
from fgait_jax.models.discriminant import Discriminant
from fgait_jax.models.encoder import Encoder
from fgait_jax.models.facing import face
from fgait_jax.models.heads import PartMLP
from fgait_jax.models.parts import BODY, Cut, pool
from fgait_jax.parallel.rules import under
from fgait_jax.typing import Array, Bool, Float, PRNGKeyArray

# Rows of all but the encoder.
SHARDING = (
  *under("decoder", decoders.SHARDING),
  *under("(projector|predictor)", part_heads.SHARDING),
  *under("tokens", frame_tokens.SHARDING),
  (r"recognition/kernel", part_heads.PART_KERNEL),
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Embedding:
  """The embeddings of a sequence. The reference's zero-shot embedding is `prediction`, L2-normalised per part.

  n counts the parts of the body, 31 but for some published networks, p these and the body heads that follow them if
  there are any. `projection` and `prediction` are None of a network without projector. `discriminant` is a linear map
  of all of `pooled`, fitted at the end of pretraining. `recognition` is the embedding of a network that was fine-tuned
  on identities, not normalised.
  """

  pooled: Float[Array, "b n d"]
  projection: Float[Array, "b p e"] | None
  prediction: Float[Array, "b p e"] | None
  recognition: Float[Array, "b p f"] | None = None
  discriminant: Float[Array, "b 1 f"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PretrainOutput:
  """The student's outputs. `masked` marks the tokens of the reconstruction loss, `logits` and `targets` are the pixels
  of all tokens; all three are None where nothing is masked."""

  prediction: Float[Array, "b p e"]
  projection: Float[Array, "b p e"]
  logits: Float[Array, "b n v"] | None
  targets: Float[Array, "b n v"] | None
  masked: Bool[Array, "b n"] | None


class GaitNetwork(nnx.Module):
  """An encoder with its heads. `train()` and `eval()` choose between batch and running statistics.

  Args:
    embed_features: channels of a part's embedding, and of the hidden layers of both heads.
    cut: how the encoder's grid becomes parts.
    projects: False leaves out projector and predictor, of a network whose head reads the pooled parts (`recognition`).
    decoder: of masked modelling, over a `MaskingEncoder`; without one, nothing can be masked.
    heads: initialisation: "reference", as published; "identity": Xavier weights for every part, and a predictor that
      starts as the identity, so that the student begins near its teacher and short runs learn (`PartMLP`).
    cosine_head: whether the layer of identities (`recognition`) gives cosines, as GaitSSB's.
    temporal: pooling over time, a name of `parts.TEMPORAL`; the reference takes the maximum.
    body_heads: further projections of all parts together; they follow the 31 parts wherever parts are listed.
    facing: whether walks are centred and mirrored to face one way first (models/facing.py); the reference does neither.
    discriminant: output features of the last linear map (`Discriminant`); 0: without one.
  """

  def __init__(
    self, encoder: Encoder, *, embed_features: int, cut: Cut = BODY, decoder: Decoder | None = None,
    heads: str = "reference", cosine_head: bool = False, projects: bool = True, temporal: str = "max",
    body_heads: int = 0, facing: bool = False, discriminant: int = 0, dtype=jnp.float32, rngs: nnx.Rngs,
  ):
    e = embed_features
    starts = {"reference": ("reference", "reference"), "identity": ("part", "identity")}[heads]
    self.encoder = encoder
    self.temporal = temporal
    self.cut = cut
    self.cosine_head = cosine_head
    self.facing = facing
    self.projector = self.predictor = nnx.data(None)
    if projects:
      self.projector = PartMLP(
        cut.count, encoder.features, e, e, final_norm=True, start=starts[0], body_heads=body_heads, dtype=dtype,
        rngs=rngs)
      self.predictor = PartMLP(
        self.projector.parts, e, e, e, final_norm=False, start=starts[1], dtype=dtype, rngs=rngs)
    self.decoder = decoder
    self.discriminant = nnx.data(Discriminant(cut.count, encoder.features, discriminant) if discriminant else None)
    # What fine-tuning may add: a border of pixels (models/prompts.py), and the head for identities; what a published
    # network may have: tokens of single frames (models/frame_tokens.py).
    self.tokens = nnx.data(None)
    self.border = nnx.data(None)
    self.recognition = nnx.data(None)

  def without_heads(self) -> None:
    """Leaves out what the embedding that was learnt last does not need: decoder and tokens, and of a network that ends
    in a discriminant or was fine-tuned also the heads behind that."""
    self.decoder = self.tokens = nnx.data(None)
    if self.recognition is not None or self.discriminant is not None:
      self.predictor = nnx.data(None)
    if self.recognition is None and self.discriminant is not None:
      self.projector = nnx.data(None)

  def embed(self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"]) -> Embedding:
    """All embeddings of the whole body. `frames` in 0..1."""
    return self._heads(pooled_parts(self, frames, valid))

  def frame_tokens(self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b t p e"]:
    """A token for each part of each frame, of a network that has them (GaitJEPA); raises `ConfigError` of others."""
    if self.tokens is None:
      raise ConfigError("this network has no tokens of single frames; imported weights of GaitJEPA have them")
    return self.tokens(self.encoder.encode(frames, valid))

  def pretrain(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...],
    masked_fractions: tuple[float, ...], key: PRNGKeyArray,
  ) -> PretrainOutput:
    """The student's forward pass: groups of the batch in strips of rows, `masked_fractions[i]` of the tokens of group i
    masked, or one share of the tokens of all.

    The decoder fills in the groups of which something is masked; without any it is not run. Raises `ConfigError` where
    the groups do not divide the batch, or where the encoder cannot leave tokens out.
    """
    crop_list = tuple(crop_list)
    masked_fractions = tuple(masked_fractions) * (len(crop_list) if len(masked_fractions) == 1 else 1)
    crops.check_batch(frames.shape[0], crop_list)
    if not any(masked_fractions):
      embedding = self._heads(pooled_parts(self, frames, valid, crop_list=crop_list))
      return PretrainOutput(embedding.prediction, embedding.projection, None, None, None)
    if self.decoder is None:
      raise ConfigError(
        f"student.masked_fractions={masked_fractions}, but this model has no decoder and cannot leave tokens out; "
        "set student.masked_fractions to (0.0,)"
      )
    frames = face(frames, valid) if self.facing else frames
    visible = self.encoder.choose_visible(
      key, valid, crop_list=crop_list, masked_fractions=masked_fractions, width=frames.shape[3]
    )
    features = self.encoder.encode_parts(
      frames, valid, crop_list=crop_list, visible=visible, masked_fractions=masked_fractions
    )
    embedding = self._heads(pool(features, temporal=self.temporal, cut=self.cut))
    tokens = (features, *self.encoder.patchify(frames, valid), visible)
    features, targets, token_valid, visible = crops.where(masked_fractions, tokens)
    logits = self.decoder(features, token_valid)
    return PretrainOutput(embedding.prediction, embedding.projection, logits, targets, token_valid & ~visible)

  def _heads(self, pooled: Float[Array, "b n d"]) -> Embedding:
    projection = prediction = recognition = discriminant = None
    if self.projector is not None:
      projection = self.projector(pooled)
    if self.predictor is not None:
      prediction = self.predictor(projection)
    if self.recognition is not None:
      recognition = self.recognition(head_input(pooled, projection))
    if self.discriminant is not None:
      discriminant = self.discriminant(pooled)
    return Embedding(pooled, projection, prediction, recognition, discriminant)

  @property
  def head_input_shape(self) -> tuple[int, int]:
    """(parts, channels) of `head_input`."""
    if self.projector is None:
      return self.cut.count, self.encoder.features
    return self.projector.parts, self.projector.fc2.kernel.shape[-1]


def pooled_parts(
  network, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...] = ()
) -> Float[Array, "b n d"]:
  """What the heads of `network` read (a `GaitNetwork`, or a `Recognizer` of its modules): walks faced where it faces
  them, in their border if it has one, encoded and pooled over time and parts. A crop list cuts the batch into groups of
  strips; with () bodies are whole."""
  frames = face(frames, valid) if network.facing else frames
  frames = frames if network.border is None else network.border(frames)
  if crop_list:
    found = network.encoder.encode_parts(frames, valid, crop_list=crop_list)
  else:
    found = network.encoder.encode(frames, valid)
  return pool(found, temporal=network.temporal, cut=network.cut)


def head_input(pooled: Float[Array, "b n d"], projection: Float[Array, "b p e"] | None) -> Array:
  """What a head for identities reads: the projection at unit length (FoundationGait A5), or without a projector the
  pooled parts as they are (DeepGaitV2, GaitBase, GaitSet, SwinGait)."""
  return pooled.astype(jnp.float32) if projection is None else unit(projection.astype(jnp.float32))
