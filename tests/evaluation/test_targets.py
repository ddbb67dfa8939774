"""Labels, classes, and identities kept back."""

import types

import numpy as np
import pytest

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import protocols, targets
from fgait_jax.evaluation.features.extraction import Features

WALKERS = protocols.get("walkers")


def split(name="d/train", subjects=("N_1", "N_1", "D_2", "N_3"), conditions=("positive", "negative", "neutral", "x"),
          **attributes):
  subjects = np.array(subjects)
  return types.SimpleNamespace(name=name, subjects=subjects, conditions=np.array(conditions),
                               views=np.array(["000"] * len(subjects)), attributes=attributes,
                               manifest={"name": name.partition("/")[0]})


class Sized(types.SimpleNamespace):
  def __len__(self):
    return len(self.subjects)


def sized(**fields):
  return Sized(**vars(split(**fields)))


def test_labels_of_every_kind():
  walks = sized(subjects=("N_1", "N_1", "D_2"), conditions=("a", "b", "a"), tall=np.array([1.0, np.nan, 0.5]))
  assert targets.labels_of(walks, "subject", None).tolist() == ["N_1", "N_1", "D_2"]
  assert targets.labels_of(walks, "condition", None).tolist() == ["a", "b", "a"]
  assert targets.labels_of(walks, "tall", None).tolist() == ["1", "", "0.5"]
  d_gait = protocols.get("d_gait")
  assert targets.labels_of(walks, "class", d_gait).tolist() == ["healthy", "healthy", "depressed"]
  assert targets.classes_of(np.array(["healthy"]), "class", d_gait) == ["healthy", "depressed"]
  scoliosis = sized(subjects=("1", "2", "3"), conditions=("positive", "negative", "neutral"))
  assert targets.labels_of(scoliosis, "class", protocols.get("scoliosis1k")).tolist() == scoliosis.conditions.tolist()


def test_classes_stand_in_the_order_of_numbers():
  assert targets.classes_of(np.array(["10", "2", "", "0.5"]), "age", None) == ["0.5", "2", "10"]
  assert targets.classes_of(np.array(["b", "a"]), "condition", None) == ["a", "b"]


def test_unknown_targets_are_named():
  with pytest.raises(ConfigError, match=r"target is 'sexx'; d/train has .* attributes \['sex'\]"):
    targets.labels_of(sized(sex=np.zeros(4)), "sexx", None)
  with pytest.raises(ConfigError, match="target=class takes the classes of config.protocol, and walkers has none"):
    targets.labels_of(sized(), "class", protocols.get("walkers"))


@pytest.mark.parametrize("target", ["subject", "kind"])
def test_identities_kept_back_are_apart_and_of_every_class(target):
  subjects = np.repeat([f"{i:02d}" for i in range(20)], 3)
  labels = subjects if target == "subject" else np.where(subjects < "05", "rare", "common")
  labels = np.where(np.arange(60) == 7, "", labels)
  parts = targets.keep_back(subjects, labels, target=target, fraction=0.2, seed=0)
  fit, kept = set(subjects[parts.fit]), set(subjects[parts.validation])
  assert not fit & kept
  assert len(kept) == 4
  assert len(fit) == 16
  assert sorted([*parts.fit, *parts.validation]) == [i for i in range(60) if i != 7]
  if target == "kind":
    assert set(labels[parts.validation]) == {"rare", "common"}
  again = targets.keep_back(subjects, labels, target=target, fraction=0.2, seed=0)
  np.testing.assert_array_equal(parts.validation, again.validation)
  other = targets.keep_back(subjects, labels, target=target, fraction=0.2, seed=1)
  assert set(subjects[other.validation]) != kept


def test_none_are_kept_back_where_none_are_asked_for():
  parts = targets.keep_back(np.array(["a", "b"]), np.array(["a", "b"]), target="subject", fraction=0.0, seed=0)
  assert len(parts.validation) == 0
  assert len(parts.fit) == 2


@pytest.mark.parametrize("fraction, message", [
  (1.0, "must be at least 0 and below 1"), (0.4, "leaves 2 to learn from and 1 to validate"),
  (0.9, "leaves 0 to learn from")])
def test_too_few_identities_are_refused(fraction, message):
  with pytest.raises(ConfigError, match=message):
    targets.keep_back(np.array(["a", "b", "c"]), np.array(["a", "b", "c"]), target="subject", fraction=fraction, seed=0)


def test_people_of_the_test_must_not_teach():
  targets.check_apart(split(), split("d/test", subjects=("N_8", "N_9"), conditions=("x", "y")))
  with pytest.raises(ConfigError, match=r"d/train .* and d/test .* share 1 subjects \(N_3"):
    targets.check_apart(split(), split("d/test", subjects=("N_8", "N_3"), conditions=("x", "y")))
  other = split("e/test", subjects=("N_8", "N_3"), conditions=("x", "y"))
  targets.check_apart(split(), other)  # other people, though they are called alike
  other.manifest["population"] = "d"
  with pytest.raises(ConfigError, match=r"d/train .* and e/test .* share 1 subjects \(N_3"):
    targets.check_apart(split(), other)


def walks(points, subjects, views):
  values = np.asarray(points, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
  text = np.array(views)
  return Features(embeddings=values, subjects=np.array(subjects), conditions=text, views=text, keys=text)


def test_validation_ranks_across_views():
  # "a" in another view is nearest to itself, "b" to "a"; "c" has no other view and is not counted.
  found = walks([0, 1, 2.5, 9, 30], ["a", "a", "b", "b", "c"], ["0", "1", "0", "1", "0"])
  assert targets.rank1(found, across="view", metric="euclidean", protocol=WALKERS) == 75
  with pytest.raises(ConfigError, match="validate_across is 'camera'"):
    targets.rank1(found, across="camera", metric="euclidean", protocol=WALKERS)
  with pytest.raises(DataError, match="has a mate in another view"):
    targets.rank1(walks([0, 1], ["a", "b"], ["0", "1"]), across="view", metric="euclidean", protocol=WALKERS)


def test_macro_f1_counts_classes_evenly():
  logits = np.eye(3)[[0, 0, 0, 0, 1]]
  assert targets.macro_f1(logits, np.array([0, 0, 0, 1, 1])) == pytest.approx(100 * (6 / 7 + 2 / 3) / 2)


def test_validation_is_by_the_galleries_and_cameras_of_the_protocol():
  """CCPG: another walk before the same camera, in the same clothes, is no mate, whatever the number in its view."""
  ccpg = protocols.get("ccpg")
  rows = [(person, clothes, f"{camera}_{n}") for person in "ab" for clothes in ("U0_D0", "U1_D1") for camera in "pq"
          for n in "01"]
  names, kinds, views = (np.array(column) for column in zip(*rows, strict=True))
  places = np.array([100 * (k == "U1_D1") + 10 * (v[0] == "q") + (who == "b") for who, k, v in rows], np.float32)
  found = Features(embeddings=places[:, None, None], subjects=names, conditions=kinds, views=views,
                   keys=np.arange(len(rows)).astype(str))
  plain = targets.rank1(found, across="view", metric="euclidean", protocol=WALKERS)
  assert plain == 100  # trivially: view p_1 is not view p_0
  by_camera = targets.rank1(found, across="view", metric="euclidean", protocol=ccpg)
  assert by_camera < 100
  # CL alone is there: U0_D0 sought in U1_D1 of the other camera.
  wanted = ccpg.evaluate(places[:, None, None], names, kinds, views, bootstrap=0)["conditions"]["CL"]["rank1"]
  assert targets.rank1(found, across="protocol", metric="euclidean", protocol=ccpg) == wanted
  split = sized(name="ccpg/train", subjects=names, conditions=kinds)
  split.views = views
  targets.check_across(split, np.arange(len(rows)), across="protocol", protocol=ccpg)
  with pytest.raises(DataError, match=r"ccpg/train \(config.fine_tune.validate_across=protocol\): unknown types"):
    targets.check_across(split, np.arange(len(rows)), across="protocol", protocol=WALKERS)
  with pytest.raises(ConfigError, match="validate_across is 'camera'; known: view, condition, protocol"):
    targets.check_across(split, np.arange(len(rows)), across="camera", protocol=ccpg)
