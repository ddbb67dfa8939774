"""Rows of whole subjects, spread evenly over a split."""

import numpy as np

from fgait_jax.data.subset import rows_of_whole_subjects


def test_a_subset_holds_whole_subjects_spread_evenly():
  subjects = np.repeat([f"{i:02d}" for i in range(10)], 6)
  rows = rows_of_whole_subjects(subjects, 20)
  assert sorted(set(subjects[rows])) == ["00", "04", "09"]
  assert len(rows) == 18
  np.testing.assert_array_equal(rows_of_whole_subjects(subjects, 0), np.arange(60))
  np.testing.assert_array_equal(rows_of_whole_subjects(subjects, 60), np.arange(60))
  assert rows_of_whole_subjects(np.array(list("abcdefgh")), 4).tolist() == [0, 2, 5, 7]
  # Where not even two subjects fit:
  assert rows_of_whole_subjects(np.repeat(["a", "b"], 10), 7).tolist() == [0, 3, 6, 10, 13, 16, 19]
