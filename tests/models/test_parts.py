"""Temporal maximum and part pooling against numpy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.models.parts import (
  BINS,
  BODY,
  TEMPORAL,
  Cut,
  FeatureMap,
  part_pool,
  temporal_max,
  temporal_mean,
)

FEATURES = np.array(jax.random.normal(jax.random.key(0), (2, 3, 16, 4, 5)))
PRESENT = np.array(jax.random.bernoulli(jax.random.key(1), 0.6, (2, 3, 16, 4)))
PRESENT[0, :, 5] = False  # an empty bin among the 16


def test_parts_are_mean_plus_max_of_what_is_present():
  highest, present = temporal_max(FeatureMap(jnp.array(FEATURES), jnp.array(PRESENT)))
  want = np.where(PRESENT[..., None], FEATURES, -np.inf).max(1)
  np.testing.assert_array_equal(present, PRESENT.any(1))
  np.testing.assert_array_equal(highest, np.where(np.isfinite(want), want, 0))
  pooled = np.asarray(part_pool(highest, present))
  assert pooled.shape == (2, BODY.count, 5)
  part = 0
  for bins in BINS:
    for rows in np.split(np.arange(16), bins):
      for b in range(2):
        there = np.asarray(highest)[b, rows][np.asarray(present)[b, rows]]
        expected = there.mean(0) + there.max(0) if len(there) else np.zeros(5)
        np.testing.assert_allclose(pooled[b, part], expected, atol=1e-6)
      part += 1


@pytest.mark.parametrize("cut", [BODY, Cut(maps=2), Cut(bins=(4, 1))])
def test_every_scale_has_the_same_share_in_the_balance(cut):
  squares = np.split(cut.balance.reshape(cut.maps, -1) ** 2, np.cumsum(cut.bins)[:-1], axis=1)
  np.testing.assert_allclose([scale.sum() / cut.maps for scale in squares], max(cut.bins))


def test_rows_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match="divide by 16; got 12 rows"):
    part_pool(jnp.ones((1, 12, 4, 2)), jnp.ones((1, 12, 4), bool))


def test_the_mean_over_time_counts_present_slots_alone():
  mean, present = temporal_mean(FeatureMap(jnp.array(FEATURES), jnp.array(PRESENT)))
  count = PRESENT.sum(1)[..., None]
  want = np.where(PRESENT[..., None], FEATURES, 0).sum(1) / np.maximum(count, 1)
  np.testing.assert_array_equal(present, PRESENT.any(1))
  np.testing.assert_allclose(mean, want, atol=1e-6)


@pytest.mark.parametrize("name", TEMPORAL)
def test_pooling_over_time_ignores_the_order_and_what_is_absent(name):
  pool = TEMPORAL[name]
  found, _ = pool(FeatureMap(jnp.array(FEATURES), jnp.array(PRESENT)))
  spoilt = np.where(PRESENT[..., None], FEATURES, 99.0)[:, ::-1]
  np.testing.assert_allclose(pool(FeatureMap(jnp.array(spoilt), jnp.array(PRESENT[:, ::-1])))[0], found, atol=1e-6)


def test_of_one_slot_mean_and_maximum_are_the_slot_and_their_sum_is_twice_it():
  one = FeatureMap(jnp.array(FEATURES[:, :1]), jnp.ones_like(jnp.array(PRESENT[:, :1])))
  for name, factor in (("max", 1), ("mean", 1), ("mean_max", 2)):
    np.testing.assert_allclose(TEMPORAL[name](one)[0], factor * FEATURES[:, 0], rtol=1e-6)
