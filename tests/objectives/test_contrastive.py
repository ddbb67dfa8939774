"""Per-part InfoNCE: closed forms, a limit, invariances, and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fgait_jax.objectives.contrastive import part_info_nce


def draw(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def test_uninformative_embeddings_lose_log_batch():
  z = jnp.ones((8, 31, 4))
  for smoothing in (0.0, 0.1):
    loss, _ = part_info_nce(z, z, temperature=1 / 16, label_smoothing=smoothing)
    np.testing.assert_allclose(loss, np.log(8), rtol=1e-5)


def test_orthogonal_pairs_have_a_closed_form():
  z = jnp.tile(jnp.eye(4)[:, None], (1, 3, 1))
  loss, accuracy = part_info_nce(z, z, temperature=0.5, label_smoothing=0.1)
  normaliser = np.log(np.exp(2) + 3)
  np.testing.assert_allclose(loss, 0.9 * (normaliser - 2) + 0.1 * (normaliser - 2 / 4), rtol=1e-6)
  assert accuracy == 1


def test_a_low_temperature_without_smoothing_loses_nothing_on_matches():
  z = draw(0, 6, 5, 16)
  loss, accuracy = part_info_nce(z, z, temperature=1e-3, label_smoothing=0.0)
  np.testing.assert_allclose(loss, 0, atol=1e-6)
  assert accuracy == 1


def test_scale_and_joint_order_do_not_matter_and_bfloat16_comes_back_as_float32():
  student, teacher = draw(1, 6, 5, 16), draw(2, 6, 5, 16)
  options = {"temperature": 1 / 16, "label_smoothing": 0.1}
  loss, accuracy = part_info_nce(student, teacher, **options)
  order = jnp.array([3, 1, 5, 0, 2, 4])
  for other in ((7 * student, 0.1 * teacher), (student[order], teacher[order])):
    np.testing.assert_allclose(part_info_nce(*other, **options), (loss, accuracy), rtol=1e-5)
  low, _ = part_info_nce(student.astype(jnp.bfloat16), teacher.astype(jnp.bfloat16), **options)
  assert low.dtype == jnp.float32
  np.testing.assert_allclose(low, loss, rtol=0.05)


def test_equals_optax_with_more_negatives_than_samples():
  student, teacher = draw(3, 3, 2, 8), draw(4, 5, 2, 8)
  def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  logits = 16 * jnp.einsum("bpe,mpe->bpm", unit(student), unit(teacher))
  labels = optax.smooth_labels(jnp.eye(5)[:3], 0.1)[:, None]
  want = optax.softmax_cross_entropy(logits, jnp.broadcast_to(labels, logits.shape)).mean()
  loss, accuracy = part_info_nce(student, teacher, temperature=1 / 16, label_smoothing=0.1)
  np.testing.assert_allclose(loss, want, rtol=1e-5)
  np.testing.assert_allclose(accuracy, np.mean(np.argmax(logits, -1) == np.arange(3)[:, None]))


def test_groups_leave_their_own_out_of_the_negatives():
  student, teacher = draw(5, 4, 3, 8), draw(6, 4, 3, 8)
  options = {"temperature": 1 / 16, "label_smoothing": 0.1}
  alone = part_info_nce(student, teacher, group=jnp.array([5, 1, 7, 2]), **options)
  np.testing.assert_allclose(alone, part_info_nce(student, teacher, **options), rtol=1e-6)
  # Rows 0 and 3 are one person: row 0 competes with rows 1 and 2 only, as if row 3 were not there.
  grouped, _ = part_info_nce(student, teacher, group=jnp.array([9, 1, 2, 9]), **options)

  def rival(own, others):
    rows = jnp.array([own, *others])
    return part_info_nce(student[rows[:1]], teacher[rows], **options)[0]

  want = np.mean([rival(0, (1, 2)), rival(1, (0, 2, 3)), rival(2, (0, 1, 3)), rival(3, (1, 2))])
  np.testing.assert_allclose(grouped, want, rtol=1e-6)
  gradient = jax.grad(lambda x: part_info_nce(x, teacher, group=jnp.array([9, 9, 9, 9]), **options)[0])(student)
  assert np.isfinite(gradient).all()


def test_gradient_at_zero_is_a_number():
  gradient = jax.grad(lambda x: part_info_nce(x, x, temperature=1.0, label_smoothing=0.1)[0])(jnp.zeros((2, 1, 3)))
  assert np.isfinite(gradient).all()


def test_fewer_projections_than_predictions_are_refused():
  with pytest.raises(ValueError, match="4 predictions have only 3 projections"):
    part_info_nce(jnp.ones((4, 1, 2)), jnp.ones((3, 1, 2)), temperature=1.0, label_smoothing=0.0)
