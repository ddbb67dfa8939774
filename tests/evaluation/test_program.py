"""The tasks on a checkpoint, with a stand-in for the network: what is written, cached, frozen and refused."""

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, ConfigError, DataError, RunError
from fgait_jax.evaluation import program, protocols, provenance, results, setup
from fgait_jax.evaluation.features import controls, corruption, extraction
from fgait_jax.evaluation.report import tables
from fgait_jax.evaluation.tasks import linear_probe
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import folders
from fgait_jax.training.pretrained import Pretrained
from tests.evaluation.conftest import content

TYPES = ("nm-01", "nm-02", "nm-03", "cl-03")


class Walks:
  """Two views of each type of a few subjects, whose width is who they are."""

  def __init__(self, name="walkers/test", subjects=6, first=0, kind="synthetic"):
    rows = [(s, t, v) for s in range(first, first + subjects) for t in TYPES for v in ("000", "090")]
    self.name = name
    self.manifest = {"name": "walkers", "kind": kind, "content_hash": "d" * 64}
    self.who = np.array([s for s, *_ in rows])
    self.subjects = np.array([f"{s:03d}" for s in self.who])
    self.conditions = np.array([t for _, t, _ in rows])
    self.views = np.array([v for *_, v in rows])
    self.keys = np.array([f"{i}" for i in range(len(rows))])
    self.num_frames = np.full(len(rows), 12, np.int32)
    self.attributes = {"tall": np.where(self.who % 2, 1.0, 0.0), "empty": np.full(len(rows), np.nan)}

  def __len__(self):
    return len(self.who)

  def frames(self, i, indices=None):
    rng = np.random.default_rng(int(self.who[i]) * 1000 + i)
    walk = np.zeros((12, 64, 64, 1), np.uint8)
    walk[:, :, 32 - self.who[i] - 1 : 33 + self.who[i], :] = 255
    walk[:, rng.integers(0, 64, 4)] = rng.integers(0, 255)
    return walk[indices]


@dataclasses.dataclass
class Output:
  prediction: object
  projection: object
  pooled: object


class Network:
  """Embeds a walk as its column sums; counts its calls."""

  embedding = Pretrained.embedding

  def __init__(self, trained=True):
    self.config = defaults.pretrain()
    with self.config.unlocked():
      self.config.student.masked_fractions = (0.0,)
    self.params, self.stats = {"projector": np.ones((2, 2), np.float32)}, {"mean": np.zeros(2, np.float32)}
    self.step, self.identity = (400, "run-400-teacher") if trained else (0, "untrained")
    self.mesh, self.data, self.fine_tune, self.stride = make_mesh(), {"walkers": "d" * 64}, {}, 1
    self.people = {"walkers": ["100", "101"]}
    self.trained, self.calls = trained, 0

    self.imported_from, self.started_from = "", {}

  def embed(self, frames, valid):
    self.calls += 1
    columns = jnp.asarray(frames, jnp.float32)[:, 0, :, :, 0].reshape(len(frames), 4, 16, 64).mean(2) / 255
    return Output(columns if self.trained else columns[:, ::-1] + 5, columns, columns)


@pytest.fixture
def world(monkeypatch):
  """The networks and splits that the program will find."""
  networks = {True: Network(), False: Network(trained=False)}
  splits = {"test": Walks(), "train": Walks("walkers/train", first=6)}

  def open_split(folder, name, split):
    if split not in splits:
      raise DataError(f"{folder}/{name} has no split {split!r}")
    return splits[split]

  monkeypatch.setattr(setup, "open_split", open_split)
  monkeypatch.setattr(linear_probe, "open_split", open_split)
  monkeypatch.setattr(setup, "load_network", lambda path, *, mesh, which="teacher", trained=True: networks[trained])
  return networks, splits


def config_of(task="zero_shot", **values):
  config = defaults.evaluation()
  config.unlock()
  config.task, config.checkpoint, config.bootstrap, config.pictures, config.max_frames = task, "runs/x", 20, 0, 12
  config.controls = False
  config.update_from_flattened_dict(values)
  return config.lock()


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
  extraction.code.cache_clear()
  monkeypatch.setattr(extraction.fgait_jax, "__version__", "99")
  assert calls_of("newer") == once
  extraction.code.cache_clear()


def test_robustness_embeds_the_clean_walks_once_and_keeps_every_severity(world, tmp_path):
  values = {"robustness.types": ("occlusion", "sampling"), "robustness.severities": (1, 5)}
  (path,) = program.run(config_of("robustness", **values), tmp_path)
  found = content(path)
  assert path.name == "robustness-walkers-probe.json"
  assert [row["name"] for row in found["rows"]] == ["model", "untrained", "row_bands", "raw_gei"]
  model = found["rows"][0]
  assert model["clean"] == 100
  assert set(model["robustness"]) == {"occlusion", "sampling"}
  assert found["severities"] == [1, 5]
  assert len(model["robustness"]["occlusion"]) == 2
  assert model["robustness"]["sampling"] == [100, 100]  # these walks stand still
  figures = model["figures"]
  assert figures["occlusion"]["rank1"] == pytest.approx(np.mean(model["robustness"]["occlusion"]))
  assert figures["mean"]["relative"] == pytest.approx(
    np.mean([v for values in model["robustness"].values() for v in values]))
  low, high = figures["occlusion"]["ci"]["relative"]
  assert low <= figures["occlusion"]["relative"] <= high
  assert len(list((tmp_path / "features").glob("*.npz"))) == 2  # clean walks, of two networks
  networks, _ = world
  calls = networks[True].calls
  program.run(config_of("zero_shot"), tmp_path)
  assert networks[True].calls == calls


GALLERY, PROBES = {"nm-01", "nm-02"}, {"nm-03", "cl-03"}


@pytest.mark.parametrize("side,types", [("probe", PROBES), ("gallery", GALLERY), ("both", GALLERY | PROBES)])
def test_the_side_that_was_asked_for_is_corrupted(world, monkeypatch, tmp_path, side, types):
  made = []

  class Noise:
    """Rows of a split whose frames are noise: whoever meets them is found by chance."""

    def __init__(self, split, rows, **how):
      self.name = f"{split.name} {how['kind']}"
      for name in ("subjects", "conditions", "views", "keys", "num_frames"):
        setattr(self, name, getattr(split, name)[rows])
      made.append(self)

    def __len__(self):
      return len(self.subjects)

    def frames(self, i, indices=None):
      return np.random.default_rng(i).integers(0, 255, (len(indices), 64, 64, 1), np.uint8)

  monkeypatch.setattr(corruption, "CorruptedSplit", Noise)
  values = {"robustness.types": ("occlusion",), "robustness.severities": (5,), "robustness.corrupt": side}
  (path,) = program.run(config_of("robustness", **values), tmp_path)
  assert path.name == f"robustness-walkers-{side}.json"
  assert all(set(split.conditions) == types for split in made)
  for row in content(path)["rows"]:
    assert row["clean"] > 2 * row["figures"]["occlusion"]["rank1"]


def test_part_of_the_walks_is_corrupted(world, tmp_path):
  values = {"robustness.types": ("occlusion",), "robustness.severities": (5,), "baselines": False}
  (path,) = program.run(config_of("robustness", **values, **{"robustness.max_sequences": 32}), tmp_path / "part")
  assert any("On 32 walks of 4 subjects" in note for note in content(path)["notes"])
  (path,) = program.run(config_of("robustness", **values), tmp_path)
  assert not any("On " in note for note in content(path)["notes"])


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
  assert set(found["comparison"]) == {"NM", "CL"}
  assert found["comparison"]["CL"]["rank1"]["subjects"] == 6


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
  assert [row["centred"] for row in found["rows"]] == ["none"] * 4 + ["condition"] * 4 + ["none", "condition"]
  assert not (tmp_path / "features").exists()
  assert any("which condition each walk comes from" in note for note in found["notes"])


def test_the_probe_learns_subjects_from_the_gallery_and_leaves_the_network_alone(world, tmp_path):
  (path,) = program.run(config_of("linear_probe"), tmp_path)
  found = content(path)
  assert [row["name"] for row in found["rows"]] == ["model", "untrained", "raw_gei", "chance"]
  assert set(found["rows"][0]["figures"]) == {"NM", "CL"}
  assert found["rows"][0]["figures"]["CL"]["accuracy"] > 75
  assert found["rows"][-1]["figures"]["CL"]["accuracy"] == pytest.approx(100 / 6)
  assert found["frozen"]["unchanged"] is True
  for row in found["rows"][:-1]:  # each by itself, from the same penalties
    assert row["penalty"] == float(min(row["tried"], key=row["tried"].get))
  assert any(note.startswith("Logistic regression to convergence; L2 penalties, each by") for note in found["notes"])
  config = config_of("linear_probe", **{"linear_probe.train_conditions": ("cl-03",)})
  with pytest.raises(ConfigError, match=r"walkers-subject.json is there .*\n  config.linear_probe.train_conditions"):
    program.run(config, tmp_path)
  (path,) = program.run(config, tmp_path / "cl")
  assert set(content(path)["rows"][0]["figures"]) == {"nm-01", "nm-02", "nm-03"}


def test_a_network_that_changes_under_the_probe_is_an_error(world, tmp_path):
  networks, _ = world
  embed = networks[True].embed

  def drifting(frames, valid):
    networks[True].stats["mean"] += 1e-6
    return embed(frames, valid)

  networks[True].embed = drifting
  with pytest.raises(RuntimeError, match="frozen network changed"):
    program.run(config_of("linear_probe"), tmp_path)


def test_an_attribute_is_learnt_from_other_people(world, tmp_path):
  (path,) = program.run(config_of("linear_probe", **{"linear_probe.target": "tall"}), tmp_path)
  assert path.name == "linear_probe-walkers-tall.json"
  found = content(path)
  assert found["title"] == "Linear probe of tall on walkers"
  assert found["rows"][-1]["figures"]["all"]["accuracy"] == 50
  _, splits = world
  splits["train"] = Walks("walkers/train", first=5)
  with pytest.raises(ConfigError, match=r"share 1 subjects \(005, ...\): what is learnt would know"):
    program.run(config_of("linear_probe", **{"linear_probe.target": "tall"}), tmp_path)


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
  with pytest.raises(ConfigError, match="frames of 1 channels, the network of runs/x was pretrained on 2"):
    program.run(config_of(), tmp_path)


def test_a_missing_checkpoint_is_named(monkeypatch, tmp_path):
  monkeypatch.setattr(setup, "open_split", lambda *_: Walks())
  with pytest.raises(CheckpointError, match="absent"):
    program.run(config_of(checkpoint=str(pathlib.Path(tmp_path) / "absent")), tmp_path)
