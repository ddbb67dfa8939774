"""A toy population in memory, the test-size configuration, and runs that share what is compiled."""

import math
import time
import types

import jax
import numpy as np
import pytest

from configs import pretrain
from fgait_jax import defaults
from fgait_jax.training import discriminant, pretraining
from fgait_jax.training import state as states


class ToySplit:
  """Bodies that are ellipses, each of its own size, swaying at its own rate; every reading takes `delay` seconds,
  and from number `torn` on they fail."""

  name = "toy/train"
  manifest = {"name": "ellipses", "content_hash": "ellipses"}

  def __init__(self, sequences: int = 24, delay: float = 0.0, torn: float = math.inf):
    self._delay, self._torn, self.readings = delay, torn, 0
    rng = np.random.default_rng(0)
    width, height, rate = rng.uniform(6, 16, sequences), rng.uniform(16, 30, sequences), rng.uniform(0.3, 1, sequences)
    y, x = np.mgrid[:64, :64]
    sway = 4 * np.sin(np.arange(6) * rate[:, None])[..., None, None]
    body = ((x - 32 - sway) / width[:, None, None, None]) ** 2 + ((y - 32) / height[:, None, None, None]) ** 2 < 1
    self._frames = (255 * body).astype(np.uint8)[..., None]
    self.num_frames = np.full(sequences, 6, np.int32)
    self.keys = self.subjects = self.conditions = self.views = np.array([f"walk{i:02d}" for i in range(sequences)])
    self.attributes = {}

  def __len__(self) -> int:
    return len(self.keys)

  def frames(self, i, indices=None):
    time.sleep(self._delay)
    self.readings += 1
    if self.readings > self._torn:
      raise OSError("bad sector")
    return self._frames[i] if indices is None else self._frames[i][indices]


@pytest.fixture(scope="session")
def toy():
  return ToySplit()


@pytest.fixture(scope="session")
def configure():
  """`configure(train__steps=3, ...)`: the test-size configuration with changes."""
  def make(**changes):
    config = pretrain.get_config("test")
    config.data.sets = defaults.data_sets("toy")
    config.data.threads = 1
    for name in ("affine", "perspective", "flip", "dilate", "blur"):  # tests/data has them; they compile for long
      config.augment[name] = 0.0
    config.student.crop_list = (2,)
    config.optim.peak_rate = 1e-4
    config.train.compilation_cache = ""  # tests/conftest.py has set one
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config

  return make


@pytest.fixture(scope="session")
def run(toy):
  """`run(config, workdir, devices=1, evaluators=())`: the loop, whose programs are made once a (config, mesh)."""
  kept = {}

  def once(make):
    def made(config, on, *given, **rest):  # on: the mesh, or the graph that was made on it
      key = (config.model, config.student, config.teacher, config.objectives, config.optim, config.augment,
             config.data.batch_size, config.data.clip_frames, config.train.steps, config.train.on_nonfinite,
             config.train.skip_at_most, config.train.spike)
      key = (make.__name__, str(key), config.seed, on)
      if key not in kept:
        kept[key] = make(config, on, *given, **rest)
      return kept[key]

    return made

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pretraining, "pretraining_step", once(pretraining.pretraining_step))
    patch.setattr(pretraining, "states", types.SimpleNamespace(
      **vars(states) | {"abstract": once(states.abstract), "initialiser": once(states.initialiser)}))
    patch.setattr(discriminant, "embedder", once(discriminant.embedder))
    yield lambda config, workdir, *, devices=1, **given: pretraining.run(
      config, workdir, **({"splits": {"toy": toy}} | given), devices=jax.devices()[:devices]
    ).state
