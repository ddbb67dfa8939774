"""Whose walks a network has seen, and that training left it alone."""

import types

import numpy as np
import pytest

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.provenance import check_apart, fingerprint


def split(name="d/train", subjects=("N_1", "N_1", "D_2", "N_3"), conditions=("positive", "negative", "neutral", "x"),
          **attributes):
  subjects = np.array(subjects)
  return types.SimpleNamespace(name=name, subjects=subjects, conditions=np.array(conditions),
                               views=np.array(["000"] * len(subjects)), attributes=attributes,
                               manifest={"name": name.partition("/")[0]})


def test_people_of_the_test_must_not_teach():
  check_apart(split(), split("d/test", subjects=("N_8", "N_9"), conditions=("x", "y")), section="fine_tune")
  with pytest.raises(ConfigError, match=r"d/train .* and d/test .* share 1 subjects \(N_3"):
    check_apart(split(), split("d/test", subjects=("N_8", "N_3"), conditions=("x", "y")), section="fine_tune")
  other = split("e/test", subjects=("N_8", "N_3"), conditions=("x", "y"))
  check_apart(split(), other, section="fine_tune")  # other people, though they are called alike
  other.manifest["population"] = "d"
  with pytest.raises(ConfigError, match=r"d/train .* and e/test .* share 1 subjects \(N_3"):
    check_apart(split(), other, section="fine_tune")


def test_fingerprint_sees_the_least_change():
  def tree():
    return {"kernel": np.zeros((2, 3), np.float32), "stats": {"mean": np.zeros(3, np.float32)}}

  changed = tree()
  changed["stats"]["mean"][1] = 1e-30
  assert fingerprint(tree()) == fingerprint(tree())
  assert fingerprint(changed) != fingerprint(tree())
