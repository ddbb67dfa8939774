"""The teacher's average against its closed form, and what travels between devices. The step as a whole is tested
through the loop."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import baselines, pretrain
from fgait_jax.models import swingait
from fgait_jax.parallel.mesh import batch_sharding, make_mesh
from fgait_jax.training import state as states
from fgait_jax.training.step import ema_rate, pretraining_step


def test_momentum_of_the_teacher_is_the_reference_curve():
  """m(t) = 1 - 0.01 (cos(pi t / (T - 1)) + 1) / 2 after t updates; figures of FoundationGait A2."""
  steps = 40_001
  for t, expected in ((10_000, 0.991465), (20_000, 0.995), (30_000, 0.998536), (36_000, 0.999755)):
    np.testing.assert_allclose(1 - ema_rate(jnp.int32(t - 1), start=0.99, steps=steps), expected, atol=1e-6)


def test_teacher_stands_still_at_the_end():
  assert float(ema_rate(jnp.int32(9), start=0.99, steps=11)) == 0.0  # t = 10 = T - 1
  assert float(ema_rate(jnp.int32(10), start=0.99, steps=11)) == 0.0
  assert float(ema_rate(jnp.int32(0), start=0.99, steps=1)) == 0.0


def lowered_step(config, mesh):
  """(the step's program before it is compiled, shapes of the state)."""
  graph, target, shardings = states.abstract(config, mesh)
  step = pretraining_step(config, graph, mesh=mesh, shardings=shardings)
  shapes = {
    "frames": ((2, 4, 64, 64, 1), np.uint8), "valid": ((2, 4), bool), "group": ((), np.int32), "readable": ((), bool),
  }
  batch = {
    name: jax.ShapeDtypeStruct((config.data.batch_size, *shape), dtype, sharding=batch_sharding(mesh))
    for name, (shape, dtype) in shapes.items()
  }
  return step.lower(target, batch, jax.ShapeDtypeStruct((), np.int32)), target


def compiled_step(**mesh):
  """(program, largest parameter) of the test size on eight devices; 64 walks, so that activations outgrow weights."""
  config = pretrain.get_config("test")
  for name in ("affine", "perspective", "flip", "dilate", "blur"):
    config.augment[name] = 0.0
  config.data.batch_size, config.objectives.contrastive.queue, config.student.crop_list = 64, 0, (1,)
  lowered, target = lowered_step(config, make_mesh(**mesh))
  quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
  return lowered.compile(compiler_options=quick), max(leaf.size for leaf in jax.tree.leaves(target["params"]))


def summed(program) -> int:
  """The largest array that one of the program's all-reduces sums over devices."""
  results = re.findall(r"= (.*?) all-reduce(?:-start)?\(", program.as_text())
  shapes = [shape for result in results for shape in re.findall(r"\w+\[([\d,]*)\]", result)]
  return max(math.prod(map(int, re.findall(r"\d+", shape))) for shape in shapes)


def test_the_student_alone_leaves_branches_out(monkeypatch):
  drawn = []
  kept = swingait.branches_kept
  monkeypatch.setattr(swingait, "branches_kept", lambda *args: drawn.append(args[1:]) or kept(*args))
  config = baselines.get_config("swingait")
  config.model.variant, config.data.batch_size = "1-1-2-2@4-4-16", 8
  lowered_step(config, make_mesh(devices=jax.devices()[:1]))
  assert drawn == [(4, 8)]


@pytest.mark.slow
def test_where_parameters_are_cut_weights_travel_and_not_activations():
  whole, largest = compiled_step(data=8)
  cut, _ = compiled_step(fsdp=8)
  assert summed(cut) <= max(summed(whole), largest)
  assert cut.memory_analysis().temp_size_in_bytes < 1.3 * whole.memory_analysis().temp_size_in_bytes
