"""AUC and equal-error rate: by hand, at their limits, against all pairs sorted, and over which pairs."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fgait_jax.evaluation import protocols
from fgait_jax.evaluation.metrics import statistics, verification
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.evaluation.protocols import ranked


def counted(distances, genuine, *, drawn=slice(None)):
  """Counts [2, BINS] of pairs in the bins that some of them, `drawn`, give."""
  distances, genuine = np.asarray(distances, np.float32), np.asarray(genuine, bool)
  table = verification.bins_of(distances[drawn], genuine[drawn])
  return np.stack([np.asarray(verification.count(distances[None, kind], table))[0] for kind in (~genuine, genuine)])


@pytest.mark.parametrize("of", [verification.exact, lambda d, g: verification.of_counts(counted(d, g))])
def test_verification_by_hand(of):
  genuine = np.array([True, True, False, False])
  apart = of(np.array([0.1, 0.2, 0.3, 0.4]), genuine)
  assert (apart.auc, apart.eer) == (1, 0)
  turned = of(np.array([0.3, 0.4, 0.1, 0.2]), genuine)
  assert (turned.auc, turned.eer) == (0, 1)
  mixed = of(np.array([0.1, 0.3, 0.2, 0.4]), genuine)
  assert mixed.auc == pytest.approx(3 / 4)
  assert mixed.eer == pytest.approx(1 / 2)
  flat = of(np.ones(10), np.arange(10) < 4)
  assert (flat.auc, flat.eer) == (pytest.approx(0.5), pytest.approx(0.5))
  assert np.isnan(of(np.ones(2), np.ones(2, bool)).auc)


@pytest.mark.parametrize("gap, share", [(0.5, 0.02), (3, 0.02), (5, 0.002), (-2, 0.2)])
def test_counted_pairs_give_the_figures_of_sorted_ones(gap, share):
  """Bins from a tenth of the pairs; rare genuine pairs and errors of one in a thousand too."""
  rng = np.random.default_rng(0)
  genuine = rng.random(400_000) < share
  distances = (1.2 + 0.05 * (rng.normal(size=400_000) - gap * genuine)).astype(np.float32)
  exact = verification.exact(distances, genuine)
  found = verification.of_counts(counted(distances, genuine, drawn=slice(None, None, 10)))
  assert found.auc == pytest.approx(exact.auc, abs=1e-4)
  assert found.eer == pytest.approx(exact.eer, abs=5e-4)


@pytest.mark.parametrize("probes, gallery, own, most", [(22, 36, 1, 6e-5), (28, 32, 4, 6e-5), (60, 60, 4, 2e-4)])
def test_few_pairs_give_the_figures_of_sorted_ones(probes, gallery, own, most):
  """Of the size of USF's and KTH's conditions, where a genuine pair is not to stand at one end of its bin."""
  rng = np.random.default_rng(0)
  errors = []
  for _ in range(12):
    genuine = np.argsort(rng.random((probes, gallery)), axis=1) < own
    distances = (rng.gamma(20, 1 / 20, genuine.shape) * np.where(genuine, 0.75, 1)).astype(np.float32)
    found = verification.of_counts(counted(distances.ravel(), genuine.ravel()))
    errors.append(found.auc - verification.exact(distances.ravel(), genuine.ravel()).auc)
  assert np.abs(errors).max() < most
  assert abs(np.mean(errors)) < 3e-5


def test_what_is_infinite_does_not_count():
  table = verification.bins_of(np.array([1.0, 2.0]), np.array([True, False]))
  assert np.asarray(verification.count(np.array([[1, np.inf, 2, 3, np.inf, -1e-7]], np.float32), table)).sum() == 4


def test_bootstrapped_verification_surrounds_the_figure():
  rng = np.random.default_rng(0)
  subject = np.repeat(np.arange(30), 100)
  genuine = rng.random(3000) < 0.2
  distances = rng.normal(size=3000) - genuine
  counts = verification.counts_by_subject(distances, genuine, subject)
  samples = verification.bootstrap(counts, resamples=200, seed=0)
  found = verification.exact(distances, genuine)
  assert found.auc == pytest.approx(roc_auc_score(genuine, -distances))
  np.testing.assert_allclose(samples.mean(0), [found.auc, found.eer], atol=0.01)
  low, high = statistics.interval(samples[:, 0])
  assert low < found.auc < high


def test_intervals_of_rare_genuine_pairs_hold_their_figure():
  """One genuine pair in 600: quantiles of all pairs would leave them all in a bin or two."""
  rng = np.random.default_rng(0)
  subject, genuine = np.repeat(np.arange(600), 600), np.eye(600, dtype=bool).ravel()
  distances = rng.normal(size=360_000) - 5 * genuine
  found = verification.exact(distances, genuine)
  samples = verification.bootstrap(verification.counts_by_subject(distances, genuine, subject), resamples=200, seed=0)
  for place, value in enumerate((found.auc, found.eer)):
    low, high = statistics.interval(samples[:, place])
    assert low <= value <= high


# Six subjects, two views, three walks each in gallery and probes, of which some are nearly the same in one view.
def _walks(rng):
  who = np.repeat([f"{n:03d}" for n in range(6)], 12)
  types = np.tile(np.repeat(["nm-01", "nm-02", "nm-05", "bg-01", "cl-01", "nm-06"], 2), 6)
  views = np.tile(["000", "090"], 36)
  x = rng.normal(size=(6, 8, 2)).repeat(12, axis=0) + rng.normal(size=(72, 8, 2))
  x += 3 * (views == "090")[:, None, None]  # identical views alone would look easy
  return x.astype(np.float32), who, types, views


_RULES = {
  "casia_b": lambda same, view: ~view,
  "casia_b_cross_view_gallery": lambda same, view: ~(same & view),
}


@pytest.mark.parametrize("name", list(_RULES))
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_every_pair_that_may_meet_counts_and_no_other(name, metric, monkeypatch):
  """Not those of two drawn subjects alone, and none of identical views."""
  monkeypatch.setattr(ranked, "_SAMPLE", 10)  # bins come from two subjects; figures from all
  x, who, types, views = _walks(np.random.default_rng(1))
  gallery, probes = (["nm-01", "nm-02"], ["nm-05", "nm-06"]) if name == "casia_b" else (["nm-02"], ["nm-01"])
  p, g = np.flatnonzero(np.isin(types, probes)), np.flatnonzero(np.isin(types, gallery))
  distances, same = pairwise(x[p], x[g], metric=metric), who[p][:, None] == who[g]
  met = _RULES[name](same, views[p][:, None] == views[g])
  found = protocols.get(name).evaluate(x, who, types, views, metric=metric, bootstrap=100)["conditions"]["NM"]
  assert found["pairs"] == {"used": met.sum(), "genuine": (met & same).sum()}
  exact = verification.exact(distances[met], same[met])
  assert abs(roc_auc_score(same.ravel(), -distances.ravel()) - exact.auc) > 0.01  # identical views would show
  assert found["auc"] == pytest.approx(100 * exact.auc, abs=1.5)  # of 720 pairs, in bins of two subjects
  monkeypatch.setattr(ranked, "_SAMPLE", 10_000)
  whole = protocols.get(name).evaluate(x, who, types, views, metric=metric, bootstrap=0)["conditions"]["NM"]
  assert whole["auc"] == pytest.approx(100 * exact.auc, abs=0.5)
  assert whole["eer"] == pytest.approx(100 * exact.eer, abs=0.5)
  low, high = found["ci"]["auc"]
  assert low <= found["auc"] <= high
