"""The softmax layer on frozen embeddings."""

import numpy as np
import pytest

from fgait_jax.errors import DataError
from fgait_jax.evaluation import probe

SETTINGS = {"steps": 200, "rate": 0.05, "weight_decay": 1e-4, "batch_size": 4096, "seed": 0}


def clusters(count=60, classes=6, spread=0.1):
  generator = np.random.default_rng(0)
  labels = np.array([f"s{i % classes}" for i in range(count)])
  centres = generator.standard_normal((classes, 5, 3))
  noise = spread * generator.standard_normal((count, 5, 3))
  return (centres[np.arange(count) % classes] + noise).astype(np.float32), labels


def test_separable_classes_are_learnt_and_recognised_in_new_walks():
  embeddings, labels = clusters()
  layer = probe.fit(embeddings[:36], labels[:36], **SETTINGS)
  found, right = probe.figures(layer.logits(embeddings[36:]), labels[36:], layer.classes)
  assert found == {"accuracy": 100, "top5": 100, "balanced_accuracy": 100, "macro_f1": 100}
  assert right.all()
  assert layer.losses[0] == pytest.approx(np.log(6), rel=1e-5)  # zero weights know nothing
  assert layer.losses[-1] < 0.05


def test_small_batches_learn_too_and_a_seed_is_a_result():
  embeddings, labels = clusters()
  first = probe.fit(embeddings, labels, **SETTINGS | {"batch_size": 16})
  again = probe.fit(embeddings, labels, **SETTINGS | {"batch_size": 16})
  other = probe.fit(embeddings, labels, **SETTINGS | {"batch_size": 16, "seed": 1})
  np.testing.assert_array_equal(first.kernel, again.kernel)
  assert np.abs(first.kernel - other.kernel).max() > 0
  assert probe.figures(first.logits(embeddings), labels, first.classes)[0]["accuracy"] == 100


def test_constant_features_do_no_harm():
  embeddings, labels = clusters()
  embeddings[:, 0] = 3
  layer = probe.fit(embeddings, labels, **SETTINGS)
  assert np.isfinite(layer.logits(embeddings)).all()


def test_figures_by_hand():
  classes = np.array(["a", "b", "c"])
  labels = np.array(["a", "a", "a", "b", "z"])
  logits = np.array([[3, 1, 0], [3, 1, 0], [0, 3, 1], [0, 3, 1], [9, 0, 0]], float)
  found, right = probe.figures(logits, labels, classes)
  assert right.tolist() == [True, True, False, True, False]
  assert found["accuracy"] == pytest.approx(60)
  assert found["balanced_accuracy"] == pytest.approx(100 * np.mean([2 / 3, 1, 0]))
  assert found["macro_f1"] == pytest.approx(100 * np.mean([2 / 3, 2 / 3, 0]))
  assert "top5" not in found


def test_guessing_names_the_most_frequent_class():
  found = probe.guessing(np.array(["a", "b", "b"]), np.array(["a", "b", "b", "b"]))
  assert found["always"] == "b"
  assert found["accuracy"] == pytest.approx(75)
  assert found["balanced_accuracy"] == pytest.approx(50)


def test_one_class_is_refused():
  with pytest.raises(DataError, match=r"two classes or more; its training walks hold \['a'\]"):
    probe.fit(np.zeros((3, 2, 2)), np.array(["a", "a", "a"]), **SETTINGS)


def test_fingerprint_sees_the_least_change():
  def tree():
    return {"kernel": np.zeros((2, 3), np.float32), "stats": {"mean": np.zeros(3, np.float32)}}

  changed = tree()
  changed["stats"]["mean"][1] = 1e-30
  assert probe.fingerprint(tree()) == probe.fingerprint(tree())
  assert probe.fingerprint(changed) != probe.fingerprint(tree())


def test_a_confusion_matrix_counts_true_by_predicted_in_the_order_of_numbers():
  classes = np.array(["10", "2", "3"])
  logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]]  # says 10, 10, 2, 3, 3
  found = probe.confusion(logits, np.array(["10", "2", "2", "3", "10"]), classes)
  assert found["classes"] == ["2", "3", "10"]
  np.testing.assert_array_equal(found["true_by_predicted"], [[1, 0, 1], [0, 1, 0], [0, 1, 1]])
  assert probe.confusion(logits[:1], np.array(["b"]), np.array(["a", "c", "d"]))["classes"] == ["a", "b", "c", "d"]
