"""What the transformer computes, recorded: of the weights that the package carries, and of the test network with its
decoder. UPDATE_GOLDEN=1 rewrites; whoever has to do so changes what published weights mean."""

import os

import jax
import numpy as np
from flax import nnx

import fgait_jax
from fgait_jax.models.backbones import create_network
from tests.recorded import GOLDEN


def bodies(count, frames, width):
  """Trunks with swinging legs, uint8 [count, frames, 64, width]; the first is the thinnest, none in the middle."""
  rows, columns = np.mgrid[:64, :width]
  middle = width / 2 - 3
  made = np.zeros((count, frames, 64, width), np.uint8)
  for body in range(count):
    for t in range(frames):
      step = np.where(rows > 36, 0.25 * (rows - 36) * np.sin(0.5 * t + body), 0)
      legs = np.minimum(np.abs(columns - middle - step), np.abs(columns - middle + step))
      made[body, t] = 255 * ((legs < 4 + body + 2 * (rows > 12) - 3 * (rows > 40)) & (rows > 1))
  return made


def check(name, arrays, *, atol):
  path = GOLDEN / name
  if os.environ.get("UPDATE_GOLDEN"):
    np.savez_compressed(path, **arrays)
  with np.load(path) as recorded:
    assert arrays.keys() == set(recorded)
    for key, array in arrays.items():
      np.testing.assert_allclose(array, recorded[key], atol=atol, rtol=0, err_msg=key)


def test_the_carried_weights_embed_as_ever():
  model = fgait_jax.load("walkers-tiny")
  walks = [*bodies(2, 37, 44), bodies(1, 9, 64)[0]]
  check("walkers_tiny.npz", {"discriminant": model.embed(walks).embeddings[..., 0]}, atol=2e-4)


def test_the_network_with_its_decoder_computes_as_ever():
  """Of weights that are no draw of a generator: waves, so that nothing is small by chance."""
  network = create_network(name="transformer", variant="test", rngs=nnx.Rngs(0))
  for kind, size, offset in ((nnx.Param, 0.4, 0.0), (nnx.BatchStat, 0.2, 0.6)):
    filled = jax.tree.map(lambda x, s=size, o=offset: o + s * np.sin(1.7 * np.arange(x.size)).reshape(x.shape).astype(
      np.float32), nnx.state(network, kind))
    nnx.update(network, filled)
  frames = (bodies(4, 5, 44) / 255).astype(np.float32)[..., None]
  valid = np.arange(5) < np.array([5, 5, 3, 4])[:, None]
  network.eval()
  found = {"prediction": network.embed(frames, valid).prediction}
  network.train()
  output = network.pretrain(frames, valid, crop_list=(1, 2), masked_fractions=(0.5, 0.25), key=jax.random.key(0))
  found |= {"student": output.prediction, "logits": output.logits[:, ::3, ::5]}
  check("transformer_test.npz", {name: np.asarray(array) for name, array in found.items()}, atol=1e-3)
