"""Linear maps by closed form, limit and invariance, and the task that learns them from people who are not tested."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fgait_jax.data.held_out import Parts
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import program, protocols, setup, validation
from fgait_jax.evaluation.features import files
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.tasks import linear_maps as task
from fgait_jax.training import linear_maps
from tests.evaluation.conftest import content
from tests.evaluation.stand_in import Network, Walks, config_of


def people(seed=0, *, number=12, walks=10, nuisance=50.0):
  """Embeddings [N, 4, 3] of people who differ by little in some channels, while one direction is loud for everybody."""
  rng = np.random.default_rng(seed)
  who = np.repeat(np.arange(number), walks)
  own = rng.standard_normal((number, 12))[who]
  loud = nuisance * rng.standard_normal((len(who), 1)) * np.random.default_rng(99).standard_normal(12)
  rows = own + 0.6 * rng.standard_normal((len(who), 12)) + loud
  return rows.reshape(-1, 4, 3).astype(np.float32), who.astype(str)


def features(rows, who):
  text = np.full(len(rows), "0")
  return Features(embeddings=rows, subjects=who, conditions=text, views=text, keys=np.arange(len(rows)).astype(str))


def rank1(found):
  flat = found.embeddings[..., 0]
  near = flat @ flat.T - 2 * np.eye(len(flat))
  return np.mean(found.subjects[near.argmax(1)] == found.subjects)


def test_whitening_without_a_floor_gives_components_of_one_variance():
  rows, _ = people(nuisance=3.0)
  basis = linear_maps.components(rows, most=12, seed=0)
  mapped = (rows.reshape(len(rows), -1) - basis.mean) @ linear_maps.whitened(basis, floor=0).kernel
  np.testing.assert_allclose(np.cov(mapped.T), np.eye(mapped.shape[1]), atol=2e-3)


def test_a_large_floor_leaves_directions_as_they_are():
  rows, who = people()
  basis = linear_maps.components(rows, most=12, seed=0)
  found = linear_maps.whitened(basis, floor=1e6)(features(rows, who)).embeddings[..., 0]
  plain = basis.scores / np.linalg.norm(basis.scores, axis=1, keepdims=True)
  np.testing.assert_allclose(found, plain, atol=1e-4)
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_both_maps_find_people_under_a_loud_nuisance_and_the_discriminant_finds_more():
  rows, who = people(number=40)
  other = features(*people(1, number=40))
  basis = linear_maps.components(rows, most=12, seed=0)
  plain, pca = (rank1(linear_maps.whitened(basis, floor=floor)(other)) for floor in (1e6, 0))
  lda = linear_maps.discriminant(basis, who, shrinkage=0.0)
  assert plain + 0.1 < pca < rank1(lda(other)) - 0.03
  assert lda.kernel.shape == (12, 12)


def test_a_person_counts_once_for_every_walk():
  """Two directions in which walks vary alike; one parts two people of many walks, the other one of few, by more."""
  rng, walks = np.random.default_rng(0), (100, 100, 4)
  who = np.repeat(np.arange(3), walks)
  means = np.array([(-1.0, 0.0), (1.0, 0.0), (0.0, 4.0)])[who]
  rows = (means + rng.standard_normal((len(who), 2))).astype(np.float32)
  own = np.stack([rows[who == person].mean(axis=0) for person in range(3)])
  within = (rows - own[who]).T @ (rows - own[who])
  between = (own[who] - rows.mean(axis=0)).T @ (own[who] - rows.mean(axis=0))
  expected = scipy.linalg.eigh(between, within)[1][:, -1]  # of all 204 walks
  basis = linear_maps.components(rows[..., None], most=2, seed=0)
  found = linear_maps.discriminant(basis, who, shrinkage=0.0).kernel[:, 0]
  assert abs(expected @ found) / np.linalg.norm(expected) / np.linalg.norm(found) == pytest.approx(1, abs=1e-4)
  assert abs(expected[0]) > 2 * abs(expected[1])  # where every person counts once, it is the other direction


def test_the_discriminant_does_not_depend_on_the_scale_of_channels():
  rows, who = people(nuisance=1.0)
  scale = np.linspace(0.5, 2, 12, dtype=np.float32).reshape(4, 3)
  other, other_who = people(1, nuisance=1.0)
  found = []
  for factor in (np.float32(1), scale):
    basis = linear_maps.components(rows * factor, most=12, seed=0)
    mapped = linear_maps.discriminant(basis, who, shrinkage=0.0)(features(other * factor, other_who)).embeddings[..., 0]
    found.append(mapped @ mapped.T)
  np.testing.assert_allclose(found[0], found[1], atol=2e-3)


def test_without_shrinkage_the_discriminant_is_that_of_scikit_learn():
  rows, who = people(nuisance=1.0)
  basis = linear_maps.components(rows, most=12, seed=0)
  found = basis.directions.T @ linear_maps.discriminant(basis, who, shrinkage=0.0).kernel
  theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=11).fit(basis.scores.astype(np.float64), who)
  overlap = np.abs(np.sum(found * theirs.scalings_[:, :11], axis=0)) / (
    np.linalg.norm(found, axis=0) * np.linalg.norm(theirs.scalings_[:, :11], axis=0))
  np.testing.assert_allclose(overlap, 1, atol=1e-5)


def test_shrinkage_acts_on_the_covariance_within_people_alone():
  """At 1 nothing but the people's means speaks: the directions are the principal ones of the means."""
  rows, who = people(nuisance=3.0)
  basis = linear_maps.components(rows, most=12, seed=0)
  means = np.stack([basis.scores[who == name].mean(axis=0) for name in np.unique(who)]).astype(np.float64)
  centred = means - means.mean(axis=0)
  principal = np.linalg.svd(centred)[2]
  found = (basis.directions.T @ linear_maps.discriminant(basis, who, shrinkage=1.0).kernel).T
  found /= np.linalg.norm(found, axis=1, keepdims=True)
  np.testing.assert_allclose(np.abs(np.sum(found * principal[:11], axis=1)), 1, atol=1e-6)
  # In between, it solves the equation that it states.
  scores, half = basis.scores.astype(np.float64), linear_maps.discriminant(basis, who, shrinkage=0.5).kernel
  own = scores - means[np.unique(who, return_inverse=True)[1]]
  within = own.T @ own / len(own)
  shrunk = 0.5 * within + 0.5 * np.trace(within) / 12 * np.eye(12)
  vectors = basis.directions.T @ half
  np.testing.assert_allclose(vectors.T @ shrunk @ vectors, np.eye(11), atol=1e-6)
  between = np.cov((scores - own).T, bias=True)
  ratios = np.diag(vectors.T @ between @ vectors)
  np.testing.assert_allclose(vectors.T @ between @ vectors, np.diag(ratios), atol=1e-6 * ratios[0])
  assert (np.diff(ratios) <= 0).all()


def test_with_a_prior_all_directions_stay_and_the_more_people_the_less_they_count_alike():
  """Of the one covariance: no prior is Fisher's, a large one whitens what varies within people, and between them stands
  the share of each direction's variance that lies between people."""
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(4), 5)
  rows = rng.normal(size=(4, 6))[labels] * [9, 3, 1, 1, 1, 1] + rng.normal(size=(20, 6)) * [1, 2, 3, 1, 1, 1]
  found = linear_maps.components(rows.astype(np.float32)[..., None], most=6, seed=0)
  fisher, weighed, white = (
    linear_maps.discriminant(found, labels, shrinkage=0.1, prior=prior) for prior in (0.0, 8.0, 1e9))
  assert [each.kernel.shape for each in (fisher, weighed, white)] == [(6, 3), (6, 6), (6, 6)]
  mapped = (rows - white.mean) @ white.kernel
  means = np.stack([mapped[labels == n].mean(axis=0) for n in range(4)])[labels]
  inside, between = ((x.T @ x / 20) for x in (mapped - means, means - mapped.mean(axis=0)))
  ratios = np.diag(between)  # W' is the identity here
  np.testing.assert_allclose(between, np.diag(ratios), atol=1e-4)
  assert (np.diff(ratios) < 1e-4).all()
  assert ratios[0] > 1
  np.testing.assert_allclose(ratios[3:], 0, atol=1e-4)
  np.testing.assert_allclose(np.diag(inside), 1, atol=0.4)
  scale = np.linalg.norm(weighed.kernel, axis=0) / np.linalg.norm(white.kernel, axis=0)
  np.testing.assert_allclose(scale, np.sqrt((ratios + 2) / (ratios + 3)), rtol=1e-4)
  np.testing.assert_allclose(np.abs(fisher.kernel), np.abs(white.kernel[:, :3]), rtol=1e-4)


def test_people_whose_walks_do_not_vary_enough_want_a_shrinkage():
  rows, who = people(number=10, walks=2)
  rows[1::2][3:] = rows[::2][3:]  # seven of ten people have the same walk twice
  basis = linear_maps.components(rows, most=8, seed=0)
  with pytest.raises(DataError, match=r"of 10 people do not vary .* a shrinkage of 0 leaves it so; give config.l"):
    linear_maps.discriminant(basis, who, shrinkage=0.0)
  assert np.isfinite(linear_maps.discriminant(basis, who, shrinkage=0.1).kernel).all()
  basis = linear_maps.components(np.repeat(rows[::2], 2, axis=0), most=8, seed=0)
  with pytest.raises(DataError, match="or walks that are not copies"):
    linear_maps.discriminant(basis, who, shrinkage=0.5)


def test_the_shrinkage_is_the_best_on_people_whom_the_map_has_not_seen():
  """Little shrinkage knows its own people by heart and no others; much of it is best on others."""
  rng = np.random.default_rng(3)
  who = np.repeat(np.arange(24), 4)
  rows = 0.7 * rng.standard_normal((24, 6, 10))[who] * (np.arange(60) < 12).reshape(6, 10)
  found = features((rows + rng.standard_normal((96, 6, 10))).astype(np.float32), who.astype(str))
  found = dataclasses.replace(found, views=np.arange(96).astype(str))
  parts = Parts(fit=np.flatnonzero(who < 12), validation=np.flatnonzero(who >= 12))
  config = config_of("linear_maps", **{"linear_maps.shrinkages": (0.0, 0.01, 0.3, 1.0), "linear_maps.components": 24})
  taught = task._learn(found, parts, config)
  basis = linear_maps.components(found.embeddings[parts.fit], most=24, seed=0)

  def rank1_of(rows, shrinkage):
    lda = linear_maps.discriminant(basis, found.subjects[parts.fit], shrinkage=shrinkage)
    return validation.rank1(lda(found.take(rows)), across="view", metric="cosine", protocol=protocols.get("walkers"),
                            section="linear_maps")

  unseen, seen = ({s: rank1_of(rows, s) for s in config.linear_maps.shrinkages} for rows in (
    parts.validation, parts.fit))
  assert taught.tried == unseen
  assert taught.shrinkage == max(unseen, key=unseen.get)
  assert len({taught.shrinkage, max(seen, key=seen.get), min(unseen, key=unseen.get)}) > 1
  assert unseen[max(seen, key=seen.get)] < unseen[taught.shrinkage]  # or the people it was fitted on would do
  np.testing.assert_array_equal(taught.lda.kernel, linear_maps.discriminant(
    linear_maps.components(found.embeddings, most=24, seed=0), found.subjects, shrinkage=taught.shrinkage).kernel)


def test_fewer_walks_give_fewer_components_and_too_few_are_refused():
  rows, who = people(number=2, walks=4)
  assert linear_maps.components(rows, most=800, seed=0).directions.shape == (12, 4)
  with pytest.raises(ConfigError, match="config.linear_maps.components=0 must be at least 1"):
    linear_maps.components(rows, most=0, seed=0)
  with pytest.raises(DataError, match="3 training walks are too few"):
    linear_maps.components(rows[:3], most=8, seed=0)
  with pytest.raises(DataError, match="8 training walks of 1 people"):
    linear_maps.discriminant(linear_maps.components(rows, most=8, seed=0), np.full(8, "a"), shrinkage=0.1)
  with pytest.raises(ConfigError, match="config.linear_maps.floor=-1 must be 0 or more"):
    linear_maps.whitened(linear_maps.components(rows, most=8, seed=0), floor=-1)


@pytest.fixture
def world(monkeypatch):
  networks = {True: Network(), False: Network(trained=False)}
  splits = {"test": Walks(), "train": Walks("walkers/train", subjects=8, first=6)}
  for module in (setup, task):
    monkeypatch.setattr(module, "open_split", lambda folder, name, split: splits[split])
  monkeypatch.setattr(setup, "load_network", lambda path, *, mesh, which="teacher", trained=True: networks[trained])
  return networks, splits


def test_the_task_maps_network_and_baselines_on_the_same_terms(world, tmp_path):
  (path,) = program.run(config_of("linear_maps"), tmp_path)
  found = content(path)
  assert path.name == "linear_maps-walkers.json"
  assert [row["name"] for row in found["rows"]] == [
    "model", "untrained_lda", "raw_gei_lda", "model_pca", "untrained_pca", "raw_gei_pca", "zero_shot", "untrained",
    "raw_gei", "chance"]
  assert {"rank1", "map", "ci"} <= set(found["rows"][0]["figures"]["CL"])
  assert [i for i, row in enumerate(found["rows"]) if "per_view" in row] == [0, 1, 2]
  assert [i for i, row in enumerate(found["rows"]) if "cmc" in row] == [0, 1, 2, 3, 6]
  assert set(found["linear_maps"]["model"]["tried"]) == {"0.03", "0.1", "0.3", "0.6"}
  assert found["linear_maps"]["model"]["directions"] == 7
  assert any("LDA learnt who walks from 64 walks of 8 people of walkers/train" in note for note in found["notes"])
  stored, origin = files.load(tmp_path / "linear_maps-walkers.npz")
  assert origin["pretraining"] == found["pretraining"]
  assert stored.embeddings.shape == (48, 7, 1)
  np.testing.assert_allclose(np.linalg.norm(stored.embeddings, axis=1), 1, rtol=1e-5)


def test_a_share_of_the_training_people_is_cached_apart(world, tmp_path):
  networks, _ = world
  program.run(config_of("linear_maps", baselines=False, **{
    "linear_maps.max_sequences": 40, "linear_maps.validation_fraction": 0.4}), tmp_path / "a")
  calls = networks[True].calls
  cache = {"cache": str(tmp_path / "a" / "features")}
  (path,) = program.run(config_of("linear_maps", baselines=False, **cache), tmp_path / "b")
  assert networks[True].calls > calls
  assert [row["name"] for row in content(path)["rows"]] == ["model", "model_pca", "zero_shot"]


@pytest.mark.parametrize("error, message, values", [
  (ConfigError, r"walkers/test \(config.linear_maps.train_split\) and walkers/test .* share 6 subjects",
   {"linear_maps.train_split": "test"}),
  (ConfigError, "config.linear_maps.max_sequences=-1 must be 0 or more", {"linear_maps.max_sequences": -1}),
  (ConfigError, "config.linear_maps.validation_fraction=0.9 of 8 training identities leaves 1",
   {"linear_maps.validation_fraction": 0.9}),
  (ConfigError, r"config.linear_maps.shrinkages=\(0.03, 0.1, 0.3, 0.6\) are chosen from on validation identities",
   {"linear_maps.validation_fraction": 0.0}),
  (ConfigError, "config.linear_maps.validate_across is 'camera'", {"linear_maps.validate_across": "camera"}),
  (ConfigError, r"config.linear_maps.shrinkages=\(2.0,\) must lie in 0 to 1", {"linear_maps.shrinkages": (2.0,)}),
])
def test_what_cannot_be_learnt_is_said(world, tmp_path, error, message, values):
  with pytest.raises(error, match=message):
    program.run(config_of("linear_maps", **values), tmp_path)
  assert not list(tmp_path.glob("*.json"))


def test_people_of_the_test_teach_no_map_under_another_name_either(world, tmp_path):
  """Whitening learns from whichever data set: of one population, the same identity is the same person."""
  _, splits = world
  splits["train"] = Walks("walkers_mini/train", subjects=8, first=4)  # 004 and 005 are tested
  splits["train"].manifest |= {"name": "walkers_mini", "population": "walkers"}
  with pytest.raises(ConfigError, match=r"walkers_mini/train .* share 2 subjects \(004, 005"):
    program.run(config_of("linear_maps", **{"linear_maps.dataset": "walkers_mini"}), tmp_path)
  splits["train"].manifest["population"] = "walkers_mini"
  (path,) = program.run(config_of("linear_maps", baselines=False, **{"linear_maps.dataset": "walkers_mini"}), tmp_path)
  assert not any("nobody tested is among them" in note for note in content(path)["notes"])
