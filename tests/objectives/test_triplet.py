"""Triplet loss against the same written out in numpy, its limits, and what must not change it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgait_jax.objectives.triplet import triplet

SUBJECTS = np.array([4, 4, 1, 7, 1, 4])


def embeddings(b=6, p=3, e=5, seed=0):
  return np.random.default_rng(seed).standard_normal((b, p, e)).astype(np.float32)


def brute(x, subject, margin):
  """Every (anchor, positive, negative), the anchor among its positives, mean of the non-zero ones of each part."""
  losses, active = [], []
  for part in range(x.shape[1]):
    terms = []
    for a, p, n in np.ndindex(*[len(x)] * 3):
      if subject[a] == subject[p] and subject[a] != subject[n]:
        near, far = (np.linalg.norm(x[a, part].astype(np.float64) - x[i, part]) for i in (p, n))
        terms.append(max(near - far + margin, 0))
    losses.append(np.sum(terms) / max(np.count_nonzero(terms), 1))
    active.append(np.mean(np.array(terms) > 0))
  return np.mean(losses), np.mean(active)


@pytest.mark.parametrize("margin", [0.2, 3.0])
def test_triplets_are_those_written_out(margin):
  x = embeddings()
  loss, active = triplet(jnp.asarray(x), SUBJECTS, margin=margin)
  np.testing.assert_allclose((loss, active), brute(x, SUBJECTS, margin), rtol=2e-5)


def test_the_gradient_is_that_of_differences():
  x = embeddings(p=2, e=3)
  gradient = jax.grad(lambda x: triplet(x, SUBJECTS, margin=1.0)[0])(jnp.asarray(x))
  step = np.zeros_like(x)
  for index in [(0, 0, 0), (3, 1, 2), (5, 0, 1)]:
    step[:] = 0
    step[index] = 1e-3
    slope = (brute(x + step, SUBJECTS, 1.0)[0] - brute(x - step, SUBJECTS, 1.0)[0]) / 2e-3
    assert gradient[index] == pytest.approx(slope, abs=2e-3)


def test_people_far_apart_cost_nothing_and_equal_embeddings_cost_the_margin():
  far = np.repeat(100.0 * SUBJECTS[:, None, None], 2, axis=1).astype(np.float32)
  loss, active = triplet(jnp.asarray(far), SUBJECTS, margin=0.2)
  assert (loss, active) == (0, 0)
  same = jnp.ones((6, 2, 4))
  (loss, active), gradient = jax.value_and_grad(triplet, has_aux=True)(same, SUBJECTS, margin=0.2)
  assert loss == pytest.approx(0.2, rel=1e-6)
  assert active == 1
  assert np.isfinite(gradient).all()


def test_a_batch_of_one_person_has_no_triplets():
  assert triplet(jnp.asarray(embeddings()), np.zeros(6, int), margin=0.2)[0] == 0


def test_near_embeddings_far_from_the_origin_are_parted_by_what_parts_them():
  """As where a network collapses: all about one place, a thousandth of its length apart."""
  small = embeddings()
  far = (1e-3 * small + np.float32(1)).astype(np.float32)
  exact = far.astype(np.float64) - 1  # what rounding to float32 left of them
  margin = 2e-4

  def gradient(x):
    return np.asarray(jax.grad(lambda x: triplet(x, SUBJECTS, margin=margin)[0])(jnp.asarray(x, jnp.float32)))

  loss, _ = triplet(jnp.asarray(far), SUBJECTS, margin=margin)
  assert loss == pytest.approx(brute(exact, SUBJECTS, margin)[0], rel=1e-4)
  np.testing.assert_allclose(gradient(far), gradient(exact), rtol=1e-3, atol=1e-5)


def test_order_names_and_place_in_space_do_not_matter():
  x = embeddings()
  loss, _ = triplet(jnp.asarray(x), SUBJECTS, margin=0.5)
  order = np.random.default_rng(1).permutation(6)
  renamed = np.unique(SUBJECTS[order], return_inverse=True)[1]
  moved, _ = triplet(jnp.asarray(x[order] + 1.5), renamed, margin=0.5)
  np.testing.assert_allclose(loss, moved, rtol=1e-5)
