"""The closing discriminant: learnt once, at the end, the same however the run got there; tasks then compare it."""

import os
import signal
import time

import jax
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.interop import fit_discriminant
from fgait_jax.models.discriminant import Discriminant
from fgait_jax.models.recognition import DiscriminantHead
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import discriminant, linear_maps, pretraining
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.session import Reading, Watchdog
from tests.training.conftest import ToySplit

CHANGES = {
  "model__discriminant": 6, "discriminant__walks": 32, "discriminant__frames": 4, "discriminant__components": 8,
}  # fmt: skip


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture(scope="module")
def finished(run, configure, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("finished")
  return workdir, run(configure(**CHANGES), workdir)


def test_it_is_learnt_after_the_last_step_and_no_earlier(run, configure, finished, tmp_path):
  stopped = run(configure(**CHANGES, train__stop_at=3), tmp_path)
  assert not np.any(stopped["teacher"]["stats"]["discriminant"]["kernel"])
  assert load_network(tmp_path).embedding == "prediction"
  whole = run(configure(**CHANGES), tmp_path)
  assert_same(whole, finished[1])
  assert np.any(whole["teacher"]["stats"]["discriminant"]["kernel"])
  assert not np.any(whole["stats"]["discriminant"]["kernel"])  # the student has none


def test_a_finished_run_started_again_keeps_it(run, configure, finished):
  before = jax.device_get(finished[1]["teacher"]["stats"]["discriminant"])
  after = jax.device_get(run(configure(**CHANGES), finished[0])["teacher"]["stats"]["discriminant"])
  assert_same(before, after)


def test_the_network_gives_the_map_of_its_unit_parts_and_tasks_take_it(finished, toy):
  network = load_network(finished[0])
  assert network.embedding == "discriminant"
  assert load_network(finished[0], which="student").embedding == "prediction"
  assert load_network(finished[0], trained=False).embedding == "prediction"
  frames = np.stack([np.pad(toy.frames(i), ((0, 2), (0, 0), (0, 0), (0, 0))) for i in range(8)])
  found = network.embed(frames, np.arange(8) < 6 + np.zeros((8, 1), int))
  pooled = np.asarray(found.pooled)
  rows = (pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)).reshape(8, -1)
  stats = jax.device_get(network.stats["discriminant"])
  want = (rows - stats["mean"]) @ stats["kernel"]
  want /= np.linalg.norm(want, axis=1, keepdims=True)
  np.testing.assert_allclose(np.asarray(found.discriminant)[:, 0], want, atol=2e-5)


@pytest.mark.parametrize("prior, features", [(0.0, 3), (5.0, 7)])
def test_a_head_begins_as_the_map_of_the_walks_and_the_means_of_their_people(prior, features):
  rng = np.random.default_rng(0)
  labels = np.repeat([2, 0, 1, 3], 6)
  pooled = rng.normal(size=(4, 5, 7))[labels] + 0.3 * rng.normal(size=(24, 5, 7))  # [walk, feature, part]
  pooled = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
  how = {"components": 9, "shrinkage": 0.2, "prior": prior}
  params, stats = discriminant.head(pooled, labels, features=features, **how).values()
  learnt = DiscriminantHead(7, 5, features, 4, rngs=nnx.Rngs(0))
  learnt.mean[...] = stats["head/mean"]
  learnt.embed.kernel[...], learnt.classes.kernel[...] = params["head/embed/kernel"], params["head/classes/kernel"]
  found = learnt(np.swapaxes(pooled, 1, 2))
  rows = np.swapaxes(pooled, 1, 2).reshape(24, -1)
  basis = linear_maps.components(rows[..., None], most=9, seed=0)
  closed = linear_maps.discriminant(basis, labels, shrinkage=0.2, prior=prior)
  want = (rows - closed.mean) @ closed.kernel[:, :features]
  want /= np.linalg.norm(want, axis=1, keepdims=True)
  np.testing.assert_allclose(found.embedding[:, 0], want, atol=1e-5)
  means = np.stack([want[labels == n].mean(axis=0) for n in range(4)])
  np.testing.assert_allclose(found.logits[:, 0], want @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T,
                             atol=1e-5)
  assert list(np.argmax(found.logits[:, 0], axis=1)) == list(labels)
  assert [np.mean(kernel**2) for kernel in params.values()] == pytest.approx([1, 1], rel=1e-4)


def test_untold_it_is_zero_and_its_result_finite():
  found = np.asarray(Discriminant(3, 4, 5)(np.ones((2, 3, 4), np.float32)))
  np.testing.assert_array_equal(found, np.zeros((2, 1, 5)))


def test_what_cannot_be_learnt_from_is_refused_before_training(configure, run, tmp_path):
  with pytest.raises(ConfigError, match=r"config\.discriminant\.shrinkage=2"):
    run(configure(**CHANGES, discriminant__shrinkage=2.0), tmp_path)
  with pytest.raises(ConfigError, match=r"config\.discriminant\.walks=8 .* 16"):
    run(configure(**CHANGES | {"discriminant__walks": 8}), tmp_path)


def test_its_clips_may_have_more_errors_of_segmentation_than_those_of_training(run, configure, tmp_path, monkeypatch):
  seen, augment = [], discriminant.augment
  monkeypatch.setattr(discriminant, "augment", lambda *given, **how: seen.append(how) or augment(*given, **how))
  run(configure(**CHANGES, discriminant__holes=0.75, discriminant__segmenter=0.25, augment__segmenter=0.5), tmp_path)
  config = configure(**CHANGES)
  assert seen
  assert all(how == config.augment.to_dict() | {"holes": 0.75, "segmenter": 0.5} for how in seen)
  with pytest.raises(ConfigError, match=r"config\.discriminant\.holes=2\.0 is a probability"):
    run(configure(**CHANGES, discriminant__holes=2.0), tmp_path / "wrong")


def test_every_direction_is_learnt_and_clips_that_are_all_alone_teach_nothing(finished):
  kernel = jax.device_get(finished[1]["teacher"]["stats"]["discriminant"]["kernel"])
  assert (np.linalg.norm(kernel, axis=0) > 0).all()
  basis = linear_maps.components(np.random.default_rng(0).standard_normal((8, 4, 1)), most=2, seed=0)
  with pytest.raises(DataError, match="two people"):
    linear_maps.discriminant(basis, np.arange(8), shrinkage=0.1)


def test_a_run_that_begins_with_its_weights_learns_one_of_its_own(run, configure, finished, tmp_path):
  changes = CHANGES | {"train__start_from": str(finished[0])}
  begun = run(configure(**changes, train__stop_at=0), tmp_path)
  assert not np.any(begun["teacher"]["stats"]["discriminant"]["kernel"])
  assert load_network(tmp_path).embedding == "prediction"
  ended = jax.device_get(run(configure(**changes), tmp_path)["teacher"]["stats"]["discriminant"]["kernel"])
  assert np.any(ended)
  assert np.any(ended != jax.device_get(finished[1]["teacher"]["stats"]["discriminant"]["kernel"]))
  without = run(configure(**changes | {"model__discriminant": 0}, train__stop_at=0), tmp_path / "without")
  assert "discriminant" not in without["teacher"]["stats"]


def test_it_learns_from_every_clip_under_its_own_group(run, configure, toy, tmp_path, monkeypatch):
  given = []

  def solved(basis, groups, *, shrinkage, keys):
    given.append((basis.scores @ basis.directions.T + basis.mean, groups, shrinkage))
    return linear_maps.LinearMap(mean=basis.mean, kernel=basis.directions)  # nothing varies within: not to be solved

  monkeypatch.setattr(linear_maps, "discriminant", solved)
  purposes, key = set(), discriminant.rng.key
  monkeypatch.setattr(discriminant.rng, "key", lambda *given: purposes.add(given[1]) or key(*given))
  # As many frames as a walk has: both clips of a place are the whole walk, and so are the same.
  changes = {"discriminant__frames": 6, "discriminant__components": 16, "discriminant__shrinkage": 0.2}
  run(configure(**CHANGES | changes), tmp_path)
  (rows, groups, shrinkage), = given
  assert (len(rows), shrinkage) == (32, 0.2)
  assert {"discriminant.0", "discriminant.1"} <= purposes  # each clip is augmented by itself
  people = [rows[groups == group] for group in np.unique(groups)]
  assert min(map(len, people)) >= 2
  within = max(np.abs(person - person[0]).max() for person in people)
  between = min(np.abs(a[0] - b[0]).max() for i, a in enumerate(people) for b in people[:i])
  assert within < 0.2 * between


def test_it_sees_walks_as_evaluation_does(finished):
  """By running statistics, whoever else is in the batch, and at the spacing of frames that the network was taught."""
  network = load_network(finished[0], mesh=make_mesh(devices=jax.devices()[:1]))
  config = network.config.copy_and_resolve_references().unlock()
  config.augment.update({step: 0.0 for step in config.augment if step != "width"})
  embed = discriminant.embedder(config.lock(), network.graph, network.mesh)
  frames = 255 * np.random.default_rng(0).integers(0, 2, (8, 2, 4, 64, 64, 1), np.uint8)
  rows, _ = embed({"params": network.params, "stats": network.stats}, frames, np.ones((8, 2, 4), bool), np.arange(8),
                  np.int32(0))
  pooled = np.asarray(network.embed(frames[:3, 0], np.ones((3, 4), bool)).pooled)
  wanted = (pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)).reshape(3, -1)
  np.testing.assert_allclose(np.asarray(rows)[:3], wanted, atol=1e-5)


def test_its_clips_are_spaced_as_the_network_was_taught(run, configure, tmp_path, monkeypatch):
  asked, spaced = [], discriminant.spaced
  monkeypatch.setattr(discriminant, "spaced", lambda count, *, stride: asked.append((count, stride)) or spaced(
    count, stride=stride))
  run(configure(**CHANGES | {"data__clip_frames": 2, "data__window_frames": 6}), tmp_path)
  assert asked == [(4, 3)]


def test_of_its_frames_every_so_many_th_is_embedded_at_the_same_spacing(run, configure, tmp_path, monkeypatch):
  seen, embedder = [], discriminant.embedder
  read, following = [], Reading.next
  monkeypatch.setattr(Reading, "next", lambda self: read.append(following(self)) or read[-1])

  def recorded(*about):
    embed = embedder(*about)
    return lambda weights, frames, **rest: seen.append(jax.device_get((frames, rest["valid"]))) or embed(
      weights, frames, **rest)

  monkeypatch.setattr(discriminant, "embedder", recorded)
  how = CHANGES | {"data__clip_frames": 2, "data__window_frames": 8, "discriminant__frames": 6}
  state = run(configure(**how), tmp_path / "all")
  (whole, _), *rest = seen
  clips = next(batch["frames"] for batch in read if batch["frames"].shape[2] == 6)
  assert (clips[:, :, 1:] != clips[:, :, :-1]).any(axis=(0, 1, 3, 4, 5)).all()
  np.testing.assert_array_equal(whole, clips[:, :, [0, 4, 1, 5, 2, 3]])
  seen.clear()
  less = run(configure(**how, discriminant__step=2), tmp_path / "less")
  (found, valid), *others = seen  # of 0, 2 and 4: 0, 4, 2
  np.testing.assert_array_equal(found, whole[:, :, [0, 1, 4]])
  assert valid.shape == found.shape[:3]
  assert len(rest) == len(others)
  kernels = [s["teacher"]["stats"]["discriminant"]["kernel"] for s in (state, less)]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_every_scale_of_parts_counts_alike_and_the_map_is_of_parts_as_they_are(run, configure, tmp_path, monkeypatch):
  seen, components = [], linear_maps.components

  def solved(basis, groups, **_):
    seen.append(basis)
    return linear_maps.LinearMap(mean=basis.mean, kernel=basis.directions)

  monkeypatch.setattr(linear_maps, "components", lambda rows, **how: seen.append(rows) or components(rows, **how))
  monkeypatch.setattr(linear_maps, "discriminant", solved)
  found = jax.device_get(run(configure(**CHANGES), tmp_path)["teacher"]["stats"]["discriminant"])
  rows, basis = seen
  squares = np.square(rows.reshape(len(rows), 31, -1)).sum(axis=2)
  for strips in np.split(squares, [16, 24, 28, 30], axis=1):
    np.testing.assert_allclose(strips.sum(axis=1), 16, rtol=1e-4)
  balance = np.repeat(np.sqrt(16 / np.repeat([16, 8, 4, 2, 1], [16, 8, 4, 2, 1])), rows.shape[1] // 31)
  np.testing.assert_allclose(found["mean"] * balance, basis.mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found["kernel"] / balance[:, None], basis.directions[:, :6], rtol=1e-4, atol=1e-6)


def test_what_cannot_be_read_for_it_ends_the_run_saved_and_the_next_one_learns_it(run, configure, finished, tmp_path):
  torn = ToySplit(torn=1 + 4 * 8 + 3)  # a first look and the steps' own batches can be read
  with pytest.raises(DataError, match=r"discriminant cannot be learnt: .*bad sector.* saved as step 4 in"):
    run(configure(**CHANGES), tmp_path, splits={"toy": torn})
  assert load_network(tmp_path).embedding == "prediction"
  again = run(configure(**CHANGES), tmp_path)
  assert_same(again, finished[1])
  assert load_network(tmp_path).embedding == "discriminant"  # in place of the step that was saved without


def test_learnt_again_as_the_run_learnt_it_it_is_the_same(run, configure, toy, finished, tmp_path, monkeypatch):
  """By the program that learns it for finished weights."""
  monkeypatch.setattr(pretraining, "opened", lambda folder, sets, *, first=(): {"toy": toy})
  network = load_network(finished[0], mesh=make_mesh(devices=jax.devices()[:1]))
  again = fit_discriminant.refitted(network, network.config.discriminant, data="nowhere")
  assert_same(again.stats["discriminant"], network.stats["discriminant"])


def test_of_several_processes_all_take_that_of_the_first(configure, toy, monkeypatch):
  """Each solves it, and the last bits depend on the processor, but the copies of an array must be equal."""
  monkeypatch.setattr(discriminant, "learn", lambda *_, **__: {"mean": np.zeros(2, np.float32)})
  monkeypatch.setattr(pretraining.hosts, "of_first", lambda found: {"mean": found["mean"] + 7})
  found = pretraining.learnt_discriminant(
    configure(**CHANGES), None, None, {"toy": toy}, mesh=make_mesh(devices=jax.devices()[:1]),
    watchdog=Watchdog(minutes=0, stops=False), between=lambda: None)
  np.testing.assert_array_equal(found["mean"], [7, 7])


def test_its_batches_follow_the_last_of_training(configure):
  config = configure(**CHANGES)
  _, numbers = discriminant.closing_batches(config)
  least = config.data.batch_size * config.data.clips
  assert numbers == range(config.train.steps, config.train.steps + config.discriminant.walks // least)
  assert len(numbers) > 1


def test_the_last_step_is_saved_before_it_is_learnt(run, configure, tmp_path, monkeypatch):
  """Whatever ends the process then, the system for want of memory, too, which leaves no time for anything."""
  seen = []

  def fails(*_, **__):
    until = time.monotonic() + 60
    while not (tmp_path / "checkpoints" / "4").exists() and time.monotonic() < until:
      time.sleep(0.05)
    seen.append(load_network(tmp_path))
    raise MemoryError("no room")

  monkeypatch.setattr(discriminant, "learn", fails)
  with pytest.raises(MemoryError, match="no room"):
    run(configure(**CHANGES), tmp_path)
  assert [(found.step, found.embedding) for found in seen] == [(4, "prediction")]


def test_a_stop_asked_for_while_it_is_learnt_is_heard_and_the_restart_learns_it(
  run, configure, finished, tmp_path, monkeypatch, capsys
):
  made = discriminant.learn

  def signalled(*args, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    return made(*args, **options)

  with monkeypatch.context() as patch:
    patch.setattr(discriminant, "learn", signalled)
    stopped = run(configure(**CHANGES), tmp_path)
  assert not np.any(stopped["teacher"]["stats"]["discriminant"]["kernel"])
  assert "stopped by SIGTERM at step 4 of 4" in capsys.readouterr().out
  assert_same(run(configure(**CHANGES), tmp_path), finished[1])
  assert "done: 4 steps" in capsys.readouterr().out
