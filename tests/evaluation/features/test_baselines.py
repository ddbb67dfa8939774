"""Mean silhouettes, row bands, centring and guessing."""

import dataclasses

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.features import baselines
from fgait_jax.evaluation.labels import Features
from fgait_jax.models import facing


class Walks:
  name = "made/up"

  def __init__(self):
    generator = np.random.default_rng(0)
    self.walks = [generator.integers(0, 256, (n, 64, 64, 1), np.uint8) for n in (3, 8)]
    self.num_frames = np.array([3, 8])
    self.subjects = self.conditions = self.keys = np.array(["a", "b"])
    self.views = np.array(["p1-r", "p1-l"])

  def __len__(self):
    return 2

  def frames(self, i, indices=None):
    return self.walks[i][indices]


def test_raw_gei_is_the_mean_of_the_first_frames_between_columns_10_and_53():
  split = Walks()
  gei = baselines.mean_silhouettes(split, max_frames=5)
  assert gei.embeddings.shape == (2, 64 * 44, 1)
  np.testing.assert_allclose(gei.embeddings[1, :, 0].reshape(64, 44),
                             split.walks[1][:5, :, 10:54, 0].mean(axis=0) / 255, rtol=1e-6)
  flipped = baselines.mean_silhouettes(split, max_frames=5, mirror=("*-l",))
  np.testing.assert_array_equal(flipped.embeddings[0], gei.embeddings[0])
  np.testing.assert_allclose(flipped.embeddings[1].reshape(64, 44)[:, 1:],
                             gei.embeddings[1].reshape(64, 44)[:, :0:-1])  # about column 22, as the body stands


def test_every_channel_has_a_mean_and_bands_hold_all_of_them():
  split = Walks()
  split.walks = [np.random.default_rng(1).integers(0, 256, (n, 64, 64, 2), np.uint8) for n in (3, 8)]
  gei = baselines.mean_silhouettes(split, max_frames=5)
  means = split.walks[1][:5, :, 10:54].mean(axis=0) / 255
  np.testing.assert_allclose(gei.embeddings[1].reshape(64, 44, 2), means, rtol=1e-6)
  bands = baselines.in_row_bands(gei).embeddings
  np.testing.assert_allclose(bands[1, :, 3].reshape(4, 44, 2), means[12:16], rtol=1e-6)


def test_a_discriminant_knows_the_people_of_two_data_sets_of_a_population(monkeypatch):
  def opened(folder, name, split):
    walks = Walks()
    walks.manifest = {"name": name, "population": {"few": "crowd", "many": "crowd"}.get(name, name)}
    return walks

  told = []
  monkeypatch.setattr(baselines, "open_split", opened)
  monkeypatch.setattr(baselines.linear_maps, "discriminant", lambda basis, people, shrinkage: told.extend(people))
  config = defaults.pretrain()
  with config.unlocked():
    config.model.discriminant = 2
    config.discriminant.sets = defaults.discriminant_sets("few:subject,many:subject,strangers:subject")
  baselines.silhouette_discriminant(config, data_dir="built", max_frames=5, seed=0)
  assert told == ["crowd/a", "crowd/b", "crowd/a", "crowd/b", "strangers/a", "strangers/b"]


def test_the_discriminant_of_geis_faces_one_way_where_its_network_does(monkeypatch):
  told = []
  monkeypatch.setattr(Walks, "manifest", {}, raising=False)
  monkeypatch.setattr(baselines, "open_split", lambda folder, name, split: Walks())
  monkeypatch.setattr(baselines, "identities", lambda manifest, subjects: subjects)
  monkeypatch.setattr(baselines, "faced", lambda gei: dataclasses.replace(gei, embeddings=gei.embeddings + 100))
  monkeypatch.setattr(baselines.linear_maps, "components", lambda rows, most, seed: told.append(rows.max() > 50))
  monkeypatch.setattr(baselines.linear_maps, "discriminant",
                      lambda basis, people, shrinkage: lambda gei: gei.embeddings.max() > 50)
  config = defaults.pretrain()
  for turns in (True, False):
    with config.unlocked():
      config.model.facing, config.model.discriminant = turns, 2
      config.discriminant.sets = defaults.discriminant_sets("people:subject")
    mapped = baselines.silhouette_discriminant(config, data_dir="built", max_frames=5, seed=0)
    assert told.pop() == mapped(baselines.mean_silhouettes(Walks(), max_frames=5)) == turns


def test_sets_of_a_discriminant_are_told_apart_by_their_labels():
  config = defaults.pretrain()
  with config.unlocked():
    config.discriminant.sets = defaults.discriminant_sets("walkers:subject,here:sequence:test,crowd:subject")
  assert baselines.named_sets(config) == ({"crowd": "train", "walkers": "train"}, ["here"])


def test_faced_geis_are_those_of_faced_walks():
  gei = baselines.mean_silhouettes(Walks(), max_frames=5)
  image = np.full((64, 44), 0.5, np.float32)
  pattern = np.repeat(np.repeat(facing.AZIMUTH, 8, axis=0), 4, axis=1) / 4
  image[:, 23:43] -= pattern  # it walks to the right
  image[:, 22] = 50  # holds the median
  gei = dataclasses.replace(gei, embeddings=np.stack([image, image[:, ::-1]]).reshape(2, -1, 1))
  faced = baselines.faced(gei).embeddings
  assert faced.shape == gei.embeddings.shape
  turned = faced.reshape(2, 64, 44)
  np.testing.assert_allclose(turned[0, :, 1:], image[:, :0:-1], atol=1e-6)
  np.testing.assert_allclose(turned[1, :, 2:], turned[0, :, 2:], atol=1e-6)  # was one pixel off


def test_geis_that_are_faced_in_pieces_are_those_faced_at_once(monkeypatch):
  images = np.zeros((5, 64, 44), np.float32)
  for place, image in enumerate(images):
    image[:, 3 + 2 * place : 9 + 3 * place] = 1 + place  # off the middle, none as another
  gei = baselines.mean_silhouettes(Walks(), max_frames=5)
  gei = dataclasses.replace(gei, embeddings=images.reshape(5, -1, 1))
  whole = baselines.faced(gei).embeddings
  assert (whole != gei.embeddings).any(axis=(1, 2)).all()
  monkeypatch.setattr(baselines, "_TURNED", 2)
  np.testing.assert_array_equal(baselines.faced(gei).embeddings, whole)


def test_row_bands_are_four_rows_each():
  gei = baselines.mean_silhouettes(Walks(), max_frames=5)
  bands = baselines.in_row_bands(gei)
  assert bands.embeddings.shape == (2, 4 * 44, 16)
  np.testing.assert_array_equal(bands.embeddings[0, :, 3].reshape(4, 44), gei.embeddings[0].reshape(64, 44)[12:16])


def test_centring_takes_each_groups_own_mean_away():
  embeddings = np.random.default_rng(0).standard_normal((6, 4, 3)).astype(np.float32)
  names, views = np.array(["a", "a", "a", "b", "b", "b"]), np.array(["x", "x", "y", "y", "y", "x"])
  whole = Features(embeddings=embeddings, subjects=names, conditions=names, views=views, keys=names, origin="e.npz")
  by_view = baselines.centred(whole, "view").embeddings
  for view in "xy":
    left = embeddings[views == view] - embeddings[views == view].mean(axis=0)
    expected = left / np.linalg.norm(left, axis=1, keepdims=True)
    np.testing.assert_allclose(by_view[views == view], expected, rtol=1e-4, atol=1e-6)
  with pytest.raises(DataError, match="e.npz: config.centre_by=condition_view takes off the mean of each condition and"
                     " view, but 2 of 4 hold one walk, of which nothing would be left, such as a/y; centre by less"):
    baselines.centred(whole, "condition_view")
  centred = baselines.centred(whole, "condition").embeddings
  left = embeddings[3:] - embeddings[3:].mean(axis=0)
  np.testing.assert_allclose(centred[3:], left / np.linalg.norm(left, axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
  with pytest.raises(ConfigError, match="config.centre_by is 'camera'; known: none, condition, view"):
    baselines.centred(whole, "camera")


def test_guessing_has_the_closed_form_of_random_neighbours():
  subjects = np.repeat(np.arange(10), 4)
  probe, gallery = np.arange(0, 40, 2), np.arange(1, 40, 2)  # each probe has 2 mates among 20

  def score(embeddings):
    distance = np.linalg.norm(embeddings[probe] - embeddings[gallery][:, None], axis=(2, 3)).T
    nearest = subjects[gallery][distance.argmin(axis=1)]
    return {"conditions": {"x": {"rank1": 100 * float((nearest == subjects[probe]).mean()), "probes": 20}}}

  level = baselines.chance_level(score, 40, seed=0, draws=200)["conditions"]["x"]
  assert level["probes"] == 20
  assert level["rank1"] == pytest.approx(10, abs=1.5)
