"""The whole network: what `embed` and `pretrain` give, and what they refuse."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models.backbones import create_network

FRAMES = jax.random.uniform(jax.random.key(0), (4, 4, 64, 44, 1))
VALID = jnp.ones((4, 4), bool)


def run(network, method, *, valid=VALID, **options):
  def call(state):
    model = nnx.merge(graph, state)
    out = getattr(model, method)(FRAMES, valid, **options)
    return out, nnx.state(model, nnx.BatchStat)

  graph, state = nnx.split(network)
  return jax.jit(call)(state)


@pytest.fixture(scope="module")
def network():
  return nnx.jit(lambda: create_network(name="transformer", variant="test", rngs=nnx.Rngs(0)))()


def test_embedding_has_31_parts_and_modes_differ_only_in_statistics(network):
  before = nnx.state(network, nnx.BatchStat)
  network.eval()
  out, after = run(network, "embed")
  jax.tree.map(np.testing.assert_array_equal, before, after)
  assert out.pooled.shape == (4, 31, 16)
  assert out.projection.shape == out.prediction.shape == (4, 31, 8)
  network.train()
  trained, after = run(network, "embed")
  assert np.abs(trained.pooled - out.pooled).max() > 0.1  # the stem normalises over the batch, too
  np.testing.assert_allclose(trained.projection.mean(0), 0, atol=1e-4)  # ends in a normalisation over the batch
  assert any((a != b).any() for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))


def test_pretraining_gives_logits_for_masked_patches(network):
  out, _ = run(network, "pretrain", crop_list=(4, 1), masked_fractions=(0.5, 0.5), key=jax.random.key(1))
  tokens = math.prod(network.encoder.grid(4, 44))
  assert out.logits.shape == out.targets.shape == (4, tokens, network.encoder.pixels)
  assert (out.masked.sum(1) == tokens // 2).all()
  assert all(np.isfinite(x).all() for x in (out.logits, out.prediction, out.projection))


def test_padding_is_not_to_be_filled_in(network):
  valid = VALID.at[1, 2:].set(False)
  out, _ = run(network, "pretrain", valid=valid, crop_list=(1,), masked_fractions=(0.5,), key=jax.random.key(1))
  slots, *grid = network.encoder.grid(4, 44)
  masked = out.masked.reshape(4, slots, *grid)
  assert not masked[1, slots // 2 :].any()
  assert masked[0, slots // 2 :].any()


def test_groups_of_which_nothing_is_masked_are_as_without_masking(network):
  network.eval()
  key = jax.random.key(1)
  whole, _ = run(network, "pretrain", crop_list=(2, 1), masked_fractions=(0.0, 0.0), key=key)
  out, _ = run(network, "pretrain", crop_list=(2, 1), masked_fractions=(0.0, 0.5), key=key)
  network.train()
  tokens = math.prod(network.encoder.grid(4, 44))
  np.testing.assert_allclose(out.prediction[::2], whole.prediction[::2], atol=1e-5)
  assert np.abs(out.prediction[1::2] - whole.prediction[1::2]).max() > 1e-3
  assert out.logits.shape == out.targets.shape == (2, tokens, network.encoder.pixels)  # the decoder sees the others
  assert (out.masked.sum(1) == tokens // 2).all()
  given, _ = network.encoder.patchify(FRAMES[1::2], VALID[1::2])
  np.testing.assert_array_equal(out.targets, given)


def test_nothing_masked_runs_no_decoder(network):
  out, _ = run(network, "pretrain", crop_list=(1,), masked_fractions=(0.0,), key=jax.random.key(1))
  assert out.logits is None
  assert out.masked is None
  assert out.prediction.shape == (4, 31, 8)


def test_groups_and_masking_that_cannot_work_are_refused(network):
  with pytest.raises(ConfigError, match="batch_size=4 does not .* 6 equal groups .* of config.student.crop_list"):
    network.pretrain(FRAMES, VALID, crop_list=(4, 2, 1), masked_fractions=(0.0, 0.0, 0.0), key=jax.random.key(0))
  reference = nnx.eval_shape(lambda: create_network(name="p3d", variant="test", rngs=nnx.Rngs(0)))
  with pytest.raises(ConfigError, match="set student.masked_fractions to"):
    reference.pretrain(FRAMES, VALID, crop_list=(1,), masked_fractions=(0.5,), key=jax.random.key(0))
