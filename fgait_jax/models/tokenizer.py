"""Frames to a grid of tokens: [b t h w c] -> [b s r q d]; a token is `patch_time` frames x 4 rows x `patch_columns`.

Both tokenizers process each slot independently, and take any number of pixel rows that divides by four (a strip of the
body or all of it). `patchify` and `unpatchify` cut pixels into the same grid. Columns are padded equally on both sides,
so that the middle of the body is in the middle of the grid, whatever the width.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.kernels import products
from fgait_jax.kernels.convolution import frame_convolution, time_convolution
from fgait_jax.kernels.maximum import maximum
from fgait_jax.models.batchnorm import BatchNorm
from fgait_jax.models.blocks import Linear
from fgait_jax.typing import Array, Bool, Float

PATCH_ROWS = 4  # pixel rows of a token: 64 rows give the 16 of part pooling
POSITION_SCALE = 0.2  # amplitude of fixed positions: small against tokens, which have unit variance


class FrameConvolution(nnx.Module):
  """3 x 3 within a frame, with bias; He-normal kernel."""

  def __init__(self, features_in: int, features_out: int, *, stride: int, dtype, rngs: nnx.Rngs):
    self.kernel = nnx.Param(_he(rngs, (3, 3, features_in, features_out)))
    self.bias = nnx.Param(jnp.zeros(features_out))
    self.stride = stride
    self.dtype = dtype

  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n i j d"]:
    y = frame_convolution(x.astype(self.dtype), self.kernel[...], stride=self.stride)
    return products.add(y, self.bias[...])


class ColumnMerge(nnx.Module):
  """Three rows by `columns` columns to one, with stride (1, columns): columns do not overlap, rows do."""

  def __init__(self, features_in: int, features_out: int, *, columns: int, dtype, rngs: nnx.Rngs):
    self.kernel = nnx.Param(_he(rngs, (3, columns * features_in, features_out)))
    self.bias = nnx.Param(jnp.zeros(features_out))
    self.columns = columns
    self.dtype = dtype

  def __call__(self, x: Float[Array, "n r w c"]) -> Float[Array, "n r q d"]:
    n, r, w, c = x.shape
    x = x.reshape(n, r, w // self.columns, 1, self.columns * c).astype(self.dtype)
    y = time_convolution(x, self.kernel[...])  # along the axis after the batch: here, rows
    return products.add(y[:, :, :, 0], self.bias[...])


class ConvTokenizer(nnx.Module):
  """Three convolutions within every frame (strides 2, 2 and (1, `merge_columns`)), then `patch_time` frames to a token.

  A token is the maximum over its frames' features plus a linear map of all of them in order: the first is what
  set-based gait networks pool, the second sees motion. Batch normalisation follows the second and third convolution and
  the token (statistics over real frames in training, running ones in evaluation). With layer norms instead, what all
  silhouettes share soon dominated their differences, and short runs ended below the untrained network
  (docs/choices.md). Frames that are not valid have no influence. A token's receptive field reaches a few pixels
  into its neighbours, so the pixels of masked tokens must be zeroed before this stem.
  """

  def __init__(
    self, features: int, *, channels: tuple[int, int], patch_time: int, merge_columns: int, in_channels: int,
    dtype=jnp.float32, rngs: nnx.Rngs,
  ):
    self.patch_time = patch_time
    self.patch_columns = 4 * merge_columns
    self.conv1 = FrameConvolution(in_channels, channels[0], stride=2, dtype=dtype, rngs=rngs)
    self.conv2 = FrameConvolution(channels[0], channels[1], stride=2, dtype=dtype, rngs=rngs)
    self.norm2 = BatchNorm(channels[1], rngs=rngs)
    self.conv3 = ColumnMerge(channels[1], features, columns=merge_columns, dtype=dtype, rngs=rngs)
    self.norm3 = BatchNorm(features, rngs=rngs)
    self.merge = Linear(patch_time * features, features, dtype=dtype, rngs=rngs)
    self.norm = BatchNorm(features, rngs=rngs)

  def __call__(self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b s r q d"]:
    b, t, h, w, c = frames.shape
    real = valid.reshape(-1)
    x = jax.nn.relu(self.conv1(frames.reshape(b * t, h, w, c)))
    x = jax.nn.relu(self.norm2(self.conv2(x), valid=real))
    x = jax.nn.relu(self.norm3(self.conv3(x), valid=real))
    x = x.reshape(b, -1, self.patch_time, *x.shape[1:])  # [b s f r q d]
    x = jnp.where(valid.reshape(b, -1, self.patch_time, 1, 1, 1), x, 0)  # zero is never above a ReLU's output
    together = jnp.moveaxis(x, 2, 4).reshape(*x.shape[:2], *x.shape[3:5], -1)
    return self.norm(maximum(x, 2) + self.merge(together), valid=slots(valid, self.patch_time))


def slots(valid: Bool[Array, "b t"], patch_time: int) -> Bool[Array, "b s"]:
  """Which slots are valid: those whose frames are all real, as in every training clip. A slot that is partly padding
  gives a token unlike those of training; it is valid only where the clip has no whole slot."""
  valid = valid.reshape(valid.shape[0], -1, patch_time)
  whole, part = jnp.all(valid, axis=2), jnp.any(valid, axis=2)
  return jnp.where(jnp.any(whole, axis=1, keepdims=True), whole, part)


class TubeletTokenizer(nnx.Module):
  """One linear map of a token's pixels (ViViT's tubelet embedding)."""

  def __init__(
    self, features: int, *, patch_time: int, patch_columns: int, in_channels: int, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    self.patch_time = patch_time
    self.patch_columns = patch_columns
    self.embed = Linear(patch_time * PATCH_ROWS * patch_columns * in_channels, features, dtype=dtype, rngs=rngs)

  def __call__(self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Float[Array, "b s r q d"]:
    frames = jnp.where(valid[:, :, None, None, None], frames, 0)
    return self.embed(patchify(frames, patch_time=self.patch_time, patch_columns=self.patch_columns))


def pad_columns(frames: Float[Array, "b t h w c"], multiple: int) -> Float[Array, "b t h v c"]:
  """Zeros on both sides up to a multiple of columns; an odd one goes to the right."""
  missing = -frames.shape[3] % multiple
  return jnp.pad(frames, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2), (0, 0)))


def patchify(
  frames: Float[Array, "b t h w c"], *, patch_time: int, patch_columns: int
) -> Float[Array, "b s r q v"]:
  """The pixels of each token, in the order frame, row, column, channel; sizes must divide."""
  b, t, h, w, c = frames.shape
  r, q = h // PATCH_ROWS, w // patch_columns
  x = frames.reshape(b, t // patch_time, patch_time, r, PATCH_ROWS, q, patch_columns, c)
  return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, t // patch_time, r, q, -1)


def unpatchify(
  pixels: Float[Array, "b s r q v"], *, patch_time: int, patch_columns: int
) -> Float[Array, "b t h w c"]:
  """The inverse of `patchify`."""
  b, s, r, q, _ = pixels.shape
  x = pixels.reshape(b, s, r, q, patch_time, PATCH_ROWS, patch_columns, -1)
  return x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, s * patch_time, r * PATCH_ROWS, q * patch_columns, -1)


def sincos(positions: Float[Array, " n"], features: int) -> Float[Array, "n d"]:
  """Sines and cosines of positions, wavelengths in a geometric series from 2 pi to 2000 pi; times POSITION_SCALE."""
  count = -(-features // 2)
  rates = 1000.0 ** -(jnp.arange(count) / max(count - 1, 1))
  angles = positions[:, None] * rates
  return POSITION_SCALE * jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)[:, :features]


def time_positions(slots: int, *, patch_time: int, features: int) -> Float[Array, "s d"]:
  """Fixed positions of slots, in frames from the start of their window."""
  return sincos(jnp.arange(slots) * float(patch_time), features)


def column_positions(columns: int, *, patch_columns: int, features: int) -> Float[Array, "q d"]:
  """Fixed positions of columns, in units of four pixels from the middle of the frame, whatever its width."""
  return sincos((jnp.arange(columns) - (columns - 1) / 2) * (patch_columns / 4), features)


def _he(rngs: nnx.Rngs, shape: tuple[int, ...]) -> Array:
  return math.sqrt(2 / math.prod(shape[:-1])) * jax.random.normal(rngs.params(), shape)
