"""The P3D network of FoundationGait (arXiv 2512.00691), the convolutional reference beside the transformer.

Its encoder is that of DeepGaitV2 (arXiv 2303.03301), whose three forms, with convolutions within frames, separate in
time, or over both at once, differ in the block of their last three stages.

Equal to the released networks in float32 (`python -m fgait_jax.interop.check_golden` checks it). One addition: frames
that pad a short sequence are zeroed before every convolution in time, so that padding never reaches a real frame.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.kernels.convolution import SAVED, FrameConv, PointConv, TimeConv, VolumeConv
from fgait_jax.models import crops
from fgait_jax.models.batchnorm import BatchNorm
from fgait_jax.models.encoder import Backbone, Size, written_out
from fgait_jax.models.parts import FeatureMap
from fgait_jax.typing import Array, Bool, Float

POLICIES = {  # what rematerialisation keeps, by name of `remat`
  "dots": jax.checkpoint_policies.save_only_these_names(SAVED),
  "full": jax.checkpoint_policies.nothing_saveable,
}
CHANNELS = (64, 128, 256, 512)
# Named sizes -> (blocks, features) of the four stages. Names count the backbone; the heads add 32,601,088 parameters.
SIZES = {
  "0.03b": ((1, 4, 8, 4), CHANNELS),  # 33,134,272
  "0.13b": ((1, 4, 32, 16), CHANNELS),  # 132,298,432
  "1-1-1-1": ((1, 1, 1, 1), CHANNELS),
  "1-4-4-1": ((1, 4, 4, 1), CHANNELS),
  "test": ((1, 1, 1, 1), (4, 8, 8, 16)),
}


def sizes(variant: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """(layers, channels) of a variant: a name of `SIZES`, or layers such as "1-4-4-1", followed by @ and channels if
  these are not 64-128-256-512, as in "1-1-1-1@8-8-16-16". Raises `ConfigError`."""
  if variant in SIZES:
    return SIZES[variant]
  layers, *channels = written_out(variant, 4, 4, known=f"{', '.join(SIZES)}, or any blocks a stage such as 1-2-2-1,"
                                  " with other channels as 1-1-1-1@8-8-16-16")
  return layers, channels[0] if channels else CHANNELS


def variant_of(layers, channels) -> str:
  """The inverse of `sizes`."""
  layers, channels = tuple(layers), tuple(channels)
  for name, size in SIZES.items():
    if size == (layers, channels):
      return name
  text = "-".join(map(str, layers))
  return text if channels == CHANNELS else f"{text}@{'-'.join(map(str, channels))}"


class FrameBlock(nnx.Module):
  """Residual block within frames: conv, norm, ReLU, conv, norm, plus the input, ReLU (that of a ResNet)."""

  def __init__(self, features_in: int, features: int, *, stride: int = 1, dtype=jnp.float32, rngs: nnx.Rngs):
    make = functools.partial(BatchNorm, features, scale_std=0.02, rngs=rngs)
    self.conv1 = FrameConv(features_in, features, stride=stride, dtype=dtype, rngs=rngs)
    self.norm1 = make()
    self.conv2 = FrameConv(features, features, dtype=dtype, rngs=rngs)
    self.norm2 = make()
    resizes = stride != 1 or features_in != features
    self.shortcut = PointConv(features_in, features, stride=stride, dtype=dtype, rngs=rngs) if resizes else None
    self.shortcut_norm = make() if resizes else None

  def __call__(self, x: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b t i j d"]:
    a = jax.nn.relu(self.norm1(self.conv1(x), valid=valid))
    a = self.norm2(self.conv2(a), valid=valid)
    return jax.nn.relu(a + _shortcut(self, x, valid))


class P3DBlock(nnx.Module):
  """Residual block: convolution within frames, residual convolution in time, convolution within frames."""

  def __init__(self, features_in: int, features: int, *, stride: int = 1, dtype=jnp.float32, rngs: nnx.Rngs):
    make = functools.partial(BatchNorm, features, scale_std=0.02, rngs=rngs)
    self.conv1 = FrameConv(features_in, features, stride=stride, dtype=dtype, rngs=rngs)
    self.norm1 = make()
    self.temporal = TimeConv(features, features, dtype=dtype, rngs=rngs)
    self.temporal_norm = make()
    self.conv2 = FrameConv(features, features, dtype=dtype, rngs=rngs)
    self.norm2 = make()
    resizes = stride != 1 or features_in != features
    self.shortcut = PointConv(features_in, features, stride=stride, dtype=dtype, rngs=rngs) if resizes else None
    self.shortcut_norm = make() if resizes else None

  def __call__(self, x: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b t i j d"]:
    a = jax.nn.relu(self.norm1(self.conv1(x), valid=valid))
    a = jnp.where(valid[:, :, None, None, None], a, 0)  # as torch's zero padding at the end of a sequence
    a = jax.nn.relu(a + self.temporal_norm(self.temporal(a), valid=valid))
    a = self.norm2(self.conv2(a), valid=valid)
    return jax.nn.relu(a + _shortcut(self, x, valid))


class VolumeBlock(nnx.Module):
  """Residual block over time, rows and columns: conv, norm, ReLU, conv, norm, plus the input, ReLU."""

  def __init__(self, features_in: int, features: int, *, stride: int = 1, dtype=jnp.float32, rngs: nnx.Rngs):
    make = functools.partial(BatchNorm, features, scale_std=0.02, rngs=rngs)
    self.volume1 = VolumeConv(features_in, features, stride=stride, dtype=dtype, rngs=rngs)
    self.norm1 = make()
    self.volume2 = VolumeConv(features, features, dtype=dtype, rngs=rngs)
    self.norm2 = make()
    resizes = stride != 1 or features_in != features
    self.shortcut = PointConv(features_in, features, stride=stride, dtype=dtype, rngs=rngs) if resizes else None
    self.shortcut_norm = make() if resizes else None

  def __call__(self, x: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b t i j d"]:
    real = valid[:, :, None, None, None]
    a = jax.nn.relu(self.norm1(self.volume1(jnp.where(real, x, 0)), valid=valid))
    a = self.norm2(self.volume2(jnp.where(real, a, 0)), valid=valid)
    return jax.nn.relu(a + _shortcut(self, x, valid))


def _shortcut(block, x: Array, valid: Array) -> Array:
  """The input of a block, as large as its output."""
  return x if block.shortcut is None else block.shortcut_norm(block.shortcut(x), valid=valid)


BLOCKS = {"2d": FrameBlock, "p3d": P3DBlock, "3d": VolumeBlock}


class Stage(nnx.Module):
  """Blocks of one width: `first` may change size; the others are equal, stacked as `rest`, and run by a scan.

  The scan keeps compile time independent of depth: each of the student's crops compiles its own copy of the network.
  """

  def __init__(self, block, features_in: int, features: int, *, blocks: int, stride: int, remat: str, dtype, rngs):
    self.first = block(features_in, features, stride=stride, dtype=dtype, rngs=rngs)
    create = nnx.vmap(lambda key: block(features, features, dtype=dtype, rngs=nnx.Rngs(key)))
    self.rest = create(jax.random.split(rngs.params(), blocks - 1)) if blocks > 1 else None
    self.remat = remat

  def __call__(self, x: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b t i j d"]:
    def run(block, x, valid):
      return block(x, valid)
    if self.remat != "none":
      run = nnx.remat(run, policy=POLICIES[self.remat])
    x = run(self.first, x, valid)
    if self.rest is not None:
      x = nnx.scan(run, in_axes=(0, nnx.Carry, None), out_axes=nnx.Carry)(self.rest, x, valid)
    return x


class P3D(nnx.Module):
  """Encoder: a stem and four stages; rows and columns are reduced by four, frames are kept.

  Args:
    layers: blocks of each stage; the first stage works within frames only.
    channels: features of each stage; the last is `features`.
    mode: block of the other stages, a name of `BLOCKS`.
    remat: "none", "dots" (keeps the outputs of convolutions) or "full" (keeps the inputs of blocks).
  """

  def __init__(
    self, *, layers=(1, 4, 8, 4), channels=CHANNELS, mode: str = "p3d", in_channels: int = 1, dtype=jnp.float32,
    remat: str = "none", rngs: nnx.Rngs,
  ):
    if len(layers) != 4 or len(channels) != 4:
      raise ValueError(f"P3D has four stages; got layers {layers} and channels {channels}")
    if remat != "none" and remat not in POLICIES:
      raise ValueError(f"remat {remat!r} is not one of none, {', '.join(POLICIES)}")
    self.features = channels[-1]
    self.stem = FrameConv(in_channels, channels[0], dtype=dtype, rngs=rngs)
    self.stem_norm = BatchNorm(channels[0], scale_std=0.02, rngs=rngs)
    stage = functools.partial(Stage, remat=remat, dtype=dtype, rngs=rngs)
    self.stage1 = stage(FrameBlock, channels[0], channels[0], blocks=layers[0], stride=1)
    self.stage2 = stage(BLOCKS[mode], channels[0], channels[1], blocks=layers[1], stride=2)
    self.stage3 = stage(BLOCKS[mode], channels[1], channels[2], blocks=layers[2], stride=2)
    self.stage4 = stage(BLOCKS[mode], channels[2], channels[3], blocks=layers[3], stride=1)

  def stages(self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Iterator[Array]:
    """The outputs of the stem and of each stage, in order: [b t h w d], h and w halved in stages two and three."""
    x = jax.nn.relu(self.stem_norm(self.stem(frames), valid=valid))
    yield x
    for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
      x = stage(x, valid)
      yield x

  def encode(self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> FeatureMap:
    """The whole body. `frames` in 0..1, any width that divides by four, 64 rows for the 16 rows of part pooling."""
    *_, x = self.stages(frames, valid)
    return FeatureMap(x, jnp.broadcast_to(valid[:, :, None, None], x.shape[:-1]))

  def encode_parts(
    self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...]
  ) -> FeatureMap:
    """The batch in groups and strips of rows (`models.crops`); raises `ConfigError` where they do not divide it.

    Strips are encoded as separate images (zeros around each; every normalisation is called once per group), then
    stitched.
    """
    return encode_in_strips(self.encode, frames, valid, crop_list=crop_list)


def encode_in_strips(
  encode, frames: Array, valid: Array, *, crop_list: tuple[int, ...], maps: int = 1
) -> FeatureMap:
  """`encode_parts` of a network to which strips are images of their own: `encode` reduces rows by four, and gives
  `maps` maps, one above the other."""
  crops.check_batch(frames.shape[0], crop_list)

  def one(frames: Array, valid: Array, parts: int) -> FeatureMap:
    rows = frames.shape[2]
    if rows % (8 * parts) and parts > 1:  # rows are halved twice, and then half a strip is cut off
      raise ValueError(f"{parts} strips need rows that divide by {8 * parts}; got {rows}")
    strips = crops.Strips(parts)
    found = encode(strips.fold(frames), strips.repeat(valid))
    return jax.tree.map(lambda x: _whole(strips, x, maps), found)

  groups = zip(crops.split(frames, len(crop_list)), crops.split(valid, len(crop_list)), crop_list, strict=True)
  return crops.merge([one(*group) for group in groups])


def _whole(strips: crops.Strips, x: Array, maps: int) -> Array:
  """[strips s maps*rows/parts ...] -> [n s maps*rows ...]: each map is stitched by itself."""
  slots, rows, *rest = x.shape[1:]
  found = strips.unfold(x.reshape(-1, slots * maps, rows // maps, *rest))
  return found.reshape(-1, slots, maps * found.shape[2], *rest)


def _size(layers: tuple[int, ...], channels: tuple[int, ...]) -> Size:
  return Size(encoder={"layers": layers, "channels": channels}, embed=channels[-1])


# Rows of the record of every network on this encoder.
SHARDING = (
  (r"stem/kernel", ()),  # few input channels
  (r"stage\d/(first|rest)/(conv1|conv2|volume1|volume2|temporal|shortcut)/kernel", ("embed", "hidden")),
)
LOW_RANK = (
  (r"stage\d/(first|rest)/conv[12]/kernel", 2),
  (r"stage\d/(first|rest)/volume[12]/kernel", 3),
  (r"stage\d/(first|rest)/temporal/kernel", 1),
  (r"stage\d/(first|rest)/shortcut/kernel", 0),
)
DEPTH = ((r"stem(_norm)?/.*", False), *((rf"stage{i}/.*", False) for i in (1, 2, 3, 4)))

BACKBONE = Backbone(
  name="p3d",
  sizes={name: _size(*size) for name, size in SIZES.items()},
  parse=lambda variant: _size(*sizes(variant)),
  encoder=P3D,
  heads="reference",
  sharding=SHARDING,
  low_rank=LOW_RANK,
  depth=DEPTH,
)
