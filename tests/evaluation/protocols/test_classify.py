"""Protocols of classes by hand, and their scores, which tell nobody from another of the same class."""

import numpy as np
import pytest

from fgait_jax.errors import DataError
from fgait_jax.evaluation import protocols
from fgait_jax.evaluation.features import files
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.tasks.score import score


def test_scoliosis_by_hand():
  logits = np.eye(3, dtype=np.float32)[[0, 0, 2, 2, 1]][:, :, None]
  types = ["negative", "neutral", "positive", "positive", "neutral"]
  result = protocols.get("scoliosis1k").evaluate(logits, list("12345"), types, ["v"] * 5, bootstrap=100)
  assert result["summary"]["accuracy"] == 80
  assert result["summary"]["recall"] == pytest.approx(100 * (1 + 0.5 + 1) / 3)
  assert result["summary"]["precision"] == pytest.approx(100 * (0.5 + 1 + 1) / 3)
  assert result["classes"]["negative"]["specificity"] == 75
  assert result["classes"]["neutral"]["sensitivity"] == 50
  assert result["confusion"]["true_by_predicted"] == [[1, 0, 0], [1, 1, 0], [0, 0, 2]]
  assert result["summary"]["ci"]["accuracy"][0] < 80
  assert result["summary"]["by_subject"] == {"subjects": list("12345"), "accuracy": [100, 0, 100, 100, 100],
                                             "trials": [1] * 5}


def test_depression_is_the_d():
  logits = np.array([[2, 1], [2, 0], [0, 2], [1, 2]], np.float32)[:, :, None]
  labels = ["N_001", "N_002", "D_001", "D_002"]
  result = protocols.get("d_gait").evaluate(logits, labels, ["x"] * 4, ["v"] * 4, bootstrap=0)
  assert (result["summary"]["accuracy"], result["summary"]["auc"]) == (100, 100)
  turned = protocols.get("d_gait").evaluate(-logits, labels, ["x"] * 4, ["v"] * 4, bootstrap=0)
  assert (turned["summary"]["accuracy"], turned["summary"]["auc"]) == (0, 0)


def test_scores_of_classes_are_means_over_parts():
  logits = np.array([[[3, 0, 0], [0, 2, 2]], [[0, 0, 9], [1, 1, 1]]], np.float32)  # [walk, class, part]
  result = protocols.get("d_gait").evaluate(logits, ["D_1", "N_1"], ["x"] * 2, ["v"] * 2, bootstrap=0)
  assert result["confusion"]["true_by_predicted"] == [[1, 0], [0, 1]]


def test_attributes_read_their_values_from_the_type():
  logits = np.array([[1, 0, 0, 0, 9], [0, 1, 0, 9, 0], [0, 1, 9, 0, 0]], np.float32)[:, :, None]
  result = protocols.get("ragar").evaluate(logits, list("abc"), ["t_0_2", "t_1_1", "t_0_0"], ["v"] * 3, bootstrap=0)
  assert result["attributes"]["attribute0"]["summary"]["accuracy"] == pytest.approx(200 / 3)
  assert result["attributes"]["attribute1"]["summary"]["accuracy"] == 100
  for odd in ("x_\u00b2", "x_99999999999999999999"):  # a digit to Python, and more than an integer holds
    with pytest.raises(DataError, match="types do not all carry the same number of integer attributes"):
      protocols.get("ragar").evaluate(logits, list("abc"), [odd, "t_1", "t_0"], ["v"] * 3, bootstrap=0)
  with pytest.raises(DataError, match=r"5 logits do not fit attributes of \[2, 2\] values"):
    protocols.get("ragar").evaluate(logits, list("abc"), ["t_0_1", "t_1_1", "t_0_0"], ["v"] * 3, bootstrap=0)


def test_scores_of_classes_are_not_ranked_as_people(tmp_path):
  labels = np.array(["a", "b", "a", "b"])
  found = Features(embeddings=np.eye(4, 2, dtype=np.float32)[..., None], subjects=labels, conditions=labels,
                   views=labels, keys=labels)
  files.save(tmp_path / "e.npz", found, identity={"embedding": "logits"})
  with pytest.raises(DataError, match=r"e.npz holds scores of classes, .* own ranks embeddings of people"):
    score(tmp_path / "e.npz", protocol="own", bootstrap=0)
