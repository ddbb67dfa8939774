"""Every parameter is cut by exactly one row of the table, or it is an error."""

import functools
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import PartitionSpec as P

from fgait_jax.errors import ConfigError
from fgait_jax.parallel import rules
from fgait_jax.parallel.mesh import batch_sharding, make_mesh

TOY = (
  (r".*/kernel", ("embed", "hidden")), (r".*/bias", ()), (r"odd/.*", ("width",)), (r"thin/.*", ("embed", "hidden")),
)


@pytest.fixture(scope="module")
def mesh():
  return make_mesh(fsdp=2, tensor=2)


def test_named_axes_are_the_last_ones(mesh):
  assert rules.partition_spec("a/kernel", (4, 6), mesh, table=TOY) == P("fsdp", "tensor")
  assert rules.partition_spec("a/kernel", (5, 3, 4, 6), mesh, table=TOY) == P(None, None, "fsdp", "tensor")
  assert rules.partition_spec("a/bias", (3,), mesh, table=TOY) == P()


def test_an_axis_of_one_device_cuts_nothing():
  assert rules.partition_spec("a/kernel", (3, 5), make_mesh(), table=TOY) == P()


@pytest.mark.parametrize(
  "name, shape, message",
  [
    ("a/kernle", (2,), r"parameter a/kernle matches no row of the sharding table; it must match exactly one"),
    ("thin/kernel", (2, 2), r"parameter thin/kernel matches 2 rows"),
    ("a/kernel", (4, 7), r"a/kernel of shape \(4, 7\): an axis of 7 does not divide over config.mesh.tensor=2"),
    ("a/kernel", (4,), r"a/kernel of shape \(4,\) has fewer axes"),
    ("odd/x", (4,), r"odd/x: unknown logical axes \['width'\]; known: \['embed', 'heads', 'hidden', 'whole'\]"),
  ],
)
def test_what_does_not_fit_is_refused_by_name(mesh, name, shape, message):
  with pytest.raises(ConfigError, match=message):
    rules.partition_spec(name, shape, mesh, table=TOY)


def test_weights_travel_and_not_the_batch():
  """Two products on eight devices and their gradient: what is cut by `fsdp` comes whole to every device."""
  mesh, params = make_mesh(fsdp=8), {"a": {"kernel": jnp.ones((64, 1024))}, "b": {"kernel": jnp.ones((1024, 64))}}
  where = rules.shardings(params, mesh, table=TOY)

  @functools.partial(jax.jit, in_shardings=(where, batch_sharding(mesh)), out_shardings=where)
  @jax.grad
  def gradient(params, x):
    whole = rules.unsharded(params, mesh, table=TOY)
    return jnp.mean(jnp.square(jnp.tanh(x @ whole["a"]["kernel"]) @ whole["b"]["kernel"]))

  text = gradient.lower(params, jnp.ones((16, 64))).compile().as_text()
  assert sorted(re.findall(r"= f32\[([0-9,]+)\]\S* all-gather", text)) == ["1024,64", "64,1024"]


def test_gradients_are_cut_as_parameters(mesh):
  """Where nobody says how they should lie: no device is given the sums of all gradients."""
  params = {"a": {"kernel": jnp.ones((64, 96))}}
  where = rules.shardings(params, mesh, table=TOY)

  @functools.partial(jax.jit, in_shardings=(where, batch_sharding(mesh)))
  def loss_and_gradient(params, x):
    def loss(params):
      return jnp.mean(jnp.tanh(x @ rules.unsharded(params, mesh, table=TOY)["a"]["kernel"]))

    return jax.value_and_grad(loss)(params)

  loss, found = loss_and_gradient(params, jnp.ones((16, 64)))
  assert float(loss) == 1.0
  assert found["a"]["kernel"].sharding.spec == P("fsdp", "tensor")


def test_optimizer_state_lies_as_its_parameters(mesh):
  params = {"a": {"kernel": jnp.zeros((4, 6)), "bias": jnp.zeros(6)}}
  where = rules.shardings(params, mesh, table=TOY)
  opt = jax.eval_shape(optax.adamw(1e-3).init, params)
  adam = rules.optimizer_shardings(opt, params, where, mesh)[0]
  assert adam.mu["a"]["kernel"].spec == adam.nu["a"]["kernel"].spec == P("fsdp", "tensor")
  assert adam.mu["a"]["bias"].spec == adam.count.spec == P()


def test_optimizer_state_of_no_parameter_is_refused(mesh):
  params = {"a": {"kernel": jnp.zeros((4, 6))}}
  where = rules.shardings(params, mesh, table=TOY)
  with pytest.raises(ConfigError, match=r"optimizer state mu/b of shape \(3,\) follows no parameter"):
    rules.optimizer_shardings({"mu": {"b": jnp.zeros(3)}}, params, where, mesh)


def test_rows_of_a_module_stand_under_its_place():
  table = rules.under("(left|right)", TOY)
  assert rules.match("right/a/kernel", table=table) == ("embed", "hidden")
  with pytest.raises(ConfigError, match="matches no row"):
    rules.match("a/kernel", table=table)
