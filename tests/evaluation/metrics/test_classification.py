"""Figures of classification by hand."""

import numpy as np
import pytest

from fgait_jax.evaluation.metrics import classification, statistics


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


def test_macro_f1_is_the_same_wherever_it_is_named():
  """Of a class that is said and never true, too."""
  truth, said = np.array([0, 0, 1, 1, 1]), np.array([0, 2, 1, 1, 0])
  found = classification.classified(truth, np.eye(3)[said], subjects=np.arange(5).astype(str), names=list("abc"),
                                    binary="", resamples=0, seed=0)["summary"]["f1"]
  assert classification.macro_f1(truth, said) == pytest.approx(found)
  assert classification.figures(np.eye(3)[said], truth, np.arange(3))[0]["macro_f1"] == pytest.approx(found)


def people(walks=6):
  """Four people of two classes, one of them always wrong, each with as many walks as her number says."""
  subjects = np.repeat(list("abcd"), [1, 2, 3, walks])
  truth = np.repeat([0, 0, 1, 1], [1, 2, 3, walks])
  said = np.where(subjects == "d", 0, truth)
  return truth, said, subjects


def test_intervals_are_those_of_resampled_people_each_with_all_walks():
  truth, said, subjects = people()
  found = classification.classified(truth, np.eye(2)[said], subjects=subjects, names=["no", "yes"], binary="yes",
                                    resamples=400, seed=3)
  weights = statistics.subject_weights(4, resamples=400, seed=3)
  walks = np.array([1, 2, 3, 6])
  right = weights @ (walks * [1, 1, 1, 0])
  expected = np.percentile(100 * right / (weights @ walks), [2.5, 97.5])
  assert found["summary"]["ci"]["accuracy"] == pytest.approx(expected, abs=1e-4)
  assert classification.accuracy_interval(truth == said, subjects, resamples=400, seed=3)["accuracy"] == pytest.approx(
    expected, abs=1e-4)
  ill = weights[:, 2] * 3 + weights[:, 3] * 6
  expected = np.percentile(100 * (weights[:, 2] * 3 / np.maximum(ill, 1))[ill > 0], [2.5, 97.5])
  assert found["classes"]["yes"]["ci"]["sensitivity"] == pytest.approx(expected, abs=1e-4)
  assert found["classes"]["yes"]["ci"]["specificity"] == [100, 100]


def test_the_majority_is_that_of_the_truth():
  truth, said, subjects = people()
  found = classification.classified(truth, np.eye(2)[said], subjects=subjects, names=["no", "yes"], binary="",
                                    resamples=0, seed=0)
  assert found["summary"]["majority_class"] == pytest.approx(100 * 9 / 12)  # 9 are said to be of the other


def test_two_classes_are_ordered_by_the_difference_of_their_scores():
  logits = np.array([[5.0, 6], [0, 3], [9, 7], [1, 0]])  # by the second score alone the third would be first
  found = classification.classified(np.array([1, 1, 0, 0]), logits, subjects=np.array(list("abcd")),
                                    names=["no", "yes"], binary="yes", resamples=200, seed=0)["summary"]
  assert (found["auc"], found["eer"]) == (100, 0)
  assert found["ci"]["auc"] == [100, 100]
  assert found["ci"]["eer"] == [0, 0]


def test_sensitivity_and_specificity_are_said_with_their_intervals():
  truth, said, subjects = people()
  found = classification.classified(truth, np.eye(3)[said], subjects=subjects, names=["no", "yes", "never"], binary="",
                                    resamples=0, seed=0)["classes"]
  assert found["yes"]["sensitivity"] == pytest.approx(100 * 3 / 9)
  assert found["no"]["specificity"] == pytest.approx(100 * 3 / 9)
  assert found["no"]["precision"] == pytest.approx(100 * 3 / 9)
  text = classification.told_apart(found)
  assert text == ("Of walks, not of patients; sensitivity / specificity, %: no 100.0 / 33.3; yes 33.3 / 100.0; never no"
                  " walk to tell / 100.0.")
  found["yes"]["ci"] = {"sensitivity": [10.0, 52.25]}
  assert "yes 33.3 [10.0 to 52.2] / 100.0" in classification.told_apart(found)
