"""The step as users have it compiled, by all that XLA does by default, against the quick way of tests/conftest.py."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import json
import numpy as np
from configs import pretrain
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import state as states
from fgait_jax.training.step import pretraining_step

config, mesh = pretrain.get_config("test"), make_mesh(data=-1, fsdp=1, tensor=1)
graph, state, shardings = states.abstract(config, mesh)
step = pretraining_step(config, graph, mesh=mesh, shardings=shardings)
state = states.create(config, mesh)[1]
pairs, shape = config.data.batch_size, (config.data.batch_size, 2, config.data.clip_frames)
rng, losses = np.random.default_rng(0), []
for number in range(3):
  batch = {
    "frames": 255 * rng.integers(0, 2, (*shape, 8, 8, 1), np.uint8).repeat(8, 3).repeat(8, 4),
    "valid": np.ones(shape, bool), "group": np.arange(pairs, dtype=np.int32), "readable": np.ones(pairs, bool),
  }
  state, metrics = step(state, batch, np.int32(number))
  losses.append(float(metrics["loss"][0]))
print(json.dumps(losses))
"""


def losses(**env) -> list[float]:
  """Of three steps of the test size on one device, in a process with the environment variables `env`."""
  kept = {name: value for name, value in os.environ.items()
          if name not in ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_COMPILATION_CACHE_DIR")}
  done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=kept | env, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow  # 73 processor seconds, 57 of them the way of users: XLA's default emitters, LLVM's costly passes
def test_losses_do_not_depend_on_how_the_step_is_compiled():
  quick = losses(XLA_FLAGS=os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"),
                 JAX_DISABLE_MOST_OPTIMIZATIONS="1")
  np.testing.assert_allclose(losses(), quick, rtol=1e-4)  # 6e-6 of the first, below 1e-6 of the others
