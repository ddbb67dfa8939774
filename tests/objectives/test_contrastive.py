"""Per-part InfoNCE: closed forms, a limit, invariances, and optax."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fgait_jax.objectives.contrastive import NOBODY, Contrastive, empty_queue, part_info_nce


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


def test_rows_of_one_group_share_the_target():
  student, teacher = draw(5, 4, 3, 8), draw(6, 6, 3, 8)
  options = {"temperature": 1 / 16, "label_smoothing": 0.1}
  alone = part_info_nce(student, teacher, group=jnp.array([5, 1, 7, 2, 8, 9]), **options)
  np.testing.assert_allclose(alone, part_info_nce(student, teacher, **options), rtol=1e-6)
  # Rows 0, 3 and 5 are one person: the loss is the mean of what each of them would be alone, against the same others.
  grouped, accuracy = part_info_nce(student[:1], teacher, group=jnp.array([9, 1, 2, 9, 3, 9]), **options)

  def with_own(row):
    order = jnp.array([row, *(i for i in range(6) if i != row)])
    return part_info_nce(student[:1], teacher[order], **options)[0]

  np.testing.assert_allclose(grouped, np.mean([with_own(row) for row in (0, 3, 5)]), rtol=1e-6)
  nearest = np.argmax(np.einsum("pe,mpe->pm", student[0], teacher / jnp.linalg.norm(teacher, axis=-1)[..., None]), -1)
  np.testing.assert_allclose(accuracy, np.isin(nearest, (0, 3, 5)).mean())


def test_places_that_hold_nothing_change_nothing():
  student, teacher = draw(7, 4, 3, 8), draw(8, 4, 3, 8)
  options = {"temperature": 1 / 16, "label_smoothing": 0.1}
  group, queue = jnp.array([3, 1, 3, 2]), empty_queue(5, 3, 8)

  def loss(student, queue):
    candidates = jnp.concatenate([teacher, queue["projection"]])
    return part_info_nce(student, candidates, group=jnp.concatenate([group, queue["group"]]), **options)[0]

  without = jax.value_and_grad(lambda x: part_info_nce(x, teacher, group=group, **options)[0])(student)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
               jax.value_and_grad(loss)(student, queue), without)
  # A place that lies where a prediction points costs much as a stranger's, and less as the own kind's.
  near = {"projection": queue["projection"].at[0].set(student[1]), "group": queue["group"].at[0].set(7)}
  assert loss(student, near) > without[0] + 0.5
  assert loss(student, near | {"group": queue["group"].at[0].set(1)}) < loss(student, near) - 0.5


def test_without_a_queue_walks_of_one_group_are_each_others_positives_too():
  student, teacher, group = draw(5, 4, 3, 8), draw(6, 4, 3, 8), jnp.array([3, 1, 3, 2])
  objective = Contrastive(temperature=0.5, label_smoothing=0.1, queue=0)
  given = types.SimpleNamespace(prediction=student), types.SimpleNamespace(projection=teacher), {"group": group}
  loss, metrics, state = objective(*given, {})
  want = part_info_nce(student, teacher, temperature=0.5, label_smoothing=0.1, group=group)
  np.testing.assert_allclose((loss, metrics["contrastive_accuracy"][0]), want, rtol=1e-6)
  assert state == {}


def test_a_queue_holds_the_batches_before_newest_first_and_forgets_the_oldest():
  objective = Contrastive(temperature=0.5, label_smoothing=0.1, queue=6)
  state, past = empty_queue(6, 3, 8), []
  for number in range(5):
    student, teacher = draw(2 * number, 2, 3, 8), draw(2 * number + 1, 2, 3, 8)
    group = jnp.array([number, 10 + number % 2])
    candidates = jnp.concatenate([teacher, *(row for row, _ in past[:3])])
    groups = jnp.concatenate([group, *(each for _, each in past[:3])])
    given = types.SimpleNamespace(prediction=student), types.SimpleNamespace(projection=teacher), {"group": group}
    loss, _, state = objective(*given, state)
    want, _ = part_info_nce(student, candidates, temperature=0.5, label_smoothing=0.1, group=groups)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    past.insert(0, (teacher, group))
    held = jnp.concatenate([each for _, each in past[:3]])
    np.testing.assert_array_equal(state["group"], jnp.pad(held, (0, 6 - len(held)), constant_values=NOBODY))


def test_gradient_at_zero_is_a_number():
  gradient = jax.grad(lambda x: part_info_nce(x, x, temperature=1.0, label_smoothing=0.1)[0])(jnp.zeros((2, 1, 3)))
  assert np.isfinite(gradient).all()


def test_fewer_projections_than_predictions_are_refused():
  with pytest.raises(ValueError, match="4 predictions have only 3 projections"):
    part_info_nce(jnp.ones((4, 1, 2)), jnp.ones((3, 1, 2)), temperature=1.0, label_smoothing=0.0)
