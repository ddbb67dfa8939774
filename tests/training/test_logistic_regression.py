"""Multinomial logistic regression on frozen embeddings, its penalty chosen on what is kept back."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from fgait_jax import defaults
from fgait_jax.data.held_out import Parts, keep_back_walks
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.metrics.classification import figures
from fgait_jax.training import logistic_regression


def fit(embeddings, labels, *, penalties=(1e-5,), parts=None, rows=None, iterations=1000):
  rows = np.arange(len(labels)) if rows is None else rows
  return logistic_regression.fit(embeddings, labels, rows=rows, parts=parts or Parts(fit=rows, validation=rows[:0]),
                                 penalties=penalties, iterations=iterations)


def clusters(count=60, classes=6, spread=0.1):
  generator = np.random.default_rng(0)
  labels = np.array([f"s{i % classes}" for i in range(count)])
  centres = generator.standard_normal((classes, 5, 3))
  noise = spread * generator.standard_normal((count, 5, 3))
  return (centres[np.arange(count) % classes] + noise).astype(np.float32), labels


def overfitting(classes=4, walks=30, size=60, noise=3.0, seed=0):
  """Classes apart in one direction each, noise in all sixty: with a weak penalty the noise is learnt by heart."""
  rng = np.random.default_rng(seed)
  who = np.repeat(np.arange(classes), walks)
  rows = noise * rng.standard_normal((len(who), size))
  rows[np.arange(len(who)), who] += 4
  return rows.reshape(-1, size // 2, 2).astype(np.float32), who.astype(str)


def test_separable_classes_are_learnt_and_recognised_in_new_walks():
  embeddings, labels = clusters()
  layer = fit(embeddings[:36], labels[:36])
  found, right = figures(layer.logits(embeddings[36:]), labels[36:], layer.classes)
  assert found == {"accuracy": 100, "top5": 100, "balanced_accuracy": 100, "macro_f1": 100}
  assert right.all()
  assert layer.loss < 0.05
  assert fit(embeddings, labels, penalties=(1e6,)).loss == pytest.approx(np.log(6), rel=1e-3)  # no weight, no knowledge


@pytest.mark.parametrize("features", [3, 40])  # fewer than walks, and more than twice as many
@pytest.mark.parametrize("classes", [2, 3])
def test_the_layer_is_the_least_of_the_stated_objective(features, classes):
  rng = np.random.default_rng(1)
  embeddings = rng.standard_normal((18, features, 1)) + 5
  labels = np.array([f"s{n % classes}" for n in range(18)])
  layer = fit(embeddings.astype(np.float32), labels, penalties=(0.03,))
  rows = embeddings[..., 0] - embeddings[..., 0].mean(axis=0)
  rows /= np.sqrt(np.mean(np.sum(rows**2, axis=1)))
  truth = np.eye(classes)[np.arange(18) % classes]

  def objective(weights):
    kernel, bias = np.split(weights.reshape(features + 1, classes), [features])
    if classes == 2:  # one score, as the class docstring has it
      kernel = kernel * [0, 1]
    logits = rows @ kernel + bias
    return -np.mean(np.sum(truth * scipy.special.log_softmax(logits, axis=1), axis=1)) + 0.03 / 2 * np.sum(kernel**2)

  least = scipy.optimize.minimize(objective, np.zeros((features + 1) * classes), tol=1e-10).fun
  ours = layer.loss + 0.03 / 2 * np.sum(layer.kernel**2)
  assert ours == pytest.approx(least, abs=1e-6)
  loss = logistic_regression.cross_entropy(layer.logits(embeddings), labels, layer.classes)
  assert layer.loss == pytest.approx(loss, rel=1e-4)
  assert layer.converged
  assert not fit(embeddings.astype(np.float32), labels, penalties=(1e-6,), iterations=1).converged


def test_the_penalty_is_the_best_on_walks_that_were_kept_back():
  embeddings, labels = overfitting()
  rows = np.arange(len(labels))
  parts = keep_back_walks(labels, rows, fraction=0.3, seed=0, section="linear_probe")
  penalties = (1.0, 1e-1, 1e-2, 1e-3, 1e-5)
  layer = fit(embeddings, labels, penalties=penalties, parts=parts)
  alone = {p: fit(embeddings, labels, penalties=(p,), rows=parts.fit) for p in penalties}

  def entropy(part):
    return {p: logistic_regression.cross_entropy(found.logits(embeddings[part]), labels[part], found.classes)
            for p, found in alone.items()}

  unseen, seen = entropy(parts.validation), entropy(parts.fit)
  assert layer.tried == pytest.approx({p: unseen[p] for p in layer.tried}, rel=1e-3)
  assert layer.penalty == min(unseen, key=unseen.get)
  assert layer.penalty != min(seen, key=seen.get)  # which is the smallest of all
  # Then it learns from all walks, those kept back too.
  whole = fit(embeddings, labels, penalties=(layer.penalty,))
  np.testing.assert_allclose(layer.kernel, whole.kernel, atol=1e-3 * np.abs(whole.kernel).max())
  new, truth = overfitting(seed=1)
  accuracy = [figures(found.logits(new), truth, found.classes)[0]["accuracy"]
              for found in (layer, fit(embeddings, labels, penalties=(1e-7,)))]
  assert accuracy[0] > accuracy[1] + 5


def test_smaller_penalties_are_spared_once_two_in_a_row_were_worse():
  embeddings, labels = overfitting()
  parts = keep_back_walks(labels, np.arange(len(labels)), fraction=0.3, seed=0, section="linear_probe")
  tried = list(fit(embeddings, labels, penalties=(1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1), parts=parts).tried.items())
  best = min(range(len(tried)), key=lambda n: tried[n][1])
  assert [p for p, _ in tried] == sorted((p for p, _ in tried), reverse=True)
  assert len(tried) == best + 3 < 7


def test_of_penalties_that_are_equally_good_the_largest_is_taken():
  embeddings, labels = np.ones((12, 5, 3), np.float32), np.array(["a", "b"] * 6)  # nothing to be learnt
  parts = Parts(fit=np.arange(8), validation=np.arange(8, 12))
  layer = fit(embeddings, labels, penalties=(1e-3, 1e-1, 1e-2), parts=parts)
  assert layer.tried == pytest.approx(dict.fromkeys((1e-1, 1e-2, 1e-3), np.log(2)), abs=1e-9)
  assert layer.penalty == 1e-1


def test_people_kept_back_of_whom_nothing_is_learnt_choose_nothing():
  """Classes of validation people that no training person has, between the others in their order."""
  embeddings, labels = overfitting()
  rows = np.arange(len(labels))
  parts = keep_back_walks(labels, rows, fraction=0.3, seed=0, section="linear_probe")
  known = fit(embeddings, labels, penalties=(1e-1, 1e-2), rows=rows[labels != "1"], parts=Parts(
    fit=parts.fit[labels[parts.fit] != "1"], validation=parts.validation[labels[parts.validation] != "1"]))
  strange = fit(embeddings, labels, penalties=(1e-1, 1e-2), rows=rows[labels != "1"], parts=Parts(
    fit=parts.fit[labels[parts.fit] != "1"], validation=parts.validation))
  assert strange.tried == known.tried


def test_a_representation_is_probed_alike_at_any_scale_and_place():
  embeddings, labels = overfitting()
  parts = keep_back_walks(labels, np.arange(len(labels)), fraction=0.3, seed=0, section="linear_probe")
  layers = [fit(embeddings * scale + shift, labels, penalties=(1e-1, 1e-2, 1e-3), parts=parts)
            for scale, shift in ((1, 0), (100, 0), (1, 7))]
  for layer, (scale, shift) in zip(layers[1:], ((100, 0), (1, 7)), strict=True):
    assert layer.penalty == layers[0].penalty
    np.testing.assert_allclose(layer.logits(embeddings * scale + shift), layers[0].logits(embeddings), atol=2e-3)


def test_a_pixel_that_hardly_varied_in_training_decides_nothing():
  """Divided by its own deviation, a pixel that lit up once would outweigh a whole body under a coat."""
  embeddings, labels = clusters()
  embeddings[:, 0], embeddings[0, 0, 0] = 0, 1e-4
  layer = fit(embeddings, labels)
  lit = embeddings.copy()
  lit[:, 0] = 1
  assert figures(layer.logits(lit), labels, layer.classes)[0]["accuracy"] == 100


@pytest.mark.parametrize("message,validation,values", [
  (r"config.linear_probe.penalties=\(0.0, 1.0\) must be different numbers above 0", 3, {"penalties": (0.0, 1.0)}),
  (r"config.linear_probe.penalties=\(\) must be different", 3, {"penalties": ()}),
  (r"config.linear_probe.penalties=\(0.1, 0.1\) must be different", 3, {"penalties": (0.1, 0.1)}),
  ("config.linear_probe.iterations=0 must be at least 1", 3, {"iterations": 0}),
  ("kept back of 9 training walks, and .*linear_probe.validation_fraction=0.2 keeps back none .* one penalty", 0, {}),
])
def test_what_cannot_be_chosen_from_is_said(message, validation, values):
  settings = defaults.evaluation().linear_probe.copy_and_resolve_references().unlock()
  settings.update(values)
  with pytest.raises(ConfigError, match=message):
    logistic_regression.check(settings, Parts(fit=np.arange(9), validation=np.arange(validation)))
  settings.update(penalties=(0.1,), iterations=5)
  logistic_regression.check(settings, Parts(fit=np.arange(9), validation=np.arange(0)))


def test_one_class_is_refused():
  with pytest.raises(DataError, match=r"two classes or more; its training walks hold \['a'\]"):
    fit(np.zeros((3, 2, 2)), np.array(["a", "a", "a"]))
