"""A stand-in for the network of a checkpoint, and walks for it: what tasks do with both can be known beforehand."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fgait_jax import defaults
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training.pretrained import Pretrained

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

  embedding, pretrained = Pretrained.embedding, Pretrained.pretrained

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


def config_of(task="zero_shot", **values):
  config = defaults.evaluation()
  config.unlock()
  config.task, config.checkpoint, config.bootstrap, config.pictures, config.max_frames = task, "runs/x", 100, 0, 12
  config.controls = False
  config.update_from_flattened_dict(values)
  return config.lock()
