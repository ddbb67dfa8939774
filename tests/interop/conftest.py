"""A test-size run that has ended, with a discriminant, and what it is evaluated on."""

import jax
import numpy as np
import pytest

from fgait_jax import config_files
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import state as states
from fgait_jax.training.checkpoints import Checkpoints, load_network, new_meta

SOURCES = {"walkers/train": {"kind": "synthetic", "licence": "made by this code", "citation": "Nobody. 2026.",
                             "homepage": "", "sequences": 5760, "subjects": 120}}


def configuration():
  config = config_files.load("configs/pretrain.py:test")
  config.model.discriminant = 8
  return config


@pytest.fixture(scope="session")
def ended(tmp_path_factory):
  """The folder of a run whose teacher and student differ."""
  config, folder = configuration(), tmp_path_factory.mktemp("runs") / "ended"
  _, state, _ = states.create(config, make_mesh(devices=jax.devices()[:1]))
  rng = np.random.default_rng(0)
  state["teacher"] = jax.tree.map(lambda x: x + 0.01, state["teacher"])
  kernel = state["teacher"]["stats"]["discriminant"]["kernel"]
  state["teacher"]["stats"]["discriminant"]["kernel"] = rng.normal(size=kernel.shape).astype(np.float32)
  meta = new_meta(config, {"walkers/train": "a" * 64}, {"walkers": ["001", "002"]}) | {"sources": SOURCES}
  with Checkpoints(folder, keep=1) as saved:
    saved.save(config.train.steps, state, meta)
  return folder


@pytest.fixture(scope="session")
def network(ended):
  return load_network(ended, mesh=make_mesh(devices=jax.devices()[:1]))


def result_of(identity, **changes):
  """A zero-shot result of the weights `identity`, as its file has it."""
  figures = {"NM": {"rank1": 60.0, "ci": {"rank1": [50.0, 70.0]}}, "CL": {"rank1": 40.0, "ci": {"rank1": [30.0, 50.0]}}}
  gei = {"NM": {"rank1": 50.0, "ci": {}}, "CL": {"rank1": 45.5, "ci": {}}}
  return {
    "format": 2, "task": "zero_shot", "title": "Zero-shot recognition on walkers", "notes": [],
    "data": {"name": "walkers", "split": "test", "kind": "synthetic", "walks": 80, "subjects": 40, "content_hash": "b"},
    "checkpoint": {"path": "runs/first", "step": 4, "identity": identity, "model": "transformer test",
                   "network": "teacher", "embedding": "discriminant"},
    "pretraining": {"datasets": ["walkers (train)"], "label_use": "without labels"},
    "conditions": [{"name": "NM", "title": "normal"}, {"name": "CL", "title": "coat"}],
    "columns": [{"key": "rank1", "title": "rank-1 %", "interval": True}],
    "rows": [{"name": "model", "title": "transformer test", "figures": figures},
             {"name": "raw_gei", "title": "raw GEI", "figures": gei}], "config": {},
  } | changes
