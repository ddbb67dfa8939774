"""The tasks on a checkpoint, with a stand-in for the network: what is written, cached and refused."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, ConfigError, DataError, RunError
from fgait_jax.evaluation import program, protocols, setup
from fgait_jax.evaluation.features import baselines, controls, extraction
from fgait_jax.training import folders
from tests.evaluation.conftest import content
from tests.evaluation.stand_in import TYPES, Walks, config_of


def test_zero_shot_writes_everything_a_table_needs(world, tmp_path):
  (path,) = program.run(config_of(pictures=1, controls=True), tmp_path)
  assert path == tmp_path / "zero_shot-walkers.json"
  found = content(path)
  assert [row["name"] for row in found["rows"]] == [
    "model", "untrained", "row_bands", "raw_gei", "shuffled", "reversed", "one_frame", "mean_silhouette", "chance"]
  assert found["rows"][4]["title"] == "network, frames shuffled"
  assert [row["name"] for row in found["rows"] if row.get("control")] == list(controls.TITLES)
  assert found["rows"][7]["embeddings"] == found["rows"][0]["embeddings"]  # these walks are one picture each
  assert any(note.startswith("Effective rank of the embeddings, mean over parts: model ") for note in found["notes"])
  assert found["rows"][0]["title"] == "transformer tiny, 400 steps"
  model = found["rows"][0]["figures"]["CL"]
  assert model["rank1"] == 100
  assert set(model["ci"]) >= {"rank1", "auc"}
  # One gallery view of 6 subjects x 2 walks: a random nearest neighbour is right one time in six.
  chance = found["rows"][-1]["figures"]["CL"]
  assert chance["rank1"] == pytest.approx(100 / 6)
  assert chance["auc"] == chance["eer"] == 50
  assert 0 <= model["eer"] <= 50
  assert any(note.startswith("Hubness of the model") for note in found["notes"])
  assert "The network centres walks and turns them to face one way." in found["notes"]
  assert not any(note.startswith("Published") for note in found["notes"])
  assert found["data"] == {"name": "walkers", "split": "test", "kind": "synthetic", "walks": 48, "subjects": 6,
                           "content_hash": "d" * 64, "one_frame": 0}
  assert found["checkpoint"]["identity"] == "run-400-teacher"
  assert found["pretraining"] == {
    "datasets": ["walkers (train)"], "label_use": "without labels", "content_hashes": {"walkers": "d" * 64},
    "steps": 400,
    "evaluated_data_among_them": True, "evaluated_split_among_them": False, "evaluated_people_among_them": 0}
  assert found["config"]["metric"] == "euclidean"
  assert found["pictures"] == ["neighbours-walkers.png"]
  assert (tmp_path / "neighbours-walkers.png").stat().st_size > 10_000
  assert {"effective_rank", "mean_cosine"} <= set(found["rows"][0]["embeddings"])


def test_controls_without_motion_are_as_long_as_the_network_sees_at_once(world, tmp_path, monkeypatch):
  networks, _ = world
  with networks[True].config.unlocked():
    networks[True].config.model.attention_frames = 6
  asked, controlled = [], controls.controlled
  monkeypatch.setattr(controls, "controlled", lambda *walks, still_frames, **options: asked.append(still_frames)
                      or controlled(*walks, still_frames=still_frames, **options))
  program.run(config_of(controls=True), tmp_path)
  assert asked == [6] * len(controls.TITLES)


def test_embeddings_are_extracted_once_for_all_tasks(world, tmp_path):
  networks, _ = world
  program.run(config_of(), tmp_path)
  calls = networks[True].calls
  assert calls > 0
  program.run(config_of("linear_probe"), tmp_path)
  cache = str(tmp_path / "features")
  program.run(config_of(metric="cosine", cache=cache), tmp_path / "cosine")
  assert networks[True].calls == calls
  program.run(config_of(embedding="pooled", baselines=False, cache=cache), tmp_path / "pooled")
  assert networks[True].calls > calls
  assert len(list((tmp_path / "features").glob("*.npz"))) == 3


def test_embeddings_of_other_frames_or_other_code_are_made_anew(world, monkeypatch, tmp_path):
  networks, _ = world
  cache = str(tmp_path / "features")

  def calls_of(out, **values):
    before = networks[True].calls
    program.run(config_of(baselines=False, cache=cache, **values), tmp_path / out)
    return networks[True].calls - before

  once = calls_of("plain")
  assert once > 0
  assert calls_of("same") == 0
  assert calls_of("mirrored", mirror_views=("090",)) == once
  assert calls_of("shorter", max_frames=6) > 0
  assert calls_of("again", mirror_views=("090",)) == 0
  networks[True].stride = 4  # of untrained networks of one model neither this nor the width is in the name
  assert calls_of("other clips") == once
  with networks[True].config.unlocked():
    networks[True].config.augment.width = 64
  assert calls_of("other columns") == once
  extraction.code.cache_clear()
  monkeypatch.setattr(extraction.fgait_jax, "__version__", "99")
  assert calls_of("newer") == once
  extraction.code.cache_clear()


def test_walks_that_were_cut_are_said_to_be(world, tmp_path):
  for frames, said in ((6, True), (720, False)):
    (path,) = program.run(config_of(baselines=False, max_frames=frames), tmp_path / str(frames))
    notes = json.loads(path.read_text())["notes"]
    assert ("Of each walk its first 6 frames alone (config.max_frames)." in notes) == said


def test_a_result_from_before_a_key_is_not_replaced(world, tmp_path, monkeypatch):
  """Of what the key was then, only `defaults.EARLIER` can tell."""
  (path,) = program.run(config_of(baselines=False), tmp_path)
  found = json.loads(path.read_text())
  del found["config"]["metric"]
  path.write_text(json.dumps(found))
  with pytest.raises(ConfigError, match="config.metric: 'absent' there, 'euclidean' here"):
    program.run(config_of(baselines=False), tmp_path)
  monkeypatch.setattr(defaults, "EARLIER", {"metric": "euclidean"})
  program.run(config_of(baselines=False), tmp_path)


@pytest.mark.parametrize("task", ["zero_shot", "linear_probe", "robustness"])
def test_a_later_step_of_the_run_does_not_replace_the_result_of_an_earlier_one(world, tmp_path, task):
  values = {"baselines": False, "robustness.types": ("freeze",), "robustness.severities": (1,)}
  program.run(config_of(task, **values), tmp_path)
  program.run(config_of(task, checkpoint="./runs/x", **values), tmp_path)  # the same weights, named otherwise
  trained = world[0][True]
  trained.identity, calls = "run-800-teacher", trained.calls
  with pytest.raises(ConfigError, match="run-400-teacher there, run-800-teacher here\nGive another --out"):
    program.run(config_of(task, **values), tmp_path)
  assert trained.calls == calls


def test_two_evaluations_at_once_do_not_write_one_file(world, tmp_path):
  """Each would find nothing in the way when it begins, and replace the other's result when it ends."""
  with folders.locked(tmp_path, ".zero_shot-walkers.json.lock"):
    with pytest.raises(RunError, match=r"is being written by another run \(process \d+ on .*of run_eval.py: --out"):
      program.run(config_of(baselines=False), tmp_path)
    program.run(config_of("embed", cache="off"), tmp_path)  # another file
  assert not world[0][False].calls
  program.run(config_of(baselines=False), tmp_path)


def test_embeddings_are_written_with_what_made_them(world, tmp_path):
  (path,) = program.run(config_of("embed", cache="off"), tmp_path)
  assert path == tmp_path / "embeddings.npz"
  with np.load(path) as file:
    assert file["embeddings"].shape == (48, 64, 4)
    assert set(file.files) >= {"labels", "types", "views", "keys"}
    assert '"weights": "run-400-teacher"' in str(file["identity"])
  with pytest.raises(ConfigError, match="embeddings.npz is there already; give another --out"):
    program.run(config_of("embed"), tmp_path)


def test_what_was_embedded_can_be_identified(world, tmp_path):
  _, splits = world
  splits["validation"] = Walks("walkers/validation", subjects=4, first=20)
  for name, split in (("known", "test"), ("strangers", "validation")):
    program.run(config_of("embed", split=split, cache="off"), tmp_path / name)
  files = {side: str(tmp_path / name / "embeddings.npz") for side, name in (
    ("probes", "known"), ("gallery", "known"), ("validation", "strangers"))}
  program.run(config_of("identify", checkpoint="", **files), tmp_path)
  found = content(tmp_path / "identify.json")
  assert found["rows"][0]["figures"]["probes"]["rank1"] == 100
  assert found["pretraining"]["content_hashes"] == {"walkers": "d" * 64}
  assert found["threshold"]["impostors"] == 32
  assert (tmp_path / "identify.csv").read_text().count("\n") == 1 + 48 * 5


def test_two_results_are_compared(world, tmp_path):
  program.run(config_of(baselines=False), tmp_path)
  config = config_of("compare", checkpoint="", **{
    "compare.first": str(tmp_path), "compare.second": str(tmp_path / "zero_shot-walkers.json"),
    "compare.resamples": 100})
  (path,) = program.run(config, tmp_path)
  found = content(path)
  assert set(found["comparison"]) == {"NM", "CL", "mean"}
  assert found["comparison"]["CL"]["rank1"]["subjects"] == 6


def test_published_figures_stand_in_the_notes_and_what_a_network_does_not_do_is_not_said(
  world, monkeypatch, tmp_path
):
  with world[0][True].config.unlocked():
    world[0][True].config.model.facing = False
  record = dataclasses.replace(protocols.get("walkers"), published="100 % (Somebody, 1999)")
  monkeypatch.setattr(protocols, "get", lambda name: record)
  notes = content(program.run(config_of(), tmp_path)[0])["notes"]
  assert "Published: 100 % (Somebody, 1999)." in notes
  assert not any("face one way" in note for note in notes)


def test_a_file_in_the_place_of_the_folder_is_said_before_any_work(world, tmp_path):
  (tmp_path / "f").write_text("x")
  with pytest.raises(ConfigError, match=r"--out=.*f/deep cannot be written .*f is a file.; give another folder"):
    program.run(config_of(), tmp_path / "f" / "deep")
  assert not world[0][True].calls


@pytest.mark.parametrize("processes,variables,message", [
  (4, {}, "runs in one process, .*; found 4 processes"),
  (1, {"SLURM_STEP_NUM_TASKS": "8"}, r"found a launcher of several processes \(SLURM_STEP_NUM_TASKS=8\)"),
])
def test_several_processes_are_refused(world, monkeypatch, tmp_path, processes, variables, message):
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  monkeypatch.setattr(setup.jax, "process_count", lambda: processes)
  with pytest.raises(ConfigError, match=message):
    program.run(config_of(), tmp_path)


def test_centred_figures_are_added_and_named(world, tmp_path):
  (path,) = program.run(config_of(centre_by="condition", cache="off"), tmp_path)
  found = content(path)
  systems = 2 + len(baselines.UNLEARNT)  # the network, trained and not
  assert [row["centred"] for row in found["rows"]] == [
    *["none"] * systems, *["condition"] * systems, "none", "condition"]
  assert not (tmp_path / "features").exists()
  assert any("which condition each walk comes from" in note for note in found["notes"])


@pytest.mark.parametrize("error,message,task,values", [
  (ConfigError, "config.task is 'zeroshot'; did you mean 'zero_shot'", "zeroshot", {}),
  (ConfigError, "config.checkpoint is empty", "zero_shot", {"checkpoint": ""}),
  (ConfigError, r"unknown protocol 'casia-b'; config.protocol is one of casia_b,", "zero_shot",
   {"protocol": "casia-b"}),
  (ConfigError, "config.protocol=scoliosis1k scores classes", "zero_shot", {"protocol": "scoliosis1k"}),
  (ConfigError, "config.protocol=grew gives no figures: .* server. Embed .* --config.protocol=grew", "zero_shot",
   {"protocol": "grew"}),
  (ConfigError, "config.protocol=hid gives no figures", "robustness", {"protocol": "hid"}),
  (DataError, "built/walkers: unknown types: .*wants types d1", "zero_shot", {"protocol": "kth"}),
  (DataError, "built/walkers: unknown types: .*casia_b wants", "linear_probe", {"protocol": "casia_b"}),
  (ConfigError, "config.embedding is 'predictor'; known: prediction", "zero_shot", {"embedding": "predictor"}),
  (ConfigError, "is 'recognition', but the network of runs/x was not fine-tuned", "zero_shot",
   {"embedding": "recognition"}),
  (ConfigError, "config.centre_by is 'camera'; known:", "zero_shot", {"centre_by": "camera"}),
  (ConfigError, "config.centre_by='view', but task robustness has no centred rows; .* fine_tune, score, zero_shot",
   "robustness", {"centre_by": "view"}),
  (ConfigError, "config.metric", "zero_shot", {"metric": "manhattan"}),
  (ConfigError, "config.max_frames=0", "zero_shot", {"max_frames": 0}),
  (ConfigError, "config.pictures=-1 must be 0 or more", "zero_shot", {"pictures": -1}),
  (ConfigError, "config.linear_probe.iterations=0", "linear_probe", {"linear_probe.iterations": 0}),
  (ConfigError, "config.linear_probe.validation_fraction=0.0 keeps back none", "linear_probe",
   {"linear_probe.validation_fraction": 0.0}),
  (ConfigError, "config.linear_probe.validation_fraction=0.0 keeps back none", "linear_probe",
   {"linear_probe.validation_fraction": 0.0, "linear_probe.target": "tall"}),
  (DataError, "has no split 'val'", "zero_shot", {"split": "val"}),
  (ConfigError, r"config.linear_probe.target is 'sex'; .* attributes \['empty', 'tall'\]", "linear_probe",
   {"linear_probe.target": "sex"}),
  (DataError, "'empty' is given for 0 walks", "linear_probe", {"linear_probe.target": "empty"}),
  (ConfigError, r"train_conditions names \['nm'\]; walkers has \['cl-03', 'nm-01'", "linear_probe",
   {"linear_probe.train_conditions": ("nm",)}),
  (ConfigError, "config.robustness.types names 'hail'; known: gaussian_noise", "robustness",
   {"robustness.types": ("hail",)}),
  (ConfigError, "config.robustness.severities names 0; known: 1, 2", "robustness", {"robustness.severities": (0,)}),
  (ConfigError, "config.robustness.types names one twice", "robustness", {"robustness.types": ("fog", "fog")}),
  (ConfigError, "config.robustness.corrupt is 'gallary'; known: probe, gallery, both", "robustness",
   {"robustness.corrupt": "gallary"}),
  (DataError, "no walks left to test the probe on", "linear_probe", {"linear_probe.train_conditions": TYPES}),
])
def test_what_cannot_be_evaluated_is_said_in_words(world, tmp_path, error, message, task, values):
  networks, _ = world
  with pytest.raises(error, match=message):
    program.run(config_of(task, **values), tmp_path)
  assert not networks[True].calls  # said before anything is embedded
  assert not list(tmp_path.glob("*.json"))


def test_frames_of_another_modality_are_refused(world, tmp_path):
  networks, _ = world
  with networks[True].config.unlocked():
    networks[True].config.model.channels = 2
  with pytest.raises(ConfigError, match="does not fit runs/x: frames are silhouettes of 1 channel, .* of 2"):
    program.run(config_of(), tmp_path)


def test_a_missing_checkpoint_is_named(monkeypatch, tmp_path):
  monkeypatch.setattr(setup, "open_split", lambda *_: Walks())
  with pytest.raises(CheckpointError, match="absent"):
    program.run(config_of(checkpoint=str(pathlib.Path(tmp_path) / "absent")), tmp_path)
