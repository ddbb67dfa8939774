"""Strips: cutting and stitching, and the draw of visible tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.models import strips as tools
from fgait_jax.models.strips import Strips


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_unfold_inverts_fold(parts):
  x = jax.random.normal(jax.random.key(0), (4, 2, 16, 3))
  strips = Strips(parts=parts, aligned=2)
  folded = strips.fold(x)
  assert folded.shape == ((4, 2, 16, 3) if parts == 1 else (2 * (2 * parts + 1), 2, 16 // parts, 3))
  np.testing.assert_array_equal(strips.unfold(folded), x)


def test_aligned_strips_start_at_the_top_and_shifted_ones_half_a_strip_above():
  rows = jnp.tile(jnp.arange(1, 17)[None, None], (2, 1, 1))
  folded = np.asarray(Strips(parts=4, aligned=1).fold(rows))[:, 0]
  np.testing.assert_array_equal(folded[:4], np.arange(1, 17).reshape(4, 4))
  np.testing.assert_array_equal(folded[4:], np.array([0, 0, *range(1, 17), 0, 0]).reshape(5, 4))


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("fraction", [0.5, 0.7])
def test_every_strip_and_position_is_seen_in_its_share(parts, fraction):
  valid = jnp.ones((4, 4, 16, 3), bool).at[0, 2:].set(False)
  strips = Strips(parts=parts, aligned=2)
  visible = tools.choose_visible(jax.random.key(1), valid, strips=strips, masked_fraction=fraction)
  assert not (visible & ~valid).any()
  seen = np.asarray(strips.fold(visible)).reshape(-1, 4 * 16 // parts * 3).sum(1)
  there = np.asarray(strips.fold(valid)).reshape(seen.size, -1).sum(1)
  np.testing.assert_array_equal(seen, [tools.kept(int(n), masked_fraction=fraction) for n in there])
  assert visible[1:].any(axis=1).all(), "a position is seen in no slot although the number allows it"
  other = tools.choose_visible(jax.random.key(2), valid, strips=strips, masked_fraction=fraction)
  assert (other != visible).any()


def test_gather_and_scatter_are_each_others_gradients():
  visible = jax.random.bernoulli(jax.random.key(3), 0.5, (2, 8)).at[:, :3].set(True).at[:, 3:5].set(False)
  order, place = tools.visible_first(visible)
  x, y = jax.random.normal(jax.random.key(4), (2, 8, 3)), jax.random.normal(jax.random.key(5), (2, 6, 3))
  def plain(x):
    return jnp.take_along_axis(x, order[:, :6, None], axis=1)
  np.testing.assert_array_equal(tools.gather(x, order, place, 6), plain(x))
  def dot(f):
    return jax.grad(lambda x: jnp.vdot(f(x), y))(x)
  np.testing.assert_allclose(dot(lambda x: tools.gather(x, order, place, 6)), dot(plain))
  want = jax.grad(lambda y: jnp.vdot(tools.scatter(y, order, place), x))(y)
  np.testing.assert_allclose(want, plain(x))
