"""GaitSet (Chao et al., arXiv 1811.06186): frames as a set, whose maxima at three depths feed a second branch.

No normalisation, no biases. The encoder pools over time itself: it gives one slot, with the map of the set above that
of the global branch, and 62 parts. Equal to the official network in float32, embeddings included: `python -m
fgait_jax.interop.check_golden` checks it (docs/networks.md).
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.kernels.convolution import FrameConv, WideFrameConv
from fgait_jax.kernels.maximum import maximum
from fgait_jax.models.encoder import Backbone, Size, written_out
from fgait_jax.models.p3d import POLICIES, encode_in_strips
from fgait_jax.models.parts import Cut, FeatureMap, temporal_max
from fgait_jax.typing import Array, Bool, Float

# Named sizes -> channels of the three blocks: those of CASIA-B, and those of OU-MVLP, GREW and CASIA-E.
SIZES = {"32-64-128": (32, 64, 128), "64-128-256": (64, 128, 256)}
MAPS = 2


class Block(nnx.Module):
  """Two convolutions within frames, each followed by a leaky ReLU; the `first` may have windows of 5 x 5."""

  def __init__(self, features_in: int, features: int, *, first=FrameConv, dtype=jnp.float32, rngs: nnx.Rngs):
    self.conv1 = first(features_in, features, dtype=dtype, rngs=rngs)
    self.conv2 = FrameConv(features, features, dtype=dtype, rngs=rngs)

  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
    for convolution in (self.conv1, self.conv2):
      x = jax.nn.leaky_relu(convolution(x), 0.01)
    return x


class GaitSet(nnx.Module):
  """Encoder: rows and columns are reduced by four, and all frames become one slot.

  Args:
    channels: of the three blocks; the last is `features`.
    remat: "none", "dots" (keeps the outputs of convolutions) or "full" (keeps the inputs of blocks).
  """

  def __init__(
    self, *, channels=(32, 64, 128), in_channels: int = 1, dtype=jnp.float32, remat: str = "none", rngs: nnx.Rngs
  ):
    one, two, three = channels
    block = functools.partial(Block, dtype=dtype, rngs=rngs)
    self.features = three
    self.set1 = block(in_channels, one, first=WideFrameConv)
    self.set2 = block(one, two)
    self.set3 = block(two, three)
    self.global2 = block(one, two)
    self.global3 = block(two, three)
    self.remat = remat

  def stages(
    self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]
  ) -> Iterator[Float[Array, "b s i j d"]]:
    """Outputs in order: block 1 of the set, its maximum over time, block 2 of the global branch, block 2 of the set,
    its maximum, block 3 of the global branch, block 3 of the set, its maximum; s is t or, after a maximum, 1."""
    if frames.shape[3] % 4:
      raise ConfigError(f"GaitSet halves its maps twice: frames of {frames.shape[3]} columns do not divide by four; set"
                        " config.augment.width to a multiple of 4")

    def run(block, x):
      return block(x)
    if self.remat != "none":
      run = nnx.remat(run, policy=POLICIES[self.remat])

    x = _halved(run(self.set1, frames))
    yield x
    most = _over_time(x, valid)
    yield most
    whole = _halved(run(self.global2, most))
    yield whole
    x = _halved(run(self.set2, x))
    yield x
    most = _over_time(x, valid)
    yield most
    whole = run(self.global3, whole + most)
    yield whole
    x = run(self.set3, x)
    yield x
    yield _over_time(x, valid)

  def encode(self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> FeatureMap:
    """The whole body. `frames` in 0..1, any width that divides by four, 64 rows for the 16 rows of part pooling."""
    *_, whole, _, most = self.stages(frames, valid)
    features = jnp.concatenate([most, whole + most], axis=2)
    present = jnp.any(valid, axis=1)[:, None, None, None]
    return FeatureMap(features, jnp.broadcast_to(present, features.shape[:-1]))

  def encode_parts(
    self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...]
  ) -> FeatureMap:
    """The batch in groups and strips of rows (`models.crops`), each strip an image of its own; raises `ConfigError`
    where they do not divide it."""
    return encode_in_strips(self.encode, frames, valid, crop_list=crop_list, maps=MAPS)


def _over_time(x: Float[Array, "b t h w d"], valid: Bool[Array, "b t"]) -> Float[Array, "b 1 h w d"]:
  there = jnp.broadcast_to(valid[:, :, None, None], x.shape[:-1])
  return temporal_max(FeatureMap(x, there))[0][:, None]


def _halved(x: Float[Array, "b t h w d"]) -> Float[Array, "b t h/2 w/2 d"]:
  """The maximum of every 2 x 2 pixels."""
  b, t, h, w, d = x.shape
  pixels = x.reshape(b, t, h // 2, 2, w // 2, 2, d).swapaxes(3, 4).reshape(b, t, h // 2, w // 2, 4, d)
  return maximum(pixels, 4)


def variant_of(channels) -> str:
  """The variant with these channels, as `BACKBONE.size` reads it."""
  return "-".join(map(str, channels))


def _size(channels: tuple[int, ...]) -> Size:
  return Size(encoder={"channels": channels}, embed=channels[-1])


BACKBONE = Backbone(
  name="gaitset",
  sizes={name: _size(channels) for name, channels in SIZES.items()},
  parse=lambda variant: _size(*written_out(
    variant, 3, known=f"{', '.join(SIZES)}, or other channels of the three blocks")),
  encoder=GaitSet,
  cut=Cut(maps=MAPS),
  sharding=((r"set1/conv1/kernel", ()), (r"(set1/conv2|(set|global)[23]/conv[12])/kernel", ("embed", "hidden"))),
  low_rank=((r"(set|global)\d/conv[12]/kernel", 2),),
  # The global branch is as deep as the set's blocks beside it.
  depth=((r"set1/.*", False), (r"(set|global)2/.*", False), (r"(set|global)3/.*", False)),
)
