"""Batch normalisation: statistics by hand, torch's running variance, padding left out, modes, and what it keeps."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.models.batchnorm import BatchNorm
from fgait_jax.models.blocks import LayerNorm
from fgait_jax.parallel.mesh import batch_sharding, make_mesh

X = 3 + 2 * jax.random.normal(jax.random.key(0), (4, 5, 2, 3))


def test_batch_statistics_and_unbiased_running_variance():
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  flat = np.asarray(X).reshape(-1, 3)
  want = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
  np.testing.assert_allclose(np.asarray(norm(X)).reshape(-1, 3), want, atol=1e-5)
  np.testing.assert_allclose(norm.mean[...], 0.1 * flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)


def test_what_is_not_valid_does_not_count():
  valid = jnp.arange(5) < jnp.array([5, 3, 1, 2])[:, None]
  broken = jnp.where(valid[:, :, None, None], X, 1e4)
  one, other = BatchNorm(3, rngs=nnx.Rngs(0)), BatchNorm(3, rngs=nnx.Rngs(0))
  real = X[valid]
  np.testing.assert_allclose(one(broken, valid=valid)[valid], other(real), atol=1e-5)
  np.testing.assert_allclose(one.var[...], other.var[...], rtol=1e-5)


def test_evaluation_uses_and_keeps_running_statistics_and_dtype_is_kept():
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  norm.eval()
  np.testing.assert_allclose(norm(X), X / np.sqrt(1 + 1e-5), rtol=1e-6)
  assert not np.any(norm.mean[...])
  norm.train()
  assert norm(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
  assert np.all(norm.mean[...] > 0)


NORMS = {"batch": lambda: BatchNorm(3, rngs=nnx.Rngs(0)), "layer": lambda: LayerNorm(3)}


def applied(x, scale, bias, *, create="batch", mode="train", **given):
  """(result, running mean and variance) of a norm with these parameters, made anew so that jax may trace it."""
  norm = NORMS[create]()
  getattr(norm, mode)()
  norm.scale[...], norm.bias[...] = scale, bias
  y = norm(x, **given)
  return y, (norm.mean[...], norm.var[...]) if create == "batch" else ()


def formula(x, scale, bias, *, valid):
  """Batch normalisation as written down, for jax to differentiate."""
  x = x.astype(jnp.float32)
  weight = valid[:, :, None, None].astype(jnp.float32)
  count = jnp.sum(weight) * x.shape[2]
  mean = jnp.sum(x * weight, axis=(0, 1, 2)) / count
  var = jnp.sum(jnp.square(x - mean) * weight, axis=(0, 1, 2)) / count
  return (x - mean) * jax.lax.rsqrt(var + 1e-5) * scale + bias


@pytest.mark.parametrize("dtype,tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_gradients_are_those_of_the_formula(dtype, tolerance):
  """Also of entries that do not count: they are normalised, though not counted, and so pass gradients on."""
  valid = jnp.arange(5) < jnp.array([5, 3, 1, 2])[:, None]
  arguments = X.astype(dtype), jnp.array([1.0, 2, -1]), jnp.array([0.5, 0, 1])

  def gradients(function):
    return jax.grad(lambda *a: jnp.sum(jnp.sin(function(*a).astype(jnp.float32))), argnums=(0, 1, 2))(*arguments)

  found = gradients(lambda *a: applied(*a, valid=valid)[0])
  for a, b in zip(found, gradients(functools.partial(formula, valid=valid)), strict=True):
    a, b = (np.asarray(array, np.float32) for array in (a, b))
    np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


def test_a_mean_far_from_zero_costs_the_variance_nothing_once_the_running_one_has_followed():
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  far = np.asarray(X, np.float64) + 1e4
  norm.mean[...] = jnp.full(3, 1e4)
  y = np.asarray(norm(jnp.asarray(far, jnp.float32))).reshape(-1, 3)
  np.testing.assert_allclose(y.std(0), 1, rtol=1e-3)
  np.testing.assert_allclose(y.mean(0), 0, atol=1e-2)


@pytest.mark.parametrize("create, mode", [("batch", "train"), ("batch", "eval"), ("layer", "train")])
def test_nothing_as_large_as_the_input_is_kept_in_float32(create, mode):
  def keep(*arguments):
    return jax.vjp(lambda *a: applied(*a, create=create, mode=mode)[0], *arguments)[1]

  x = X.astype(jnp.bfloat16)
  kept = jax.tree.leaves(jax.eval_shape(keep, x, jnp.ones(3), jnp.zeros(3)))
  assert [leaf.dtype for leaf in kept if leaf.size >= x.size] == [jnp.bfloat16]


def test_devices_meet_once_a_pass():
  sharding = batch_sharding(make_mesh())
  x = jax.ShapeDtypeStruct((16, 5, 2, 3), jnp.bfloat16, sharding=sharding)

  def back(*arguments):
    y, pull = jax.vjp(lambda *a: applied(*a)[0], *arguments)
    return pull(y)

  def meetings(function, out):
    text = jax.jit(function, out_shardings=out).lower(x, jnp.ones(3), jnp.zeros(3)).compile().as_text()
    return len(re.findall(r" all-reduce(?:-start)?\(", text))

  assert meetings(applied, (sharding, None)) == 1
  assert meetings(back, (sharding, None, None)) == 2


def test_coarse_inputs_are_normalised_in_float32():
  """In bfloat16 the product of a value and its factor would be rounded before the mean is taken off."""
  x = jnp.tile(jnp.array([100.0, 101.0, 99.0], jnp.bfloat16)[:, None], (1, 3))
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  norm.mean[...], norm.var[...] = jnp.full(3, 100.0), jnp.full(3, 9.0)
  norm.eval()
  np.testing.assert_allclose(norm(x).astype(jnp.float32)[:, 0], [0, 1 / 3, -1 / 3], atol=0.01)
  rows = np.array([[1000.0, 1004, 1008, 1016]], np.float32)  # of which the mean, 1007, is none of bfloat16
  found = LayerNorm(4)(jnp.asarray(rows, jnp.bfloat16)).astype(jnp.float32)
  np.testing.assert_allclose(found, (rows - rows.mean()) / rows.std(), atol=0.02)


@pytest.mark.parametrize("value", [4097.3, 12345.678, 0.1])
def test_what_is_the_same_everywhere_has_no_variance_below_nothing(value):
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  y = norm(jnp.full((7, 11, 13, 3), value))
  assert np.isfinite(y).all()
  assert (np.asarray(norm.var[...]) >= 0.9 - 1e-6).all()


def test_statistics_of_one_entry_are_numbers():
  norm = BatchNorm(3, rngs=nnx.Rngs(0))
  valid = jnp.zeros((4, 5), bool).at[2, 3].set(True)
  norm(X[:, :, :1], valid=valid)
  assert np.isfinite(norm.var[...]).all()
  np.testing.assert_allclose(norm.var[...], 0.9, atol=1e-6)
