"""Masked encoding: the draw of visible tokens, and taking them out and putting them back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.models import masking
from fgait_jax.models.crops import Strips


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("fraction", [0.5, 0.7])
def test_every_strip_and_position_is_seen_in_its_share(parts, fraction):
  valid = jnp.ones((4, 4, 16, 3), bool).at[0, 2:].set(False)
  strips = Strips(parts)
  here = strips.fold(valid)
  folded = masking.choose_visible(jax.random.key(1), here, masked_fraction=fraction)
  assert not (folded & ~here).any()
  seen, there = (np.asarray(x).reshape(len(x), -1).sum(1) for x in (folded, here))
  np.testing.assert_array_equal(seen, [masking.num_visible(int(n), masked_fraction=fraction) for n in there])
  visible = strips.unfold(folded)
  assert visible[1:].any(axis=1).all(), "a position is seen in no slot although the number allows it"
  other = masking.choose_visible(jax.random.key(2), here, masked_fraction=fraction)
  assert (other != folded).any()


def test_gather_and_scatter_are_each_others_gradients():
  visible = jax.random.bernoulli(jax.random.key(3), 0.5, (2, 8)).at[:, :3].set(True).at[:, 3:5].set(False)
  order, place = masking.visible_first(visible)
  x, y = jax.random.normal(jax.random.key(4), (2, 8, 3)), jax.random.normal(jax.random.key(5), (2, 6, 3))
  def plain(x):
    return jnp.take_along_axis(x, order[:, :6, None], axis=1)
  np.testing.assert_array_equal(masking.gather(x, order, place, 6), plain(x))
  def dot(f):
    return jax.grad(lambda x: jnp.vdot(f(x), y))(x)
  np.testing.assert_allclose(dot(lambda x: masking.gather(x, order, place, 6)), dot(plain))
  want = jax.grad(lambda y: jnp.vdot(masking.scatter(y, order, place), x))(y)
  np.testing.assert_allclose(want, plain(x))
