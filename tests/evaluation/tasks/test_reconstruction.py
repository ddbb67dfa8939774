"""What is counted of hidden bodies, and what fills them in without learning."""

import jax
import numpy as np
import pytest

from configs import reconstruction as configs
from fgait_jax import defaults
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import program, setup
from fgait_jax.evaluation.features import reconstruction
from fgait_jax.evaluation.results import read
from fgait_jax.evaluation.tasks import reconstruction as task
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints


def test_a_fill_in_over_time_takes_the_frames_that_show_a_pixel():
  given = np.zeros((2, 4, 1, 2), np.float32)
  given[0, :, 0, 0] = 1, 1, 0, 1
  visible = np.zeros_like(given, bool)
  visible[0, 1:3, 0, 0] = True  # the first pixel of the first clip is seen twice, all others never
  found = reconstruction.without_learning(given, visible)
  assert found["in_time"][0, :, 0, 0].tolist() == [0.5] * 4
  np.testing.assert_array_equal(found["mean_silhouette"], np.broadcast_to([0.5, 0], given.shape))  # no hidden pixel's
  np.testing.assert_array_equal(found["in_time"][1], found["mean_silhouette"][1])


def test_overlap_counts_hidden_pixels_alone():
  given, predicted = np.zeros((2, 1, 1, 4)), np.zeros((2, 1, 1, 4))
  given[0, 0, 0] = 1, 1, 0, 1
  predicted[0, 0, 0] = 0.9, 0.5, 0.6, 0.9
  hidden = np.ones((2, 1, 1, 4), bool)
  hidden[0, 0, 0, 3] = False
  assert reconstruction.overlap(predicted, given, hidden).tolist() == [[1, 3, 1, 3], [0, 0, 4, 4]]


def test_the_interval_of_the_overlap_is_over_people_and_not_over_clips():
  """One person's clips differ, the other's are like hers: nothing is uncertain."""
  counts = np.array([[0, 10, 5, 10], [10, 10, 10, 10]] * 2)
  found = task._figures(counts, np.array(["a", "a", "b", "b"]), defaults.evaluation())
  assert (found["overlap"], found["right"], found["ci"]["overlap"]) == (50, 75, [50, 50])


class Walks:
  """Bodies that stand still, 44 wide, of other lengths; the first is shorter than a clip."""

  name, manifest = "walkers/test", {"name": "walkers", "kind": "synthetic", "content_hash": "d" * 64}
  num_frames = np.array([3, 30, 30, 30, 30])
  subjects, conditions = np.array(["1", "1", "2", "2", "3"]), np.array(["nm-01"] * 5)
  views, keys = np.array(["090"] * 5), np.array(list("abcde"))

  def __len__(self):
    return 5

  def frames(self, i, indices):
    frames = np.zeros((self.num_frames[i], 64, 44, 1), np.uint8)
    frames[:, 8:60, 16 : 20 + 2 * i] = 255
    frames[:, 0, 0, 0] = np.arange(self.num_frames[i])  # which frame it is
    return frames[indices]


@pytest.fixture
def network(run_folder):
  return checkpoints.load_network(run_folder, mesh=make_mesh(devices=jax.devices()[:1]))


def test_clips_are_those_of_training(network):
  count, stride = network.config.data.clip_frames, network.stride
  clips = reconstruction.clips(network, Walks(), np.array([1, 0]))
  assert clips.shape == (2, count, 64, 64, 1)
  assert clips[0, :, 0, 10, 0].tolist() == [n * stride for n in range(count)]
  assert clips[1, :, 0, 10, 0].tolist() == [n * stride % 3 for n in range(count)]


def test_every_batch_hides_other_tokens(network):
  clips = reconstruction.clips(network, Walks(), np.array([1, 1]))
  first, again, second = (
    reconstruction.reconstruct(network, clips, masked_fraction=0.5, seed=0, batch=batch)[1] for batch in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert (first != second).any()
  assert (first[0] != first[1]).any()  # and every clip


def test_the_task_writes_a_table_and_a_picture(network, tmp_path, monkeypatch):
  monkeypatch.setattr(setup, "open_split", lambda folder, name, split: Walks())
  monkeypatch.setattr(setup, "load_network", lambda path, **options: network)
  config = configs.get_config().unlock()
  config.checkpoint, config.bootstrap, config.pictures = "runs/x", 100, 2
  config.reconstruction.masked_fractions, config.reconstruction.walks = (0.5,), 4
  (path,) = program.run(config, tmp_path)
  result = read(path)
  assert [row.name for row in result.rows] == ["model", "in_time", "mean_silhouette"]
  assert [condition.title for condition in result.conditions] == ["50% of the tokens hidden"]
  for row in result.rows:
    figures = row.figures["0.5"]
    low, high = figures.interval("overlap")
    assert 0 <= low <= high <= 100
    assert 0 <= figures.number("right") <= 100
  still = {row.name: row.figures["0.5"].number("overlap") for row in result.rows}
  assert still["in_time"] > still["model"]  # bodies that stand still are seen in other frames, and it is untrained
  assert (tmp_path / "reconstruction-walkers.png").stat().st_size > 5_000
  assert result.pictures == ["reconstruction-walkers.png"]


def test_figures_are_of_the_hidden_pixels_of_the_walks_drawn(network, tmp_path, monkeypatch):
  """With batches of two of three walks, one padded: a walk's number is the share of its row that is body, and a network
  that fills in all is right by as much. Every batch, share and mirror is handed on."""
  monkeypatch.setattr(setup, "open_split", lambda folder, name, split: Walks())
  monkeypatch.setattr(setup, "load_network", lambda path, **options: network)
  monkeypatch.setattr(task, "_BATCH", 2)
  asked = []

  def clips(network, split, rows, **options):
    asked.append((rows.tolist(), options))
    return rows

  def reconstruct(network, rows, *, masked_fraction, seed, batch):
    asked.append((masked_fraction, batch))
    given = (np.arange(10) < rows[:, None]).astype(np.float32)[:, None, None, :]  # [b, 1, 1, 10], `row` of ten are body
    visible = np.ones_like(given, bool)
    visible[..., : int(10 * masked_fraction)] = False
    return given, visible, np.ones_like(given)

  monkeypatch.setattr(reconstruction, "clips", clips)
  monkeypatch.setattr(reconstruction, "reconstruct", reconstruct)
  config = configs.get_config().unlock()
  config.checkpoint, config.bootstrap, config.pictures, config.baselines = "runs/x", 0, 0, False
  config.mirror_views, config.max_frames = ("*",), 9
  config.reconstruction.masked_fractions, config.reconstruction.walks = (0.2, 0.8), 3
  (path,) = program.run(config, tmp_path)
  rows = np.sort(np.random.default_rng(config.seed).permutation(5)[:3]).tolist()
  options = {"mirror": ("*",), "max_frames": 9}
  batches = [(rows[:2], options), (rows[2:] * 2, options)]
  assert asked == [batches[0], (0.2, 0), batches[1], (0.2, 1), batches[0], (0.8, 0), batches[1], (0.8, 1)]
  (row,) = read(path).rows
  for share, hidden in (("0.2", 2), ("0.8", 8)):
    right = sum(min(number, hidden) for number in rows) / (3 * hidden)
    assert row.figures[share].number("overlap") == row.figures[share].number("right") == pytest.approx(100 * right)


def test_what_is_filled_in_is_a_share(network):
  clips = reconstruction.clips(network, Walks(), np.array([1, 1]))
  predicted = reconstruction.reconstruct(network, clips, masked_fraction=0.5, seed=0)[2]
  assert 0 < predicted.min() < predicted.max() < 1


def test_shares_that_hide_nothing_and_maps_are_refused(network, tmp_path, monkeypatch):
  monkeypatch.setattr(setup, "open_split", lambda folder, name, split: Walks())
  monkeypatch.setattr(setup, "load_network", lambda path, **options: network)
  config = configs.get_config().unlock()
  config.checkpoint, config.pictures = "runs/x", 0
  config.reconstruction.masked_fractions = (0.001,)
  with pytest.raises(ConfigError, match="a share of 0.001 hides none of a clip's tokens; choose larger ones"):
    program.run(config, tmp_path)
  monkeypatch.setattr(Walks, "manifest", Walks.manifest | {"pixels": "maps"})
  with network.config.unlocked():
    network.config.model.pixels = "maps"
  with pytest.raises(ConfigError, match="holds maps of 1 channel; the overlap of hidden bodies is measured on silh"):
    program.run(config, tmp_path)


def test_a_network_that_never_filled_in_is_refused(network, monkeypatch, tmp_path):
  monkeypatch.setattr(setup, "open_split", lambda folder, name, split: Walks())
  monkeypatch.setattr(setup, "load_network", lambda path, **options: network)
  config = configs.get_config().unlock()
  config.checkpoint = "runs/x"
  decoder = network.params.pop("decoder")
  with pytest.raises(ConfigError, match="runs/x was published without its decoder, .*; choose the run it was made of"):
    program.run(config, tmp_path)
  network.params["decoder"] = decoder
  with network.config.unlocked():
    network.config.objectives.reconstruction.weight = 0.0
  with pytest.raises(ConfigError, match=r"runs/x has not learnt to fill in .*objectives.reconstruction.weight=0\)"):
    program.run(config, tmp_path)


@pytest.mark.parametrize("keys, words", [
  ({"masked_fractions": ()}, "masked_fractions"), ({"masked_fractions": (0.5, 1.0)}, "above 0 and below 1"),
  ({"masked_fractions": (0.5, 0.5)}, "different shares"), ({"walks": -1}, "must be 0 or more")])
def test_wrong_keys_are_named(keys, words, tmp_path):
  config = configs.get_config().unlock()
  config.checkpoint = "runs/x"
  config.reconstruction.update(keys)
  with pytest.raises(ConfigError, match=words):
    program.run(config, tmp_path)
