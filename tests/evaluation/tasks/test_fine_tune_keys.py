"""What fine-tuning and probes are told of a configuration, and that nobody is learnt from and judged by at once."""

import types

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.evaluation import setup
from fgait_jax.evaluation.features import extraction
from fgait_jax.evaluation.tasks import fine_tune, linear_probe
from fgait_jax.training import discriminant
from tests.evaluation.stand_in import Walks, config_of


class Told(Exception):
  """With the keywords that were given."""


def telling(*_, **how):
  raise Told(how)


def settings_of(**values):
  config = defaults.evaluation().unlock()
  config.update_from_flattened_dict(values)
  return config.lock()


def test_walks_are_seen_at_the_spacing_of_training_and_mirrored_as_asked(monkeypatch):
  monkeypatch.setattr(extraction, "extract", telling)
  config = settings_of(mirror_views=("*-l",), max_frames=90, batch_frames=64, **{
    "fine_tune.clip_frames": 4, "fine_tune.window_frames": 16})
  task = types.SimpleNamespace(setup=types.SimpleNamespace(config=config), identifies=True, settings=config.fine_tune)
  network = types.SimpleNamespace(learner=types.SimpleNamespace(mesh="mesh"), recognise=print)
  with pytest.raises(Told) as told:
    fine_tune._extract(task, network, "split", "title")
  wanted = {"stride": 4, "mirror": ("*-l",), "max_frames": 90, "batch_frames": 64, "normalise": False, "mesh": "mesh"}
  assert {key: told.value.args[0][key] for key in wanted} == wanted


def test_the_start_is_solved_by_the_sections_settings_at_its_own_spacing(monkeypatch):
  monkeypatch.setattr(discriminant, "head", telling)
  config = settings_of(**{
    "fine_tune.reads": "discriminant", "fine_tune.prior": 7.0, "fine_tune.shrinkage": 0.2, "fine_tune.components": 5,
    "fine_tune.features": 3, "fine_tune.clip_frames": 4, "fine_tune.window_frames": 16})
  asked = {}

  def embeddings_of(network, title, split, **how):
    asked.update(how)
    return types.SimpleNamespace(embeddings=np.zeros((6, 2, 1)))

  task = types.SimpleNamespace(
    setup=types.SimpleNamespace(config=config, embeddings_of=embeddings_of), settings=config.fine_tune, teacher="walks",
    identifies=True, numbers=lambda rows: (np.zeros(len(rows), int), 1))
  with pytest.raises(Told) as told:
    fine_tune._fitter(task, None, np.arange(2))
  assert told.value.args[0] == {"features": 3, "components": 5, "shrinkage": 0.2, "prior": 7.0}
  assert asked == {"embedding": "pooled", "stride": 4}


def test_nobodys_walks_are_on_both_sides_where_a_penalty_is_chosen(world, tmp_path):
  """An attribute is the same in all walks of a person: who is known is classified rightly."""
  layer = linear_probe._by_split(setup.prepare(config_of("linear_probe", **{"linear_probe.target": "tall"}), tmp_path))
  people = layer.train_split.subjects
  assert len(layer.parts.validation)
  assert not set(people[layer.parts.fit]) & set(people[layer.parts.validation])
  teacher = Walks("walkers/train", first=6)
  labels = np.array(["01"[int(s) % 2] for s in teacher.subjects])
  task = types.SimpleNamespace(
    setup=types.SimpleNamespace(config=settings_of()), teacher=teacher, labels=labels,
    settings=types.SimpleNamespace(target="tall"), parts=types.SimpleNamespace(validation=[]))
  parts = fine_tune._probe_parts(task)
  assert len(parts.validation)
  assert not set(teacher.subjects[parts.fit]) & set(teacher.subjects[parts.validation])
