"""How walks are spread over shards."""

import pathlib

import pytest

from data_prep import builder
from data_prep.sources.base import Walk


@pytest.mark.parametrize("count", [1, 5, 511, 512, 1300, 70_000])
def test_shards_hold_equally_many_consecutive_walks(count):
  walks = [Walk(subject="1", condition="nm", view="000", key=str(i), read=list) for i in range(count)]
  jobs = builder.plan("own", {"train": walks}, pathlib.Path("folder"))["train"]
  assert [walk for job in jobs for walk in job.walks] == walks
  sizes = {len(job.walks) for job in jobs}
  assert max(sizes) - min(sizes) <= 1
