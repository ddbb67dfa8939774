"""Batches hold shuffled epochs of each data set, in the shares asked for."""

import numpy as np
import pytest

from fgait_jax.data.mixture import Mixture, probabilities
from fgait_jax.errors import ConfigError, DataError


def mixture(sizes=(40, 9), *, seed=0, batch_size=8, factors=None, exponent=1 / 3, mix="per_batch"):
  factors = factors or (1.0,) * len(sizes)
  return Mixture(sizes, seed=seed, batch_size=batch_size, factors=factors, exponent=exponent, mix=mix)


def whole(mixed, numbers, batch_size=8):
  drawn = [mixed.batch(n, range(batch_size)) for n in numbers]
  return np.array([d for d, _ in drawn]), np.array([i for _, i in drawn])


def test_shares_are_those_of_the_paper():
  sizes = (179_390, 10_240)  # OU-MVLP has 267,388 sequences in all; any two numbers do
  shares = probabilities(sizes, factors=(1.0, 0.1), exponent=1 / 3)
  weights = np.exp(np.log([179_390, 1_024]) / 3)  # softmax(log(n) / 3)
  np.testing.assert_allclose(shares, weights / weights.sum())
  np.testing.assert_allclose(probabilities(sizes, factors=(1, 1), exponent=0), [0.5, 0.5])


def test_a_batch_holds_one_data_set_and_shares_are_kept():
  datasets, _ = whole(mixture((64_000, 8)), range(2048))
  assert (datasets == datasets[:, :1]).all()
  expected = probabilities((64_000, 8), factors=(1, 1), exponent=1 / 3)  # 40 : 2
  np.testing.assert_allclose(np.bincount(datasets[:, 0]) / 2048, expected, atol=1 / 2048)
  rare = np.flatnonzero(datasets[:, 0] == 1)
  assert len(np.unique(np.diff(rare))) > 10  # in random order, not every twentieth


def test_every_block_has_an_order_of_its_own():
  mixed = mixture((50, 50), batch_size=1, exponent=1.0)
  first, second = (whole(mixed, range(1024 * block, 1024 * (block + 1)), 1)[0] for block in (0, 1))
  assert np.bincount(first[:, 0]).tolist() == np.bincount(second[:, 0]).tolist()
  assert (first != second).any()


@pytest.mark.parametrize("sizes", [(600_000, 300, 500_000), (300, 600_000, 40, 500_000), (5, 1, 1)])
def test_every_block_has_its_shares_however_small(sizes):
  drawn, shares = [], probabilities(sizes, factors=(1,) * len(sizes), exponent=1.0)
  mixed = mixture(sizes, batch_size=1, exponent=1.0)
  for block in range(40):
    datasets, _ = whole(mixed, range(1024 * block, 1024 * (block + 1)), 1)
    drawn.append(np.bincount(datasets[:, 0], minlength=len(sizes)))
  so_far, small = np.cumsum(drawn, axis=0), np.arange(len(sizes)) != np.argmax(sizes)
  asked = 1024 * np.arange(1, 41)[:, None] * shares
  assert np.abs(so_far - asked)[:, small].max() <= 0.5
  np.testing.assert_allclose(so_far, asked, atol=len(sizes) / 2)


@pytest.mark.parametrize("count", [39, 60, 200])
def test_there_may_be_many_data_sets(count):
  mixed = mixture((1000,) * count, batch_size=1)
  draws = max(1024, count**2)
  for block in range(1, 8):
    datasets, _ = whole(mixed, range(draws * block, draws * (block + 1), 7), 1)
    assert len(np.unique(datasets)) == count


def test_every_epoch_is_a_new_shuffle_without_repeats():
  datasets, rows = whole(mixture((40,)), range(15))
  epochs = rows.reshape(3, 40)
  for epoch in epochs:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(40))
  assert len(np.unique(epochs, axis=0)) == 3
  assert not np.array_equal(epochs[0], np.arange(40))


def test_sequences_of_a_batch_differ_even_where_an_epoch_does_not_divide():
  _, rows = whole(mixture((21,)), range(100))
  assert all(len(np.unique(row)) == 8 for row in rows)
  assert len(np.unique(rows)) == 21  # those left over in one epoch come in another


def test_a_data_set_smaller_than_a_batch_is_repeated():
  _, rows = whole(mixture((3,)), range(3))
  np.testing.assert_array_equal(np.bincount(rows.ravel()), [8, 8, 8])


@pytest.mark.parametrize(
  ("sizes", "options", "expected"),
  [
    ((40, 8, 3), {}, [0.2, 1, 8 / 3]),
    ((40, 8), {"mix": "per_sequence", "exponent": 1.0}, [1 / 6, 1 / 6]),
    ((1000, 2), {"mix": "per_sequence", "exponent": 0.0}, [0.004, 2]),
  ],
)
def test_copies_are_as_many_as_batches_hold(sizes, options, expected):
  mixed = mixture(sizes, **options)
  assert mixed.copies() == pytest.approx(expected)
  datasets, rows = whole(mixed, range(2048))
  for dataset, times in enumerate(expected):
    batches = (datasets == dataset).any(axis=1).sum()
    assert (datasets == dataset).sum() / batches / sizes[dataset] == pytest.approx(times, rel=0.3)


def test_per_sequence_mixes_within_a_batch():
  datasets, rows = whole(mixture((512, 512), mix="per_sequence", batch_size=16), range(64), 16)
  assert all(len(np.unique(batch)) == 2 for batch in datasets)
  np.testing.assert_array_equal(np.bincount(datasets.ravel()), [512, 512])
  for dataset in range(2):  # one epoch of each went by
    np.testing.assert_array_equal(np.sort(rows[datasets == dataset]), np.arange(512))
  assert not np.array_equal(rows[datasets == 0], rows[datasets == 1])  # each in an order of its own


@pytest.mark.parametrize("mix", ["per_batch", "per_sequence"])
def test_places_asked_for_apart_are_those_of_the_whole(mix):
  mixed = mixture((40, 9, 100), mix=mix)
  for number in (0, 7, 3000):
    d, i = mixed.batch(number, range(8))
    d1, i1 = mixed.batch(number, range(5, 8))
    np.testing.assert_array_equal(d[5:], d1)
    np.testing.assert_array_equal(i[5:], i1)


def test_the_seed_changes_the_order_and_nothing_else_does():
  _, a = whole(mixture((400,)), range(5))
  _, b = whole(mixture((400,)), range(5))
  _, c = whole(mixture((400,), seed=1), range(5))
  np.testing.assert_array_equal(a, b)
  assert not np.array_equal(a, c)


@pytest.mark.parametrize(
  "change, error, message",
  [
    ({"factors": (1.0,)}, ConfigError, r"1 factors for 2 data sets; give one for each"),
    ({"factors": (1.0, 0.0)}, ConfigError, r"factors \[0\.0\] must be above 0"),
    ({"mix": "per_batches"}, ConfigError, r"mix is 'per_batches'; known: per_batch, per_sequence"),
    ({"batch_size": 0}, ConfigError, r"batch_size is 0"),
    ({"seed": -1}, ConfigError, r"seed is -1"),
    ({"sizes": (5, 0)}, DataError, r"no sequences in data sets number \[1\]"),
    ({"sizes": ()}, ConfigError, "no data set to draw from"),
  ],
)
def test_what_cannot_work_is_refused(change, error, message):
  with pytest.raises(error, match=message):
    mixture(**change)
