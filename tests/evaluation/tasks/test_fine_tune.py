"""Fine-tuning from a real checkpoint of the test-size network to result file, embeddings and checkpoint."""

import dataclasses
import json
import os
import signal
import types

import jax
import numpy as np
import pytest

from configs import baselines
from fgait_jax import defaults
from fgait_jax.data.held_out import Parts
from fgait_jax.errors import CheckpointError, ConfigError, DataError
from fgait_jax.evaluation import provenance, results, setup
from fgait_jax.evaluation.features import extraction, files
from fgait_jax.evaluation.tasks import fine_tune, linear_maps, score, zero_shot
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints, fine_tuning, state
from fgait_jax.training.session import Stopped
from tests.evaluation.conftest import content

TYPES = ("nm-01", "nm-03", "cl-03")
FRAMES = 4


class Walks:
  """Bodies of two views and three types; who walks is in their widths, row band by row band, and in the feet which walk
  it is."""

  def __init__(self, name, people):
    rows = [(s, t, v) for s in people for t in TYPES for v in ("000", "090")]
    self.name = name
    self.manifest = {"name": "walkers", "kind": "synthetic", "content_hash": "e" * 64}
    self.who = np.array([s for s, *_ in rows])
    self.subjects = np.array([f"{s:03d}" for s in self.who])
    self.conditions = np.array([t for _, t, _ in rows])
    self.views = np.array([v for *_, v in rows])
    self.keys = np.array([f"{s}/{t}/{v}" for s, t, v in rows])
    self.num_frames = np.full(len(rows), FRAMES, np.int32)
    self.attributes = {"wide": (self.who % 2).astype(np.float32), "empty": np.full(len(rows), np.nan)}

  def __len__(self):
    return len(self.who)

  def frames(self, i, indices=None):
    rng = np.random.default_rng(int(self.who[i]))
    widths = np.repeat(rng.integers(3, 9, 16) + 8 * (self.who[i] % 2), 4)
    widths[-4:] += i % len(TYPES)
    body = np.abs(np.arange(64) - 31 - (i % 3))[None] < widths[:, None]
    walk = np.repeat(255 * body[None, ..., None].astype(np.uint8), FRAMES, axis=0)
    return walk if indices is None else walk[indices]


@pytest.fixture
def world(monkeypatch):
  """Small splits of different people, on one device."""
  splits = {"train": Walks("walkers/train", range(10, 20)), "test": Walks("walkers/test", range(4))}

  def open_split(folder, name, split):
    return splits[split]

  for module in (setup, fine_tune, linear_maps):
    monkeypatch.setattr(module, "open_split", open_split)
  monkeypatch.setattr(setup, "make_mesh", lambda: make_mesh(devices=jax.devices()[:1]))
  return splits


def config_of(checkpoint, **values):
  config = defaults.evaluation()
  config.unlock()
  config.task, config.checkpoint, config.bootstrap, config.pictures = "fine_tune", str(checkpoint), 100, 0
  config.batch_frames, config.baselines = 64, False
  c = config.fine_tune
  c.subjects, c.per_subject, c.clip_frames, c.window_frames, c.crop_list = 4, 2, FRAMES, FRAMES, ()
  c.steps, c.validate_every, c.log_every, c.threads = 16, 8, 2, 1
  c.augment.update({step: 0.0 for step in c.augment if step != "width"})
  c.optim.warmup_steps = 0
  config.update_from_flattened_dict(values)
  return config.lock()


def test_identities_are_learned_chosen_on_others_and_tested_on_yet_others(run_folder, world, tmp_path, monkeypatch):
  taught = []
  monkeypatch.setattr(fine_tuning, "batches", _listening(fine_tuning.batches, taught))
  config = config_of(run_folder, baselines=True, **{"fine_tune.rates": (1.0, 0.01)})
  (path,) = fine_tune.run(config, tmp_path)
  assert path == tmp_path / "fine_tune-walkers-subject.json"
  found = content(path)
  assert [row["name"] for row in found["rows"]] == ["model", "zero_shot", "row_bands", "raw_gei"]
  assert set(found["rows"][0]["figures"]) == {"NM", "CL"}
  assert {"rank1", "map", "ci"} <= set(found["rows"][0]["figures"]["CL"])
  about = found["fine_tuning"]
  first, second = about["tried"]
  assert first["curve"][-1]["loss"] < first["curve"][0]["loss"] - 0.1
  assert first["curve"][-1]["loss"] < second["curve"][-1]["loss"]
  assert [line["step"] for line in first["curve"] if "validation" in line] == [8, 16]
  best = max(t["score"] for t in about["tried"])
  assert about["chosen"] in [{"factor": t["factor"], "step": t["best_step"]} for t in about["tried"]
                             if t["score"] == best]
  # Whom the network learnt from: neither a test person nor one of those kept back.
  parts = fine_tune._task(setup.prepare(config, tmp_path)).parts
  kept = set(world["train"].subjects[parts.validation])
  assert len(kept) == 2
  assert set(taught) == set(world["train"].subjects) - kept
  assert not set(taught) & set(world["test"].subjects)
  assert about["subjects"] == {"fit": 8, "validation": 2, "taught": 8}
  # The file of embeddings scores to the same figures; the checkpoint is one like any other.
  scored = score.score(tmp_path / "fine_tune-walkers-subject.npz", protocol="walkers", bootstrap=0)
  assert scored["conditions"]["CL"]["rank1"] == found["rows"][0]["figures"]["CL"]["rank1"]
  one = make_mesh(devices=jax.devices()[:1])
  tuned = checkpoints.load_network(tmp_path / "fine_tune-walkers-subject", mesh=one)
  before = checkpoints.load_network(run_folder, mesh=one)
  assert tuned.identity.startswith(about["identity"])
  asked = config_of(tmp_path / "fine_tune-walkers-subject", task="zero_shot", baselines=False)
  again = content(zero_shot.run(asked, tmp_path / "again")[0])  # what the head compares, and nothing else
  assert again["checkpoint"]["embedding"] == "recognition"
  _, origin = files.load(tmp_path / "fine_tune-walkers-subject.npz")  # says what the network says of itself
  assert (origin["weights"], origin["embedding"]) == (tuned.identity, "recognition")
  assert origin["pretraining"]["label_use"] == again["pretraining"]["label_use"]
  for condition, figures in found["rows"][0]["figures"].items():
    assert again["rows"][0]["figures"][condition]["map"] == pytest.approx(figures["map"])
  difference = jax.tree.map(lambda a, b: float(np.abs(a - b).max()),
                            {module: tuned.params[module] for module in before.params}, before.params)
  assert max(jax.tree.leaves(difference["encoder"])) > 0
  assert max(jax.tree.leaves(difference["predictor"])) == 0


def test_an_attribute_is_learned_by_the_head_alone(run_folder, world, tmp_path):
  world["train"].name = "kth/train"
  config = config_of(run_folder, baselines=True, **{
    "dataset": "kth", "fine_tune.target": "wide", "fine_tune.method": "head", "fine_tune.refit": True,
    "fine_tune.optim.peak_rate": 0.05})
  (path,) = fine_tune.run(config, tmp_path)
  found = content(path)
  assert [row["name"] for row in found["rows"]] == ["model", "linear_probe", "raw_gei", "chance"]
  model = found["rows"][0]["figures"]["all"]
  assert {"accuracy", "precision", "recall", "f1", "auc", "ci"} <= set(model)
  assert set(model["classes"]) == {"0", "1"}
  assert {"sensitivity", "specificity"} <= set(model["classes"]["1"])
  assert np.sum(model["confusion"]["true_by_predicted"]) == len(world["test"])
  assert found["rows"][-1]["figures"]["all"]["accuracy"] == 50
  assert all(row["penalty"] == float(min(row["tried"], key=row["tried"].get)) for row in found["rows"][1:3])
  curve = found["fine_tuning"]["tried"][0]["curve"]
  assert curve[-1]["loss"] < curve[0]["loss"]
  assert found["fine_tuning"]["subjects"]["taught"] == 10
  tuned = checkpoints.load_network(tmp_path / "fine_tune-kth-wide", mesh=make_mesh(devices=jax.devices()[:1]))
  before = checkpoints.load_network(run_folder, mesh=tuned.mesh)
  jax.tree.map(np.testing.assert_array_equal, (tuned.params, tuned.stats), (before.params, before.stats))
  assert setup.embedding_of(config, tuned) == "projection"  # the layer below what was learnt; the predictor is not
  seen = provenance.seen_by(tuned, config, world["test"])
  assert seen.label_use == "without labels, then fine-tuned for wide on kth (train)"
  assert (seen.evaluated_data_among_them, seen.evaluated_split_among_them) == (True, False)
  with pytest.raises(CheckpointError, match="lacks .* arrays of the student; .*: set config.network=teacher"):
    checkpoints.load_network(tmp_path / "fine_tune-kth-wide", mesh=tuned.mesh, which="student")


def test_a_head_on_the_pooled_parts_needs_no_projector(world, tmp_path):
  config = baselines.get_config("gaitset")
  config.model.variant = "4-4-6"
  _, values, _ = state.create(config, make_mesh(devices=jax.devices()[:1]))
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(0, values, checkpoints.new_meta(config, {}, {}))
  quick = {"fine_tune.reads": "pooled", "fine_tune.steps": 4, "fine_tune.validation_fraction": 0.0}
  own = {"fine_tune.statistics": "batch", "fine_tune.optim.rules": ((".*", 1.0, 1.0),), "fine_tune.features": 5}
  fine_tune.run(config_of(tmp_path, **quick, **own), tmp_path / "a")
  folder, one = tmp_path / "a" / "fine_tune-walkers-subject", make_mesh(devices=jax.devices()[:1])
  tuned = checkpoints.load_network(folder, mesh=one)
  assert (tuned.params.keys(), tuned.embedding) == ({"encoder", "recognition"}, "recognition")
  (path,) = zero_shot.run(config_of(folder, task="zero_shot"), tmp_path / "b")
  scored = score.score(folder.with_suffix(".npz"), protocol="walkers", bootstrap=0)
  assert content(path)["rows"][0]["figures"]["CL"]["map"] == pytest.approx(scored["conditions"]["CL"]["map"])
  with pytest.raises(ConfigError, match="reads=projection, but .* no projector .*; set it to pooled"):
    fine_tune.run(config_of(folder), tmp_path / "c")
  with pytest.raises(ConfigError, match="embedding is 'prediction', .* no predictor; take recognition or"):
    zero_shot.run(config_of(folder, task="zero_shot", embedding="prediction"), tmp_path / "c")
  fine_tune.run(config_of(folder, **quick, **{"fine_tune.target": "wide", "fine_tune.method": "head"}), tmp_path / "d")
  taught = checkpoints.load_network(tmp_path / "d" / "fine_tune-walkers-wide", mesh=one)
  assert (taught.params.keys(), taught.embedding) == ({"encoder"}, "pooled")
  jax.tree.map(np.testing.assert_array_equal, taught.params["encoder"], tuned.params["encoder"])


def test_a_discriminant_begins_solved_and_the_network_ends_in_it(run_folder, world, tmp_path):
  quick = {"fine_tune.reads": "discriminant", "fine_tune.steps": 4, "fine_tune.validate_every": 4,
           "fine_tune.components": 6, "fine_tune.shrinkage": 0.3, "fine_tune.prior": 0.0}
  (path,) = fine_tune.run(config_of(run_folder, **quick, **{"fine_tune.optim.peak_rate": 0.03}), tmp_path / "a")
  about, title = content(path)["fine_tuning"], content(path)["rows"][0]["title"]
  assert title == ("fine-tuned (full)" if about["chosen"]["step"] else "discriminant, 0 steps")
  assert [line["step"] for line in about["tried"][0]["curve"] if "validation" in line] == [0, 4]
  folder, one = tmp_path / "a" / "fine_tune-walkers-subject", make_mesh(devices=jax.devices()[:1])
  tuned, before = (checkpoints.load_network(path, mesh=one) for path in (folder, run_folder))
  assert (tuned.params.keys(), tuned.embedding) == ({"encoder", "decoder"}, "discriminant")
  found = extraction.extract_by(tuned, world["test"], embedding=tuned.embedding, max_frames=720, batch_frames=64)
  np.testing.assert_allclose(np.load(folder.with_suffix(".npz"))["embeddings"], found.embeddings, atol=1e-5)
  with tuned.config.unlocked():  # of its pretraining, whose closing discriminant it no longer has
    tuned.config.discriminant.sets = defaults.discriminant_sets("crowd:sequence")
  seen = provenance.seen_by(tuned, config_of(folder), world["test"])
  assert seen.label_use == "without labels, then fine-tuned for subject on walkers (train)"
  # Nothing learnt and nobody kept back: the map of linear_maps, of the network as it was.
  still = {"fine_tune.validation_fraction": 0.0, "fine_tune.optim.rules": ((".*", 1.0, 1e-9),)}
  fine_tune.run(config_of(run_folder, **quick, **still), tmp_path / "c")
  settings = {"linear_maps.components": 6, "linear_maps.shrinkages": (0.3,), "linear_maps.validation_fraction": 0.0}
  linear_maps.run(config_of(run_folder, task="linear_maps", embedding="pooled", **settings), tmp_path / "d")
  ours, theirs = (np.load(tmp_path / name)["embeddings"] for name in (
    "c/fine_tune-walkers-subject.npz", "d/linear_maps-walkers.npz"))
  np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)  # an axis may point either way
  hardly = {"fine_tune.optim.rules": ((".*", 1.0, 1e-9),)}
  (path,) = fine_tune.run(config_of(run_folder, **quick, **hardly), tmp_path / "g")
  found = content(path)  # no step changes a rank: the first among equals is the start
  assert (found["fine_tuning"]["chosen"]["step"], found["rows"][0]["title"]) == (0, "discriminant, 0 steps")
  assert any("No step of training was better on them than the discriminant" in note for note in found["notes"])
  # What a network ends in is learnt further from a new start; the folder says what was used.
  fine_tune.run(config_of(folder, **quick), tmp_path / "e")
  jax.tree.map(np.testing.assert_array_equal, before.params["decoder"], tuned.params["decoder"])
  with pytest.raises(ConfigError, match="reads=discriminant tells people apart; for target='wide' set it to proj"):
    fine_tune.run(config_of(run_folder, **quick, **{"fine_tune.target": "wide"}), tmp_path / "f")


def test_prompts_are_part_of_the_checkpoint(run_folder, world, tmp_path):
  quick = {"fine_tune.steps": 4, "fine_tune.validation_fraction": 0.0, "fine_tune.optim.peak_rate": 0.1}
  prompts = {"fine_tune.method": "prompt", "fine_tune.prompt_tokens": 2, "fine_tune.prompt_pixels": 3}
  fine_tune.run(config_of(run_folder, **quick, **prompts), tmp_path)
  folder, one = tmp_path / "fine_tune-walkers-subject", make_mesh(devices=jax.devices()[:1])
  before, tuned = (checkpoints.load_network(path, mesh=one) for path in (run_folder, folder))
  assert tuned.params["encoder"]["prompt_tokens"].shape == (2, 16)
  border = np.asarray(tuned.params["border"]["prompt_pixels"])
  assert border.any()
  for name in ("projector", "predictor", "decoder"):
    jax.tree.map(np.testing.assert_array_equal, tuned.params[name], before.params[name])
  # Both are used by whatever embeds with the checkpoint, and each for itself.
  frames, valid = np.zeros((1, FRAMES, 64, 64, 1), np.uint8), np.ones((1, FRAMES), bool)
  frames[:, :, 10:60, 25:40] = 255
  without = {"border": tuned.params["border"] | {"prompt_pixels": np.zeros_like(border)}}
  bare = dataclasses.replace(tuned, params=tuned.params | without)
  found = [np.asarray(network.embed(frames, valid).projection) for network in (before, bare, tuned)]
  assert np.abs(found[0] - found[1]).max() > 1e-5
  assert np.abs(found[1] - found[2]).max() > 1e-5
  # Untrained it has none; learnt further, it keeps them or refuses.
  fresh = checkpoints.load_network(folder, mesh=one, trained=False)
  assert "border" not in fresh.params
  assert fresh.identity == checkpoints.load_network(run_folder, mesh=one, trained=False).identity
  fine_tune.run(config_of(folder, **quick, **{"fine_tune.method": "head"}), tmp_path / "again")
  again = checkpoints.load_network(tmp_path / "again/fine_tune-walkers-subject", mesh=one)
  for module in tuned.params.keys() - {"recognition"}:  # that is the new head
    jax.tree.map(np.testing.assert_array_equal, again.params[module], tuned.params[module])
  with pytest.raises(ConfigError, match="config.checkpoint has prompt_tokens=2 and prompt_pixels=3 already"):
    fine_tune.run(config_of(folder, **quick, **prompts | {"fine_tune.prompt_pixels": 0}), tmp_path / "other")


@pytest.mark.parametrize("error, message, values", [
  (ConfigError, r"target is 'sex'; walkers/train has .* attributes \['empty', 'wide'\]", {"fine_tune.target": "sex"}),
  (ConfigError, "target=class takes the classes of config.protocol", {"fine_tune.target": "class"}),
  (ConfigError, "leaves 0 to learn from", {"fine_tune.target": "empty"}),
  (ConfigError, "config.centre_by='view' takes the mean .*target='wide' gives scores of classes",
   {"fine_tune.target": "wide", "centre_by": "view"}),
  (DataError, "every one must be learnt", {"fine_tune.target": "condition"}),
  (ConfigError, "subjects=4 x per_subject=2 = 8 does not divide into the 6 equal groups",
   {"fine_tune.crop_list": (4, 2, 1)}),
  (ConfigError, r"fine_tune.crop_list=\(3,\): each must be .* 1, 2, 4 or 8", {"fine_tune.crop_list": (3,)}),
  (ConfigError, "config.fine_tune.optim.warmup_steps=16 must be .* below config.fine_tune.steps=16",
   {"fine_tune.optim.warmup_steps": 16}),
  (ConfigError, "config.fine_tune.subjects=9 in every batch, but walkers/train has 8 to learn from",
   {"fine_tune.subjects": 9}),
  (ConfigError, "validation_fraction must be above 0",
   {"fine_tune.rates": (1.0, 2.0), "fine_tune.validation_fraction": 0.0}),
  (ConfigError, "the network was pretrained on 44 columns", {"fine_tune.augment.width": 64}),
  (ConfigError, r"share 4 subjects \(000, 001, 002, 003", {"fine_tune.train_split": "test"}),
  (ConfigError, "config.fine_tune.optim.step_at=.*before config.fine_tune.steps=16",
   {"fine_tune.optim.schedule": "step", "fine_tune.optim.step_at": (20,)}),
  (ConfigError, "config.fine_tune.optim.name='adam'; known", {"fine_tune.optim.name": "adam"}),
  (ConfigError, "config.fine_tune.optim.schedule='linear'; known", {"fine_tune.optim.schedule": "linear"}),
  (ConfigError, "matches no rule of config.fine_tune.optim.rules", {"fine_tune.optim.rules": ()}),
  (ConfigError, "config.fine_tune.augment.flip=2.0 is a probability", {"fine_tune.augment.flip": 2.0}),
  (ConfigError, "config.fine_tune.prior=-1.0 must be 0 or more", {"fine_tune.prior": -1.0}),
  (ConfigError, "config.fine_tune.features=0 must be at least 1", {"fine_tune.features": 0}),
  (ConfigError, "config.fine_tune.prompt_tokens=-1 and", {"fine_tune.method": "prompt", "fine_tune.prompt_tokens": -1}),
  (ConfigError, "config.fine_tune.layer_decay=0.0 must be above 0", {"fine_tune.layer_decay": 0.0}),
  (ConfigError, "config.fine_tune.objectives.cross_entropy.weight are all 0",
   {"fine_tune.target": "wide", "fine_tune.objectives.cross_entropy.weight": 0.0}),
  (ConfigError, "^config.fine_tune.threads is -1", {"fine_tune.threads": -1}),
  (ConfigError, "^config.fine_tune.clip_frames is 5, more than config.fine_tune.window_frames, 4",
   {"fine_tune.clip_frames": 5}),
  (ConfigError, "config.fine_tune.mix is 'per_person'", {"fine_tune.mix": "per_person"}),
])
def test_what_cannot_be_learned_is_said_before_anything_trains(run_folder, world, tmp_path, error, message, values):
  if values.get("fine_tune.target") == "condition":
    world["test"].conditions = np.where(world["test"].conditions == "cl-03", "cl-09", world["test"].conditions)
  with pytest.raises(error, match=message):
    fine_tune.run(config_of(run_folder, **values), tmp_path)
  assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("refit", [False, True])
def test_a_network_from_scratch_learns_at_a_rate_and_to_a_step_of_its_own(run_folder, monkeypatch, tmp_path, refit):
  """What is best for the pretrained network is known before; what is best for the untrained one is asked of it."""
  fits = []

  class Fake:
    def __init__(self, network):
      self.network = self.learner = network

    def fit(self, split, labels, folder, *, factor, end=None, score=None):
      fits.append((self.network, factor, end, len(split), folder.relative_to(tmp_path).as_posix()))
      best = {"pretrained": 0.1, "untrained": 10.0}[self.network]
      return fine_tuning.Fitted(trainable={}, stats={}, step=end or int(10 * factor), factor=factor, curve=[],
                                score=None if score is None else -abs(np.log(factor / best)))

  monkeypatch.setattr(fine_tune, "_fitter", lambda task, network, classes: Fake(network))
  monkeypatch.setattr(fine_tune, "_validation", lambda task: lambda *_: 0.0)
  monkeypatch.setattr(fine_tune, "_test", lambda task, learner, fitted, title: (learner, fitted))
  monkeypatch.setattr(fine_tune, "_identity_rows", lambda task, found, name, title: [
    results.Row(name=name, title=title, centred=how, figures={}, details={"found": found}) for how in ("none", "view")])
  config = config_of(run_folder, **{"fine_tune.rates": (0.1, 1.0, 10.0), "fine_tune.refit": refit})
  teacher, rows = Walks("walkers/train", range(10, 20)), np.arange(60)
  task = fine_tune.Task(
    setup=types.SimpleNamespace(config=config, trained="pretrained", untrained="untrained"), teacher=teacher,
    labels=teacher.subjects, test_labels=teacher.subjects, classes=[],
    parts=Parts(fit=rows[:48], validation=rows[48:]))
  assert fine_tune._learn(task, "pretrained", tmp_path / "a")[1].factor == 0.1
  row, centred = fine_tune._scratch(task, tmp_path / "b")  # as `config.centre_by` asks
  assert (row.centred, centred.centred, centred.details) == ("none", "view", row.details)
  learner, fitted = row.details["found"]
  assert (learner, fitted.factor, fitted.step) == ("untrained", 10.0, 100)
  assert row.details["chosen"] == {"factor": 10.0, "step": 100}
  assert [(t.factor, t.best_step) for t in row.details["tried_rates"]] == [(0.1, 1), (1.0, 10), (10.0, 100)]
  last = ("untrained", 10.0, 100, 60, "b/refit-10-100") if refit else ("untrained", 10.0, None, 48, "b/rate-10")
  assert fits[-1] == last


def test_a_network_is_not_written_over_itself(run_folder, world, tmp_path):
  config = config_of(tmp_path / "fine_tune-walkers-subject" / "checkpoints")
  with pytest.raises(ConfigError, match="is what this evaluation would write; give another --out"):
    fine_tune.run(config, tmp_path)


def test_killed_and_started_again_it_gives_the_same_result(run_folder, world, tmp_path, monkeypatch):
  """Stopped while the first rate, the second, and the refit are trained."""
  config = config_of(run_folder, **{"fine_tune.rates": (1.0, 0.1), "fine_tune.refit": True, "fine_tune.steps": 6,
                                    "fine_tune.validate_every": 3})
  (whole,) = fine_tune.run(config, tmp_path / "whole")
  made, count = fine_tuning.batches, 0

  def signalled(splits, **options):
    nonlocal count
    for batch in made(splits, **options):
      count += 1
      if count in (2, 8, 13):  # the threads that read ahead are not counted: a stopped one is not asked again
        os.kill(os.getpid(), signal.SIGTERM)
      yield batch

  monkeypatch.setattr(fine_tuning, "batches", signalled)
  for _ in range(3):
    with pytest.raises(Stopped):
      fine_tune.run(config, tmp_path / "stopped")
    assert not list((tmp_path / "stopped").glob("*.json"))
  (stopped,) = fine_tune.run(config, tmp_path / "stopped")
  ours, theirs = (json.loads(path.read_text()) for path in (stopped, whole))
  for part in ("rows", "fine_tuning"):
    assert ours[part] == theirs[part]
  ours, theirs = (np.load(path.with_suffix(".npz")) for path in (stopped, whole))
  np.testing.assert_array_equal(ours["embeddings"], theirs["embeddings"])
  folders = tmp_path / "stopped" / "fine_tune-walkers-subject" / "training"
  chosen = json.loads(whole.read_text())["fine_tuning"]["chosen"]
  assert sorted(folder.name for folder in folders.iterdir()) == [
    "rate-0.1", "rate-1", f"refit-{chosen['factor']:g}-{chosen['step']}"]
  for folder in folders.iterdir():
    assert {"checkpoints", "config.json", "metrics.jsonl", "tensorboard"} <= {path.name for path in folder.iterdir()}


def _listening(batches, taught: list):
  """`batches` that notes whose walks it gives."""
  def heard(splits, **options):
    for batch in batches(splits, **options):
      taught.extend(splits[0].subjects[batch["index"]].tolist())
      yield batch

  return heard
