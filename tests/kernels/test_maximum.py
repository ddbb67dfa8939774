"""The maximum's gradient: whole, to the first of the highest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.kernels.maximum import maximum


@pytest.mark.parametrize("axis", range(3))
def test_value_is_the_maximum_and_gradient_goes_to_the_first_of_the_highest(axis):
  x = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.float32)  # tied nearly everywhere
  weight = np.random.default_rng(1).normal(size=x.max(axis).shape).astype(np.float32)
  np.testing.assert_array_equal(maximum(x, axis), x.max(axis))
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(maximum(x, axis) * weight)))(x)
  first = np.expand_dims(x.argmax(axis), axis)
  np.testing.assert_array_equal(np.take_along_axis(np.asarray(gradient), first, axis), np.expand_dims(weight, axis))
  np.testing.assert_array_equal(np.count_nonzero(gradient, axis), 1)


def test_gradient_is_that_of_jax_where_nothing_ties():
  x = jax.random.normal(jax.random.key(0), (3, 4, 5))
  ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(f(x, 1) ** 2))(x) for f in (maximum, jnp.max))
  np.testing.assert_array_equal(ours, theirs)
