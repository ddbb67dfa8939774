"""A secret rotation of embeddings: what stays within a deployment, and what no longer matches between two."""

import types

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.features import files, salt
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.evaluation.results import Data
from fgait_jax.evaluation.tasks import embed, identify
from tests.evaluation.conftest import content

PEOPLE, WALKS = 12, 3


def walks(*, channels=64, parts=3):
  """Walks of people who are told apart by all parts together."""
  rng = np.random.default_rng(0)
  people = rng.normal(size=(PEOPLE, 1, channels, parts))
  values = people + 0.3 * rng.normal(size=(PEOPLE, WALKS, channels, parts))
  subjects = np.repeat([f"p{n}" for n in range(PEOPLE)], WALKS)
  column = np.full(len(subjects), "nm")
  return Features(embeddings=values.reshape(-1, channels, parts).astype(np.float32), subjects=subjects,
                  conditions=column, views=column, keys=np.arange(len(subjects)).astype(str))


@pytest.fixture
def keys(tmp_path):
  """Two key files."""
  paths = [tmp_path / name for name in ("one.key", "two.key")]
  for number, path in enumerate(paths):
    path.write_bytes(bytes(range(number, 32 + number)))
  return paths


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_stay(keys, metric):
  found = walks()
  salted = salt.load(keys[0]).apply(found)
  before, after = (pairwise(x.embeddings, x.embeddings, metric=metric) for x in (found, salted))
  np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-3 * before.max())  # of a walk to itself: rounding
  apart = ~np.eye(len(before), dtype=bool)
  np.testing.assert_allclose(after[apart], before[apart], rtol=1e-5, atol=2e-6)
  np.testing.assert_array_equal(salted.subjects, found.subjects)


def test_two_deployments_do_not_match(keys):
  """Nor does either with what is not salted, nor any part with another part of it."""
  found, names = walks(), np.repeat(np.arange(PEOPLE), WALKS)
  one, two = (salt.load(key).apply(found) for key in keys)

  def rank1(probes, gallery):
    distance = pairwise(probes, gallery, metric="euclidean") + 1e9 * np.eye(len(probes))  # never the walk itself
    return np.mean(names[distance.argmin(1)] == names)

  assert rank1(one.embeddings, one.embeddings) == rank1(found.embeddings, found.embeddings) == 1
  for probes, gallery in ((one, two), (two, one), (one, found), (found, two)):
    assert rank1(probes.embeddings, gallery.embeddings) < 0.35  # by chance 2 in 35
  same = np.repeat(found.embeddings[:, :, :1], 2, axis=2)
  parts = salt.load(keys[0]).apply(Features(**vars(found) | {"embeddings": same})).embeddings
  assert abs(np.corrcoef(parts[:, :, 0].ravel(), parts[:, :, 1].ravel())[0, 1]) < 0.1


def test_a_key_stands_for_the_same_rotation_on_every_machine_and_version(keys):
  """Recorded here: embeddings that were salted must stay comparable. Parts have matrices of their own."""
  found = salt.load(keys[0])
  assert found.name == "29c2875cf62ec8e0"
  np.testing.assert_allclose(found.rotation(0, 2), [[0.346413, 0.938082], [-0.938082, 0.346413]], atol=1e-6)
  for part in (0, 1):
    matrix = found.rotation(part, 64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-12)
  assert np.abs(found.rotation(0, 64) - found.rotation(1, 64)).max() > 0.1
  assert "digest" not in repr(found)


@pytest.mark.parametrize("size, words", [
  (None, "cannot be read .No such file.*make one by: head -c 32 /dev/urandom >"),
  (31, "holds 31 bytes, and a key 32 to 1048576: it is no key file; name another"),
  (2**20 + 1, "holds more than 1048576 bytes")])
def test_what_is_no_key_is_refused(tmp_path, size, words):
  if size is not None:
    (tmp_path / "key").write_bytes(bytes(size))
  with pytest.raises(ConfigError, match=f"config.salt={tmp_path}/key {words}") as error:
    salt.load(tmp_path / "key")
  assert (f"> {tmp_path}/key" in str(error.value)) == (size is None)  # else a command that destroys what is there


def config_of(**values):
  config = defaults.evaluation().unlock()
  config.update({key: str(value) for key, value in values.items()})
  return config.lock()


def test_files_of_embeddings_are_salted_and_those_of_two_deployments_refused(keys, monkeypatch, tmp_path):
  network = types.SimpleNamespace(identity="run-4-teacher", embedding="prediction")
  data = Data(name="w", split="test", kind="synthetic", walks=36, subjects=12, content_hash="d")
  setup = types.SimpleNamespace(trained=network, data=data, split=types.SimpleNamespace(name="w/test"),
                                embeddings_of=lambda *_: walks(),
                                identity=lambda **changes: {"weights": network.identity} | changes)
  monkeypatch.setattr(embed, "prepare", lambda *_, **__: setup)
  made = {name: embed.run(config_of(task="embed", cache="off", **values), tmp_path / name)[0] for name, values in (
    ("plain", {}), ("one", {"salt": keys[0]}), ("again", {"salt": keys[0]}), ("two", {"salt": keys[1]}))}
  plain, one, again = (files.load(made[name])[0].embeddings for name in ("plain", "one", "again"))
  np.testing.assert_array_equal(one, again)
  np.testing.assert_array_equal(one, salt.load(keys[0]).apply(walks()).embeddings)
  assert np.abs(one - plain).max() > 0.1
  assert keys[0].read_bytes().hex() not in str(files.load(made["one"])[1])

  found = content(identify.run(config_of(task="identify", probes=made["one"], gallery=made["again"]), tmp_path)[0])
  assert found["rows"][0]["figures"]["probes"]["rank1"] == 100
  for other in ("plain", "two"):
    with pytest.raises(DataError, match=r"embedded with the salt \w+, .* with \w+: they are of two deployments"):
      identify.run(config_of(task="identify", probes=made["one"], gallery=made[other]), tmp_path / other)
  with pytest.raises(ConfigError, match="config.salt turns what is embedded here, but every side is a file"):
    identify.run(config_of(task="identify", probes=made["one"], gallery=made["one"], salt=keys[0]), tmp_path / "x")
  with pytest.raises(ConfigError, match="config.cache='' would keep the embeddings without the salt"):
    embed.run(config_of(task="embed", salt=keys[0]), tmp_path / "y")


def test_masks_are_salted_where_they_are_embedded(keys, monkeypatch, tmp_path):
  """Beside a gallery on file, which task embed has salted."""
  gallery = salt.load(keys[0])
  identity = {"weights": "run-4-teacher", "embedding": "prediction", "salt": gallery.name}
  files.save(tmp_path / "gallery.npz", gallery.apply(walks()), identity=identity)
  (tmp_path / "masks").mkdir()
  network = types.SimpleNamespace(identity="run-4-teacher", embedding="prediction", data={}, step=4)
  given = types.SimpleNamespace(content_hash="", notes=[], named=True, stored=[], num_frames=np.array([30]))
  monkeypatch.setattr(identify, "load_network", lambda *_, **__: network)
  monkeypatch.setattr(identify.walks, "from_path", lambda _: given)
  monkeypatch.setattr(identify, "check_fits", lambda *_, **__: None)
  monkeypatch.setattr(identify.extraction, "extract_by", lambda *_, **__: walks())
  monkeypatch.setattr(identify.provenance, "learnt_from", lambda _: ([], "", {}))
  values = {"task": "identify", "checkpoint": "run", "gallery": tmp_path / "gallery.npz", "probes": tmp_path / "masks"}
  found = content(identify.run(config_of(**values, salt=keys[0]), tmp_path / "out")[0])
  assert found["rows"][0]["figures"]["probes"]["rank1"] == 100
  assert max(match["candidates"][0]["distance"] for match in found["matches"]) < 0.01  # each finds itself
  for wrong, name in (("", "none"), (keys[1], salt.load(keys[1]).name)):
    with pytest.raises(DataError, match=f"masks was embedded with the salt {name}"):
      identify.run(config_of(**values, salt=wrong), tmp_path / f"out{name}")
