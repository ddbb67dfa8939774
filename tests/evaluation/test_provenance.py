"""Whose walks a network has seen, with which labels, and that training left it alone."""

import types

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import program, provenance, results
from fgait_jax.evaluation.provenance import check_apart, fingerprint
from fgait_jax.evaluation.report import tables
from tests.evaluation.conftest import content
from tests.evaluation.stand_in import Network, Walks, config_of


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


def called(name):
  walks = Walks(f"{name}/test")
  walks.manifest["name"] = name
  return walks


SLICED, TUNED = {"split": "train[2:7]+test[:50%]"}, {"fine_tune": {
  "dataset": "kth/train", "settings": {"target": "subject"}, "before": {
    "dataset": "walkers/test[:9]", "settings": {"target": "tall"}, "before": {}}}}


@pytest.mark.parametrize("pretrained,network,asked,among,labels", [
  ({}, {}, "test", False, "without labels"),
  (SLICED, {}, "test", True, "without labels"),
  ({}, {}, "test[:3]+train[5:]", True, "without labels"),
  ({}, TUNED, "test", True,
   "without labels, then fine-tuned for tall on walkers (test[:9]), then fine-tuned for subject on kth (train)"),
])
def test_what_a_network_has_seen_is_told(world, pretrained, network, asked, among, labels):
  trained = world[0][True]
  with trained.config.unlocked():
    trained.config.data.sets.walkers.update(pretrained)
  trained.fine_tune = network.get("fine_tune", {})
  seen = provenance.seen_by(trained, config_of(split=asked), Walks())
  assert (seen.evaluated_split_among_them, seen.label_use) == (among, labels)
  kth = provenance.seen_by(trained, config_of(dataset="kth", split="train"), called("kth"))
  assert kth.evaluated_data_among_them == kth.evaluated_split_among_them == bool(network)


def test_the_labels_behind_a_discriminant_are_told(world, monkeypatch):
  trained = world[0][True]
  monkeypatch.setattr(Network, "embedding", "discriminant")
  with trained.config.unlocked():
    trained.config.data.sets.walkers.positives = "subject"
    trained.config.discriminant.sets = defaults.discriminant_sets("crowd:subject:train,walkers:subject:train")
  seen = provenance.seen_by(trained, config_of(), Walks())
  assert seen.datasets == ["walkers (train)", "crowd (train)"]
  assert seen.label_use == ("with subject labels of walkers, then given a discriminant fitted with subject labels of"
                            " crowd and walkers")


def test_people_of_another_data_set_of_the_population_are_counted(world):
  """Pretrained on one partition of Scoliosis1K, tested on another: the name of the data set has not been seen, its
  people have."""
  trained, walks = world[0][True], Walks()
  walks.manifest |= {"name": "scoliosis1k_112", "population": "scoliosis1k"}
  with trained.config.unlocked():
    trained.config.data.sets = defaults.data_sets("scoliosis1k_118")
  trained.people = {"scoliosis1k": ["002", "004", "777"], "walkers": ["001", "003"]}
  seen = provenance.seen_by(trained, config_of(dataset="scoliosis1k_112"), walks)
  assert (seen.evaluated_data_among_them, seen.evaluated_split_among_them) == (True, False)
  assert seen.evaluated_people_among_them == 2
  result = results.Result(
    task="zero_shot", title="x", notes=[], conditions=[], columns=[], rows=[], config={}, pretraining=seen,
    data=results.Data(name="x", split="test", kind="real", walks=1, subjects=3, content_hash=""))
  assert "2 of the people evaluated here are among them" in tables.caption(result)
  trained.people = {}  # by a version that did not record them
  seen = provenance.seen_by(trained, config_of(dataset="scoliosis1k_112"), walks)
  assert (seen.evaluated_data_among_them, seen.evaluated_people_among_them) == (False, None)


def test_imported_weights_do_not_say_what_they_have_seen(world, tmp_path):
  trained = world[0][True]
  trained.imported_from, trained.step, trained.people = "weights.pt", 0, {}
  (path,) = program.run(config_of(baselines=False), tmp_path)
  found = content(path)
  assert found["rows"][0]["title"] == "transformer tiny, imported"
  assert found["pretraining"]["datasets"] == ["data not recorded (imported from weights.pt)"]
  assert found["pretraining"]["label_use"] == "labels not known"
  assert not found["pretraining"]["evaluated_data_among_them"]


def test_what_a_run_began_with_is_part_of_what_it_has_seen(world):
  trained = world[0][True]
  first = {"learned": {"sets": {"kth": {"positives": "walk", "split": "test"}}}, "imported_from": "", "before": {}}
  published = {"learned": {}, "imported_from": "weights.pt", "before": first}
  trained.started_from = published
  seen = provenance.seen_by(trained, config_of(dataset="kth"), called("kth"))
  assert seen.datasets == ["kth (test)", "data not recorded (imported from weights.pt)", "walkers (train)"]
  assert seen.label_use == "with walk labels of kth, then labels not known, then without labels"
  assert seen.evaluated_split_among_them
