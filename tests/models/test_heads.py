"""Per-part layers in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgait_jax.models.heads import PartLinear, PartMLP, PartNorm

X = jax.random.normal(jax.random.key(0), (6, 3, 4))


def test_every_part_has_its_own_matrix_within_the_reference_bound():
  layer = PartLinear(3, 4, 5, rngs=nnx.Rngs(0))
  kernel = np.asarray(layer.kernel[...])
  want = np.stack([np.asarray(X)[:, p] @ kernel[p] for p in range(3)], axis=1)
  np.testing.assert_allclose(layer(X), want, rtol=1e-5, atol=1e-6)
  bound = np.sqrt(6 / (4 * 5 + 3 * 5))
  assert 0.8 * bound < np.abs(kernel).max() <= bound


def test_every_part_and_channel_is_normalised_by_itself():
  norm = PartNorm(3, 4, rngs=nnx.Rngs(0))
  y = np.asarray(norm(X * jnp.arange(1, 4)[:, None]))
  np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(y.std(0).reshape(-1), np.asarray(norm.norm.scale[...]), rtol=1e-3)


def test_only_a_projector_ends_normalised():
  projector, predictor = (PartMLP(3, 4, 8, 5, final_norm=final, rngs=nnx.Rngs(1)) for final in (True, False))
  np.testing.assert_allclose(np.asarray(projector(X)).mean(0), 0, atol=1e-5)
  hidden = jax.nn.relu(predictor.norm1(predictor.fc1(X)))
  np.testing.assert_allclose(predictor(X), predictor.fc2(hidden), rtol=1e-5)
  assert predictor.norm2 is None
