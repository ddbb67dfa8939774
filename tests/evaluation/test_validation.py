"""Rank-1 among people kept back."""

import types

import numpy as np
import pytest

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import protocols, validation
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.validation import rank1

WALKERS = protocols.get("walkers")


def walks(points, subjects, views):
  values = np.asarray(points, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
  text = np.array(views)
  return Features(embeddings=values, subjects=np.array(subjects), conditions=text, views=text, keys=text)


def test_validation_ranks_across_views():
  # "a" in another view is nearest to itself, "b" to "a"; "c" has no other view and is not counted.
  found = walks([0, 1, 2.5, 9, 30], ["a", "a", "b", "b", "c"], ["0", "1", "0", "1", "0"])
  assert rank1(found, across="view", metric="euclidean", protocol=WALKERS, section="fine_tune") == 75
  alone = walks([0, 1], ["a", "b"], ["0", "1"])
  with pytest.raises(DataError, match="has a mate in another view"):
    rank1(alone, across="view", metric="euclidean", protocol=WALKERS, section="fine_tune")


def test_validation_is_by_the_galleries_and_cameras_of_the_protocol():
  """CCPG: another walk before the same camera, in the same clothes, is no mate, whatever the number in its view."""
  ccpg = protocols.get("ccpg")
  rows = [(person, clothes, f"{camera}_{n}") for person in "ab" for clothes in ("U0_D0", "U1_D1") for camera in "pq"
          for n in "01"]
  names, kinds, views = (np.array(column) for column in zip(*rows, strict=True))
  places = np.array([100 * (k == "U1_D1") + 10 * (v[0] == "q") + (who == "b") for who, k, v in rows], np.float32)
  found = Features(embeddings=places[:, None, None], subjects=names, conditions=kinds, views=views,
                   keys=np.arange(len(rows)).astype(str))
  plain = rank1(found, across="view", metric="euclidean", protocol=WALKERS, section="fine_tune")
  assert plain == 100  # trivially: view p_1 is not view p_0
  by_camera = rank1(found, across="view", metric="euclidean", protocol=ccpg, section="fine_tune")
  assert by_camera < 100
  # CL alone is there: U0_D0 sought in U1_D1 of the other camera.
  wanted = ccpg.evaluate(places[:, None, None], names, kinds, views, bootstrap=0)["conditions"]["CL"]["rank1"]
  assert rank1(found, across="protocol", metric="euclidean", protocol=ccpg, section="fine_tune") == wanted
  split = types.SimpleNamespace(name="ccpg/train", subjects=names, conditions=kinds, views=views, keys=found.keys)
  validation.check(split, np.arange(len(rows)), across="protocol", protocol=ccpg, section="fine_tune")
  with pytest.raises(DataError, match=r"ccpg/train \(config.fine_tune.validate_across=protocol\): unknown types"):
    validation.check(split, np.arange(len(rows)), across="protocol", protocol=WALKERS, section="fine_tune")
  with pytest.raises(ConfigError, match="validate_across is 'camera'; known: view, condition, protocol"):
    validation.check(split, np.arange(len(rows)), across="camera", protocol=ccpg, section="fine_tune")
