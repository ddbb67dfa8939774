"""The interface of a backbone: an encoder's methods, and one record of all that other modules need to know of it.

A backbone is one file of this folder; its record, `BACKBONE`, is listed in `models/backbones.py`, and no other file
names its parameters. Patterns in a record are matched against whole "/"-joined paths within the encoder, such as
"stage2/first/conv1/kernel".
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models.decoder import Decoder
from fgait_jax.models.parts import BODY, Cut, FeatureMap
from fgait_jax.parallel.rules import Table
from fgait_jax.typing import Array, Bool, Float, PRNGKeyArray


class Encoder(Protocol):
  """Frames, in 0..1, to a grid of features that `Backbone.cut` makes parts of: of 16 rows, or as many as the cut says,
  or several such grids one above the other. `features` counts the channels of the grid.

  Features of frames that are not valid are not `present`, and features of valid frames do not depend on them.
  """

  features: int

  def encode(self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"]) -> FeatureMap:
    """The whole body."""

  def encode_parts(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...]
  ) -> FeatureMap:
    """The batch in groups, group i in `crop_list[i]` strips of rows that are encoded independently (`models.crops`).
    Raises `ConfigError` where the groups do not divide the batch."""


class MaskingEncoder(Encoder, Protocol):
  """An encoder that can leave tokens out, of a backbone with a decoder. Tokens n = s r q, in this order."""

  def choose_visible(
    self, key: PRNGKeyArray, valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...],
    masked_fractions: tuple[float, ...], width: int,
  ) -> Bool[Array, "b n"]:
    """Draws the tokens that are seen of frames of `width` columns: in every strip of group i the share
    `masked_fractions[i]` of its valid tokens is left out."""

  def encode_parts(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...],
    visible: Bool[Array, "b n"] | None = None, masked_fractions: tuple[float, ...] = (),
  ) -> FeatureMap:
    """As above, of the `visible` tokens only; the others are not `present`."""

  def patchify(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"]
  ) -> tuple[Float[Array, "b n v"], Bool[Array, "b n"]]:
    """The v pixels of every token, which the decoder is to predict, and whether the token is real."""

  def unpatchify(self, pixels: Float[Array, "b n v"], *, t: int, w: int) -> Float[Array, "b t 64 w c"]:
    """The inverse of `patchify` for `t` frames of `w` columns; [b n 1] spreads one number over a token."""


@runtime_checkable
class PromptedEncoder(Encoder, Protocol):
  """An encoder that takes learned tokens beside its own; `prompt_tokens`, [tokens, d], is None where there are none."""

  prompt_tokens: nnx.Param | None


@runtime_checkable
class StochasticEncoder(Encoder, Protocol):
  """An encoder that draws in training: with `training_key`, which a step of training sets anew for each batch; where
  that is None, nothing is drawn."""

  training_key: PRNGKeyArray | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
  """A named size of a backbone.

  Attributes:
    encoder: keywords of the backbone's `encoder`; decoder: of its `decoder`.
    embed: channels of a part's embedding.
    frames_per_token: frames that make one slot of the grid; 1 where frames stay frames.
  """

  encoder: Mapping[str, object]
  embed: int
  frames_per_token: int = 1
  decoder: Mapping[str, object] = dataclasses.field(default_factory=dict)


def written_out(variant: str, *counts: int, known: str) -> list[tuple[int, ...]]:
  """The numbers of a size such as "1-1-2-2@8-16-32", in groups of as many as `counts` say; groups after the first may
  be left out. Raises `ConfigError` with what is `known`."""
  groups = [group.split("-") for group in variant.split("@")]
  if not re.fullmatch(r"[1-9]\d*([-@][1-9]\d*)*", variant) or [len(g) for g in groups] != [*counts[: len(groups)]]:
    raise ConfigError(f"config.model.variant={variant!r} is not known; known: {known}")
  return [tuple(map(int, group)) for group in groups]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Backbone:
  """All that the rest of the package must know of a backbone.

  Attributes:
    name: value of `config.model.name`.
    sizes: values of `config.model.variant`.
    parse: `Size` of a variant that is not named, where sizes can be written out; raises `ConfigError`.
    encoder: makes the encoder: keywords of `Size.encoder`, and `in_channels`, `dtype`, `remat`, `rngs`; `stem`, too,
      where there is a choice of `stems`.
    stems: values of `config.model.stem`.
    windows: whether the encoder cuts walks into windows of `config.model.attention_frames`, its `window_frames`.
    decoder: makes the decoder of masked modelling from an encoder that can leave tokens out (`MaskingEncoder`),
      keywords of `Size.decoder`, and `dtype`, `remat`, `rngs`; None where the encoder cannot.
    cut: how the encoder's grid becomes parts.
    heads: how projector and predictor start, as in `GaitNetwork`; cosine_head: how the layer of identities reads them.
    sharding: (pattern, logical axes of `parallel/rules.py`), one row for each parameter but biases and scales.
    low_rank: (pattern, axes of its window), the kernels that low-rank updates adapt (`models/adapters.py`).
    depth: (pattern, stacked), groups of layers from input to output, for layer-wise rates; where `stacked`, the leading
      axis of the parameters counts layers. A parameter in no group has the full rate.

  Weight decay depends on the names of parameters (`config.optim.rules`): kernel, bias, scale, or one that contains
  "position" or "token".
  """

  name: str
  sizes: Mapping[str, Size]
  encoder: Callable[..., Encoder]
  sharding: Table
  low_rank: tuple[tuple[str, int], ...]
  depth: tuple[tuple[str, bool], ...]
  decoder: Callable[..., Decoder] | None = None
  cut: Cut = BODY
  heads: str = "identity"
  cosine_head: bool = False
  stems: tuple[str, ...] = ("conv",)
  windows: bool = False
  parse: Callable[[str], Size] | None = None

  @property
  def masks(self) -> bool:
    """Whether the encoder can leave tokens out, a `MaskingEncoder`."""
    return self.decoder is not None

  def size(self, variant: str) -> Size:
    """The size named, or written out, by `variant`; raises `ConfigError` naming the known ones."""
    if variant in self.sizes:
      return self.sizes[variant]
    if self.parse is not None:
      return self.parse(variant)
    raise ConfigError(f"config.model.variant={variant!r} is not known; known: {', '.join(self.sizes)}")
