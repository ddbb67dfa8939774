"""People and walks kept back of a training split."""

import numpy as np
import pytest

from fgait_jax.data.held_out import keep_back_people, keep_back_walks
from fgait_jax.errors import ConfigError


@pytest.mark.parametrize("target", ["subject", "kind"])
def test_identities_kept_back_are_apart_and_of_every_class(target):
  subjects = np.repeat([f"{i:02d}" for i in range(20)], 3)
  labels = subjects if target == "subject" else np.where(subjects < "05", "rare", "common")
  labels = np.where(np.arange(60) == 7, "", labels)
  parts = keep_back_people(subjects, labels, target=target, fraction=0.2, seed=0, section="fine_tune")
  fit, kept = set(subjects[parts.fit]), set(subjects[parts.validation])
  assert not fit & kept
  assert len(kept) == 4
  assert len(fit) == 16
  assert sorted([*parts.fit, *parts.validation]) == [i for i in range(60) if i != 7]
  if target == "kind":
    assert set(labels[parts.validation]) == {"rare", "common"}
  again = keep_back_people(subjects, labels, target=target, fraction=0.2, seed=0, section="fine_tune")
  np.testing.assert_array_equal(parts.validation, again.validation)
  other = keep_back_people(subjects, labels, target=target, fraction=0.2, seed=1, section="fine_tune")
  assert set(subjects[other.validation]) != kept


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_is_always_among_those_kept_back(seed):
  subjects = np.array([f"{i:02d}" for i in range(40)])
  labels = np.where(subjects < "02", "rare", "common")
  parts = keep_back_people(subjects, labels, target="kind", fraction=0.2, seed=seed, section="fine_tune")
  assert set(labels[parts.validation]) == set(labels[parts.fit]) == {"rare", "common"}


@pytest.mark.parametrize("people, kept", [(8, 2), (13, 3), (12, 2)])
def test_a_share_of_people_is_rounded(people, kept):
  names = np.array([f"{i:02d}" for i in range(people)])
  parts = keep_back_people(names, names, target="subject", fraction=0.2, seed=0, section="fine_tune")
  assert (len(parts.validation), len(parts.fit)) == (kept, people - kept)


def test_none_are_kept_back_where_none_are_asked_for():
  parts = keep_back_people(np.array(["a", "b"]), np.array(["a", "b"]), target="subject", fraction=0.0, seed=0,
                           section="fine_tune")
  assert len(parts.validation) == 0
  assert len(parts.fit) == 2


@pytest.mark.parametrize("fraction, message", [
  (1.0, "must be at least 0 and below 1"), (0.4, "leaves 2 to learn from and 1 to validate"),
  (0.9, "leaves 0 to learn from")])
def test_too_few_identities_are_refused(fraction, message):
  with pytest.raises(ConfigError, match=message):
    keep_back_people(np.array(["a", "b", "c"]), np.array(["a", "b", "c"]), target="subject", fraction=fraction, seed=0,
                     section="fine_tune")


@pytest.mark.parametrize("fraction,counts", [(0.2, (2, 1, 0)), (0.9, (9, 1, 0)), (0.0, (0, 0, 0))])
def test_everybody_keeps_a_walk_to_be_learnt_by(fraction, counts):
  labels = np.array(["a"] * 10 + ["b"] * 2 + ["c"] + ["never"])
  parts = keep_back_walks(labels, np.arange(13), fraction=fraction, seed=0, section="linear_probe")
  assert tuple((labels[parts.validation] == name).sum() for name in "abc") == counts
  assert sorted([*parts.fit, *parts.validation]) == list(range(13))
  assert set(labels[parts.fit]) == {"a", "b", "c"}
