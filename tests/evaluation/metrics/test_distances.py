"""Distances in blocks equal the formula; plans keep to their budget; centring takes group means away."""

import numpy as np
import pytest

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.metrics import distances, retrieval


def embeddings(num, *, channels=6, parts=3, seed=0):
  return np.random.default_rng(seed).normal(size=(num, channels, parts)).astype(np.float32)


def by_formula(x, y, metric):
  x, y = x[:, None].astype(np.float64), y[None].astype(np.float64)
  if metric == "euclidean":
    return np.sqrt(((x - y) ** 2).sum(2)).mean(-1)
  return 1 - ((x * y).sum(2) / np.linalg.norm(x, axis=2) / np.linalg.norm(y, axis=2)).mean(-1)


@pytest.mark.parametrize("metric", distances.METRICS)
def test_pairwise_is_the_formula(metric):
  x, y = embeddings(5), embeddings(70, seed=1)
  np.testing.assert_allclose(distances.pairwise(x, y, metric=metric), by_formula(x, y, metric), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_what_all_embeddings_have_in_common_does_not_drown_what_differs(offset):
  x, y = embeddings(5) + np.float32(offset), embeddings(70, seed=1) + np.float32(offset)
  np.testing.assert_allclose(distances.pairwise(x, y), by_formula(x, y, "euclidean"), rtol=1e-4)
  index, _ = retrieval.nearest(x, y, count=3)
  np.testing.assert_array_equal(index, np.argsort(by_formula(x, y, "euclidean"), axis=1)[:, :3])


def test_distance_by_hand():
  x = np.array([[[3.0, 0.0], [0.0, 1.0]]], np.float32)  # parts (3, 0) and (0, 1)
  y = np.array([[[0.0, 0.0], [4.0, 1.0]]], np.float32)  # parts (0, 4) and (0, 1)
  assert distances.pairwise(x, y)[0, 0] == pytest.approx((5 + 0) / 2)
  assert distances.pairwise(x, y, metric="cosine")[0, 0] == pytest.approx(1 - (0 + 1) / 2)


def test_small_budget_changes_nothing():
  x, y = embeddings(70, channels=64), embeddings(200, channels=64, seed=1)
  budget = 120_000
  plan = distances.plan_blocks(70, 200, channels=64, parts=3, budget_bytes=budget)
  assert plan.passes > 1
  assert not plan.resident
  np.testing.assert_allclose(distances.pairwise(x, y, budget_bytes=budget), distances.pairwise(x, y), rtol=1e-6)


def test_zero_vectors_have_distances():
  zero = np.zeros((2, 3, 2), np.float32)
  assert np.isfinite(distances.pairwise(zero, zero, metric="cosine")).all()
  assert (distances.pairwise(zero, zero) == 0).all()


@pytest.mark.parametrize("budget", [1 << 29, 1 << 30, 4 << 30, 80 << 30])
def test_a_million_sequences_fit_the_budget(budget):
  plan = distances.plan_blocks(10_000, 1_000_000, channels=256, parts=31, budget_bytes=budget)
  item = 256 * 31 * 4
  assert plan.bytes <= budget
  assert plan.resident == (budget > 1_000_000 * item)
  held = 1_000_000 if plan.resident else 2 * plan.gallery
  assert held * item + plan.probes * (item + 1_000_000 * 4) <= plan.bytes


def test_more_memory_means_fewer_passes():
  passes = [
    distances.plan_blocks(10_000, 1_000_000, channels=256, parts=31, budget_bytes=b << 30).passes for b in (1, 2, 8)
  ]
  assert passes == sorted(passes, reverse=True)
  assert passes[0] > passes[-1]


def test_too_small_a_budget_is_refused():
  with pytest.raises(ConfigError, match=r"gallery of 1000000 embeddings \[256, 31\] needs .* raise budget_bytes"):
    distances.plan_blocks(10, 1_000_000, channels=256, parts=31, budget_bytes=1 << 20)


def test_unknown_metric_is_refused():
  with pytest.raises(ConfigError, match="unknown metric 'manhattan'.*euclidean, cosine"):
    distances.pairwise(embeddings(2), embeddings(2), metric="manhattan")


def test_parts_that_differ_are_refused():
  with pytest.raises(DataError, match=r"\(2, 6, 3\) and \(2, 6, 4\)"):
    distances.pairwise(embeddings(2), embeddings(2, parts=4))


def test_centring_takes_each_groups_mean_and_leaves_directions():
  x, groups = embeddings(6), np.array(["a", "b", "a", "b", "b", "a"])
  centred = distances.centre(x, groups)
  np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1, rtol=1e-6)
  for name in ("a", "b"):
    left = x[groups == name] - x[groups == name].mean(axis=0)
    np.testing.assert_allclose(centred[groups == name] * np.linalg.norm(left, axis=1, keepdims=True), left, atol=1e-6)
  moved = 3 * x + 100 * (groups == "a")[:, None, None]
  np.testing.assert_allclose(distances.centre(moved, groups), centred, atol=1e-5)  # places and scales are gone


def test_a_walk_that_is_its_groups_mean_has_nothing_left():
  x = np.array([[1.0, 0], [0, 1], [0.5, 0.5]], np.float32)[:, :, None]
  np.testing.assert_allclose(distances.centre(x, np.array(["a"] * 3))[2], 0, atol=1e-6)


def test_centring_wants_a_group_for_each_walk():
  x, groups = embeddings(6), np.array(["a", "b", "a", "b", "b", "a"])
  with pytest.raises(DataError, match="one group per sequence"):
    distances.centre(x, groups[:3])
