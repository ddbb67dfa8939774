"""A crowd that is rendered while it is read is the crowd that a build stores, and needs no disk for any number."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from data_prep import builder, datasets, verify
from data_prep.sources import crowd
from fgait_jax.data import schema, source
from fgait_jax.data.pipeline import batches
from fgait_jax.data.source import open_split
from fgait_jax.errors import DataError

PEOPLE = 2
ARGUMENTS = {
  "seed": 3, "batch_size": 4, "clips": 2, "clip_frames": 4, "window_frames": 6, "factors": (1.0,), "exponent": 1 / 3,
  "mix": "per_batch", "start": 0, "stop": 4, "threads": 0, "workers": 0, "prefetch": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
  """The crowd of two people as a build stores it."""
  out = tmp_path_factory.mktemp("built")
  record = datasets.choose("crowd", {"people": PEOPLE})
  builder.build(record, raw=None, out=out, workers=1, limit_dropped=0.0)
  return open_split(out, "crowd", "train")


@pytest.fixture(scope="module")
def rendered():
  return open_split("no such folder", f"rendered{PEOPLE}", "train")


def test_it_is_the_stored_crowd(stored, rendered):
  assert len(rendered) == len(stored) == 8 * PEOPLE
  for column in ("subjects", "conditions", "views", "keys", "num_frames"):
    np.testing.assert_array_equal(getattr(rendered, column), getattr(stored, column))
  for row in range(len(stored)):
    np.testing.assert_array_equal(rendered.frames(row), stored.frames(row))
    np.testing.assert_array_equal(rendered.frames(row, np.array([7, 0, 7])), stored.frames(row, np.array([7, 0, 7])))
  assert schema.population_of(rendered.manifest) == schema.population_of(stored.manifest) == "crowd"
  for fact in ("kind", "licence", "citation", "homepage"):
    assert rendered.manifest[fact] == stored.manifest[fact]


@pytest.mark.parametrize("positives", ["sequence", "walk", "subject"])
def test_batches_are_those_of_the_stored_crowd(stored, rendered, positives):
  ours, theirs = (list(batches([split], **ARGUMENTS, positives=[positives])) for split in (rendered, stored))
  for one, other in zip(ours, theirs, strict=True):
    for name in one:
      np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_same_person_in_both_is_one_person(stored, rendered):
  arguments = ARGUMENTS | {"factors": (1.0, 1.0), "mix": "per_sequence", "stop": 6}
  names = {0: stored.subjects, 1: rendered.subjects}
  found = set()
  for batch in batches([stored, rendered], **arguments, positives=["subject", "subject"]):
    for dataset, row, subject, group in zip(*(batch[k] for k in ("dataset", "index", "subject", "group")), strict=True):
      found.add((names[int(dataset)][row], int(subject), int(group)))
  assert len(found) == PEOPLE


def test_workers_render_the_same_batches(rendered):
  there = list(batches([rendered], **ARGUMENTS | {"stop": 2, "workers": 1, "prefetch": 4}))
  here = list(batches([rendered], **ARGUMENTS | {"stop": 2}))
  for one, other in zip(there, here, strict=True):
    np.testing.assert_array_equal(one["frames"], other["frames"])


def test_a_million_people_open_at_once_and_the_first_are_the_same(rendered):
  many = open_split("", "rendered999999", "train")
  assert len(many) == 7_999_992
  assert len(pickle.dumps(many)) < 200  # goes to every worker
  np.testing.assert_array_equal(many.frames(3), rendered.frames(3))
  assert many.num_frames[3] == rendered.num_frames[3]
  assert many.num_frames[-1] == len(many.frames(len(many) - 1))
  assert many.manifest["content_hash"] != rendered.manifest["content_hash"]
  np.testing.assert_array_equal(many.num_frames[np.array([5, 3])], np.asarray(rendered.num_frames)[[5, 3]])
  copy = pickle.loads(pickle.dumps(rendered))
  np.testing.assert_array_equal(copy.frames(5), rendered.frames(5))


def test_what_it_has_not_is_said(rendered, tmp_path):
  with pytest.raises(DataError, match=r"rendered20 has no split 'test': a rendered crowd is all train"):
    open_split(tmp_path, "rendered20", "test")
  with pytest.raises(DataError, match=r"rendered20 has no split 'train\[:10%\]'.*such as rendered500"):
    open_split(tmp_path, "rendered20", "train[:10%]")
  with pytest.raises(IndexError, match="has 16 sequences, there is no 16"):
    rendered.frames(16)
  with pytest.raises(IndexError):
    rendered.num_frames[16]
  with pytest.raises(IndexError, match="frames -1 to -1 are asked of a sequence of"):
    rendered.frames(0, [-1])
  with pytest.raises(DataError, match="rendered20 is not built but rendered while it is read"):
    datasets.get("rendered20")
  with pytest.raises(DataError, match="rendered20 is not built but .*: there is nothing to verify"):
    verify.find(tmp_path / "rendered20")
  with pytest.raises(DataError, match="--name rendered20: a crowd that is rendered while it is read is called so"):
    datasets.choose("crowd", {"name": "rendered20"})


@pytest.mark.parametrize("name", ["rendered", "rendered0", "rendered007", "rendered1000000", "Rendered7", "rendered_7"])
def test_a_name_that_only_resembles_one_is_refused_with_the_form(name, tmp_path):
  for ask in (lambda: open_split(tmp_path, name, "train"), lambda: datasets.get(name)):
    with pytest.raises(DataError, match=f"'{name}': .* is called rendered<N>, N people from 1 to 999999"):
      ask()


def test_labels_are_had_by_row_slice_mask_and_rows(stored, rendered):
  for column in ("num_frames", "keys", "conditions", "views"):
    ours, theirs = getattr(rendered, column), getattr(stored, column)
    for rows in (3, -1, np.int64(5), slice(2, 5), [4, 1], np.arange(16) % 3 == 0):
      np.testing.assert_array_equal(ours[rows], theirs[rows])
  assert np.asarray(rendered.num_frames).dtype == np.int32


def test_a_pickled_crowd_keeps_its_number_of_people():
  copy = pickle.loads(pickle.dumps(open_split("", "rendered7", "train")))
  assert (copy.name, len(copy)) == ("rendered7/train", 56)


def test_lengths_are_those_of_the_frames_far_into_the_crowd():
  source = crowd.CrowdSource(subjects=200)
  for row in range(3, len(source), 173):
    assert source.length(row) == len(source.walk(row).read().frames)


def test_the_content_hash_is_of_what_is_rendered_and_of_how_many(monkeypatch):
  before = open_split("", "rendered3", "train").manifest["content_hash"]
  monkeypatch.setattr(crowd.CrowdSource, "fingerprint", lambda source: "another comment in the code")
  assert open_split("", "rendered3", "train").manifest["content_hash"] == before
  assert open_split("", "rendered4", "train").manifest["content_hash"] != before
  monkeypatch.setattr(crowd, "FRAME_RATES", (5.0, 6.0))
  assert open_split("", "rendered3", "train").manifest["content_hash"] != before


def test_a_walk_that_shows_nobody_is_named(rendered, monkeypatch):
  nobody = np.zeros((0, 64, 64), np.uint8), {"all black": [0]}
  monkeypatch.setattr(crowd, "normalise", lambda masks, **options: nobody)
  with pytest.raises(DataError, match=r"rendered2/train: walk 3 cannot be rendered: all black: crowd c00001/4"):
    rendered.frames(3)


def test_stored_sets_bring_no_renderer():
  """Nothing of data_prep is loaded where only built data sets are read."""
  code = f"import sys; import {source.__name__}; print(any('data_prep' in name for name in sys.modules))"
  assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
