"""SwinGait (Fan et al., arXiv 2303.03301): the first stages of DeepGaitV2, then attention within shifted windows of
frames, rows and columns, and 15 parts.

Frames are resized to a grid of 15 rows and 10 columns, whatever their width. Equal to the official network in float32,
embeddings included: `python -m fgait_jax.interop.check_golden` checks it (docs/networks.md). A sequence that is padded
has the windows that it has alone. Training has stochastic depth (Huang et al., arXiv 1603.09382), as it was published.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.kernels.convolution import FrameConv, PointConv
from fgait_jax.models import blocks, crops, p3d
from fgait_jax.models.batchnorm import BatchNorm
from fgait_jax.models.blocks import MLP, LayerNorm, Linear
from fgait_jax.models.encoder import Backbone, Size, written_out
from fgait_jax.models.p3d import FrameBlock, P3DBlock, Stage
from fgait_jax.models.parts import Cut, FeatureMap
from fgait_jax.parallel.rules import under
from fgait_jax.typing import Array, Bool, Float, PRNGKeyArray

WIDTHS = (64, 128, 256)  # features of the first two stages, and of the first blocks with attention
HEAD = 16  # features of an attention head
GRID = (15, 10)
WINDOW, SHIFT = (3, 3, 5), (1, 1, 2)  # frames, rows, columns
DROPPED = 0.1  # share of sequences that, in training, go past a branch of the last block; of the first, none


def _places() -> np.ndarray:
  """[45, 45]: for a query and a key of a window, the row of the position bias that their offset has."""
  at = np.stack(np.meshgrid(*map(np.arange, WINDOW), indexing="ij"), axis=-1).reshape(-1, 3)
  frames, rows, columns = np.moveaxis(at[:, None] - at[None] + np.subtract(WINDOW, 1), -1, 0)
  return (frames * (2 * WINDOW[1] - 1) + rows) * (2 * WINDOW[2] - 1) + columns


def _joined() -> np.ndarray:
  """[10, 45, 45]: which tokens see each other in the windows of a grid that was rolled by `SHIFT`: those that were not
  brought together by the roll."""
  side = [(np.arange(size) >= size - shift).astype(int) for size, shift in zip(GRID, SHIFT[1:], strict=True)]
  whole = np.broadcast_to((2 * side[0][:, None] + side[1])[None, None, ..., None], (1, WINDOW[0], *GRID, 1))
  side = np.asarray(_cut(whole)).reshape(-1, np.prod(WINDOW))
  return side[:, :, None] == side[:, None]


def _cut(x: Float[Array, "b s r q d"]) -> Float[Array, "b l m n d"]:
  """Windows: l of time, m of the grid, n tokens in each."""
  b, s, r, q, d = x.shape
  t, i, j = WINDOW
  x = x.reshape(b, s // t, t, r // i, i, q // j, j, d).transpose(0, 1, 3, 5, 2, 4, 6, 7)
  return x.reshape(b, s // t, r // i * (q // j), t * i * j, d)


def _joint(x: Float[Array, "b l m n d"]) -> Float[Array, "b s r q d"]:
  """The inverse of `_cut`."""
  b, slots, _, _, d = x.shape
  (t, i, j), (r, q) = WINDOW, GRID
  x = x.reshape(b, slots, r // i, q // j, t, i, j, d).transpose(0, 1, 4, 2, 5, 3, 6, 7)
  return x.reshape(b, slots * t, r, q, d)


PLACES, JOINED = _places(), _joined()


class WindowAttention(nnx.Module):
  """Multi-head self-attention within windows, with a learned bias for each offset of two tokens."""

  def __init__(self, width: int, *, dtype, rngs: nnx.Rngs):
    self.heads = width // HEAD
    self.qkv = Linear(width, 3 * width, dtype=dtype, rngs=rngs)
    self.out = Linear(width, width, dtype=dtype, rngs=rngs)
    self.position_bias = nnx.Param(0.02 * jax.random.normal(rngs.params(), (PLACES.max() + 1, self.heads)))

  def __call__(self, x: Float[Array, "b l m n d"], seen: Bool[Array, "b l m n n"]) -> Float[Array, "b l m n d"]:
    n = x.shape[3]
    query, key, value = jnp.moveaxis(self.qkv(x).reshape(-1, n, 3, self.heads, HEAD), 2, 0)
    bias = jnp.moveaxis(self.position_bias[...][PLACES], -1, 0)[None].astype(x.dtype)
    y = jax.nn.dot_product_attention(query, key, value, bias=bias, mask=seen.reshape(-1, 1, n, n))
    return self.out(y.reshape(x.shape))


class WindowBlock(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)); the windows of every other block are `shifted`. `kept` are factors
  of the two branches for each sequence, 1 where it is None."""

  def __init__(self, width: int, *, dtype, rngs: nnx.Rngs):
    self.norm1 = LayerNorm(width)
    self.attention = WindowAttention(width, dtype=dtype, rngs=rngs)
    self.norm2 = LayerNorm(width)
    self.mlp = MLP(width, 4 * width, gain=1.0, exact=True, dtype=dtype, rngs=rngs)

  def __call__(
    self, x: Float[Array, "b s r q d"], valid: Bool[Array, "b s"], kept: Float[Array, "2 b"] | None = None, *,
    shifted: bool,
  ) -> Float[Array, "b s r q d"]:
    def part(branch, number):
      return branch if kept is None else kept[number, :, None, None, None, None].astype(branch.dtype) * branch

    x = x + part(self._attend(self.norm1(x), valid, shifted), 0)
    return x + part(self.mlp(self.norm2(x)), 1)

  def _attend(self, x: Array, valid: Array, shifted: bool) -> Array:
    """Windows of time begin with the first frame or, `shifted`, with the second; then the first frame is alone.

    A sequence of no more frames than a window has one, as long as it is and never shifted. In longer ones zeros fill
    the last window, and are attended to, as in the official network.
    """
    length, slots, before = WINDOW[0], x.shape[1], WINDOW[0] - SHIFT[0] if shifted else 0
    windows = (slots + before + length - 1) // length
    after = windows * length - before - slots
    frames = jnp.sum(valid, axis=1)[:, None]
    short = frames <= length
    end = jnp.where(short, frames, (frames + length - 1) // length * length)
    at = jnp.arange(windows * length) - jnp.where(short, 0, before)
    there = (at >= 0) & (at < end)  # [b windows*length]

    def padded(before, after):
      return jnp.pad(x, ((0, 0), (before, after), (0, 0), (0, 0), (0, 0)))

    x = jnp.where(valid[:, :, None, None, None], x, 0)
    x = _where(short, padded(0, before + after), padded(before, after))
    seen = there.reshape(-1, windows, 1, 1, length).repeat(WINDOW[1] * WINDOW[2], axis=-1)
    if shifted:
      x = jnp.roll(x, (-SHIFT[1], -SHIFT[2]), axis=(2, 3))
      seen &= JOINED
    x = _cut(x)
    x = _joint(self.attention(x, jnp.broadcast_to(seen, (*x.shape[:-1], x.shape[-2]))))
    if shifted:
      x = jnp.roll(x, SHIFT[1:], axis=(2, 3))
    return _where(short, x[:, :slots], x[:, before : before + slots])


def _where(chosen: Bool[Array, "b 1"], one: Array, other: Array) -> Array:
  return jnp.where(chosen[:, :, None, None, None], one, other)


def _create_blocks(width: int, *, layers: int, dtype, rngs: nnx.Rngs) -> WindowBlock:
  """`layers` blocks as one module whose parameters have a leading axis of layers."""
  create = nnx.vmap(lambda key: WindowBlock(width, dtype=dtype, rngs=nnx.Rngs(key)))
  return create(jax.random.split(rngs.params(), layers))


def _run_blocks(stacked: WindowBlock, x: Array, valid: Array, kept: Array | None, *, remat: str) -> Array:
  """Runs stacked blocks one by one: there are few, and every other one is shifted. `kept` [layers 2 b] or None."""
  definition, params = nnx.split(stacked)
  for i in range(_depth(stacked)):
    def run(params, x, valid, kept, shifted=i % 2 == 1):
      return nnx.merge(definition, params)(x, valid, kept, shifted=shifted)
    if remat != "none":
      run = jax.checkpoint(run, policy=blocks.POLICIES[remat])
    x = run(jax.tree.map(lambda leaf, i=i: leaf[i], params), x, valid, None if kept is None else kept[i])
  return x


def _depth(stacked: WindowBlock) -> int:
  return stacked.norm1.scale.shape[0]


def branches_kept(key: PRNGKeyArray, layers: int, batch: int) -> Float[Array, "layers 2 b"]:
  """Factors of the two branches of every block for each sequence: 0 for those that are left out, with a share that
  grows from block to block from 0 to `DROPPED`, and what keeps the mean at 1 for all others."""
  share = 1 - jnp.linspace(0, DROPPED, layers)[:, None, None]
  return jax.random.bernoulli(key, share, (layers, 2, batch)) / share


class SwinGait(nnx.Module):
  """Encoder: rows and columns become a grid of 15 x 10, frames are kept.

  Args:
    layers: blocks of the two stages with convolutions and of the two with attention.
    widths: features of the first three; the last has twice as many as the third, which are `features`.
    remat: "none", "dots" (keeps the outputs of convolutions and of products with weights) or "full" (keeps the inputs
      of blocks).
  """

  def __init__(
    self, *, layers=(1, 4, 4, 2), widths=WIDTHS, in_channels: int = 1, dtype=jnp.float32, remat: str = "none",
    rngs: nnx.Rngs,
  ):
    first, second, wide = widths
    self.features = 2 * wide
    self.stem = FrameConv(in_channels, first, dtype=dtype, rngs=rngs)
    self.stem_norm = BatchNorm(first, scale_std=0.02, rngs=rngs)
    stage = functools.partial(Stage, remat=remat, dtype=dtype, rngs=rngs)
    self.stage1 = stage(FrameBlock, first, first, blocks=layers[0], stride=1)
    self.stage2 = stage(P3DBlock, first, second, blocks=layers[1], stride=2)
    self.embed = Linear(4 * second, wide, dtype=dtype, rngs=rngs)
    self.embed_norm = LayerNorm(wide)
    self.swin1 = _create_blocks(wide, layers=layers[2], dtype=dtype, rngs=rngs)
    self.widen_norm = LayerNorm(wide)
    self.widen = PointConv(wide, 2 * wide, dtype=dtype, rngs=rngs)
    self.swin2 = _create_blocks(2 * wide, layers=layers[3], dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(2 * wide)
    self.remat = remat
    self.training_key: PRNGKeyArray | None = nnx.data(None)

  def stages(self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> Iterator[Array]:
    """Outputs in order, [b t i j d]: the stem, the two stages with convolutions, their map as 30 x 20 pixels, its
    patches, the two stages with attention; the last norm is not among them."""
    x = jax.nn.relu(self.stem_norm(self.stem(frames), valid=valid))
    yield x
    x = self.stage1(x, valid)
    yield x
    x = self.stage2(x, valid)
    yield x
    x = resized(resized(x, 2 * GRID[0], axis=2), 2 * GRID[1], axis=3)
    yield x
    b, t, h, w, c = x.shape
    x = x.reshape(b, t, h // 2, 2, w // 2, 2, c).swapaxes(3, 4).reshape(b, t, *GRID, 4 * c)
    x = self.embed_norm(self.embed(x))
    yield x
    kept = None, None
    if self.training_key is not None:
      depths = _depth(self.swin1), _depth(self.swin2)
      kept = jnp.split(branches_kept(self.training_key, sum(depths), b), depths[:1])
    x = _run_blocks(self.swin1, x, valid, kept[0], remat=self.remat)
    x = self.widen(self.widen_norm(x))
    yield x
    yield _run_blocks(self.swin2, x, valid, kept[1], remat=self.remat)

  def encode(self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"]) -> FeatureMap:
    """The whole body. `frames` in 0..1, of any even size; frames that are not valid follow those that are."""
    *_, x = self.stages(frames, valid)
    return FeatureMap(self.norm(x), jnp.broadcast_to(valid[:, :, None, None], x.shape[:-1]))

  def encode_parts(
    self, frames: Float[Array, "b t h w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...]
  ) -> FeatureMap:
    """As `encode`: bodies stay whole. Raises `ConfigError` for a crop list that cuts, or does not divide the batch."""
    if max(crop_list) > 1:
      raise ConfigError(f"a crop list of {crop_list} cuts bodies, and config.model.name=swingait attends to whole ones;"
                        " set config.student.crop_list (or config.fine_tune.crop_list) to (1,)")
    crops.check_batch(frames.shape[0], crop_list)
    return self.encode(frames, valid)


def resized(x: Float[Array, "..."], size: int, *, axis: int) -> Float[Array, "..."]:
  """Linear interpolation of `axis` at `size` places from its first entry to its last."""
  at = np.linspace(0, x.shape[axis] - 1, size)
  weights = np.maximum(1 - np.abs(at[:, None] - np.arange(x.shape[axis])), 0)
  y = jnp.tensordot(x, jnp.asarray(weights, x.dtype), axes=(axis, 1), precision=jax.lax.Precision.HIGHEST)
  return jnp.moveaxis(y, -1, axis)


def sizes(variant: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """(layers, widths) of a variant such as "1-4-4-2" or "1-1-2-2@8-16-32". Raises `ConfigError`."""
  layers, *widths = written_out(variant, 4, 3, known=f"{', '.join(BACKBONE.sizes)}, or any blocks a stage, with other"
                                " widths as 1-1-2-2@8-16-32")
  if widths and widths[0][2] % HEAD:
    raise ConfigError(f"config.model.variant={variant!r}: {widths[0][2]}, features with attention, must be a multiple"
                      f" of {HEAD}")
  return layers, widths[0] if widths else WIDTHS


def variant_of(layers, widths) -> str:
  """The inverse of `sizes`."""
  text = "-".join(map(str, layers))
  return text if tuple(widths) == WIDTHS else f"{text}@{'-'.join(map(str, widths))}"


def _size(layers: tuple[int, ...], widths: tuple[int, ...]) -> Size:
  return Size(encoder={"layers": layers, "widths": widths}, embed=widths[-1])


BACKBONE = Backbone(
  name="swingait",
  # As released for Gait3D and GREW, and for CCPG and SUSTech1K.
  sizes={variant_of(layers, WIDTHS): _size(layers, WIDTHS) for layers in ((1, 4, 4, 2), (1, 1, 2, 2))},
  parse=lambda variant: _size(*sizes(variant)),
  encoder=SwinGait,
  cut=Cut(bins=GRID[:1]),
  sharding=(
    *p3d.SHARDING,
    (r"(embed|widen)/kernel", ("embed", "hidden")),
    *under(r"swin\d", (*blocks.SHARDING, (r"attention/qkv/kernel", ("embed", "heads")),
                       (r"attention/position_bias", ()))),
  ),
  low_rank=(*p3d.LOW_RANK, (r"(embed|widen)/kernel", 0),
            *under(r"swin\d", (*blocks.LOW_RANK, (r"attention/qkv/kernel", 0)))),
  depth=((r"stem(_norm)?/.*", False), (r"stage1/.*", False), (r"stage2/.*", False), (r"embed(_norm)?/.*", False),
         (r"swin1/.*", True), (r"widen(_norm)?/.*", False), (r"swin2/.*", True)),
)
