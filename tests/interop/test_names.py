"""The released names and ours are one to one, stacked blocks included."""

import jax
import numpy as np
import pytest
from flax import nnx

from fgait_jax.interop.names import FOUNDATION_GAIT as NAMES
from fgait_jax.models.backbones import create_network


@pytest.fixture(scope="module")
def trees():
  network = nnx.eval_shape(lambda: create_network(name="p3d", variant="2-1-3-2@4-4-6-8", rngs=nnx.Rngs(0)))
  _, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
  return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def drawn(tree):
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), tree)


def test_out_and_in_again_is_the_same(trees):
  for tree in trees:
    values = drawn(tree)
    read = NAMES.import_tree(NAMES.export_tree(values), tree)
    assert not read.missing
    assert not read.misshapen
    jax.tree.map(np.testing.assert_array_equal, read.values, values)


def test_names_and_layouts_are_torchs(trees):
  state = NAMES.export_tree(drawn(trees[0])) | NAMES.export_tree(drawn(trees[1]))
  shapes = {k: v.shape for k, v in state.items()}
  assert shapes["layer0.forward_block.0.weight"] == (4, 1, 3, 3)
  assert shapes["layer1.forward_block.1.bn2.running_var"] == (4,)
  assert shapes["layer3.0.downsample.0.weight"] == (6, 4, 1, 1, 1)
  assert shapes["layer3.2.shortcut3d.weight"] == (6, 6, 3, 1, 1)
  assert shapes["layer4.1.conv2.forward_block.1.weight"] == (8,)
  assert shapes["projector.4.bn1d.running_mean"] == (31 * 8,)
  assert shapes["predictor.3.fc_bin"] == (31, 8, 8)
  assert "predictor.4.bn1d.weight" not in shapes


def test_part_normalisation_is_flattened_channel_first_in_torch():
  ours = np.arange(31 * 2, dtype=np.float32)  # (part, channel)
  torch = NAMES.to_torch(ours, "projector/norm1/norm/scale")
  np.testing.assert_array_equal(torch[:31], ours[0::2])
  np.testing.assert_array_equal(NAMES.to_ours(torch, "projector/norm1/norm/scale"), ours)


def test_unknown_paths_are_refused():
  with pytest.raises(KeyError, match="encoder/blocks/attention/kernel is no parameter of FoundationGait"):
    NAMES.leaf("encoder/blocks/attention/kernel")
