"""Batch normalisation: statistics by hand, torch's running variance, padding left out, modes."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgait_jax.models.batchnorm import BatchNorm

X = 3 + 2 * jax.random.normal(jax.random.key(0), (4, 5, 2, 3))


def test_batch_statistics_and_unbiased_running_variance():
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  flat = np.asarray(X).reshape(-1, 3)
  want = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
  np.testing.assert_allclose(np.asarray(norm(X)).reshape(-1, 3), want, atol=1e-5)
  np.testing.assert_allclose(norm.mean[...], 0.1 * flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)


def test_what_is_not_valid_does_not_count():
  valid = jnp.arange(5) < jnp.array([5, 3, 1, 2])[:, None]
  broken = jnp.where(valid[:, :, None, None], X, 1e4)
  one, other = BatchNorm(3, rngs=nnx.Rngs(0)), BatchNorm(3, rngs=nnx.Rngs(0))
  real = X[valid]
  np.testing.assert_allclose(one(broken, valid=valid)[valid], other(real), atol=1e-5)
  np.testing.assert_allclose(one.var[...], other.var[...], rtol=1e-5)


def test_evaluation_uses_and_keeps_running_statistics_and_dtype_is_kept():
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  norm.eval()
  np.testing.assert_allclose(norm(X), X / np.sqrt(1 + 1e-5), rtol=1e-6)
  assert not np.any(norm.mean[...])
  norm.train()
  assert norm(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
  assert np.all(norm.mean[...] > 0)
