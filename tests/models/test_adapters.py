"""Low-rank updates of real parameter trees: shapes, the start, and the rank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

from fgait_jax.errors import ConfigError
from fgait_jax.models import adapters, backbones
from fgait_jax.models.backbones import BACKBONES, create_network


def shapes_of(name, variant):
  network = nnx.eval_shape(lambda: create_network(name=name, variant=variant, rngs=nnx.Rngs(0)))
  return traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(network, nnx.Param)), sep="/")


@pytest.mark.parametrize("name, variant, kernels", [("transformer", "test", 6 + 2), ("p3d", "1-2-1-1@4-8-8-16", 0)])
def test_every_kernel_of_attention_mlp_convolution_and_heads_has_an_update(name, variant, kernels):
  params, table = shapes_of(name, variant), backbones.low_rank(BACKBONES[name])
  made = jax.eval_shape(lambda: adapters.create(jax.random.key(0), params, rank=2, table=table))
  adapted = {k.removeprefix(adapters.PREFIX)[:-2] for k in made}
  assert len(made) == 2 * len(adapted)
  if name == "transformer":
    assert len(adapted) == kernels
    assert {k for k in params if "encoder/blocks" in k and k.endswith("kernel")} <= adapted
  else:
    stages = {k for k in params if "stage" in k and k.endswith("kernel")}
    assert stages <= adapted
  for kernel in adapted:
    update = jax.eval_shape(lambda a, b: a @ b, *(made[f"{adapters.PREFIX}{kernel}/{c}"] for c in "ab"))
    assert update.shape == params[kernel].shape


def test_the_start_is_the_network_and_the_update_has_its_rank():
  generator = np.random.default_rng(0)
  name = "encoder/stage2/rest/conv1/kernel"
  params = {name: jnp.asarray(generator.standard_normal((2, 3, 3, 4, 6)), jnp.float32), "encoder/norm/scale": 1.0}
  updates = adapters.create(jax.random.key(0), params, rank=2, table=backbones.low_rank(BACKBONES["p3d"]))
  start = adapters.merge(params | updates, scale=4.0)
  assert start.keys() == params.keys()
  np.testing.assert_array_equal(start[name], params[name])
  b = f"{adapters.PREFIX}{name}/b"
  updates[b] = jnp.asarray(generator.standard_normal(updates[b].shape), jnp.float32)
  found = adapters.merge(params | updates, scale=4.0)[name] - params[name]
  for layer in found:
    assert np.linalg.matrix_rank(layer.reshape(-1, 6), tol=1e-4) == 2
  np.testing.assert_allclose(adapters.merge(params | updates, scale=2.0)[name] - params[name], found / 2, atol=1e-5)


def test_the_variance_of_an_update_is_one_over_all_inputs_of_its_window():
  params = {"encoder/stage2/rest/conv1/kernel": jnp.zeros((2, 3, 3, 64, 6)),
            "projector/fc1/kernel": jnp.zeros((8, 64, 6))}
  updates = adapters.create(jax.random.key(0), params, rank=8, table=((r".*conv1/kernel", 2), (r".*fc1/kernel", 0)))
  for name, inputs in (("encoder/stage2/rest/conv1", 9 * 64), ("projector/fc1", 64)):
    assert jnp.var(updates[f"{adapters.PREFIX}{name}/kernel/a"]) == pytest.approx(1 / inputs, rel=0.1)


def test_what_cannot_be_adapted_is_refused():
  table = backbones.low_rank(BACKBONES["transformer"])
  params = {"encoder/blocks/mlp/up/kernel": jnp.zeros((1, 2, 3))}
  with pytest.raises(ConfigError, match=r"config.fine_tune.rank=0 must be at least 1"):
    adapters.create(jax.random.key(0), params, rank=0, table=table)
  with pytest.raises(ConfigError, match="nothing to adapt"):
    adapters.create(jax.random.key(0), {"encoder/other/kernel": jnp.zeros((2, 3))}, rank=1, table=table)
  with pytest.raises(ConfigError, match="matches 2 rows"):
    adapters.create(jax.random.key(0), params, rank=1, table=((r".*", 0), (r".*kernel", 0)))
