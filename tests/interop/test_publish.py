"""A network in a folder of its own: nothing is lost, everything is checked, and the card says what is recorded."""

import dataclasses
import hashlib
import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, ConfigError
from fgait_jax.evaluation.results import parsed
from fgait_jax.interop import card, fit_discriminant, publish
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import state as states
from fgait_jax.training import supervised, weights
from fgait_jax.training.checkpoints import load_network, weights_to_start_from
from tests.interop.conftest import configuration, result_of


def flat(network):
  trees = traverse_util.flatten_dict({"params": network.params, "stats": network.stats}, sep="/")
  return {name: np.asarray(array) for name, array in trees.items()}


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
  out = tmp_path_factory.mktemp("published") / "mine"
  publish.write(network, out, results=[parsed(result_of(network.identity), origin="made up")], licence="Apache-2.0")
  return out


@pytest.fixture
def copy(folder, tmp_path):
  """A folder of the same weights, to damage."""
  made = tmp_path / "copy"
  made.mkdir()
  for path in folder.iterdir():
    (made / path.name).write_bytes(path.read_bytes())
  return made


def change(folder, **values):
  about = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps(about | values))


def rewrite(folder, arrays):
  content = safetensors.numpy.save(arrays)
  (folder / "model.safetensors").write_bytes(content)
  change(folder, sha256=hashlib.sha256(content).hexdigest())


def test_a_folder_holds_every_array_and_all_that_is_known_of_them(network, folder):
  found, wanted = load_network(folder, mesh=network.mesh), flat(network)
  arrays = flat(found)
  assert arrays.keys() == wanted.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(array, wanted[name], err_msg=name)
  for name in ("identity", "step", "data", "people", "sources", "embedding", "stride", "code"):
    assert getattr(found, name) == getattr(network, name), name
  config = json.loads(json.dumps(network.config.to_dict()))
  places = {"data": config["data"] | {"dir": "built"}}  # no path of this machine
  places["train"] = config["train"] | {"compilation_cache": defaults.train().compilation_cache}
  assert found.config.to_dict() == config | places


def test_no_path_of_the_machine_is_published(network, tmp_path):
  config = network.config.copy_and_resolve_references()
  with config.unlocked():
    config.data.dir, config.train.compilation_cache = "/home/ann/walks", "/home/ann/cache"
  weights.save(dataclasses.replace(network, config=config), tmp_path)
  assert "/home/ann" not in (tmp_path / "config.json").read_text()


def test_bfloat16_halves_the_file_rounds_every_array_and_is_another_identity(network, folder, tmp_path):
  weights.save(network, tmp_path, dtype="bfloat16")
  found, wanted = load_network(tmp_path, mesh=network.mesh), flat(network)
  for name, array in flat(found).items():
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, wanted[name].astype(jax.numpy.bfloat16).astype(np.float32), err_msg=name)
  assert found.identity == f"{network.identity}-bfloat16"
  sizes = [(place / "model.safetensors").stat().st_size for place in (tmp_path, folder)]
  assert sizes[0] < 0.6 * sizes[1]


def test_without_heads_the_embedding_stays_and_what_needs_them_is_refused(network, folder, tmp_path):
  weights.save(network, tmp_path, heads=False)
  found = load_network(tmp_path, mesh=network.mesh)
  assert sorted(found.params) == ["encoder"]
  frames, valid = np.full((2, 16, 64, 64, 1), 255, np.uint8), np.ones((2, 16), bool)
  frames[0, :, :, :20] = 0
  ours, whole = found.embed(frames, valid), network.embed(frames, valid)
  np.testing.assert_allclose(ours.discriminant, whole.discriminant, atol=1e-6)
  assert ours.prediction is None
  assert ours.projection is None
  untrained = [load_network(place, mesh=network.mesh, trained=False) for place in (tmp_path, folder)]
  assert untrained[0].identity == untrained[1].identity
  assert "predictor" in untrained[0].params
  with pytest.raises(ConfigError, match="reads=projection, but the network .* published without heads"):
    supervised.create(
      found, head="identity", reads="projection", classes=2, features=4, method="full", statistics="frozen", rank=1,
      lora_scale=1.0, prompt_tokens=0, prompt_pixels=0, rules_of_rates=defaults.fine_tune().optim.rules, seed=0)


def test_a_run_starts_from_a_folder_as_from_the_teacher_with_arrays_of_its_own(network, folder):
  config = configuration().unlock()
  config.train.start_from = str(folder)
  _, state, _ = states.create(config, network.mesh)
  begun, about = weights_to_start_from(config, state, network.mesh)
  for kind in ("params", "stats"):
    ours, teachers = (traverse_util.flatten_dict(tree[kind], sep="/") for tree in (begun, begun["teacher"]))
    for name, array in ours.items():
      np.testing.assert_array_equal(array, teachers[name], err_msg=name)
  assert begun["params"]["encoder"] is not begun["teacher"]["params"]["encoder"]
  places = [tree["params"]["projector"]["fc1"]["kernel"].unsafe_buffer_pointer() for tree in (begun, begun["teacher"])]
  assert places[0] != places[1]  # a step donates both
  assert about["of"] == network.identity
  assert about["sources"] == network.sources


def test_the_same_network_is_the_same_file(network, folder, tmp_path):
  for number in range(8):  # what is left to chance would differ
    weights.save(network, tmp_path / str(number))
    assert json.loads((tmp_path / str(number) / "config.json").read_text())["sha256"] == weights.about(folder)["sha256"]


def test_a_truncated_file_is_named(copy):
  whole = (copy / "model.safetensors").read_bytes()
  (copy / "model.safetensors").write_bytes(whole[:-100])
  with pytest.raises(CheckpointError, match=r"copy/model.safetensors \([\d,]+ bytes\) has SHA-256 .* truncated"):
    load_network(copy)


@pytest.mark.parametrize("content", ['{"architectures": ["BertModel"]}', "[]", '{"library": "timm"}'])
def test_a_folder_of_another_tool_is_named(copy, content):
  (copy / "config.json").write_text(content)
  with pytest.raises(CheckpointError, match="copy/config.json is not of weights of fgait_jax; .*import_opengait"):
    load_network(copy)


def test_a_folder_without_its_configuration_is_named(copy):
  (copy / "config.json").unlink()
  with pytest.raises(CheckpointError, match="copy/config.json cannot be read.*expected the file that lies beside"):
    load_network(copy)


def test_a_network_or_a_key_of_another_version_is_named(copy):
  config = json.loads((copy / "config.json").read_text())["config"]
  change(copy, config=config | {"model": config["model"] | {"name": "gaitnova"}})
  with pytest.raises(CheckpointError, match="'gaitnova' is a network that this version does not know .known: transf"):
    load_network(copy)
  change(copy, config=config | {"model": config["model"] | {"wings": 2}})
  with pytest.raises(CheckpointError, match="config.model differs .* in the keys wings; written by fgait_jax"):
    load_network(copy)
  change(copy, config=config)
  whole = json.loads((copy / "config.json").read_text())
  (copy / "config.json").write_text(json.dumps({k: v for k, v in whole.items() if k not in ("people", "code")}))
  with pytest.raises(CheckpointError, match="copy/config.json lacks code, people: it is damaged"):
    load_network(copy)
  change(copy, code="1", format=99)
  with pytest.raises(CheckpointError, match="has format 99, this code reads format 1 alone"):
    load_network(copy)


def test_a_configuration_changed_by_hand_is_refused(copy):
  """Or embeddings would change under the same identity, which caches go by."""
  whole = json.loads((copy / "config.json").read_text())
  config = whole["config"]

  def with_model(**values):
    return {"config": config | {"model": config["model"] | values}}

  for values, message in (
    ({"config": config | {"augment": config["augment"] | {"width": 64}}}, "config or fine_tune is not what was"),
    ({"config": config | {"data": config["data"] | {"window_frames": 8}}}, "config or fine_tune is not what was writ"),
    (with_model(temporal_pooling="max"), "config or fine_tune is not what was written"),
    ({"fine_tune": {"dataset": "x", "settings": {}}}, "config or fine_tune is not what was written"),
    ({"fine_tune": {"dataset": "x"}}, "fine_tune.settings is None, expected a dict"),
    ({"started_from": {"learned": 3}}, "started_from.learned is 3, expected a dict"),
    ({"sources": {"walkers/train": {"kind": [1]}}}, r"sources.walkers/train is .* expected facts in words and numbers"),
    ({"sources": {"walkers/train": 1}}, "sources.walkers/train is 1"),
    ({"step": -5}, "step -5"),
    ({"identity": "a" * 256}, "identity aaa"),
    ({"config": config | {"data": config["data"] | {"clip_frames": 0}}}, "config.data.clip_frames, window_frames or"),
    ({"config": config | {"data": config["data"] | {"sets": 3}}}, "config.data.clip_frames, window_frames or sets"),
    (with_model(name=["transformer"]), r"config.model.name=\['transformer'\] is a network that this version"),
    (with_model(channels="1"), "its config has model.channels not or of another kind"),
    ({"config": config | {"model": None}}, "its config has model.attention_frames, .* not or of another kind"),
    ({"config": {k: v for k, v in config.items() if k != "augment"}}, "its config has augment.width not"),
    ({"sha256": None}, "sha256 is None, expected a str"),
    ({"people": ["001"]}, r"people is \['001'\], expected a dict"),
  ):
    change(copy, **values)
    with pytest.raises(CheckpointError, match=f"copy/config.json.*{message}"):
      load_network(copy)
    change(copy, **whole)
  (copy / "config.json").write_text("[" * 100_000)
  with pytest.raises(CheckpointError, match="copy/config.json cannot be read"):
    load_network(copy)


def test_arrays_that_do_not_fit_are_named(copy):
  arrays = safetensors.numpy.load_file(copy / "model.safetensors")
  name = "params/projector/fc1/kernel"
  rewrite(copy, arrays | {name: arrays[name][1:]})
  with pytest.raises(CheckpointError, match=rf"model.safetensors has {name} of shape \[30, .*expected \[31, "):
    load_network(copy)
  rewrite(copy, {k: v for k, v in arrays.items() if k != name})
  with pytest.raises(CheckpointError, match=f"model.safetensors lacks {name}"):
    load_network(copy)
  rewrite(copy, arrays | {"wings": np.zeros(2, np.float32)})
  with pytest.raises(CheckpointError, match="has wings, which the network of config.json has not"):
    load_network(copy)
  rewrite(copy, {k: v.astype(np.float16) for k, v in arrays.items()})
  with pytest.raises(CheckpointError, match=r"F16, expected F32 or BF16 \(float32 or bfloat16\)"):
    load_network(copy)
  rewrite(copy, arrays | {name: np.full_like(arrays[name], np.nan)})
  with pytest.raises(CheckpointError, match=f"has numbers in {name} that are not finite"):
    load_network(copy)


def test_it_has_no_student(folder):
  with pytest.raises(CheckpointError, match="mine holds one network, without its student; set config.network=teacher"):
    load_network(folder, which="student")


def test_a_name_that_is_neither_folder_nor_packaged_lists_what_there_is(tmp_path, monkeypatch, network):
  monkeypatch.setattr(weights, "PACKAGED", tmp_path / "package")
  weights.save(network, tmp_path / "package" / "some-walkers")
  assert load_network("some-walkers").identity == network.identity
  with pytest.raises(CheckpointError, match="there is no folder .*other-walkers; .*with the package .some-walkers."):
    load_network("other-walkers")


def test_the_card_says_what_is_recorded(folder):
  text = (folder / "README.md").read_text()
  assert text.startswith('---\nlibrary_name: "fgait_jax"\nlicense: "apache-2.0"\n')
  assert card.has_figures(text)
  for words in (
    "# mine", 'fgait_jax.load("mine")', "walkers (train), without labels",
    "| walkers/train | 120 | 5760 | synthetic walkers, no real people | made by this code |",
    "60.0** (50.0 to 70.0)", "rank-1 %, behind a baseline in CL 40.0 (raw GEI: 45.5)",
    "weakest in CL, rank-1 % 40.0", "not measured on real people",
    "No recording of a real person was learnt from.", "Nobody. 2026.",
  ):
    assert words in text, words


def test_the_network_on_changed_walks_is_no_baseline_that_is_ahead(network):
  result = result_of(network.identity)
  ahead = {"NM": {"rank1": 61.0, "ci": {}}, "CL": {"rank1": 50.0, "ci": {}}}
  result["rows"].append({"name": "reversed", "title": "network, time reversed", "figures": ahead, "control": True})
  text = card.write(network, name="mine", results=[parsed(result, origin="made up")], licence="")
  assert "behind a baseline in CL 40.0 (raw GEI: 45.5)\n" in text


def test_a_baseline_that_is_ahead_by_auc_alone_is_named(network):
  columns = [{"key": key, "title": title, "better": "higher", "interval": False}
             for key, title in (("rank1", "rank-1 %"), ("map", "mAP %"), ("auc", "AUC %"))]
  result = result_of(network.identity, columns=columns)
  for row, rank1, auc in zip(result["rows"], (70.0, 40.0), (80.0, 90.5), strict=False):
    row["figures"] = {"CL": {"rank1": rank1, "map": 100 - rank1, "auc": auc}}
  text = card.write(network, name="x", results=[parsed(result, origin="made up")], licence="")
  behind = [line.partition(", behind")[0].rpartition(", ")[2] for line in text.splitlines() if "behind a base" in line]
  assert behind == ["AUC %"]
  assert "behind a baseline in CL 80.0 (raw GEI: 90.5)" in text


def test_of_figures_that_are_better_low_the_baseline_that_is_lower_is_ahead(network):
  found = result_of(network.identity, columns=[{"key": "rank1", "title": "EER %", "better": "lower", "interval": True}])
  text = card.write(network, name="x", results=[parsed(found, origin="made up")], licence="")
  assert "EER %, behind a baseline in NM 60.0" in text  # 50.0 there; in CL 45.5 is higher than its 40.0
  assert "CL 40.0" not in text.partition("behind a baseline")[2].partition("\n")[0]


def test_the_card_names_the_corruption_that_hurts_most_at_the_hardest_severity(network):
  result = result_of(network.identity)
  result["severities"] = [5, 1]
  result["rows"][0]["robustness"] = {"rain": [40.0, 80.0], "fog": [30.0, 90.0], "snow": [None, 1.0]}
  for row in result["rows"][1:]:
    row.pop("robustness", None)
  text = card.write(network, name="mine", results=[parsed(result, origin="made up")], licence="")
  assert "worst under fog, rank-1 30.0 % at severity 5" in text


def test_the_card_tells_pretraining_from_fine_tuning(network):
  tuned = {"dataset": "walkers/train", "settings": {"target": "subject"}, "pretrained": 4000}
  for fine_tune, words in ((tuned, "steps of pretraining: 4,000, of fine-tuning after it: 7 "),
                           ({key: tuned[key] for key in ("dataset", "settings")}, "pretraining: not recorded, of"),
                           ({}, " 7 steps of training ")):
    of = dataclasses.replace(network, fine_tune=fine_tune, step=7)
    assert words in card.write(of, name="mine", results=[], licence=""), words


@pytest.mark.parametrize("changes", [
  {"imported_from": "DeepGaitV2.pt"},
  {"started_from": {"imported_from": "DeepGaitV2.pt", "learned": {"sets": {}}, "before": {}}},
  {"data": {"walkers/train": "a", "casia_b/train": "b"}},
], ids=["imported", "begun from imported", "not recorded"])
def test_people_are_not_ruled_out_where_what_was_learnt_from_is_not_recorded(network, changes):
  text = card.write(dataclasses.replace(network, **changes), name="mine", results=[], licence="")
  assert "No recording of a real person" not in text
  assert "The terms of the data above bind the weights too" in text


def test_figures_of_other_weights_are_not_taken_and_those_before_rounding_are_named(network, ended, tmp_path, capsys):
  results = tmp_path / "results"
  results.mkdir()
  (results / "other.json").write_text(json.dumps(result_of("somebody-480-teacher")))
  of_its_heads = result_of(network.identity)
  of_its_heads["checkpoint"]["embedding"] = "prediction"  # not what the card says that these weights give
  (results / "heads.json").write_text(json.dumps(of_its_heads))
  tuned = {"method": "full", "measure": "rank-1", "tried": []}  # its rows are of another network
  (results / "tuned.json").write_text(json.dumps(result_of(network.identity, task="fine_tune", fine_tuning=tuned)))
  words = [str(ended), "--out", str(tmp_path / "out"), "--results", str(results), "--dtype", "bfloat16"]
  assert publish.main(words) == 1
  said = capsys.readouterr().err
  assert f"error: {results} holds no result of the weights {network.identity}, and a card without figures" in said
  assert "Traceback" not in said
  assert not (tmp_path / "out").exists()
  assert publish.main([str(ended), "--out", str(ended), "--results", str(results)]) == 1
  said = capsys.readouterr().err
  assert f"--out={ended} is a run's folder, whose checkpoints and config.json these files would hide; give" in said
  (results / "own.json").write_text(json.dumps(result_of(network.identity)))
  assert publish.main([*words, "--without-heads", "--licence", "Apache-2.0"]) == 0
  text = (tmp_path / "out" / "README.md").read_text()
  assert 'license: "apache-2.0"' in text
  assert "Measured before the weights were rounded to bfloat16: Zero-shot recognition on walkers." in text
  assert "begins with it begins these anew. Fine-tuning reads its pooled parts: `config.fine_tune.reads=discr" in text
  assert "; the card has the figures of own.json" in capsys.readouterr().out


@pytest.mark.parametrize("theirs", ["README.md", "config.json", "model.safetensors"])
def test_files_of_something_else_are_not_replaced(network, ended, tmp_path, capsys, theirs):
  (tmp_path / theirs).write_text("{}")
  words = [str(ended), "--out", str(tmp_path), "--results", str(tmp_path)]
  assert publish.main(words) == 1
  assert f"--out={tmp_path} holds {theirs} of something else, which would be lost" in capsys.readouterr().err
  assert fit_discriminant.main([str(ended), "--out", str(tmp_path)]) == 1
  assert f"--out={tmp_path} holds {theirs} of something else, which would be lost" in capsys.readouterr().err
  assert (tmp_path / theirs).read_text() == "{}"
  assert weights.identity_in(ended) is None


def test_weights_of_another_run_are_not_replaced(network, tmp_path):
  publish.write(network, tmp_path / "own")
  assert weights.identity_in(tmp_path / "own") == network.identity
  publish.refuse_others(tmp_path / "own", network.identity)
  run, *_ = network.identity.split("-")
  publish.refuse_others(tmp_path / "own", f"{run}-9000-teacher-bfloat16")
  with pytest.raises(CheckpointError, match=f"own holds the weights {network.identity}, of another run than 0f-4-teac"):
    publish.refuse_others(tmp_path / "own", "0f-4-teacher")


def test_heads_stay_until_the_discriminant_is_learnt(network, tmp_path):
  stats = network.stats | {"discriminant": jax.tree.map(np.zeros_like, network.stats["discriminant"])}
  untaught = dataclasses.replace(network, stats=stats)
  with pytest.raises(CheckpointError, match="its discriminant is not learnt yet, so its heads cannot be left out"):
    weights.save(untaught, tmp_path, heads=False)


def test_a_run_leaves_its_weights(ended, network, capsys):
  publish.at_end(configuration(), str(ended))
  assert load_network(ended / "weights").identity == network.identity
  text = (ended / "weights" / "README.md").read_text()
  assert not card.has_figures(text)
  assert "None are recorded yet" in text
  assert "weights     in" in capsys.readouterr().out


def test_weights_restore_onto_a_mesh_that_cuts_them(network, folder):
  mesh = make_mesh(data=2, fsdp=4, devices=jax.devices())
  for name, array in flat(load_network(folder, mesh=mesh)).items():
    np.testing.assert_array_equal(array, flat(network)[name], err_msg=name)
