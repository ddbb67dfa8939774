"""Intervals, paired tests, hubs and collapse: closed forms, limits and invariances."""

import itertools

import numpy as np
import pytest

from fgait_jax.evaluation.metrics import statistics


def test_weights_draw_as_many_subjects_as_there_are():
  weights = statistics.subject_weights(7, resamples=50, seed=0)
  np.testing.assert_array_equal(weights.sum(1), 7)
  assert np.ptp(weights) > 0
  np.testing.assert_array_equal(weights, statistics.subject_weights(7, resamples=50, seed=0))


def test_mean_of_cells_by_hand():
  sums = np.array([[1.0, 3.0], [2.0, 0.0]])[..., None]
  counts = np.array([[2.0, 4.0], [4.0, 0.0]])[..., None]
  every, off = np.ones((2, 2), bool), ~np.eye(2, dtype=bool)
  assert statistics.mean_of_cells(sums, counts, every)[0] == pytest.approx(((0.5 + 0.75) / 2 + 0.5) / 2)
  assert statistics.mean_of_cells(sums, counts, off)[0] == pytest.approx((0.75 + 0.5) / 2)
  assert np.isnan(statistics.mean_of_cells(sums, 0 * counts, every)[0])


def test_cell_sums_by_hand():
  values = np.arange(8.0).reshape(4, 2, 1)
  sums = statistics.cell_sums(values, subject=np.array([1, 0, 1, 1]), row=np.array([0, 0, 0, 2]), subjects=2, rows=3)
  np.testing.assert_array_equal(sums[1, 0, :, 0], [4, 6])
  np.testing.assert_array_equal(sums[1, 2, :, 0], [6, 7])
  assert sums.sum() == values.sum()


def test_bootstrap_of_equal_subjects_has_no_width():
  sums, counts = np.full((9, 1, 1, 1), 3.0, np.float32), np.full((9, 1, 1, 1), 4.0, np.float32)
  samples = statistics.bootstrap_cells(sums, counts, np.ones((1, 1), bool), resamples=20, seed=0)
  np.testing.assert_allclose(samples, 0.75, rtol=1e-6)


def test_bootstrap_width_is_that_of_the_mean():
  outcomes = np.random.default_rng(0).random(400).astype(np.float32)
  samples = statistics.bootstrap_cells(
    outcomes[:, None, None, None], np.ones((400, 1, 1, 1), np.float32), np.ones((1, 1), bool), resamples=2000, seed=1
  )
  low, high = statistics.interval(samples[:, 0])
  assert high - low == pytest.approx(2 * 1.96 * outcomes.std() / 20, rel=0.1)
  assert low < outcomes.mean() < high


def test_blocks_of_resamples_are_those_of_one_block(monkeypatch):
  sums = np.random.default_rng(0).random((30, 2, 3, 1)).astype(np.float32)
  counts, allowed = np.ones_like(sums), np.ones((2, 3), bool)
  whole = statistics.bootstrap_cells(sums, counts, allowed, resamples=100, seed=0)
  monkeypatch.setattr(statistics, "_BLOCK", 4 * sums[0].size * 7)
  np.testing.assert_allclose(statistics.bootstrap_cells(sums, counts, allowed, resamples=100, seed=0), whole, rtol=1e-5)


def test_no_block_of_a_paired_test_repeats_another(monkeypatch):
  monkeypatch.setattr(statistics, "_DRAWS", 30 * 10)
  drawn, interval = [], statistics.interval
  monkeypatch.setattr(statistics, "interval", lambda samples: drawn.extend(samples) or interval(samples))
  differences = np.random.default_rng(0).standard_normal((30, 1))
  found = statistics.paired_sums(differences, np.ones((30, 1)), resamples=95, seed=0)
  assert len(np.unique(drawn)) == len(drawn) == 95
  monkeypatch.undo()
  many = statistics.paired_sums(differences, np.ones((30, 1)), resamples=5000, seed=0)
  assert found["p"] == pytest.approx(many["p"], abs=0.15)


def paired(first, second, *, subjects, resamples):
  """The paired test of single outcomes."""
  place = np.unique(subjects, return_inverse=True)[1]
  sums = np.bincount(place, second.astype(float) - first.astype(float))
  return statistics.paired_sums(sums[:, None], np.bincount(place)[:, None], resamples=resamples, seed=0)


def test_paired_finds_a_difference_and_none():
  rng = np.random.default_rng(0)
  subjects = np.repeat(np.arange(40), 3)
  base = rng.random(120) < 0.5
  better = base | (rng.random(120) < 0.5)
  found = paired(base, better, subjects=subjects, resamples=2000)
  assert found["difference"] == pytest.approx(better.mean() - base.mean())
  assert found["p"] < 0.001
  assert found["ci"][0] > 0
  same = paired(base, base, subjects=subjects, resamples=100)
  assert (same["difference"], same["p"], same["ci"]) == (0, 1, [0, 0])
  back = paired(better, base, subjects=subjects, resamples=2000)
  assert back["difference"] == -found["difference"]


def test_paired_counts_subjects_not_sequences():
  """One subject with many sequences is one observation: nothing can be concluded from it."""
  outcome = paired(np.zeros(50), np.ones(50), subjects=np.zeros(50), resamples=500)
  assert outcome["p"] == 1


@pytest.mark.parametrize("trials", [3, 7, 20])
def test_p_is_that_of_all_swaps(trials):
  """Shares of hits in per cent, rounded: ties that rounding breaks would make p too small."""
  rng = np.random.default_rng(5)
  swaps = np.array(list(itertools.product((-1, 1), repeat=10)))
  for _ in range(10):
    first = rng.integers(0, trials + 1, 10)
    second = np.clip(first + rng.integers(-1, 2, 10) + (rng.random(10) < 0.3), 0, trials)
    exact = np.mean(np.abs(swaps @ (second - first)) >= abs((second - first).sum()))
    a, b = ((100 * hits / trials).astype(np.float32) * np.float64(trials) for hits in (first, second))
    found = statistics.paired_sums((b - a)[:, None], np.full((10, 1), trials), resamples=10_000, seed=0)
    assert found["p"] == pytest.approx(exact, abs=0.015)


def test_several_conditions_are_swapped_person_by_person_and_count_alike():
  """Person 0 is in the first condition alone; the second has ten times the probes of the first."""
  rng = np.random.default_rng(1)
  counts = np.stack([np.full(9, 2.0), np.r_[0.0, np.full(8, 20.0)]], axis=1)
  differences = counts * rng.uniform(-0.2, 0.5, (9, 2))
  mean = np.mean(differences.sum(0) / counts.sum(0))
  swaps = np.array(list(itertools.product((-1, 1), repeat=9)))
  exact = np.mean(np.abs(np.mean(swaps @ differences / counts.sum(0), axis=1)) >= mean - 1e-9)
  found = statistics.paired_sums(differences, counts, resamples=20_000, seed=0)
  assert found["difference"] == pytest.approx(mean)
  assert found["p"] == pytest.approx(exact, abs=0.01)
  drawn = rng.integers(9, size=(20_000, 9))
  samples = np.mean(differences[drawn].sum(1) / counts[drawn].sum(1), axis=1)
  assert found["ci"] == pytest.approx(np.percentile(samples, [2.5, 97.5]), abs=0.01)
  twice = statistics.paired_sums(np.repeat(differences[:, :1], 2, 1), np.repeat(counts[:, :1], 2, 1), resamples=200,
                                 seed=0)
  once = statistics.paired_sums(differences[:, :1], counts[:, :1], resamples=200, seed=0)
  assert twice["ci"] == pytest.approx(once["ci"])
  assert twice["p"] == once["p"]


def test_hubs():
  labels = np.array(["a", "b", "c", "d"])
  assert statistics.hubness(np.arange(4), gallery_labels=labels)["skewness"] == 0
  hub = statistics.hubness(np.array([2, 2, 2, 0]), gallery_labels=labels)
  assert (hub["largest_share"], hub["subject"]) == (75, "c")
  assert hub["skewness"] == pytest.approx(1.5 / 1.5**1.5)  # nearest of 1, 0, 3 and 0 probes


def test_health_does_not_depend_on_empty_channels():
  rows = np.random.default_rng(0).standard_normal((40, 8, 2)).astype(np.float32)
  wider = np.concatenate([rows, np.zeros((40, 92, 2), np.float32)], axis=1)  # more channels than rows
  few, many = statistics.health(rows), statistics.health(wider)
  assert many["effective_rank"] == pytest.approx(few["effective_rank"], rel=1e-5)
  assert many["mean_cosine"] == pytest.approx(few["mean_cosine"], abs=1e-6)


def test_health_of_collapse_and_of_noise():
  rng = np.random.default_rng(0)
  noise = statistics.health(rng.normal(size=(2000, 8, 2)))
  assert noise["effective_rank"] == pytest.approx(8, rel=0.02)
  assert noise["mean_cosine"] == pytest.approx(0, abs=0.02)
  line = statistics.health(rng.random(size=(100, 1, 1)) * np.ones((1, 8, 1)))
  assert line["effective_rank"] == pytest.approx(1, abs=1e-3)
  assert line["mean_cosine"] == pytest.approx(1, abs=1e-5)


def test_the_mean_cosine_is_of_different_walks():
  assert statistics.health(np.eye(2)[:, :, None])["mean_cosine"] == pytest.approx(0)


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-5])
def test_the_rank_of_a_line_stays_one_as_it_shrinks(spread):
  rng = np.random.default_rng(0)
  place, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 256)))
  points = place + spread * rng.normal(size=(500, 1)) * way
  found = statistics.health((points / np.linalg.norm(points, axis=1, keepdims=True))[..., None])
  assert found["effective_rank"] == pytest.approx(1, abs=0.1)
  assert found["mean_cosine"] <= 1


def test_the_rank_of_rounding_is_nought():
  assert statistics.health(np.full((50, 256, 1), 1 / 16))["effective_rank"] == 0
