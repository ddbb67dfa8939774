"""Figures of classification by hand."""

import numpy as np
import pytest

from fgait_jax.evaluation.metrics import classification


def test_figures_by_hand():
  classes = np.array(["a", "b", "c"])
  labels = np.array(["a", "a", "a", "b", "z"])
  logits = np.array([[3, 1, 0], [3, 1, 0], [0, 3, 1], [0, 3, 1], [9, 0, 0]], float)
  found, right = classification.figures(logits, labels, classes)
  assert right.tolist() == [True, True, False, True, False]
  assert found["accuracy"] == pytest.approx(60)
  assert found["balanced_accuracy"] == pytest.approx(100 * np.mean([2 / 3, 1, 0]))
  assert found["macro_f1"] == pytest.approx(100 * np.mean([2 / 3, 2 / 3, 0]))
  assert "top5" not in found


def test_guessing_names_the_most_frequent_class():
  found = classification.guessing(np.array(["a", "b", "b"]), np.array(["a", "b", "b", "b"]))
  assert found["always"] == "b"
  assert found["accuracy"] == pytest.approx(75)
  assert found["balanced_accuracy"] == pytest.approx(50)


def test_a_confusion_matrix_counts_true_by_predicted_in_the_order_of_numbers():
  classes = np.array(["10", "2", "3"])
  logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]]  # says 10, 10, 2, 3, 3
  found = classification.confusion(logits, np.array(["10", "2", "2", "3", "10"]), classes)
  assert found["classes"] == ["2", "3", "10"]
  np.testing.assert_array_equal(found["true_by_predicted"], [[1, 0, 1], [0, 1, 0], [0, 1, 1]])
  found = classification.confusion(logits[:1], np.array(["b"]), np.array(["a", "c", "d"]))
  assert found["classes"] == ["a", "b", "c", "d"]


def test_macro_means_are_over_classes_that_were_seen_or_said():
  """One that is said and never true has been said wrongly."""
  logits = np.eye(3)[[0, 1, 0]]
  found = classification.classified(np.array([0, 0, 0]), logits, subjects=np.array(list("abc")), names=list("xyz"),
                                    binary="", resamples=0, seed=0)["summary"]
  assert found["recall"] == pytest.approx(100 * (2 / 3) / 2)
  assert found["precision"] == pytest.approx(100 / 2)
  assert found["f1"] == pytest.approx(100 * 0.8 / 2)


def test_macro_f1_counts_classes_evenly():
  predicted = np.array([0, 0, 0, 0, 1])
  assert classification.macro_f1(np.array([0, 0, 0, 1, 1]), predicted) == pytest.approx(100 * (6 / 7 + 2 / 3) / 2)
