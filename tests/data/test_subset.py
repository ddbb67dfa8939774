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
  assert len(rows_of_whole_subjects(subjects, 7)) == 7  # not even two subjects fit
