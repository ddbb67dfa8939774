"""What one training step makes of its state: the teacher's average, the queue, and which clip is for whom."""

import jax
import numpy as np
import pytest

from fgait_jax import rng
from fgait_jax.models.network import GaitNetwork
from fgait_jax.objectives.contrastive import NOBODY
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import state as states
from fgait_jax.training.step import ema_rate, pretraining_step

BATCH = 8


@pytest.fixture(scope="module")
def made(configure):
  """(configuration, state at step 0, the step not yet compiled)"""
  config = configure(objectives__contrastive__queue=2 * BATCH, teacher__ema_start=0.7, data__batch_size=BATCH)
  mesh = make_mesh(devices=jax.devices()[:1])
  graph, state, shardings = states.create(config, mesh)
  return config, jax.device_get(state), pretraining_step(config, graph, mesh=mesh, shardings=shardings)


def queue_of(state):
  return state["objectives"]["contrastive"]


def batch(number):
  draws = np.random.default_rng(number)
  return {
    "frames": 255 * draws.integers(0, 2, (BATCH, 2, 4, 64, 64, 1), np.uint8), "valid": np.ones((BATCH, 2, 4), bool),
    "group": np.arange(BATCH, dtype=np.int32) + BATCH * number, "readable": np.ones(BATCH, bool),
  }


@pytest.fixture(scope="module")
def step(made):
  _, state, train_step = made
  quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
  compiled = train_step.lower(state, batch(0), np.int32(0)).compile(compiler_options=quick)
  return lambda state, batch, number: jax.device_get(compiled(jax.device_put(state), batch, np.int32(number)))


@pytest.fixture(scope="module")
def history(made, step):
  """The states before and after three steps."""
  states = [made[1]]
  for number in range(3):
    states.append(step(states[-1], batch(number), number)[0])
  return states


def test_the_teacher_follows_the_updated_student_at_its_rate(made, history):
  config = made[0]
  for number, (before, after) in enumerate(zip(history[:-1], history[1:], strict=True)):
    rate = float(ema_rate(np.int32(number), start=0.7, steps=config.train.steps))
    assert 0 < rate <= 0.3 or number == config.train.steps - 2
    old, new = before["teacher"]["params"], after["params"]
    expected = jax.tree.map(lambda old, new, rate=rate: (1 - rate) * old + rate * new, old, new)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after["teacher"]["params"], expected)
    moved = jax.tree.map(lambda a, b: np.any(a != b), before["params"], after["params"])
    assert number == 0 or np.mean(jax.tree.leaves(moved)) > 0.5  # the warm-up starts from a rate of 0


def test_the_teacher_has_running_statistics_of_its_own(step, history):
  """Of whole bodies, while the student's are of strips and of what is hidden: every evaluation reads them."""
  shifted = history[1] | {"stats": jax.tree.map(lambda x: x + 1, history[1]["stats"])}
  after, wanted = (step(state, batch(1), 1)[0] for state in (shifted, history[1]))
  jax.tree.map(np.testing.assert_array_equal, after["teacher"]["stats"], wanted["teacher"]["stats"])
  assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (after["stats"], wanted["stats"])), strict=True))


def test_the_student_sees_the_strips_of_the_configuration(made, monkeypatch):
  config, state, train_step = made
  seen, pretrain = [], GaitNetwork.pretrain
  monkeypatch.setattr(GaitNetwork, "pretrain", lambda *given, **how: seen.append(how) or pretrain(*given, **how))
  jax.eval_shape(lambda *given: train_step.__wrapped__(*given), state, batch(0), np.int32(0))  # traced anew
  assert [how["crop_list"] for how in seen] == [config.student.crop_list] == [(2,)]
  assert seen[0]["masked_fractions"] == config.student.masked_fractions


def test_the_queue_holds_the_last_batches_newest_first(history):
  rows = [np.arange(BATCH) + BATCH * number for number in range(3)]
  nobody = np.full(BATCH, NOBODY)
  held = [nobody, nobody], [rows[0], nobody], [rows[1], rows[0]], [rows[2], rows[1]]
  for state, expected in zip(history, held, strict=True):
    np.testing.assert_array_equal(queue_of(state)["group"], np.concatenate(expected))
  held = [queue_of(state)["projection"] for state in history]
  np.testing.assert_array_equal(held[3][BATCH:], held[2][:BATCH])


def test_the_first_clip_is_the_teachers_and_the_second_the_students(made, step, history):
  """With the other clip of another batch, each keeps its running statistics and only the other's change."""
  for clip, same, other in ((0, lambda s: s["stats"], lambda s: s["teacher"]["stats"]),
                            (1, lambda s: s["teacher"]["stats"], lambda s: s["stats"])):
    changed = batch(0)
    changed["frames"][:, clip] = batch(1)["frames"][:, clip]
    state, _ = step(made[1], changed, 0)
    jax.tree.map(np.testing.assert_array_equal, same(state), same(history[1]))
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (other(state), other(history[1]))), strict=True))
    projections = queue_of(state)["projection"], queue_of(history[1])["projection"]
    assert np.array_equal(*projections) == (clip == 1)


def test_every_draw_has_a_purpose_of_its_own_and_the_steps_number(made, monkeypatch):
  config, state, train_step = made
  drawn, key = [], rng.key

  def recorded(seed, purpose, step):
    drawn.append((seed, purpose, step))
    return key(seed, purpose, step)

  monkeypatch.setattr(rng, "key", recorded)
  jax.eval_shape(lambda *given: train_step.__wrapped__(*given), state, batch(0), np.int32(0))  # traced anew
  assert sorted(given[:2] for given in drawn) == [
    (config.seed, purpose) for purpose in ("augment.student", "augment.teacher", "depth", "masking")
  ]
  steps = [step for *_, step in drawn]
  assert all(step is steps[0] and isinstance(step, jax.core.Tracer) for step in steps)  # the argument, not made of it
