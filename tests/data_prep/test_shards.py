"""Shards hold equally many walks, are whole or not there, and belong to the walks and splits they were made from."""

import dataclasses
import functools
import pathlib
import pickle

import numpy as np
import pytest

from data_prep import builder, manifest, shards
from data_prep.sources.base import Dropped, Walk

WALK = Walk(
  subject="1", condition="nm", view="000", key="1/nm/000", read=functools.partial(np.full, (3, 64, 64), 1, np.uint8)
)


@pytest.mark.parametrize("count", [1, 5, 511, 512, 1300, 70_000])
def test_shards_hold_equally_many_consecutive_walks(count):
  walks = [dataclasses.replace(WALK, key=str(i)) for i in range(count)]
  jobs = builder.plan("own", {"train": walks}, pathlib.Path("folder"))["train"]
  assert [walk for job in jobs for walk in job.walks] == walks
  sizes = {len(job.walks) for job in jobs}
  assert max(sizes) - min(sizes) <= 1


def test_a_report_is_whole_or_not_there(tmp_path, monkeypatch):
  def cut_short(path, text, **options):
    path.write_bytes(text.encode()[:9])
    raise KeyboardInterrupt

  (job,) = builder.plan("own", {"train": [WALK]}, tmp_path)["train"]
  monkeypatch.setattr(pathlib.Path, "write_text", cut_short)
  with pytest.raises(KeyboardInterrupt):
    shards.write_shard(job, lambda: None)
  assert not job.report_path.exists()


def test_a_walk_without_frames_is_no_walk():
  with pytest.raises(Dropped, match="frames do not fit the contract: 1/nm/000: no frames"):
    shards.read_walk(dataclasses.replace(WALK, read=lambda: np.zeros((0, 64, 64), np.uint8)))


def test_a_refusal_may_come_from_another_process():
  refusal = pickle.loads(pickle.dumps(Dropped("torn", "a/1.png")))
  assert (refusal.reason, refusal.detail, str(refusal)) == ("torn", "a/1.png", "torn: a/1.png")


def test_walks_of_other_names_are_another_build():
  changes = {"key": "b", "subject": "2", "condition": "bg", "view": "090", "attributes": {"height": 1.7}}
  walks = [WALK] + [dataclasses.replace(WALK, **{name: value}) for name, value in changes.items()]
  splits = [{"train": [walk]} for walk in walks] + [{"test": [WALK]}, {"train": [WALK, WALK]}]
  assert len({builder._fingerprint("source", split) for split in [*splits, *splits]}) == len(splits)


def test_a_walk_has_the_same_digest_in_every_version():
  """Runs and results name their data by it."""
  texts, attributes = ["1", "nm", "000", "1/nm/000"], {"sex": 1, "height": 1.7, "age": np.nan}
  found = shards.digest(texts, attributes, np.ones((2, 64, 44, 1), np.uint8))
  assert found == "3a9c04de0037a6056b1eb04a0e1e27038c8e30febffd923b09420328c1d4ca99"


def test_the_content_hash_tells_the_splits_apart():
  splits = {"train": ["b", "a"]}, {"train": ["a"], "test": ["b"]}, {"train": ["a"], "other": ["b"]}
  splits += {"train": ["c", "a"]}, {"train": ["b", "c"]}, {"train": ["a", "b"]}
  assert len({manifest.content_hash(digests) for digests in splits}) == len(splits)
  assert manifest.content_hash({"test": ["b"], "train": ["a"]}) == manifest.content_hash(splits[1])
