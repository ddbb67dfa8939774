"""A discriminant of other walks for weights that are finished: the encoder stays, the card says what it learnt from."""

import dataclasses

import jax
import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, ConfigError
from fgait_jax.evaluation import provenance
from fgait_jax.interop import fit_discriminant, publish
from fgait_jax.models.discriminant import is_fitted
from fgait_jax.training import pretraining
from fgait_jax.training.checkpoints import load_network, weights_to_start_from

SMALL = ["--walks", "64", "--components", "12", "--sets", "rendered8:sequence"]


@pytest.fixture(scope="module")
def fitted(ended, tmp_path_factory):
  out = tmp_path_factory.mktemp("fitted") / "here"
  assert fit_discriminant.main([str(ended), "--out", str(out), *SMALL]) == 0
  return out


def same(a, b):
  return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b)))


def test_the_encoder_stays_and_the_discriminant_is_new(network, fitted):
  found = load_network(fitted, mesh=network.mesh)
  assert same(found.params, network.params)
  assert same(found.stats["encoder"], network.stats["encoder"])
  assert is_fitted(found.stats)
  assert not same(found.stats["discriminant"], network.stats["discriminant"])
  assert found.embedding == "discriminant"
  frames, valid = np.full((2, 16, 64, 64, 1), 255, np.uint8), np.ones((2, 16), bool)
  frames[0, :, :, :20] = 0
  assert np.isfinite(np.asarray(found.embed(frames, valid).discriminant)).all()


def test_it_is_known_by_another_name_and_by_what_it_learnt_from(network, fitted):
  found = load_network(fitted, mesh=network.mesh)
  assert found.identity.startswith(f"{network.identity}-fitted-")
  assert found.data.keys() == {"walkers/train", "rendered8/train"}
  assert found.sources["rendered8/train"]["subjects"] == 8
  assert {name: len(people) for name, people in found.people.items()} == {"walkers": 2, "crowd": 8}
  _, words, met = provenance.learnt_from(found)
  assert words.endswith("given a discriminant fitted to rendered8 without labels")
  assert ("rendered8", "train") in met
  assert "rendered8" in (fitted / "README.md").read_text()


def test_the_same_words_give_the_same_and_others_another(ended, fitted, tmp_path):
  again, other = tmp_path / "again", tmp_path / "other"
  assert fit_discriminant.main([str(ended), "--out", str(again), *SMALL]) == 0
  assert (again / "model.safetensors").read_bytes() == (fitted / "model.safetensors").read_bytes()
  assert fit_discriminant.main([str(ended), "--out", str(other), *SMALL, "--holes", "0.5"]) == 0
  first, second = load_network(fitted), load_network(other)
  assert first.identity != second.identity
  assert second.config.discriminant.holes == 0.5
  assert not same(first.stats["discriminant"], second.stats["discriminant"])


def test_weights_without_heads_stay_without(network, fitted, tmp_path):
  bare = tmp_path / "bare"
  publish.write(load_network(fitted), bare, heads=False)
  assert fit_discriminant.main([str(bare), "--out", str(tmp_path / "out"), *SMALL]) == 0
  found = load_network(tmp_path / "out", mesh=network.mesh)
  assert sorted(found.params) == ["encoder"]
  assert same(found.stats["discriminant"], load_network(fitted, mesh=network.mesh).stats["discriminant"])


@pytest.mark.parametrize("words, message", [
  (["--sets", ","], "--sets: '': '' is not a name"),
  (["--sets", "rendered8:sequence,rendered8"], "--sets: 'rendered8:sequence,rendered8' names rendered8 twice"),
  (["--sets", "my-place:sequence"], "--sets: 'my-place:sequence': 'my-place' is not a name"),
  (["--sets", "rendered8", "--walks", "8"], "config.discriminant.walks=8 must be at least a batch's 16 clips"),
  (["--sets", "nobody:sequence"], "nobody"),
  (["--sets", "rendered8:persons"], "discriminant.sets.rendered8.positives='persons'; known: "),
  (["--sets", "rendered8:sequence", "--shrinkage", "2"], "config.discriminant.shrinkage=2.0 must be from 0 to 1"),
  (["--sets", "rendered8:sequence", "--holes", "-1"], "config.discriminant.holes=-1.0 is a probability"),
])
def test_what_cannot_teach_it_is_refused_before_anything_is_written(ended, tmp_path, capsys, words, message):
  assert fit_discriminant.main([str(ended), "--out", str(tmp_path / "out"), "--data", str(tmp_path), *words]) == 1
  said = capsys.readouterr().err
  assert said.startswith("error: ")
  assert said.count("\n") == 1
  assert message in said
  assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_run_is_not_overwritten(ended, tmp_path, capsys):
  assert fit_discriminant.main([str(ended), "--out", str(ended), *SMALL]) == 1
  assert "is the folder of the weights themselves" in capsys.readouterr().err
  (tmp_path / "checkpoints").mkdir()
  assert fit_discriminant.main([str(ended), "--out", str(tmp_path), *SMALL]) == 1
  assert "is a run's folder" in capsys.readouterr().err


def test_weights_are_not_overwritten(fitted, capsys):
  before = (fitted / "model.safetensors").read_bytes()
  assert fit_discriminant.main([str(fitted), "--out", str(fitted), *SMALL]) == 1
  assert "is the folder of the weights themselves, which would be lost" in capsys.readouterr().err
  assert (fitted / "model.safetensors").read_bytes() == before


def changed(network, **values):
  config = network.config.copy_and_resolve_references().unlock()
  config.update_from_flattened_dict(values)
  return dataclasses.replace(network, config=config.lock())


def test_a_network_without_discriminant_is_refused(network):
  with pytest.raises(CheckpointError, match="does not end in a discriminant; take weights of run_pretrain"):
    fit_discriminant.check(changed(network, **{"model.discriminant": 0}))
  with pytest.raises(CheckpointError, match="is fine-tuned: .* Name the pretraining run that it was made of"):
    fit_discriminant.check(dataclasses.replace(network, fine_tune={"dataset": "walkers/train"}))


def test_a_configuration_of_another_version_is_refused(network):
  config = network.config.copy_and_resolve_references().unlock()
  del config.discriminant.holes
  with pytest.raises(CheckpointError, match="another version .* has discriminant.holes not or of another kind"):
    fit_discriminant.check(dataclasses.replace(network, config=config.lock()))


def test_few_recordings_are_told(ended, tmp_path, capsys):
  few = ["--sets", "rendered3:subject", "--walks", "64", "--components", "12"]
  assert fit_discriminant.main([str(ended), "--out", str(tmp_path), *few]) == 0
  assert "warning: 2 of 8 directions were found, at most one less" in capsys.readouterr().err


def test_an_unfinished_run_is_told(network):
  steps = network.config.train.steps
  said = fit_discriminant.remarks(dataclasses.replace(network, step=steps - 1))
  assert f"the encoder is that of step {steps - 1} of {steps}: its run has not ended" in said
  assert not any("encoder" in remark for remark in fit_discriminant.remarks(network))


def test_fewer_components_give_another_map(ended, fitted, tmp_path):
  assert fit_discriminant.main([str(ended), "--out", str(tmp_path), *SMALL[:2], "--components", "9", *SMALL[4:]]) == 0
  assert not same(load_network(tmp_path).stats["discriminant"], load_network(fitted).stats["discriminant"])


def test_frames_of_other_channels_are_refused(network):
  with pytest.raises(ConfigError, match="rendered8/train: frames are silhouettes of 1 channel, the network takes"):
    fit_discriminant.refitted(changed(network, **{"model.channels": 2}), settings_of(network), data="built")


def settings_of(network):
  settings = network.config.discriminant.copy_and_resolve_references().unlock()
  settings.update(sets=defaults.discriminant_sets("rendered8:sequence"), walks=64, components=12)
  return settings


def test_data_sets_of_training_come_first_as_in_the_run(network, monkeypatch):
  """Their order says which walks a batch holds."""
  seen = []
  monkeypatch.setattr(pretraining, "learnt_discriminant", lambda *given, **_: seen.extend(given[3]))
  trained = changed(network, **{"data.sets": defaults.data_sets("rendered8")})
  settings = settings_of(network)
  settings.sets = defaults.discriminant_sets("rendered6,rendered8")
  fit_discriminant.refitted(trained, settings, data="built")
  assert seen == ["rendered8", "rendered6"]


def test_a_later_learning_takes_the_name_of_an_earlier_one_off_and_other_data_give_another(network, monkeypatch):
  once = fit_discriminant.refitted(network, settings_of(network), data="built")
  assert fit_discriminant.refitted(once, settings_of(network), data="built").identity == once.identity
  opened = pretraining.opened

  def built_anew(*given, **how):
    splits = opened(*given, **how)
    for split in splits.values():
      split.manifest = split.manifest | {"content_hash": "other"}
    return splits

  monkeypatch.setattr(pretraining, "opened", built_anew)
  assert fit_discriminant.refitted(network, settings_of(network), data="built").identity != once.identity


def test_pretraining_can_go_on_from_what_it_gave(fitted, network):
  state = {"params": network.params, "stats": network.stats,
           "teacher": {"params": network.params, "stats": network.stats}}
  config = network.config.copy_and_resolve_references().unlock()
  config.train.start_from = str(fitted)
  weights, origin = weights_to_start_from(config, state, network.mesh)
  assert same(weights["teacher"]["params"], network.params)
  assert origin["anew"] == []
