"""The gait transformer: strips see only themselves, padding and dropped tokens do nothing, widths and lengths."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models import crops
from fgait_jax.models.blocks import create_blocks, run_blocks
from fgait_jax.models.transformer import GaitTransformer

CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def make(**changes):
  options = {"width": 16, "layers": 2, "heads": 2, "patch_time": 2, "merge_columns": 3, "window_frames": 8}
  options = {**options, "stem_channels": (4, 8), **changes}
  network = nnx.jit(lambda: GaitTransformer(**options, rngs=nnx.Rngs(0)))()  # one compilation, not one a draw
  network.eval()
  return network


def clips(b=4, t=8, w=44, c=1):
  return jax.random.uniform(jax.random.key(b * t + w), (b, t, 64, w, c)), jnp.ones((b, t), bool)


@pytest.fixture(scope="module", params=["conv", "tubelet"])
def encoder(request):
  return make(stem=request.param)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _parts(graph, state, frames, valid, crop_list, fractions, visible):
  return nnx.merge(graph, state).encode_parts(
    frames, valid, crop_list=crop_list, visible=visible, masked_fractions=fractions
  )


def parts(encoder, frames, valid, crop_list, fractions=(), visible=None):
  return _parts(*nnx.split(encoder), frames, valid, crop_list, fractions, visible)


@functools.partial(jax.jit, static_argnums=0)
def _encode(graph, state, frames, valid):
  return nnx.merge(graph, state).encode(frames, valid)


def encode(encoder, frames, valid):
  return _encode(*nnx.split(encoder), frames, valid)


def test_one_strip_is_the_whole_body(encoder):
  frames, valid = clips()
  whole = encode(encoder, frames, valid)
  assert whole.features.shape == (4, 4, 16, 4, 16)
  CLOSE(parts(encoder, frames, valid, (1,)).features, whole.features)


def test_a_strip_sees_only_its_own_pixels(encoder):
  frames, valid = clips()
  changed = frames.at[:, :, 24:28].set(0.3)  # row 6 of 16
  change = [parts(encoder, x, valid, (4,)).features for x in (frames, changed)]
  rows = np.abs(change[0] - change[1]).max(axis=(1, 3, 4)) > 1e-6  # [b r]
  np.testing.assert_array_equal(np.flatnonzero(rows[0]), range(4, 8))  # aligned: rows 4-7
  np.testing.assert_array_equal(np.flatnonzero(rows[-1]), range(6, 10))  # shifted by two rows: 6-9


def test_groups_of_one_shape_hide_different_tokens(encoder):
  _, valid = clips(b=8)
  visible = encoder.choose_visible(jax.random.key(0), valid, crop_list=(1, 1), masked_fractions=(0.5, 0.5))
  first, second = crops.split(visible, 2)
  assert not (first == second).all(axis=1).any()
  assert (visible.sum(1) == visible.shape[1] // 2).all()


def test_dropped_tokens_have_no_influence(encoder):
  frames, valid = clips()
  visible = encoder.choose_visible(jax.random.key(0), valid, crop_list=(2, 1), masked_fractions=(0.5, 0.5))
  assert visible.shape == (4, math.prod(encoder.grid(8, 44)))
  assert (visible.sum(1) == visible.shape[1] // 2).all()
  dropped = parts(encoder, frames, valid, (2, 1), (0.5, 0.5), visible)
  hidden = encoder.unpatchify(~visible[..., None], t=8, w=44)
  other = parts(encoder, jnp.where(hidden, 0.7, frames), valid, (2, 1), (0.5, 0.5), visible)
  np.testing.assert_array_equal(dropped.features, other.features)
  np.testing.assert_array_equal(dropped.present.reshape(4, -1), visible)
  carried = parts(encoder, frames, valid, (2, 1), (), visible)  # in the batch, without weight
  CLOSE(carried.features, dropped.features)


@pytest.mark.parametrize("real", [3, 11])
def test_padding_changes_nothing(encoder, real):
  frames, _ = clips(2, 24)
  valid = jnp.arange(24) < jnp.array([[real], [24]])
  together = encode(encoder, frames, valid)
  alone = encode(encoder, frames[:1, :real], valid[:1, :real])
  s = alone.features.shape[1]
  CLOSE(together.features[:1, :s], alone.features)
  np.testing.assert_array_equal(together.present[:1, :s], alone.present)
  assert not together.present[0, s:].any()
  assert together.present[0].sum() == real // 2 * 64


def test_a_slot_that_is_partly_padding_counts_only_where_nothing_else_is_real(encoder):
  """Training sees whole slots only; of the last one of a walk a part of the frames may be padding."""
  frames, _ = clips(2, 12)  # windows of 8: a partial slot in the first one, and alone in the second
  for real in (5, 9):
    valid = jnp.broadcast_to(jnp.arange(12) < real, (2, 12))
    cut = encode(encoder, frames, valid & (jnp.arange(12) < real - 1))
    partial = encode(encoder, frames, valid)
    np.testing.assert_array_equal(partial.present, cut.present)
    np.testing.assert_array_equal(partial.features, cut.features)
    np.testing.assert_array_equal(encoder.patchify(frames, valid)[1], cut.present.any(axis=(2, 3)).repeat(64, axis=1))
  alone = encode(encoder, frames, jnp.broadcast_to(jnp.arange(12) < 1, (2, 12)))
  np.testing.assert_array_equal(alone.present.any(axis=(2, 3)), jnp.broadcast_to(jnp.arange(8) < 1, (2, 8)))


def test_windows_are_independent(encoder):
  frames, valid = clips(1, 16)
  long = encode(encoder, frames, valid).features
  CLOSE(long[:, 4:], encode(encoder, frames[:, 8:], valid[:, 8:]).features)


def test_strips_are_where_they_are_in_every_window(encoder):
  frames, valid = clips(2, 16)
  whole = parts(encoder, frames, valid, (4,)).features
  for window in (slice(0, 8), slice(8, 16)):
    alone = parts(encoder, frames[:, window], valid[:, window], (4,)).features
    CLOSE(whole[:, window.start // 2 : window.stop // 2], alone)


def test_wide_frames_line_up_with_narrow_ones_in_the_middle():
  encoder = make()
  wide, valid = clips(1, 2, 64)
  wide = wide.at[:, :, :, :10].set(0).at[:, :, :, 54:].set(0)
  narrow = encoder.patchify(wide[:, :, :, 10:54], valid)[0].reshape(16, 4, -1)
  np.testing.assert_array_equal(encoder.patchify(wide, valid)[0].reshape(16, 6, -1)[:, 1:5], narrow)
  assert encode(encoder, wide, valid).features.shape == (1, 1, 16, 6, 16)


def test_patches_come_back_as_frames():
  encoder = make(in_channels=3)
  frames, valid = clips(2, 7, 44, 3)
  pixels, token_valid = encoder.patchify(frames, valid)
  assert pixels.shape == (2, math.prod(encoder.grid(7, 44)), encoder.pixels)
  np.testing.assert_array_equal(token_valid, jnp.broadcast_to(jnp.arange(4 * 64) < 3 * 64, (2, 4 * 64)))
  np.testing.assert_array_equal(encoder.unpatchify(pixels, t=7, w=44), frames)
  assert encode(encoder, frames, valid).features.shape == (2, 4, 16, 4, 16)


@pytest.mark.parametrize("layers", [2, 3])  # unrolled, and scanned
def test_rematerialisation_keeps_the_products_with_weights(layers):
  """Of a block of width 16, for each token: query, key, value and the output of attention, and what the MLP is wide;
  the last product of a block is added to its input, which is kept anyway."""
  graph, params = nnx.split(nnx.eval_shape(lambda: create_blocks(16, layers=layers, heads=4, rngs=nnx.Rngs(0))))
  b, n = 2, 5

  def kept(remat):
    def residuals(params, x):
      run = lambda params, x: run_blocks(nnx.merge(graph, params), x, jnp.ones((b, n), bool), remat=remat)  # noqa: E731
      return jax.vjp(run, params, x)[1]

    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(residuals, params, jnp.zeros((b, n, 16)))))

  assert kept("dots") - kept("full") == layers * b * n * (4 * 16 + 64)
  assert kept("none") > kept("dots")


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_gradients_in_bfloat16_are_numbers(remat):
  encoder = make(dtype=jnp.bfloat16, remat=remat)
  frames, valid = clips(2, 4)
  graph, state = nnx.split(encoder)
  valid = valid.at[0].set(False)

  def loss(state):
    out = nnx.merge(graph, state).encode_parts(frames, valid, crop_list=(2,))
    assert out.features.dtype == jnp.bfloat16
    return jnp.sum(jnp.square(out.features.astype(jnp.float32)))

  leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(state))
  assert all(x.dtype == jnp.float32 and np.isfinite(x).all() for x in leaves)
  assert sum(bool(np.any(x != 0)) for x in leaves) > len(leaves) // 2


@pytest.mark.parametrize("layers", [1, 4])
def test_what_a_block_adds_begins_the_smaller_the_more_blocks_there_are(layers):
  """So that their sum, of two branches each, is as large whatever their number."""
  encoder = make(layers=layers, width=64)
  kernels = {path[-2]: leaf for path, leaf in nnx.to_flat_state(nnx.state(encoder.blocks, nnx.Param))}
  spread = {name: float(np.std(kernels[name][...])) for name in ("query", "out", "up", "down")}
  gain = (2 * layers) ** -0.5
  assert spread["out"] == pytest.approx(gain * spread["query"], rel=0.1)
  assert spread["down"] == pytest.approx(gain * spread["up"], rel=0.1)


def test_groups_that_do_not_divide_are_refused():
  frames, valid = clips(3, 2)
  with pytest.raises(ConfigError, match=r"batch_size=3 does not .* 4 equal groups .*student.crop_list=\(2, 1\)"):
    make().encode_parts(frames, valid, crop_list=(2, 1))
  with pytest.raises(ConfigError, match="each must be a number of strips, 1, 2, 4 or 8"):
    make().encode_parts(frames, valid, crop_list=(3,))


@pytest.mark.parametrize("key, known", [("stem", "conv, tubelet"), ("remat", "none, dots, full")])
def test_unknown_stems_and_policies_are_refused(key, known):
  with pytest.raises(ConfigError, match=f"model.{key}='other'.*{known}"):
    make(**{key: "other"})
