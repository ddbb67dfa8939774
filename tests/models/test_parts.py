"""Temporal maximum and part pooling against numpy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.models.parts import BINS, NUM_PARTS, FeatureMap, part_pool, temporal_max

FEATURES = np.array(jax.random.normal(jax.random.key(0), (2, 3, 16, 4, 5)))
PRESENT = np.array(jax.random.bernoulli(jax.random.key(1), 0.6, (2, 3, 16, 4)))
PRESENT[0, :, 5] = False  # an empty bin among the 16


def test_parts_are_mean_plus_max_of_what_is_present():
  highest, present = temporal_max(FeatureMap(jnp.array(FEATURES), jnp.array(PRESENT)))
  want = np.where(PRESENT[..., None], FEATURES, -np.inf).max(1)
  np.testing.assert_array_equal(present, PRESENT.any(1))
  np.testing.assert_array_equal(highest, np.where(np.isfinite(want), want, 0))
  pooled = np.asarray(part_pool(highest, present))
  assert pooled.shape == (2, NUM_PARTS, 5)
  part = 0
  for bins in BINS:
    for rows in np.split(np.arange(16), bins):
      for b in range(2):
        there = np.asarray(highest)[b, rows][np.asarray(present)[b, rows]]
        expected = there.mean(0) + there.max(0) if len(there) else np.zeros(5)
        np.testing.assert_allclose(pooled[b, part], expected, atol=1e-6)
      part += 1


def test_rows_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match="divide by 16; got 12 rows"):
    part_pool(jnp.ones((1, 12, 4, 2)), jnp.ones((1, 12, 4), bool))
