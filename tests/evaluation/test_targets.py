"""Labels and classes of what is learnt."""

import types

import numpy as np
import pytest

from fgait_jax.data.rendered import open_split
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import protocols, targets


def split(name="d/train", subjects=("N_1", "N_1", "D_2", "N_3"), conditions=("positive", "negative", "neutral", "x"),
          **attributes):
  subjects = np.array(subjects)
  return types.SimpleNamespace(name=name, subjects=subjects, conditions=np.array(conditions),
                               views=np.array(["000"] * len(subjects)), keys=np.arange(len(subjects)),
                               attributes=attributes,
                               manifest={"name": name.partition("/")[0]})


class Sized(types.SimpleNamespace):
  def __len__(self):
    return len(self.subjects)


def sized(**fields):
  return Sized(**vars(split(**fields)))


def test_labels_of_every_kind():
  walks = sized(subjects=("N_1", "N_1", "D_2"), conditions=("a", "b", "a"), tall=np.array([1.657, np.nan, 0.5]))
  assert targets.labels_of(walks, "subject", None, section="fine_tune").tolist() == ["N_1", "N_1", "D_2"]
  assert targets.labels_of(walks, "condition", None, section="fine_tune").tolist() == ["a", "b", "a"]
  assert targets.labels_of(walks, "tall", None, section="fine_tune").tolist() == ["1.657", "", "0.5"]
  d_gait = protocols.get("d_gait")
  assert targets.labels_of(walks, "class", d_gait, section="fine_tune").tolist() == ["healthy", "healthy", "depressed"]
  assert targets.classes_of(np.array(["healthy"]), "class", d_gait) == ["healthy", "depressed"]
  scoliosis = sized(subjects=("1", "2", "3"), conditions=("positive", "negative", "neutral"))
  found = targets.labels_of(scoliosis, "class", protocols.get("scoliosis1k"), section="fine_tune")
  assert found.tolist() == scoliosis.conditions.tolist()


def test_a_rendered_crowd_has_labels_too():
  """Its conditions are found one by one and are no array."""
  walks = open_split("rendered2", "train")
  found = targets.labels_of(walks, "condition", None, section="fine_tune")
  assert found.tolist() == [str(walks.conditions[row]) for row in range(len(walks))]


def test_classes_stand_in_the_order_of_numbers():
  assert targets.classes_of(np.array(["10", "2", "", "0.5"]), "age", None) == ["0.5", "2", "10"]
  assert targets.classes_of(np.array(["b", "a"]), "condition", None) == ["a", "b"]


def test_unknown_targets_are_named():
  with pytest.raises(ConfigError, match=r"target is 'sexx'; d/train has .* attributes \['sex'\]"):
    targets.labels_of(sized(sex=np.zeros(4)), "sexx", None, section="fine_tune")
  with pytest.raises(ConfigError, match="target=class takes the classes of config.protocol, and walkers has none"):
    targets.labels_of(sized(), "class", protocols.get("walkers"), section="fine_tune")


@pytest.mark.parametrize("values, refused", [
  ([1.6, 1.7, 1.8, 1.9], True), ([1, 1, 2, 3], True), ([1, 1, 2, 2], False), ([0, 1, 1, 1], False),
  ([np.nan, 1, 2, np.nan], False)])
def test_a_measure_is_no_class(values, refused):
  walks = sized(subjects=("a", "b", "c", "d"), height=np.array(values, float))
  labels = targets.labels_of(walks, "height", None, section="fine_tune")
  if refused:
    with pytest.raises(ConfigError, match=r"fine_tune.target=height has \d values in d/train, most of them"):
      targets.check_shared(labels, walks, "height", section="fine_tune")
  else:
    targets.check_shared(labels, walks, "height", section="fine_tune")
  targets.check_shared(walks.subjects, walks, "subject", section="fine_tune")
