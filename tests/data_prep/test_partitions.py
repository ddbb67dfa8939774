"""Identity lists: the run notation, the sizes the papers state, and equality with the distributed lists."""

import json

import pytest

from data_prep import partitions
from fgait_jax.errors import DataError

# Train and test identities, from the data sets' papers and their official lists.
SIZES = {
  "casia_b": (74, 50), "casia_e": (200, 814), "ccgr": (571, 400), "ccgr_mini": (571, 400), "ccpg": (100, 100),
  "cmu_mocap": (8, 3),
  "d_gait": (194, 98), "freegait": (500, 695), "gait3d": (3000, 1000), "gaitlu_1m": (100, 0), "grew": (20000, 6001),
  "hid": (500, 506), "kth": (8, 8), "oumvlp": (5153, 5154), "ragar": (250, 283), "scoliosis1k_112": (745, 748),
  "scoliosis1k_114": (745, 748), "scoliosis1k_118": (744, 749), "scoliosis1k_1116": (745, 748),
  "sustech1k": (250, 800),
}  # fmt: skip


def test_runs_expand_in_order():
  assert partitions.expand("008-011") == ("008", "009", "010", "011")
  assert partitions.expand("1-5/2 probe") == ("1", "3", "5", "probe")
  assert partitions.expand("D_09-D_10 00001train-00002train") == ("D_09", "D_10", "00001train", "00002train")


@pytest.mark.parametrize("name", partitions.names())
def test_sizes_are_the_published_ones_and_splits_are_disjoint(name):
  splits = partitions.load(name)
  train, test = splits["train"], splits.get("test", ())
  assert (len(set(train)), len(set(test))) == (len(train), len(test)) == SIZES[name]
  assert not set(train) & set(test)


@pytest.mark.parametrize("name", partitions.names())
def test_lists_equal_the_distributed_ones(name, shared_data):
  if not (path := shared_data / "partitions" / f"{name}.json").exists():
    pytest.skip(f"no list of {name} beside the checkout")
  distributed = json.loads(path.read_text())
  splits = partitions.load(name)
  assert set(splits["train"]) == set(distributed["TRAIN_SET"])
  assert set(splits.get("test", ())) == set(distributed["TEST_SET"])


def test_an_unknown_name_lists_the_known():
  with pytest.raises(DataError, match="casia_b"):
    partitions.load("casia")
