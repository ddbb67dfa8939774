"""What `config.fine_tune` says is what training is told: every key that is only handed on, at another value than its
default."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pretrain
from fgait_jax import defaults
from fgait_jax.training import fine_tuning, supervised
from tests.training.test_supervised import batch, learner_of, network, same, step_of, trained, untrained


@pytest.fixture(scope="module")
def transformer():
  return network("test")


@pytest.mark.parametrize("statistics", ["frozen", "batch"])
def test_statistics_of_the_network_move_where_they_are_to(transformer, statistics):
  stats = trained(learner_of(transformer, statistics=statistics), steps=1)["stats"]
  for module in ("encoder", "projector"):
    assert same(stats[module], transformer.stats[module]) == (statistics == "frozen")


def test_low_rank_updates_are_scaled(transformer):
  learner = learner_of(transformer, method="lora", lora_scale=3.0)
  raised = {name: value + 0.1 for name, value in learner.trainable.items()}
  once = learner_of(transformer, method="lora", lora_scale=1.0)
  base, found, wanted = (supervised.flat(of.params(values)) for of, values in (
    (once, once.trainable), (learner, raised), (once, raised)))
  moved = [name for name in base if np.any(wanted[name] != base[name]) and not name.startswith("head/")]
  assert moved
  for name in moved:
    np.testing.assert_allclose(found[name] - base[name], 3 * (wanted[name] - base[name]), rtol=1e-4, atol=1e-6)


def test_strips_are_what_training_sees_and_every_batch_is_augmented_anew(transformer):
  learner = learner_of(transformer)

  def loss(number=0, **how):
    start, step = step_of(learner, **how)
    return [float(step(start(), batch(), np.int32(n), learner.frozen, np.float32(1.0))[1]["loss"][0])
            for n in (0, number)]

  plain, again = loss()
  assert plain == again
  assert loss(crop_list=(2,))[0] != plain
  first, second = loss(1, augment={"flip": 0.5})
  assert first != second


def test_all_columns_of_a_wide_network_are_seen():
  config = pretrain.get_config("test")
  config.augment.width = 64
  tuned = supervised.Tuned(learner=(learner := learner_of(untrained(config))), trainable=learner.trainable,
                           stats=learner.stats)
  frames = 255 * np.random.default_rng(0).integers(0, 2, (2, 4, 64, 64, 1), np.uint8)
  edge = frames.copy()
  edge[:, :, :, :6] = 255 - edge[:, :, :, :6]
  one, other = (tuned.recognise(jnp.asarray(x), np.ones((2, 4), bool), output="embedding").embedding
                for x in (frames, edge))
  assert np.abs(np.asarray(one) - np.asarray(other)).max() > 1e-4


def test_the_optimizer_and_the_batches_are_those_of_the_section(transformer, monkeypatch):
  told = {}
  make = supervised.optimizer_of

  def optimizer_of(params, **how):
    told["optimizer"] = how
    return make(params, **how)

  def batches(splits, **how):
    told["batches"] = how | {"splits": splits}
    yield from ()

  monkeypatch.setattr(supervised, "optimizer_of", optimizer_of)
  monkeypatch.setattr(fine_tuning, "batches", batches)
  config = defaults.evaluation().unlock()
  c = config.fine_tune
  c.layer_decay, c.mix, c.subjects, c.per_subject, c.clip_frames, c.window_frames = 0.3, "per_sequence", 4, 2, 4, 8
  c.threads, c.workers, c.prefetch, c.steps, config.seed = 3, 0, 5, 20, 7
  c.optim.update({"name": "sgd", "momentum": 0.7, "beta1": 0.8, "beta2": 0.6, "weight_decay": 0.5, "clip_norm": 2.0,
                  "schedule": "step", "step_at": (3,), "step_factor": 0.5, "peak_rate": 0.25, "warmup_steps": 0})
  config.lock()
  fitter = fine_tuning.Fitter(learner_of(transformer), config, identity="none")
  how = told["optimizer"]
  assert how["layer_decay"] == 0.3
  assert how["options"] == {key: c.optim[key] for key in how["options"]}
  assert set(how["options"]) == {"name", "momentum", "beta1", "beta2", "weight_decay", "clip_norm"}
  assert [float(how["schedule"](n)) for n in (0, 2, 3)] == [0.25, 0.25, 0.125]
  training = fine_tuning.FineTuning(fitter=fitter, split="walks", labels=np.zeros(2), factor=1.0, evaluators=[],
                                    meta={}, limits=None)
  assert list(training.batches(2, 9)) == []
  wanted = {"splits": ["walks"], "seed": 7, "batch_size": 8, "clips": 1, "clip_frames": 4, "window_frames": 8,
            "mix": "per_sequence", "start": 2, "stop": 9, "threads": 3, "workers": 0, "prefetch": 5, "per_subject": 2}
  assert {key: told["batches"][key] for key in wanted} == wanted
  assert jax.process_count() == told["batches"]["process_count"]
