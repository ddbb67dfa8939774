"""Sequences of other lengths padded into one batch embed as they do alone, with every encoder, heads included."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.models.backbones import create_network


@pytest.mark.parametrize("name", ["transformer", "p3d"])
def test_padded_batch_embeds_as_alone(name):
  network = create_network(name=name, variant="test", rngs=nnx.Rngs(0))
  network.eval()
  embed = nnx.jit(lambda network, frames, valid: network.embed(frames, valid).prediction)
  rng = np.random.default_rng(0)
  lengths = (4, 7)
  frames = jnp.asarray(rng.random((2, 7, 64, 44, 1)), jnp.float32)  # what stands in padding frames must not matter
  together = embed(network, frames, jnp.arange(7) < jnp.array(lengths)[:, None])
  for row, length in enumerate(lengths):
    alone = embed(network, frames[row : row + 1, :length], jnp.ones((1, length), bool))
    np.testing.assert_allclose(together[row], alone[0], atol=1e-5 * float(jnp.max(jnp.abs(alone))))
