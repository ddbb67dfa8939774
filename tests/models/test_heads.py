"""Per-part layers in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgait_jax.models.heads import BodyHeads, PartLinear, PartMLP, PartNorm

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
  np.testing.assert_allclose(predictor(X), predictor.fc2(hidden), rtol=1e-5, atol=1e-6)  # its statistics move on
  assert predictor.norm2 is None


def test_a_part_sees_itself_and_a_body_head_sees_all_parts():
  projector = PartMLP(3, 4, 8, 5, final_norm=True, body_heads=2, rngs=nnx.Rngs(1))
  y, other = np.asarray(projector(X)), np.asarray(projector(X.at[0, 2].add(1.0)))
  assert y.shape == (6, projector.parts, 5) == (6, 5, 5)
  np.testing.assert_allclose(y[:, :2], other[:, :2], atol=1e-5)
  assert (np.abs(y - other).max((0, 2))[2:] > 1e-3).all()
  np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)


def test_body_heads_are_a_linear_map_of_normalised_parts():
  body = BodyHeads(3, 4, 2, 5, reduced=6, rngs=nnx.Rngs(2))
  reduced = np.einsum("bpd,pdr->bpr", np.asarray(X), np.asarray(body.reduce.kernel[...])).reshape(6, -1)
  normal = (reduced - reduced.mean(0)) / np.sqrt(reduced.var(0) + 1e-5)
  mixed = (normal @ np.asarray(body.mix.kernel[...])[0]).reshape(6, 2, 5)
  want = (mixed - mixed.mean(0)) / np.sqrt(mixed.var(0) + 1e-5)
  scale = np.asarray(body.norm2.norm.scale[...]).reshape(2, 5)
  np.testing.assert_allclose(body(X), want * scale, rtol=1e-3, atol=1e-4)
