"""Gradients of weights stay in float32 from the product to the sum over devices, in networks of bfloat16."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import pretrain
from fgait_jax.kernels import products
from fgait_jax.kernels.convolution import FrameConv, PointConv, TimeConv
from fgait_jax.models.blocks import Linear
from fgait_jax.models.heads import PartLinear
from fgait_jax.models.tokenizer import ColumnMerge, FrameConvolution
from fgait_jax.parallel.mesh import batch_sharding, make_mesh
from fgait_jax.training import state as states

BF16 = jnp.bfloat16
LAYERS = {  # layer -> shape of its input
  "linear": (functools.partial(Linear, 8, 12), (16, 5, 8)),
  "parts": (functools.partial(PartLinear, 3, 8, 12), (64, 3, 8)),
  "frame": (functools.partial(FrameConv, 4, 6), (16, 2, 6, 5, 4)),
  "time": (functools.partial(TimeConv, 4, 6), (16, 3, 4, 5, 4)),
  "point": (functools.partial(PointConv, 4, 6, stride=2), (16, 2, 6, 5, 4)),
  "stem": (functools.partial(FrameConvolution, 4, 6, stride=2), (32, 7, 6, 4)),
  "columns": (functools.partial(ColumnMerge, 4, 6, columns=3), (32, 5, 6, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_bfloat16_sums_its_gradient_in_float32(name):
  """On eight devices, against the same layer in float32 of the same rounded numbers: rounded anywhere on its way, a
  gradient is off by up to 1/256."""
  create, shape = LAYERS[name]
  rounded, exact = (create(dtype=dtype, rngs=nnx.Rngs(0)) for dtype in (BF16, jnp.float32))
  exact.kernel[...] = exact.kernel[...].astype(BF16).astype(jnp.float32)
  x = jax.random.normal(jax.random.key(1), shape).astype(BF16)
  weights = jax.random.normal(jax.random.key(2), jax.eval_shape(exact, x.astype(jnp.float32)).shape).astype(BF16)
  sharded = jax.tree.map(lambda a: jax.device_put(a, batch_sharding(make_mesh())), (x, weights))

  @nnx.jit
  @nnx.grad
  def gradient(layer, x, weights):
    return jnp.vdot(layer(x).astype(jnp.float32), weights.astype(jnp.float32))

  ours, expected = gradient(rounded, *sharded), gradient(exact, x.astype(jnp.float32), weights)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.max(jnp.abs(b))))


def test_an_einsum_has_the_gradients_of_jax_in_float32():
  x, kernel = jax.random.normal(jax.random.key(0), (4, 3, 5)), jax.random.normal(jax.random.key(1), (3, 5, 2))
  def both(function):
    return jax.grad(lambda x, k: jnp.sum(jnp.sin(function("bpd,pde->bpe", x, k))), argnums=(0, 1))(x, kernel)
  for ours, expected in zip(both(products.einsum), both(jnp.einsum), strict=True):
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


MOVES = (
  "reshape", "transpose", "squeeze", "convert_element_type", "add_any", "add", "broadcast_in_dim", "slice", "copy"
)


def rounded_before_its_sum(jaxpr, var, *, summed: bool = False) -> bool:
  """Whether `var` of `jaxpr` passes through bfloat16 after the product or sum over the batch that made it; `summed`: it
  is a term of a sum itself, and bfloat16 only where it is a sum already."""
  made = next((eqn for eqn in jaxpr.eqns if var in eqn.outvars), None)
  if made is None:
    return False
  sums = made.primitive.name == "reduce_sum"
  if var.aval.dtype == BF16 and (sums or not summed):
    return True
  inside = [getattr(value, "jaxpr", value) for value in made.params.values()]
  for inner in (value for value in inside if hasattr(value, "eqns")):
    if len(inner.outvars) == len(made.outvars):
      return rounded_before_its_sum(inner, inner.outvars[made.outvars.index(var)], summed=summed)
  if not sums and made.primitive.name not in MOVES:
    return False
  before = [v for v in made.invars if not hasattr(v, "val") and jnp.issubdtype(v.aval.dtype, jnp.floating)]
  return any(rounded_before_its_sum(jaxpr, v, summed=summed or sums) for v in before)


@pytest.mark.parametrize("variant", ["test", "p3d_test"])
def test_no_gradient_of_a_network_is_rounded_between_its_sum_and_the_optimizer(variant):
  config = pretrain.get_config(variant)
  config.model.dtype = "bfloat16"
  graph = states.make_graph(config)
  params, stats = nnx.to_pure_dict(graph.params), nnx.to_pure_dict(graph.stats)

  def loss(params, stats, frames, valid):
    out = graph.merge(params, stats).pretrain(
      frames, valid, crop_list=(2, 1), masked_fractions=config.student.masked_fractions, key=jax.random.key(0)
    )
    total = jnp.sum(jnp.square(out.prediction.astype(jnp.float32)))
    return total if out.logits is None else total + jnp.sum(jnp.square(out.logits.astype(jnp.float32)))

  frames, valid = jax.ShapeDtypeStruct((8, 4, 64, 44, 1), jnp.float32), jax.ShapeDtypeStruct((8, 4), bool)
  traced, shapes = jax.make_jaxpr(jax.grad(loss), return_shape=True)(params, stats, frames, valid)
  names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
  results = zip(names, traced.jaxpr.outvars, strict=True)
  assert not [name for name, var in results if rounded_before_its_sum(traced.jaxpr, var)]
