"""Fine-tuned networks on disk: the old one stays until the new one is there."""

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.data.subset import Subset
from fgait_jax.errors import CheckpointError
from fgait_jax.training import checkpoints, tuned
from fgait_jax.training.fine_tuning import Fitted
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.supervised import Learner


@pytest.fixture
def save(toy):
  def of(folder, step):
    """A network of one number, `step`."""
    config = defaults.evaluation().unlock()
    config.fine_tune.target = "tall"
    kernel = np.full((2,), step, np.float32)
    pretraining = defaults.pretrain()
    trained = Pretrained(graph=None, params={"encoder": {"kernel": kernel}}, stats={}, config=pretraining, step=1,
                         path=None, identity="a-1-teacher", mesh=None)
    trainable = {"encoder/kernel": kernel, "head/kernel": kernel}
    learner = Learner(graph=None, trainable=trainable, frozen={}, stats={}, statistics="frozen", lora_scale=1.0,
                      config=pretraining, mesh=None)
    fitted = Fitted(trainable=trainable, stats={"head": {}}, step=step, factor=1.0, score=None, curve=[])
    return tuned.save(folder, config=config, trained=trained, learner=learner, fitted=fitted,
                      dataset=Subset(toy, np.arange(3), name=toy.name))

  return of


def held(folder):
  """Its step, by name and by what the file says, and everything that lies in the folder."""
  with checkpoints.Checkpoints(folder, keep=1) as saved:
    return saved.latest(), saved.meta(saved.latest())["step"], sorted(path.name for path in folder.iterdir())


def test_a_network_takes_the_place_of_the_one_before(save, tmp_path):
  for step in (7, 5, 5):  # fewer steps, and the same once more
    assert save(tmp_path, step).endswith(f"-{step}")
    assert held(tmp_path) == (step, step, ["checkpoints"])


def test_a_save_that_fails_leaves_the_network_before_and_the_next_one_succeeds(save, tmp_path, monkeypatch):
  save(tmp_path, 7)

  def full(self, step, state, meta):
    raise CheckpointError("no space left on device")

  with monkeypatch.context() as patched:
    patched.setattr(checkpoints.Checkpoints, "save", full)
    with pytest.raises(CheckpointError, match="no space"):
      save(tmp_path, 9)
  assert held(tmp_path)[:2] == (7, 7)
  save(tmp_path, 9)
  assert held(tmp_path) == (9, 9, ["checkpoints"])
