"""Named sizes: their parameter counts as recorded, and unknown names refused."""

import re

import jax
import pytest
from flax import nnx, traverse_util

from fgait_jax.errors import ConfigError
from fgait_jax.models import backbones
from fgait_jax.models.backbones import BACKBONES, create_network
from fgait_jax.parallel import rules
from tests.recorded import check_recorded


def count(module) -> int:
  return sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param))) if module is not None else 0


def line(name, variant):
  network = nnx.eval_shape(lambda: create_network(name=name, variant=variant, rngs=nnx.Rngs(0)))
  encoder, decoder = count(network.encoder), count(network.decoder)
  heads = count(network.projector) + count(network.predictor)
  assert encoder + heads + decoder == count(network)
  return f"{name:<12}{variant:<12}{encoder:>14,} encoder {heads:>11,} heads {decoder:>10,} decoder"


def test_parameter_counts_are_as_recorded():
  text = "\n".join(line(name, variant) for name, backbone in BACKBONES.items() for variant in backbone.sizes) + "\n"
  check_recorded("parameters.txt", text)


@pytest.mark.parametrize("name", BACKBONES)
def test_rows_name_known_axes(name):
  assert {axis for _, axes in backbones.sharding(BACKBONES[name]) for axis in axes} <= rules.LOGICAL.keys()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_has_one_row_and_one_depth_at_most(name):
  variant = next(iter(BACKBONES[name].sizes))
  network = nnx.eval_shape(lambda: create_network(name=name, variant=variant, rngs=nnx.Rngs(0)))
  paths = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(network, nnx.Param)), sep="/")
  for path, leaf in paths.items():
    assert len(rules.match(path, table=backbones.sharding(BACKBONES[name]))) <= len(leaf.shape)
    depths = [pattern for pattern, _ in backbones.depth(BACKBONES[name]) if re.fullmatch(pattern, path)]
    assert len(depths) <= 1
    if path.startswith("encoder/") and not depths:  # what has the full rate is the last of its network
      assert re.fullmatch(r"encoder/norm/.*", path), path


@pytest.mark.parametrize("key, value, known", [
  ("name", "resnet", "transformer, p3d, deepgaitv2, gaitbase, gaitset, gaitssb, swingait"),
  ("variant", "medium", "tiny, tiny_masked, small, base, large, huge, giant"),
  ("dtype", "float8", "float32, bfloat16"), ("remat", "some", "none, dots, full"), ("stem", "patch", "conv, tubelet"),
])  # fmt: skip
def test_unknown_values_are_refused_by_key(key, value, known):
  options = {"name": "transformer", "variant": "tiny", key: value}
  with pytest.raises(ConfigError, match=f"model.{key}='{value}'.*{known}"):
    create_network(**options, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("frames", [0, 6])
def test_windows_of_attention_are_of_whole_tokens(frames):
  with pytest.raises(ConfigError, match=f"config.model.attention_frames={frames} must be a multiple of 4"):
    create_network(name="transformer", variant="tiny", attention_frames=frames, rngs=nnx.Rngs(0))
