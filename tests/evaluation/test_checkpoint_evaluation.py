"""A real network from a real checkpoint: one device or eight, padded or not, and the picture of what it completes."""

import jax
import numpy as np
import pytest

from fgait_jax.evaluation import pictures
from fgait_jax.evaluation.features import extraction, reconstruction
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, save_untrained):
  return save_untrained(tmp_path_factory.mktemp("run"), {"walkers": "c0ffee"}, {"walkers": ["000"]})


class Split:
  """Walks of noise of the given lengths."""

  name = "test"

  def __init__(self, lengths):
    generator = np.random.default_rng(0)
    self.walks = [generator.integers(0, 2, (n, 64, 64, 1), np.uint8) * 255 for n in lengths]
    self.num_frames = np.array(lengths)
    self.subjects = self.conditions = self.views = self.keys = np.array([str(i) for i in range(len(lengths))])

  def __len__(self):
    return len(self.walks)

  def frames(self, i, indices):
    return self.walks[i][indices]


def test_embeddings_are_the_same_on_one_device_and_eight_and_alone_or_padded(run_folder):
  split = Split([9, 16, 12, 7, 16])
  found = {}
  for devices, batch_frames in ((8, 64), (1, 16)):
    network = checkpoints.load_network(run_folder, mesh=make_mesh(devices=jax.devices()[:devices]))
    found[devices] = extraction.extract(
      network.embed, split, max_frames=16, batch_frames=batch_frames, mesh=network.mesh).embeddings
  assert network.data == {"walkers": "c0ffee"}  # what it was pretrained on
  assert found[1].shape[0::2] == (5, 39)  # 31 parts and eight heads of the whole body
  np.testing.assert_allclose(found[8], found[1], atol=2e-5)
  lengths = np.linalg.norm(found[1], axis=1)
  dead = lengths == 0  # an untrained head of eight hidden units may have none that is active: it has no direction
  assert dead.mean() < 0.05
  assert lengths[~dead] == pytest.approx(1, rel=1e-4)


def test_the_network_completes_what_it_was_not_shown(run_folder, tmp_path):
  network = checkpoints.load_network(run_folder, mesh=make_mesh(devices=jax.devices()[:1]))
  frames = np.zeros((2, 16, 64, 64, 1), np.uint8)
  frames[:, :, 10:, 27:38] = 255  # the median column is where it stays
  given, visible, predicted = reconstruction.reconstruct(network, frames, masked_fraction=0.5, seed=0)
  assert given.shape == visible.shape == predicted.shape == (2, 16, 64, 44)
  np.testing.assert_array_equal(given, frames[..., 10:54, 0] / np.float32(255))  # pixels are where they were
  assert visible.mean() == pytest.approx(0.5, abs=0.1)
  assert ((predicted > 0) & (predicted < 1)).all()
  path = pictures.filled_in(tmp_path / "r.png", network=network, split=Split([16, 9, 12]), count=2, seed=0,
                                    mirror=(), subtitle="made up")
  assert path.stat().st_size > 10_000
