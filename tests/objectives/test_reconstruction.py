"""Masked binary cross-entropy: a closed form, a limit, an invariance, and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fgait_jax.objectives.reconstruction import masked_cross_entropy

KEY = jax.random.key(0)
LOGITS = 4 * jax.random.normal(KEY, (2, 6, 5))
TARGETS = jax.random.uniform(KEY, (2, 6, 5))
MASKED = jnp.arange(12).reshape(2, 6) % 3 == 0


def test_knowing_nothing_costs_log_two_a_pixel():
  total, count = masked_cross_entropy(jnp.zeros((2, 6, 5)), TARGETS, MASKED)
  assert count == 4 * 5
  np.testing.assert_allclose(total / count, np.log(2), rtol=1e-6)


def test_certainty_costs_nothing_when_right_and_its_logit_when_wrong():
  ones = jnp.ones((2, 6, 5))
  total, _ = masked_cross_entropy(500 * ones, ones, MASKED)
  assert total == 0
  total, count = masked_cross_entropy(-500 * ones, ones, MASKED)
  np.testing.assert_allclose(total / count, 500)


def test_equals_optax():
  want = jnp.sum(optax.sigmoid_binary_cross_entropy(LOGITS, TARGETS) * MASKED[..., None])
  np.testing.assert_allclose(masked_cross_entropy(LOGITS, TARGETS, MASKED)[0], want, rtol=1e-5)


def test_only_masked_patches_count_even_beside_nan():
  take = MASKED[..., None]
  broken = jnp.where(take, LOGITS, jnp.nan)
  def loss(x):
    return masked_cross_entropy(x, TARGETS, MASKED)[0]
  np.testing.assert_allclose(loss(broken), loss(LOGITS))
  gradient = jax.grad(loss)(broken)
  np.testing.assert_allclose(gradient, jnp.where(take, jax.nn.sigmoid(LOGITS) - TARGETS, 0), atol=1e-6)


def test_nothing_masked_is_zero_of_zero_and_bfloat16_gives_float32():
  total, count = masked_cross_entropy(LOGITS.astype(jnp.bfloat16), TARGETS, jnp.zeros_like(MASKED))
  assert (total, count) == (0, 0)
  assert total.dtype == count.dtype == jnp.float32
