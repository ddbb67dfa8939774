"""The decoder: sees only visible and valid tokens, window by window."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgait_jax.models.decoder import Decoder
from fgait_jax.models.parts import FeatureMap

DECODER = Decoder(
  features=6, pixels=5, width=8, layers=1, heads=2, window_slots=2, patch_time=2, patch_columns=12, rows=4,
  rngs=nnx.Rngs(0),
)
GRAPH, STATE = nnx.split(DECODER)
DECODE = jax.jit(lambda state, x, present, valid: nnx.merge(GRAPH, state)(FeatureMap(x, present), valid))
X = jax.random.normal(jax.random.key(0), (2, 4, 4, 3, 6))
PRESENT = jax.random.bernoulli(jax.random.key(1), 0.5, (2, 4, 4, 3))
VALID = jnp.ones((2, 48), bool)


def run(x, present, valid):
  return DECODE(STATE, x, present, valid)


def test_what_is_not_present_has_no_influence_but_gets_logits():
  base = run(X, PRESENT, VALID)
  assert base.shape == (2, 48, 5)
  np.testing.assert_array_equal(base, run(jnp.where(PRESENT[..., None], X, 9.0), PRESENT, VALID))
  other = run(jnp.where(PRESENT[..., None], X + 1, X), PRESENT, VALID)
  assert (jnp.abs(other - base).max(-1) > 0).all()


def test_windows_are_decoded_apart_and_padding_has_no_weight():
  base = run(X, PRESENT, VALID)
  changed = run(X.at[:, 2:].set(0.5), PRESENT, VALID)
  np.testing.assert_array_equal(base[:, :24], changed[:, :24])
  valid = VALID.at[:, 12:24].set(False)
  short = run(X, PRESENT, valid)
  np.testing.assert_array_equal(short[:, :12], run(X.at[:, 1].set(0.5), PRESENT, valid)[:, :12])
  assert (short[:, :12] != base[:, :12]).any()


def test_a_hidden_token_knows_its_neighbours_before_any_attention():
  silent = nnx.clone(DECODER)
  for branch in (silent.blocks.attention.out, silent.blocks.mlp.down):
    branch.kernel[...] = jnp.zeros_like(branch.kernel[...])
  state = nnx.split(silent)[1]
  present = jnp.ones_like(PRESENT).at[:, 0, 1, 1].set(False)
  base = DECODE(state, X, present, VALID)
  changed = DECODE(state, X.at[:, 0, 0, 0].add(1.0), present, VALID)
  told = (jnp.abs(changed - base).max(-1) > 1e-6).reshape(2, 4, 4, 3)
  around = jnp.zeros_like(told).at[:, :2, :2, :2].set(True)  # a slot, a row and a column further, in the window
  np.testing.assert_array_equal(told, around)
