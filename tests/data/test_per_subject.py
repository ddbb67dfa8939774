"""P x K batches: so many subjects, so many sequences of each, from the batch's number alone."""

import itertools
import pickle

import numpy as np
import pytest

from fgait_jax.data.mixture import Mixture
from fgait_jax.data.pipeline import batches
from fgait_jax.data.subset import Subset
from fgait_jax.errors import ConfigError

SUBJECTS = np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 9])


def mixture(seed=0, batch_size=12, per_subject=3, subjects=SUBJECTS):
  return Mixture([len(subjects)], seed=seed, batch_size=batch_size, factors=(1.0,), exponent=1.0, mix="per_subject",
                 subjects=[subjects], per_subject=per_subject)


def test_a_batch_holds_p_subjects_with_k_sequences_each():
  met = set()
  for number in range(60):
    datasets, rows = mixture().batch(number, range(12))
    assert not datasets.any()
    who, counts = np.unique(SUBJECTS[rows], return_counts=True)
    assert len(who) == 4
    assert (counts == 3).all()
    for subject in who:
      own = rows[SUBJECTS[rows] == subject]
      enough = (subject == SUBJECTS).sum() >= 3
      assert len(np.unique(own)) == (3 if enough else len(np.unique(own)))
    met |= set(rows.tolist())
  assert met == set(range(len(SUBJECTS)))


def test_places_are_shuffled_and_any_share_is_that_of_the_whole():
  whole = mixture().batch(5, range(12))[1]
  np.testing.assert_array_equal(mixture().batch(5, range(4, 9))[1], whole[4:9])
  assert any((np.diff(SUBJECTS[mixture().batch(n, range(12))[1]]) != 0).sum() > 3 for n in range(5))
  assert not np.array_equal(whole, mixture(seed=1).batch(5, range(12))[1])
  assert not np.array_equal(whole, mixture().batch(6, range(12))[1])


@pytest.mark.parametrize("change, message", [
  ({"per_subject": 0}, "per_subject is 0; it must be positive"),
  ({"per_subject": 5}, "per_subject is 5; it must be positive and divide the batch of 12"),
  ({"per_subject": 1}, r"a batch holds 12 subjects, but the data sets have \[7\] .*config.fine_tune.subjects"),
])
def test_what_cannot_work_is_refused(change, message):
  with pytest.raises(ConfigError, match=message):
    mixture(**change)


def test_every_data_set_must_have_the_subjects_of_a_batch():
  few = np.repeat(np.arange(3), 4)
  with pytest.raises(ConfigError, match=r"a batch holds 4 subjects, but the data sets have \[7, 3\] to train on"):
    Mixture([len(SUBJECTS), len(few)], seed=0, batch_size=12, factors=(1.0, 1.0), exponent=1.0, mix="per_subject",
            subjects=[SUBJECTS, few], per_subject=3)


def test_the_pipeline_gives_the_same_batches_from_any_step_and_on_any_host(memory_split):
  split = Subset(memory_split("a", (9,) * 20), np.arange(4, 20), name="part")
  options = {"seed": 3, "batch_size": 8, "clips": 1, "clip_frames": 4, "window_frames": 5, "factors": (1.0,),
             "exponent": 1.0, "mix": "per_subject", "per_subject": 2, "threads": 1, "workers": 0, "prefetch": 1}
  whole = list(batches([split], start=0, stop=4, **options))
  late = list(batches([split], start=2, stop=4, **options))
  assert {batch["index"].dtype for batch in whole} == {np.dtype(np.int64)}
  for a, b in zip(whole[2:], late, strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])
  hosts = [list(batches([split], start=0, stop=4, process_index=i, process_count=2, **options)) for i in range(2)]
  for a, first, second in zip(whole, *hosts, strict=True):
    np.testing.assert_array_equal(a["frames"], np.concatenate([first["frames"], second["frames"]]))
    assert (np.bincount(a["subject"])[np.unique(a["subject"])] == 2).all()
    # Row i of the subset is row i + 4 of the data set, which its first pixel says.
    np.testing.assert_array_equal(a["frames"][:, 0, 0, 0, 32, 0], a["index"] + 4)


def test_a_subset_is_a_split(memory_split):
  whole = memory_split("a", tuple(itertools.islice(itertools.count(5), 6)))
  whole.conditions = np.array([f"nm-{i}" for i in range(6)])
  whole.views = np.array([f"{30 * i:03d}" for i in range(6)])
  whole.attributes = {"height": np.arange(6) / 10}
  part = Subset(whole, np.array([5, 2]), name="a (part)")
  assert len(part) == 2
  sent = len(pickle.dumps(part))
  for column in ("subjects", "conditions", "views", "keys"):
    np.testing.assert_array_equal(getattr(part, column), getattr(whole, column)[[5, 2]])
  np.testing.assert_array_equal(part.num_frames, [10, 7])
  np.testing.assert_array_equal(part.frames(1), whole.frames(2))
  np.testing.assert_array_equal(part.frames(0, np.array([3, 1])), whole.frames(5)[[3, 1]])
  np.testing.assert_array_equal(part.attributes["height"], [0.5, 0.2])
  assert len(pickle.dumps(part)) == sent  # columns are not sent to worker processes, looked at or not
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).keys, part.keys)
