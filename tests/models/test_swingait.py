"""SwinGait beside its record (tests/interop/test_networks.py): windows, resizing, padding, strips, export."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models import swingait


@pytest.fixture(scope="module")
def network():
  network = swingait.SwinGait(layers=(1, 1, 2, 2), widths=(4, 4, 16), rngs=nnx.Rngs(0))
  network.eval()
  for blocks in (network.swin1, network.swin2):  # as large as other weights, so that windows matter
    blocks.attention.position_bias[...] *= 50
  return network


@nnx.jit
def encode(network, frames, valid):
  return network.encode(frames, valid).features


def test_windows_are_cut_and_joined_again():
  x = jnp.arange(2 * 6 * 150.0).reshape(2, 6, 15, 10, 1)
  windows = swingait._cut(x)
  assert windows.shape == (2, 2, 10, 45, 1)
  np.testing.assert_array_equal(windows[1, 1, 3, :, 0].reshape(3, 3, 5), x[1, 3:6, 3:6, 5:10, 0])
  np.testing.assert_array_equal(swingait._joint(windows), x)


def test_a_rolled_window_joins_only_neighbours():
  apart = []
  for at in np.meshgrid(np.arange(15), np.arange(10), indexing="ij"):
    rolled = np.roll(at, (-1, -2), axis=(0, 1))[None, None, ..., None].repeat(3, axis=1)
    at = np.asarray(swingait._cut(jnp.asarray(rolled))).reshape(10, 45)
    apart.append(np.abs(at[:, :, None] - at[:, None]))
  np.testing.assert_array_equal(swingait.JOINED, (apart[0] < 3) & (apart[1] < 5))
  assert swingait.JOINED[-1].sum() == 18**2 + 12**2 + 9**2 + 6**2  # the corner: 2 + 1 rows and 3 + 2 columns


def test_the_corners_stay_where_a_map_is_resized():
  ramp = jnp.linspace(0, 31, 32)[:, None] * jnp.ones(3)
  np.testing.assert_allclose(swingait.resized(ramp, 30, axis=0)[:, 1], np.linspace(0, 31, 30), rtol=1e-6)


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_padded_sequence_has_the_windows_that_it_has_alone(network, length):
  frames = jnp.asarray(np.random.default_rng(0).random((1, 8, 64, 12, 1)), jnp.float32)
  padded = encode(network, frames, jnp.arange(8)[None] < length)
  alone = encode(network, frames[:, :length], jnp.ones((1, length), bool))
  np.testing.assert_allclose(padded[:, :length], alone, atol=1e-5)


@pytest.mark.parametrize("slots, alone", [(3, False), (4, True)])
def test_shifted_windows_leave_the_first_frame_alone_unless_one_window_holds_all(slots, alone):
  block = swingait.WindowBlock(16, dtype=jnp.float32, rngs=nnx.Rngs(0))
  run = nnx.jit(lambda block, x: block(x, jnp.ones(x.shape[:2], bool), shifted=True))
  x = jnp.asarray(np.random.default_rng(0).random((1, slots, 15, 10, 16)), jnp.float32)
  change = np.abs(np.asarray(run(block, x.at[:, 0].multiply(-1)) - run(block, x)))[0, 1].max()
  assert (change == 0) == alone


@pytest.mark.parametrize("axis", [2, 3])
def test_shifted_windows_do_not_join_opposite_sides(axis):
  block = swingait.WindowBlock(16, dtype=jnp.float32, rngs=nnx.Rngs(0))
  run = nnx.jit(lambda block, x: block(x, jnp.ones(x.shape[:2], bool), shifted=True))
  x = jnp.asarray(np.random.default_rng(0).random((1, 3, 15, 10, 16)), jnp.float32)
  first = (slice(None),) * axis + (0,)
  change = np.moveaxis(np.abs(np.asarray(run(block, x.at[first].multiply(-1)) - run(block, x))), axis, 0)
  assert change[0].min(axis=-1).max() > 0
  assert not change[-1].any()


def test_whole_bodies_only(network):
  frames, valid = jnp.zeros((2, 2, 64, 12, 1)), jnp.ones((2, 2), bool)
  whole = jax.eval_shape(lambda: network.encode_parts(frames, valid, crop_list=(1, 1)))
  assert whole.features.shape[2:] == (15, 10, 32)
  with pytest.raises(ConfigError, match=r"crop list of \(2, 1\) cuts bodies.*student.crop_list"):
    network.encode_parts(frames, valid, crop_list=(2, 1))


def test_branches_are_left_out_more_often_from_block_to_block_and_keep_their_mean():
  kept = np.asarray(swingait.branches_kept(jax.random.key(0), 5, 20_000))
  np.testing.assert_array_equal(kept[0], 1)
  np.testing.assert_allclose((kept == 0).mean(axis=-1), np.linspace(0, 0.1, 5)[:, None] * np.ones(2), atol=0.01)
  np.testing.assert_allclose(kept.mean(axis=-1), 1, atol=0.01)
  assert np.abs(np.corrcoef(kept[1:].reshape(8, -1))[np.triu_indices(8, 1)]).max() < 0.03  # each for itself


def test_a_branch_that_is_left_out_of_one_sequence_is_there_in_another():
  block = swingait.WindowBlock(16, dtype=jnp.float32, rngs=nnx.Rngs(0))
  run = nnx.jit(lambda block, x, kept: block(x, jnp.ones(x.shape[:2], bool), kept, shifted=False))
  x = jnp.asarray(np.random.default_rng(0).random((4, 3, 15, 10, 16)), jnp.float32)
  whole = run(block, x, None)
  found = run(block, x, jnp.array([[1.0, 0, 1, 0], [1, 0, 0, 1]]))
  np.testing.assert_allclose(found[0], whole[0], atol=1e-6)
  np.testing.assert_array_equal(found[1], x[1])
  np.testing.assert_allclose(found[2:3] + block.mlp(block.norm2(found[2:3])), whole[2:3], atol=1e-5)
  np.testing.assert_allclose(found[3:], x[3:] + block.mlp(block.norm2(x[3:])), atol=1e-5)


def test_any_number_of_frames_is_exported(network):
  b, t = jax.export.symbolic_shape("b, t")
  shapes = jax.ShapeDtypeStruct((b, t, 64, 44, 1), jnp.float32), jax.ShapeDtypeStruct((b, t), bool)
  graph, state = nnx.split(network)
  exported = jax.export.export(jax.jit(lambda x, valid: nnx.merge(graph, state).encode(x, valid).features))(*shapes)
  assert exported.out_avals[0].shape[2:] == (15, 10, 32)
