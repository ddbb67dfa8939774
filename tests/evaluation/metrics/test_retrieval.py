"""Ranks by counting agree with hand-made answers and with a full sort, in any blocks, groups and cameras."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fgait_jax.errors import DataError
from fgait_jax.evaluation.metrics import retrieval
from fgait_jax.evaluation.metrics.distances import pairwise, plan_blocks


def line(*places):
  """Embeddings of one channel and one part: distances are differences of places."""
  return np.array(places, np.float32)[:, None, None]


def test_ranks_by_hand():
  ranking = retrieval.rank(
    line(0), line(3, 1, 2, 4), probe_labels=np.array(["a"]), gallery_labels=np.array(["b", "b", "a", "a"])
  )  # order of places 1 2 3 4: labels b a b a, so mates at ranks 2 and 4
  assert ranking.first[0, 0] == 2
  assert ranking.precision[0, 0] == pytest.approx((1 / 2 + 2 / 4) / 2)
  assert ranking.inp[0, 0] == pytest.approx(2 / 4)
  assert ranking.nearest[0, 0] == 1
  assert [ranking.hits(k)[0, 0] for k in (1, 2, 3)] == [False, True, True]


def test_equal_distances_keep_the_gallerys_order():
  gallery, labels = line(1, -1, 1), np.array(["b", "a", "a"])
  ranking = retrieval.rank(line(0), gallery, probe_labels=np.array(["a"]), gallery_labels=labels)
  assert ranking.first[0, 0] == 2
  assert ranking.inp[0, 0] == pytest.approx(2 / 3)
  assert ranking.nearest[0, 0] == 0
  np.testing.assert_array_equal(retrieval.nearest(line(0), gallery, count=3)[0], [[0, 1, 2]])


def test_groups_are_ranked_apart():
  ranking = retrieval.rank(
    line(0, 9),
    line(1, 2, 5, 3),
    probe_labels=np.array(["a", "c"]),
    gallery_labels=np.array(["b", "a", "a", "b"]),
    gallery_groups=np.array([0, 0, 1, 1]),
  )
  np.testing.assert_array_equal(ranking.first, [[2, 2], [0, 0]])
  np.testing.assert_array_equal(ranking.nearest, [[0, 3], [1, 2]])
  np.testing.assert_array_equal(ranking.mates, [[1, 1], [0, 0]])


def test_own_camera_is_left_out():
  ranking = retrieval.rank(
    line(0),
    line(1, 2, 3, 4),
    probe_labels=np.array(["a"]),
    gallery_labels=np.array(["a", "b", "a", "b"]),
    probe_cameras=np.array(["x"]),
    gallery_cameras=np.array(["x", "x", "y", "y"]),
  )  # the mate of camera x goes, the stranger of camera x stays
  assert (ranking.first[0, 0], ranking.mates[0, 0], ranking.sizes[0, 0], ranking.nearest[0, 0]) == (2, 1, 3, 1)


@pytest.mark.parametrize("budget", [1 << 30, 40_000])
def test_ranks_are_those_of_a_full_sort(budget):
  rng = np.random.default_rng(0)
  probe, gallery = rng.normal(size=(90, 4, 2)).astype("f"), rng.normal(size=(150, 4, 2)).astype("f")
  who, whom = rng.integers(12, size=90), rng.integers(10, size=150)  # labels 10 and 11 have no mate
  ranking = retrieval.rank(probe, gallery, probe_labels=who, gallery_labels=whom, budget_bytes=budget)
  distances = pairwise(probe, gallery)
  order = np.argsort(distances, axis=1, kind="stable")
  hits = whom[order] == who[:, None]
  mated = who < 10
  np.testing.assert_array_equal(ranking.mates[:, 0] > 0, mated)
  np.testing.assert_array_equal(ranking.first[mated, 0], hits[mated].argmax(1) + 1)
  np.testing.assert_array_equal(ranking.nearest[:, 0], order[:, 0])
  for row in np.flatnonzero(mated):
    expected = average_precision_score(whom == who[row], -distances[row])
    assert ranking.precision[row, 0] == pytest.approx(expected, abs=1e-5)
  last = 150 - hits[:, ::-1].argmax(1)
  np.testing.assert_allclose(ranking.inp[mated, 0], (hits.sum(1) / last)[mated], rtol=1e-5)
  index, value = retrieval.nearest(probe, gallery, count=7, budget_bytes=budget)
  np.testing.assert_array_equal(index, order[:, :7])
  np.testing.assert_allclose(value, np.take_along_axis(distances, order[:, :7], 1), rtol=1e-6)


def test_empty_gallery_is_refused():
  with pytest.raises(DataError, match="gallery is empty"):
    retrieval.rank(line(0), line(), probe_labels=np.array(["a"]), gallery_labels=np.array([], str))
  with pytest.raises(DataError, match="gallery is empty"):
    retrieval.nearest(line(0), line(), count=1)


def test_part_of_a_million_is_streamed_through_a_small_budget():
  """As a gallery of 1,000,000 x 31 x 256 is: in blocks that do not stay on the device."""
  rng = np.random.default_rng(0)
  gallery = np.repeat(rng.normal(size=(1_500, 256, 1)).astype("f"), 31, axis=2)
  rows = np.array([3, 700, 1_499])
  probe = gallery[rows] + rng.normal(0, 0.1, (3, 256, 31)).astype("f")
  budget = 400 * 256 * 31 * 4
  plan = plan_blocks(3, 1_500, channels=256, parts=31, budget_bytes=budget)
  assert not plan.resident
  assert plan.bytes <= budget
  index, _ = retrieval.nearest(probe, gallery, count=2, budget_bytes=budget)
  np.testing.assert_array_equal(index[:, 0], rows)
  whole, _ = retrieval.nearest(probe, gallery, count=2)
  np.testing.assert_array_equal(index, whole)
