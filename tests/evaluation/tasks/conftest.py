"""A checkpoint of a network that has learnt nothing."""

import jax
import pytest

from fgait_jax import config_files
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints, state


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
  """The test-sized transformer before its first step."""
  folder = tmp_path_factory.mktemp("run")
  config = config_files.load("configs/pretrain.py:test")
  _, values, _ = state.create(config, make_mesh(devices=jax.devices()[:1]))
  with checkpoints.Checkpoints(folder, keep=1) as saved:
    saved.save(0, values, checkpoints.new_meta(config, {}, {}))
  return folder
