"""Cross-entropy against the formula in numpy, and its limits."""

import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.objectives.cross_entropy import cross_entropy


def test_cross_entropy_is_that_of_the_formula():
  logits = np.random.default_rng(0).standard_normal((6, 3, 4)).astype(np.float32)
  label = np.array([0, 3, 1, 1, 2, 0])
  loss, accuracy = cross_entropy(jnp.asarray(logits), label, scale=16.0, label_smoothing=0.1)
  scores = 16 * logits.astype(np.float64)
  scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
  target = np.full(logits.shape, 0.1 / 4)
  target[np.arange(6), :, label] += 0.9
  np.testing.assert_allclose(loss, -(target * scores).sum(-1).mean(), rtol=1e-5)
  np.testing.assert_allclose(accuracy, (logits.mean(1).argmax(1) == label).mean())


def test_even_scores_cost_the_logarithm_of_the_classes():
  loss, _ = cross_entropy(jnp.zeros((4, 2, 7)), np.arange(4), scale=16.0, label_smoothing=0.1)
  assert loss == pytest.approx(np.log(7), rel=1e-6)
  sure, accuracy = cross_entropy(
    jnp.asarray(100 * np.eye(7)[:4, None]), np.arange(4), scale=1.0, label_smoothing=0.0)
  assert sure == pytest.approx(0, abs=1e-6)
  assert accuracy == 1
