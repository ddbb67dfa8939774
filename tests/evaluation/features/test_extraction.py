"""Embedding a split: order, padding, devices, and what is kept on disk."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.errors import ConfigError, DataError, RunError
from fgait_jax.evaluation.features import extraction, files
from fgait_jax.evaluation.labels import Features
from fgait_jax.parallel.mesh import batch_sharding, make_mesh


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Output:
  prediction: jax.Array
  projection: jax.Array
  pooled: jax.Array


class Walks:
  """A split of random walks; view "x-l" walks to the left."""

  name = "test"
  manifest = {"content_hash": "abc", "kind": "synthetic"}

  def __init__(self, lengths, width=64):
    generator = np.random.default_rng(0)
    self.walks = [generator.integers(0, 256, (n, 64, width, 1), np.uint8) for n in lengths]
    self.num_frames = np.array(lengths, np.int32)
    count = len(lengths)
    self.subjects = np.array([f"s{i % 3}" for i in range(count)])
    self.conditions = np.array(["nm"] * count)
    self.views = np.array(["x-l" if i % 2 else "x-r" for i in range(count)])
    self.keys = np.array([f"walk{i}" for i in range(count)])

  def __len__(self):
    return len(self.walks)

  def frames(self, i, indices=None):
    return self.walks[i] if indices is None else self.walks[i][indices]


def embed_on(devices):
  """An embedding that is wrong if padding leaks, and the shapes it was called with."""
  mesh = make_mesh(devices=jax.devices()[:devices])
  shapes = []

  @jax.jit
  def compute(frames, valid):
    x = jnp.where(valid[:, :, None], frames.astype(jnp.float32).mean(axis=3)[..., 0], 0).sum(1)
    x = x / valid.sum(1, keepdims=True)  # [b, 64]: rows of the mean silhouette
    parts = x.reshape(len(x), 4, 16)
    return Output(parts, parts + 1, parts + 2)

  def embed(frames, valid):
    assert frames.dtype == np.uint8
    shapes.append(frames.shape)
    return compute(*jax.device_put((frames, valid), batch_sharding(mesh)))

  return embed, mesh, shapes


def expected(split, *, max_frames=720):
  rows = [w[:max_frames].astype(np.float32).mean(axis=(0, 2, 3)).reshape(4, 16) for w in split.walks]
  return np.stack([(r / np.linalg.norm(r, axis=-1, keepdims=True)).T for r in rows])


LENGTHS = [40, 17, 90, 5, 33, 88, 20, 61, 7, 64, 47]


@pytest.mark.parametrize("devices", [1, 8])
def test_order_is_kept_and_padding_does_not_leak_on_one_or_eight_devices(devices):
  split = Walks(LENGTHS)
  embed, mesh, shapes = embed_on(devices)
  found = extraction.extract(embed, split, max_frames=50, batch_frames=100, mesh=mesh)
  np.testing.assert_allclose(found.embeddings, expected(split, max_frames=50), rtol=2e-6)
  assert found.embeddings.shape == (11, 16, 4)
  np.testing.assert_array_equal(found.keys, split.keys)
  assert all(shape[0] % devices == 0 for shape in shapes)
  assert max(shape[1] for shape in shapes) <= 52


def test_few_shapes_are_compiled_and_no_batch_exceeds_the_budget():
  lengths = np.random.default_rng(0).integers(5, 700, 3000)
  plan = extraction.plan_batches(lengths, batch_frames=2048, divisor=8)
  assert len({job[1:] for job in plan}) <= 12
  assert all(length * size <= 2048 * 8 for _, length, size in plan)
  assert sorted(np.concatenate([places for places, *_ in plan]).tolist()) == list(range(3000))
  padded = sum(length * size for _, length, size in plan)
  assert padded < 1.35 * lengths.sum()
  assert plan[0][1] == max(length for _, length, _ in plan)  # the largest first: memory runs out at once or never


def test_a_subset_of_rows_and_each_embedding_can_be_asked_for():
  split = Walks(LENGTHS)
  embed, mesh, _ = embed_on(1)
  rows = np.array([7, 2])
  found = extraction.extract(embed, split, max_frames=720, batch_frames=256, mesh=mesh, rows=rows)
  np.testing.assert_allclose(found.embeddings, expected(split)[rows], rtol=2e-6)
  assert found.keys.tolist() == ["walk7", "walk2"]
  other = extraction.extract(embed, split, max_frames=720, batch_frames=256, mesh=mesh, rows=rows, embedding="pooled")
  assert np.abs(other.embeddings - found.embeddings).max() > 1e-4
  np.testing.assert_allclose(np.linalg.norm(other.embeddings, axis=1), 1, rtol=1e-5)


def test_walks_of_mirrored_views_are_mirrored_and_cut_ones_put_back():
  split = Walks([9, 9], width=44)
  left = extraction.read_walk(split, 1, max_frames=5, mirror=("*-l",))
  np.testing.assert_array_equal(left[:, :, 11:54], split.walks[1][:5, :, :0:-1])  # about column 32, 22 of 44
  assert left.shape == (5, 64, 64, 1)
  np.testing.assert_array_equal(extraction.read_walk(split, 0, max_frames=5, mirror=("*-l",))[:, :, 10:54],
                                split.walks[0][:5])


def test_an_empty_split_is_an_error():
  embed, mesh, _ = embed_on(1)
  with pytest.raises(DataError, match="'test' holds no sequences"):
    extraction.extract(embed, Walks([]), max_frames=9, batch_frames=9, mesh=mesh)


def some_features(count=4):
  text = np.array([f"é{i}" for i in range(count)])
  embeddings = np.random.default_rng(0).standard_normal((count, 3, 2)).astype(np.float32)
  return Features(embeddings=embeddings, subjects=text, conditions=text, views=text, keys=text)


def test_saved_features_come_back_and_have_the_documented_keys(tmp_path):
  files.save(tmp_path / "e.npz", some_features())
  back, identity = files.load(tmp_path / "e.npz")
  assert identity == {}
  np.testing.assert_array_equal(back.embeddings, some_features().embeddings)
  assert back.subjects.tolist() == ["é0", "é1", "é2", "é3"]
  with np.load(tmp_path / "e.npz") as file:
    assert {"embeddings", "labels", "types", "views", "keys"} <= set(file.files)
  assert len(list(tmp_path.iterdir())) == 1


def test_foreign_files_are_refused_by_name(tmp_path):
  np.savez(tmp_path / "a.npz", embeddings=np.zeros((2, 3, 4)), labels=["a", "b"])
  with pytest.raises(DataError, match=r"a\.npz: has no array types, views"):
    files.load(tmp_path / "a.npz")
  np.savez(tmp_path / "b.npz", embeddings=np.zeros((2, 3, 4)), labels=["a"], types=["a", "b"], views=["a", "b"])
  with pytest.raises(DataError, match=r"b\.npz: labels have shape \(1,\); wanted one for each of 2 rows"):
    files.load(tmp_path / "b.npz")
  (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 not a zip")
  with pytest.raises(DataError, match=r"c\.npz: not a readable"):
    files.load(tmp_path / "c.npz")
  np.savez(tmp_path / "d.npz", embeddings=np.zeros((1, 3, 4)), labels=np.array([{}], object), types=["a"], views=["a"])
  with pytest.raises(DataError, match=r"d\.npz: labels hold Python objects, which are pickles .*\(labels, str\)"):
    files.load(tmp_path / "d.npz")
  np.save(tmp_path / "e.npy", np.zeros((1, 3, 4)))
  with pytest.raises(DataError, match=r"e\.npy: not a readable \.npz .*numpy\.savez writes one"):
    files.load(tmp_path / "e.npy")


@pytest.mark.parametrize("changes,message", [
  ({"embeddings": np.array(["a", "b"])}, r"embeddings have shape \(2,\); wanted"),
  ({"embeddings": np.float32(1)}, r"embeddings have shape \(\); wanted"),
  ({"embeddings": np.full((2, 3, 4), 1e20)}, r"2 of 2 embeddings are larger than 1e\+15; .*: a-a-a, b-b-b"),
  ({"keys": np.array(["a"])}, r"keys have shape \(1,\); wanted one for each of 2 rows"),
])
def test_what_cannot_be_compared_is_refused_where_it_is_read(tmp_path, changes, message):
  names = np.array(["a", "b"])
  whole = {"embeddings": np.random.default_rng(0).random((2, 3, 4)), "labels": names, "types": names, "views": names}
  np.savez(tmp_path / "a.npz", **(whole | changes))
  with pytest.raises(DataError, match=rf"a\.npz: {message}"):
    files.load(tmp_path / "a.npz")


@pytest.mark.parametrize("foreign", [np.array(["x", "y"]), np.array("[1, 2]"), np.array("me"), np.array(3.0)])
def test_an_identity_of_another_tool_is_none(tmp_path, foreign):
  names = np.array(["a", "b"])
  np.savez(tmp_path / "a.npz", embeddings=np.random.default_rng(0).random((2, 3, 4)), labels=names, types=names,
           views=names, identity=foreign)
  assert files.load(tmp_path / "a.npz")[1] == {}


def test_the_cache_is_hit_by_the_same_identity_only(tmp_path):
  calls = []

  def compute():
    calls.append(1)
    return some_features()

  first, hit = files.cached(tmp_path, {"checkpoint": "a", "data": "b"}, compute)
  assert not hit
  again, hit = files.cached(tmp_path, {"data": "b", "checkpoint": "a"}, compute)
  assert hit
  np.testing.assert_array_equal(first.embeddings, again.embeddings)
  assert not files.cached(tmp_path, {"checkpoint": "a", "data": "c"}, compute)[1]
  assert not files.cached(None, {"checkpoint": "a", "data": "b"}, compute)[1]
  assert len(calls) == 3
  for path in tmp_path.glob("*.npz"):
    path.write_bytes(path.read_bytes()[:100])
  assert not files.cached(tmp_path, {"checkpoint": "a", "data": "b"}, compute)[1]
  assert files.cached(tmp_path, {"checkpoint": "a", "data": "b"}, compute)[1]


def test_a_cache_that_cannot_be_written_is_said_first_and_loses_nothing_later(tmp_path, monkeypatch, capsys):
  (tmp_path / "file").touch()
  with pytest.raises(ConfigError, match=r"config.cache=.*file cannot be written .*file is a file.; give another"):
    files.cached(tmp_path / "file", {}, pytest.fail)

  def full(path, **arrays):
    path.write_bytes(b"half")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez", full)
  found, hit = files.cached(tmp_path / "cache", {}, some_features)
  assert len(found) == len(some_features())
  assert not hit
  assert "note: embeddings are not kept for the next time: cannot write" in capsys.readouterr().err
  assert list((tmp_path / "cache").iterdir()) == []
  with pytest.raises(RunError, match="mine.npz: No space left on device. Free some space or mend the file system"):
    files.save(tmp_path / "mine.npz", some_features())


def test_a_network_embeds_by_the_stride_and_the_lengths_that_it_was_taught():
  """Frames that lie a stride apart come next to each other; learnt lengths stay."""
  seen = []

  class Network:
    mesh, stride = make_mesh(devices=jax.devices()[:1]), 4

    def embed(self, frames, valid):
      seen.append(frames[0, :, 0, 0, 0][valid[0]])
      return types.SimpleNamespace(**dict.fromkeys(("recognition", "prediction"), jnp.full((len(frames), 2, 4), 3.0)))

  split = Walks([10])
  split.walks[0][:] = np.arange(10)[:, None, None, None]
  lengths = [np.linalg.norm(extraction.extract_by(Network(), split, embedding=name, max_frames=9, batch_frames=64)
                            .embeddings, axis=1) for name in ("recognition", "prediction")]
  np.testing.assert_array_equal(seen, [[0, 4, 8, 1, 5, 2, 6, 3, 7]] * 2)
  np.testing.assert_allclose(lengths, np.full((2, 1, 2), [[[6.0]], [[1.0]]]), rtol=1e-6)
