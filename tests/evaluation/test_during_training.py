"""Evaluations during training: when, on which walks, and what it says."""

import types

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import during_training
from fgait_jax.parallel.mesh import make_mesh

TYPES = ("nm-01", "nm-03", "cl-01")


class Walks:
  """Subjects with two views of three types; the first pixel of a walk is who walks."""

  name = "walkers/test"
  manifest = {"kind": "synthetic", "content_hash": "d"}

  def __init__(self, subjects=10):
    rows = [(s, t, v) for s in range(subjects) for t in TYPES for v in ("000", "090")]
    self.subjects = np.array([f"{s:03d}" for s, *_ in rows])
    self.conditions = np.array([t for _, t, _ in rows])
    self.views = np.array([v for *_, v in rows])
    self.keys = np.arange(len(rows)).astype(str)
    self.num_frames = np.full(len(rows), 4)

  def __len__(self):
    return len(self.subjects)

  def frames(self, i, indices=None):
    return np.full((4, 64, 64, 1), int(self.subjects[i]), np.uint8)[indices]


def config_of(monkeypatch, **values):
  monkeypatch.setattr(during_training, "open_split", lambda folder, name, split: Walks())
  config = defaults.pretrain()
  with config.unlocked():
    config.train.steps = 250
    config.evals.walkers.update({"every": 100} | values)
  return config


def embed(frames, valid):
  who = frames[:, 0, 0, 0, 0].astype(np.float32)
  value = np.stack([np.cos(who / 10), np.sin(who / 10)], axis=-1)[:, None].repeat(3, 1)  # [b, 3 parts, 2]
  return types.SimpleNamespace(prediction=value)


def test_a_run_says_rank1_auc_and_signs_of_collapse(monkeypatch):
  (evaluator,) = during_training.evaluators(config_of(monkeypatch))
  network = types.SimpleNamespace(embed=embed, stride=1, embedding="prediction", mesh=make_mesh())
  values = evaluator.run(network, 100, lambda: None)
  assert values["walkers/CL/rank1"] == 100
  assert values["walkers/mean/auc"] == pytest.approx(100)
  assert 1 < values["walkers/effective_rank"] <= 2
  assert 0.7 < values["walkers/mean_cosine"] < 1
  assert {type(value) for value in values.values()} == {float}


def test_frames_come_as_far_apart_as_the_network_was_taught(monkeypatch):
  """As in an evaluation of the checkpoint of this step, whose figures these are."""

  def numbered(self, i, indices):
    frames = np.full((4, 64, 64, 1), int(self.subjects[i]), np.uint8)
    frames[:, 1, 0, 0] = np.arange(4)
    return frames[indices]

  monkeypatch.setattr(Walks, "frames", numbered)
  (evaluator,) = during_training.evaluators(config_of(monkeypatch))
  seen = []

  def watched(frames, valid):
    seen.append(frames[0, :4, 1, 0, 0].tolist())
    return embed(frames, valid)

  network = types.SimpleNamespace(embed=watched, stride=2, embedding="prediction", mesh=make_mesh())
  evaluator.run(network, 100, lambda: None)
  assert seen[0] == [0, 2, 1, 3]


def test_it_is_due_at_the_start_every_so_often_and_at_the_end(monkeypatch):
  (evaluator,) = during_training.evaluators(config_of(monkeypatch))
  assert [step for step in range(251) if evaluator.due(step)] == [0, 100, 200, 250]
  assert during_training.evaluators(config_of(monkeypatch, every=0)) == []


def test_any_number_of_them_each_by_its_name(monkeypatch):
  config = config_of(monkeypatch)
  config.evals = defaults.evals("kth:0,mine:50:walkers,walkers:100")
  found = during_training.evaluators(config)
  assert [(e.name, e.every, e.protocol.name) for e in found] == [("mine", 50, "walkers"), ("walkers", 100, "walkers")]
  network = types.SimpleNamespace(embed=embed, stride=1, embedding="prediction", mesh=make_mesh())
  mine, walkers = (e.run(network, 100, lambda: None) for e in found)
  assert {name.partition("/")[0] for name in mine} == {"mine"}
  assert mine == {name.replace("walkers/", "mine/"): value for name, value in walkers.items()}


def test_a_data_set_that_is_not_built_is_said_to_be_that_of_the_evaluation(tmp_path):
  config = defaults.pretrain()
  config.data.dir = str(tmp_path)
  with pytest.raises(DataError, match=r"no data set .* in .*evals.walkers.dataset.* set config.evals.walkers.every=0"):
    during_training.evaluators(config)


def test_what_cannot_be_evaluated_is_refused_before_training(monkeypatch, tmp_path):
  with pytest.raises(ConfigError, match="unknown protocol 'walker'; config.evals.walkers.protocol is one of walkers"):
    during_training.evaluators(config_of(monkeypatch, protocol="walker"))
  with pytest.raises(DataError, match="wants types d1"):
    during_training.evaluators(config_of(monkeypatch, protocol="kth"))
  with pytest.raises(ConfigError, match="config.evals.walkers.max_sequences=-1 must be 0 or more"):
    during_training.evaluators(config_of(monkeypatch, max_sequences=-1))
  for values, message in (
    ({"max_frames": 0}, "config.evals.walkers.max_frames=0 must be at least 1"),
    ({"batch_frames": -5}, "config.evals.walkers.batch_frames=-5 must be at least 1"),
    ({"metric": "manhattan"}, "unknown metric 'manhattan'; config.evals.walkers.metric is one of"),
  ):
    with pytest.raises(ConfigError, match=message):
      during_training.evaluators(config_of(monkeypatch, **values))
  config = config_of(monkeypatch)
  with config.unlocked():
    config.model.channels = 2
  with pytest.raises(ConfigError, match="walkers/test: frames are silhouettes of 1 channel, the network takes .* of 2"):
    during_training.evaluators(config)
  with pytest.raises(ConfigError, match="task='fine_tune' cannot be done while training goes on, only zero_shot;"):
    during_training.evaluators(config_of(monkeypatch, task="fine_tune"))
  with pytest.raises(ConfigError, match="config.evals.walkers.every=-1"):
    during_training.evaluators(config_of(monkeypatch, every=-1))
  with pytest.raises(ConfigError, match="protocol=scoliosis1k scores classes"):
    during_training.evaluators(config_of(monkeypatch, protocol="scoliosis1k"))
