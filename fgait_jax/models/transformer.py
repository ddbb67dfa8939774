"""The gait transformer: the main encoder. Frames to tokens, attention within windows of time, a grid of features.

Time is folded into windows of `window_frames` on the batch axis, so the cost is linear in the length of a sequence and
a training clip is one window; temporal pooling then spans all windows. Frames that pad a sequence never reach a real
one: they are zeroed before the stem and their slots have no weight in attention.

Masked encoding drops masked tokens before the blocks (MAE). The convolutional stem sees a little beyond a token's own
pixels; the pixels of masked tokens are zeroed before it, so that nothing of them reaches a visible token.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.kernels import products
from fgait_jax.models import blocks, crops, masking
from fgait_jax.models import tokenizer as tokens
from fgait_jax.models.blocks import POLICIES, LayerNorm, create_blocks, run_blocks
from fgait_jax.models.decoder import Decoder
from fgait_jax.models.encoder import Backbone, Size
from fgait_jax.models.parts import FeatureMap
from fgait_jax.parallel.rules import under
from fgait_jax.typing import Array, Bool, Float, PRNGKeyArray

ROWS = 16


class GaitTransformer(nnx.Module):
  """Encoder of any number of frames of 64 rows and any width.

  Args:
    width: features of a token, and of the output.
    layers, heads: of the blocks; width must divide by heads.
    patch_time: frames of a token; divides `window_frames`.
    merge_columns: a token is 4 rows x 4 * merge_columns columns.
    window_frames: frames that attend to each other.
    stem: "conv" or "tubelet"; `stem_channels` are those of the first two convolutions.
    remat: "none", "dots" (saves products with weights) or "full" (saves only the inputs of blocks).
  """

  def __init__(
    self, *, width: int, layers: int, heads: int, patch_time: int = 4, merge_columns: int = 1,
    window_frames: int = 16, stem: str = "conv", stem_channels: tuple[int, int] = (32, 64), in_channels: int = 1,
    dtype=jnp.float32, remat: str = "none", rngs: nnx.Rngs,
  ):
    if window_frames < 1 or window_frames % patch_time:
      raise ConfigError(f"config.model.attention_frames={window_frames} must be a multiple of {patch_time}, the frames"
                        " of a token, and above 0")
    if remat != "none" and remat not in POLICIES:
      raise ConfigError(f"config.model.remat={remat!r} is not known; known: none, {', '.join(POLICIES)}")
    self.features = width
    self.window_frames = window_frames
    self.patch_time = patch_time
    self.patch_columns = 4 * merge_columns
    self.channels = in_channels
    self.dtype = dtype
    self.remat = remat
    if stem == "conv":
      self.tokenizer = tokens.ConvTokenizer(
        width, channels=stem_channels, patch_time=patch_time, merge_columns=merge_columns, in_channels=in_channels,
        dtype=dtype, rngs=rngs,
      )
    elif stem == "tubelet":
      self.tokenizer = tokens.TubeletTokenizer(
        width, patch_time=patch_time, patch_columns=self.patch_columns, in_channels=in_channels, dtype=dtype, rngs=rngs
      )
    else:
      raise ConfigError(f"config.model.stem={stem!r} is not known; known: conv, tubelet")
    self.row_position = nnx.Param(0.02 * nnx.initializers.normal(1.0)(rngs.params(), (ROWS, width)))
    self.blocks = create_blocks(width, layers=layers, heads=heads, dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(width)
    self.prompt_tokens = nnx.data(None)  # what fine-tuning may add (models/prompts.py)

  @property
  def window_slots(self) -> int:
    """Temporal slots of a window."""
    return self.window_frames // self.patch_time

  @property
  def pixels(self) -> int:
    """Numbers in a patch."""
    return self.patch_time * tokens.PATCH_ROWS * self.patch_columns * self.channels

  def grid(self, t: int, w: int) -> tuple[int, int, int]:
    """(slots, rows, columns) of `t` frames of width `w`; beyond one window, `t` is rounded up to whole windows."""
    concrete = isinstance(t, int)  # an export with symbolic time always takes whole windows
    unit = self.patch_time if concrete and t <= self.window_frames else self.window_frames
    return -(-t // unit) * unit // self.patch_time, ROWS, -(-w // self.patch_columns)

  def encode(self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"]) -> FeatureMap:
    """The whole body, nothing masked. `frames` in 0..1."""
    frames, valid = self._padded(frames, valid)
    return self._encode_group(frames, valid, None, parts=1, masked_fraction=0.0)

  def encode_parts(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...],
    visible: Bool[Array, "b n"] | None = None, masked_fractions: tuple[float, ...] = (),
  ) -> FeatureMap:
    """The batch in groups and strips of rows (`models.crops`): tokens attend within their own strip, and see only its
    pixels.

    `visible` comes from `choose_visible` with the same `masked_fractions`, which say how many tokens of a group enter
    the blocks. Without them all tokens enter, and those not visible have no weight: the same result, only slower.
    Raises `ConfigError` where the groups do not divide the batch.
    """
    crops.check_batch(frames.shape[0], crop_list)
    frames, valid = self._padded(frames, valid)
    count = len(crop_list)
    seen = [None] * count
    if visible is not None:
      seen = crops.split(visible.reshape(frames.shape[0], *self.grid(frames.shape[1], frames.shape[3])), count)
    groups = zip(crops.split(frames, count), crops.split(valid, count), seen, crop_list,
                 masked_fractions or (0.0,) * count, strict=True)
    return crops.merge([
      self._encode_group(frames, valid, seen, parts=parts, masked_fraction=fraction)
      for frames, valid, seen, parts, fraction in groups
    ])

  def choose_visible(
    self, key: PRNGKeyArray, valid: Bool[Array, "b t"], *, crop_list: tuple[int, ...],
    masked_fractions: tuple[float, ...], width: int = 44,
  ) -> Bool[Array, "b n"]:
    """Draws the visible tokens: in every strip of a group the same share of its valid tokens (see
    `masking.choose_visible`)."""
    crops.check_batch(valid.shape[0], crop_list)
    b, t = valid.shape
    s, r, q = self.grid(t, width)
    chosen = []
    groups = zip(crops.split(self._slots(valid), len(crop_list)), crop_list, masked_fractions, strict=True)
    for i, (slots, parts, fraction) in enumerate(groups):
      strips = crops.Strips(parts)
      here = self._windows(strips.fold(jnp.broadcast_to(slots[:, :, None, None], (*slots.shape, r, q))), s)
      drawn = masking.choose_visible(jax.random.fold_in(key, i), here, masked_fraction=fraction)
      chosen.append(strips.unfold(drawn.reshape(-1, s, *drawn.shape[2:])))
    return crops.merge(chosen).reshape(b, -1)

  def patchify(
    self, frames: Float[Array, "b t 64 w c"], valid: Bool[Array, "b t"]
  ) -> tuple[Float[Array, "b n v"], Bool[Array, "b n"]]:
    """The pixels of every token (order: frame, row, column, channel) and whether it counts (`_slots`)."""
    frames, valid = self._padded(frames, valid)
    pixels = tokens.patchify(frames, patch_time=self.patch_time, patch_columns=self.patch_columns)
    b, s, r, q, v = pixels.shape
    token_valid = jnp.broadcast_to(self._slots(valid)[:, :, None, None], (b, s, r, q))
    return pixels.reshape(b, -1, v), token_valid.reshape(b, -1)

  def unpatchify(self, pixels: Float[Array, "b n v"], *, t: int, w: int) -> Float[Array, "b t 64 w c"]:
    """The inverse of `patchify` for clips of `t` frames of width `w`; [b n 1] spreads one number over a patch."""
    pixels = jnp.broadcast_to(pixels, (*pixels.shape[:2], self.pixels))
    grid = pixels.reshape(pixels.shape[0], *self.grid(t, w), -1)
    frames = tokens.unpatchify(grid, patch_time=self.patch_time, patch_columns=self.patch_columns)
    left = (frames.shape[3] - w) // 2
    return frames[:, :t, :, left : left + w]

  def _padded(self, frames: Array, valid: Array) -> tuple[Array, Array]:
    """Frames to whole slots (or windows), columns to whole patches, invalid frames to zero."""
    b, t, h, w, _ = frames.shape
    if h != tokens.PATCH_ROWS * ROWS:
      raise ValueError(f"frames have {h} rows; the transformer needs {tokens.PATCH_ROWS * ROWS}")
    missing = self.grid(t, w)[0] * self.patch_time - t
    frames = jnp.where(valid[:, :, None, None, None], frames, 0)
    frames = jnp.pad(frames, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
    return tokens.pad_columns(frames, self.patch_columns), jnp.pad(valid, ((0, 0), (0, missing)))

  def _slots(self, valid: Bool[Array, "b t"]) -> Bool[Array, "b s"]:
    """Which slots of the padded clip are valid (`tokenizer.slots`)."""
    t = valid.shape[1]
    missing = self.grid(t, 1)[0] * self.patch_time - t
    return tokens.slots(jnp.pad(valid, ((0, 0), (0, missing))), self.patch_time)

  def _windows(self, x: Array, slots: int) -> Array:
    """[n t ...], t frames or slots of a sequence of `slots` slots -> [n * windows, t / windows, ...]."""
    windows = max(slots // self.window_slots, 1)
    return x.reshape(-1, x.shape[1] // windows, *x.shape[2:])

  def _encode_group(self, frames, valid, visible, *, parts: int, masked_fraction: float) -> FeatureMap:
    b, t, _, w, _ = frames.shape
    s, r, q = self.grid(t, w)
    present = jnp.broadcast_to(self._slots(valid)[:, :, None, None], (b, s, r, q))
    if visible is not None:
      seen = visible.astype(frames.dtype)
      for axis, size in ((1, self.patch_time), (2, tokens.PATCH_ROWS), (3, self.patch_columns)):
        seen = jnp.repeat(seen, size, axis=axis)
      frames, present = frames * seen[..., None], present & visible
    strips = crops.Strips(parts)
    pieces, real, there = (
      self._windows(x, s) for x in (strips.fold(frames), strips.repeat(valid), strips.fold(present))
    )
    x = self._tokenize(pieces, real)
    rows = self.row_position[...][None]  # uncut bodies share one: their number is symbolic in an export
    if parts > 1:
      rows = strips.fold_rows(rows[0], samples=b)
      rows = jnp.repeat(rows, len(pieces) // len(rows), axis=0)  # the same in every window
    x = products.add(x, self._positions(x.shape[1], q, rows))
    x = self._attend(x, there, masked_fraction)
    x = strips.unfold(x.reshape(-1, s, *x.shape[2:]))
    return FeatureMap(jnp.where(present[..., None], x, 0), present)

  def _tokenize(self, frames, valid):
    def run(tokenizer, frames, valid):
      return tokenizer(frames, valid)

    if self.remat == "full":
      run = nnx.remat(run, policy=POLICIES["full"])
    return run(self.tokenizer, frames.astype(self.dtype), valid)

  def _positions(self, slots: int, columns: int, rows: Float[Array, "b r d"]) -> Float[Array, "b s r q d"]:
    time = tokens.time_positions(slots, patch_time=self.patch_time, features=self.features)
    across = tokens.column_positions(columns, patch_columns=self.patch_columns, features=self.features)
    return time[:, None, None] + rows[:, None, :, None] + across

  def _attend(self, x: Float[Array, "b s r q d"], present: Bool[Array, "b s r q"], masked_fraction: float) -> Array:
    shape = x.shape
    x, present = x.reshape(shape[0], -1, shape[-1]), present.reshape(shape[0], -1)
    if self.prompt_tokens is not None:
      if masked_fraction:
        raise ValueError("prompts are for fine-tuning, where nothing is masked")
      return self._attend_prompted(x, present).reshape(shape)
    count = masking.num_visible(x.shape[1], masked_fraction=masked_fraction)
    if count == x.shape[1]:
      x = run_blocks(self.blocks, x, present, remat=self.remat)
    else:
      order, place = masking.visible_first(present)
      x = masking.gather(x, order, place, count)
      x = run_blocks(self.blocks, x, jnp.take_along_axis(present, order[:, :count], axis=1), remat=self.remat)
      x = masking.scatter(x, order, place)
    return self.norm(x).reshape(shape)

  def _attend_prompted(self, x: Float[Array, "b n d"], present: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
    """Windows (and strips) begin with the same learned tokens; they attend, and are then dropped."""
    count = len(self.prompt_tokens[...])
    prompts = jnp.broadcast_to(self.prompt_tokens[...], (len(x), count, x.shape[-1])).astype(x.dtype)
    x = jnp.concatenate([prompts, x], axis=1)
    present = jnp.concatenate([jnp.ones((len(x), count), bool), present], axis=1)
    return self.norm(run_blocks(self.blocks, x, present, remat=self.remat))[:, count:]


def _decoder(encoder: GaitTransformer, **options) -> Decoder:
  return Decoder(
    features=encoder.features, pixels=encoder.pixels, window_slots=encoder.window_slots,
    patch_time=encoder.patch_time, patch_columns=encoder.patch_columns, **options,
  )


def _size(
  width: int, layers: int, heads: int, *, embed: int, decoder: tuple[int, int, int], patch_time: int = 2,
  merge_columns: int = 2, stem_channels: tuple[int, int] = (64, 128),
) -> Size:
  """`decoder`: its width, layers and heads."""
  return Size(
    encoder={"width": width, "layers": layers, "heads": heads, "patch_time": patch_time,
             "merge_columns": merge_columns, "stem_channels": stem_channels},
    decoder=dict(zip(("width", "layers", "heads"), decoder, strict=True)), embed=embed, frames_per_token=patch_time,
  )


BACKBONE = Backbone(
  name="transformer",
  sizes={
    "test": _size(16, 1, 2, embed=8, decoder=(8, 1, 2), merge_columns=3, stem_channels=(4, 8)),
    "tiny": _size(128, 2, 4, embed=128, decoder=(64, 1, 2), patch_time=4, merge_columns=3, stem_channels=(32, 64)),
    # A decoder that fills in well; the main job, which hides nothing, need not carry and save it.
    "tiny_masked": _size(
      128, 2, 4, embed=128, decoder=(128, 4, 4), patch_time=4, merge_columns=3, stem_channels=(32, 64)
    ),
    "small": _size(384, 8, 6, embed=256, decoder=(128, 2, 4), patch_time=4, stem_channels=(32, 64)),
    "base": _size(768, 12, 12, embed=512, decoder=(256, 2, 4)),
    "large": _size(1024, 20, 16, embed=512, decoder=(256, 2, 4)),
    "huge": _size(1280, 28, 20, embed=512, decoder=(384, 2, 4)),
    "giant": _size(1792, 28, 28, embed=512, decoder=(512, 2, 8)),
  },
  encoder=GaitTransformer,
  decoder=_decoder,
  stems=("conv", "tubelet"),
  windows=True,
  sharding=(
    *under("blocks", blocks.SHARDING),
    (r"tokenizer/(conv1|conv2|embed)/kernel", ()),  # the first layers have few channels
    (r"tokenizer/(conv3|merge)/kernel", ("embed", "hidden")),
    (r"row_position", ()),
  ),
  low_rank=under("blocks", blocks.LOW_RANK),
  depth=((r"tokenizer/.*|row_position", False), (r"blocks/.*", True)),
)

