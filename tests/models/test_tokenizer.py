"""Patches, positions, and what a convolutional token sees."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgait_jax.models import tokenizer as tokens


def test_patches_are_frames_by_rows_by_columns_and_come_back():
  frames = jnp.arange(2 * 4 * 8 * 12 * 2, dtype=jnp.float32).reshape(2, 4, 8, 12, 2)
  patches = tokens.patchify(frames, patch_time=2, patch_columns=4)
  assert patches.shape == (2, 2, 2, 3, 2 * 4 * 4 * 2)
  np.testing.assert_array_equal(patches[1, 1, 0, 2], frames[1, 2:4, :4, 8:].reshape(-1))
  np.testing.assert_array_equal(tokens.unpatchify(patches, patch_time=2, patch_columns=4), frames)


def test_columns_are_padded_on_both_sides():
  padded = tokens.pad_columns(jnp.ones((1, 1, 1, 44, 1)), 12)[0, 0, 0, :, 0]
  np.testing.assert_array_equal(padded, [0, 0] + [1] * 44 + [0, 0])


def test_columns_are_counted_from_the_middle():
  few, many = (tokens.column_positions(n, patch_columns=12, features=8) for n in (4, 6))
  np.testing.assert_allclose(many[1:5], few, atol=1e-6)
  np.testing.assert_allclose(jnp.square(few).sum(1), 4 * tokens.POSITION_SCALE**2, rtol=1e-5)


def test_convolutional_tokens_are_local_in_space_and_within_their_slot():
  stem = tokens.ConvTokenizer(8, channels=(4, 4), patch_time=2, merge_columns=1, in_channels=1, rngs=nnx.Rngs(0))
  stem.eval()
  run = jax.jit(lambda x, valid: stem(x, valid))
  frames, valid = jax.random.uniform(jax.random.key(0), (1, 4, 32, 32, 1)), jnp.ones((1, 4), bool)
  base = run(frames, valid)
  assert base.shape == (1, 2, 8, 8, 8)
  moved = np.abs(run(frames.at[:, 1, 16:20, 16:20].add(0.5), valid) - base).max(-1)[0] > 1e-6  # token row, column 4
  assert not moved[1].any()
  assert moved[0, 4, 4]
  assert set(np.flatnonzero(moved[0].any(1))) <= {3, 4, 5, 6}
  assert set(np.flatnonzero(moved[0].any(0))) <= {4, 5}
  unseen = valid.at[0, 1].set(False)
  np.testing.assert_array_equal(run(frames, unseen), run(frames.at[:, 1].set(0.2), unseen))


def test_slots_that_are_partly_padding_have_no_part_in_the_statistics_of_tokens():
  """Of equal frames one more leaves those of frames as they are, and a token that is half empty is unlike others."""
  stem = tokens.ConvTokenizer(8, channels=(4, 4), patch_time=2, merge_columns=1, in_channels=1, rngs=nnx.Rngs(0))
  stem.train()
  frames = jnp.repeat(jax.random.uniform(jax.random.key(0), (2, 1, 16, 16, 1)), 6, axis=1)
  found = []
  for real in (4, 5):
    model = nnx.clone(stem)
    model(frames, jnp.broadcast_to(jnp.arange(6) < real, (2, 6)))
    found.append(nnx.to_pure_dict(nnx.state(model.norm, nnx.BatchStat)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *found)


def test_padding_has_no_part_in_the_statistics_of_training():
  stem = tokens.ConvTokenizer(8, channels=(4, 4), patch_time=2, merge_columns=1, in_channels=1, rngs=nnx.Rngs(0))
  stem.train()
  graph, state = nnx.split(stem)

  @jax.jit
  def run(state, frames, valid):
    model = nnx.merge(graph, state)
    return model(frames, valid), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  frames = jax.random.uniform(jax.random.key(0), (2, 4, 16, 16, 1))
  alone, wanted = run(state, frames, jnp.ones((2, 4), bool))
  padded = jnp.concatenate([frames, 7 + frames], axis=1)
  together, found = run(state, padded, jnp.broadcast_to(jnp.arange(8) < 4, (2, 8)))
  np.testing.assert_allclose(together[:, :2], alone, atol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)
