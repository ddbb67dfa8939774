"""GaitSet beside its record (tests/interop/test_networks.py): order, padding, strips, and sizes that are not named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models import backbones
from fgait_jax.models.gaitset import GaitSet


def silhouettes(b, t, w=12):
  return jnp.asarray(np.random.default_rng(0).random((b, t, 64, w, 1)), jnp.float32)


@nnx.jit
def encode(network, x, valid):
  return network.encode(x, valid)


def test_frames_are_a_set_and_padding_is_none_of_them():
  network = GaitSet(channels=(4, 5, 6), rngs=nnx.Rngs(0))
  x, valid = silhouettes(1, 4), jnp.ones((1, 4), bool)
  whole = encode(network, x, valid)
  assert whole.features.shape == (1, 1, 32, 3, 6)
  np.testing.assert_array_equal(encode(network, x[:, ::-1], valid).features, whole.features)
  padded = jnp.concatenate([x[:, :3], jnp.full_like(x[:, :1], 9.0)], axis=1)
  np.testing.assert_allclose(encode(network, padded, jnp.arange(4)[None] < 3).features,
                             encode(network, x[:, [0, 1, 2, 2]], valid).features, atol=1e-6)
  assert not encode(network, x, jnp.zeros((1, 4), bool)).present.any()


def test_columns_that_cannot_be_halved_twice_are_refused():
  network = GaitSet(channels=(4, 5, 6), rngs=nnx.Rngs(0))
  with pytest.raises(ConfigError, match="frames of 42 columns do not divide by four; set config.augment.width"):
    network.encode(silhouettes(1, 4, w=42), jnp.ones((1, 4), bool))


def test_strips_are_images_of_their_own_in_both_maps():
  network = GaitSet(channels=(4, 5, 6), rngs=nnx.Rngs(0))
  x, valid = silhouettes(2, 2), jnp.ones((2, 2), bool)
  found = nnx.jit(lambda n, x: n.encode_parts(x, valid, crop_list=(4,)))(network, x)
  assert found.features.shape == (2, 1, 32, 3, 6)
  assert found.present.all()
  alone = encode(network, x[:1, :, 16:32], valid[:1]).features[0, 0]  # the set's four rows above the global branch's
  np.testing.assert_allclose(found.features[0, 0, 4:8], alone[:4], atol=1e-6)
  np.testing.assert_allclose(found.features[0, 0, 20:24], alone[4:], atol=1e-6)


@pytest.mark.parametrize("name, wrong, known", [
  ("gaitset", "32-64", "known: 32-64-128, 64-128-256, or other channels"),
  ("gaitbase", "resnet18", "known: resnet9, or channels of the four stages"),
  ("deepgaitv2", "4d-1-1-1-1", r"known: p3d-1-4-4-1, .* or any mode \(2d, p3d, 3d\)"),
  ("swingait", "1-1-2-2@8-16", "known: 1-4-4-2, 1-1-2-2, or any blocks a stage"),
  ("deepgaitv2", "p3d-small", "known: p3d-1-4-4-1"),
])
def test_sizes_that_are_not_known_are_refused(name, wrong, known):
  with pytest.raises(ConfigError, match=f"config.model.variant='{wrong}' is not known; {known}"):
    backbones.find(name).size(wrong)


@pytest.mark.parametrize("name, variant, parameters", [
  ("deepgaitv2", "p3d-1-4-4-1", 11_098_816), ("deepgaitv2", "2d-1-4-4-1", 9_325_248),
  ("deepgaitv2", "3d-1-4-4-1", 27_462_336), ("gaitbase", "resnet9", 4_896_960),
  ("gaitssb", "resnet9", 4_896_960), ("swingait", "1-4-4-2", 25_539_136 - 16 * 512 * 256 - 4096 * 3000 - 8192),
  ("swingait", "1-1-2-2", 11_039_520 - 16 * 512 * 256 - 4096 * 100 - 8192),
  ("gaitset", "32-64-128", 2_594_592 - 62 * 128 * 256), ("gaitset", "64-128-256", 6_313_536 - 62 * 256 * 256),
])
def test_encoders_have_the_published_number_of_parameters(name, variant, parameters):
  network = nnx.eval_shape(lambda: backbones.create_network(name=name, variant=variant, rngs=nnx.Rngs(0)))
  assert sum(x.size for x in jax.tree.leaves(nnx.state(network.encoder, nnx.Param))) == parameters
