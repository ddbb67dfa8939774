"""The P3D network against a plain forward pass in torch's names and layout, and what padding and strips must keep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.interop import names
from fgait_jax.models import p3d
from fgait_jax.models.heads import PartMLP
from fgait_jax.models.parts import BODY

CHANNELS = (4, 4, 6, 8)


def make(layers=(1, 1, 1, 1), **kwargs):
  return p3d.P3D(layers=layers, channels=CHANNELS, rngs=nnx.Rngs(0), **kwargs)


def count(create):
  return sum(x.size for x in jax.tree.leaves(nnx.state(nnx.eval_shape(create), nnx.Param)))


def silhouettes(b, t, h=64, w=12, seed=0):
  return jnp.asarray(np.random.default_rng(seed).random((b, t, h, w, 1)), jnp.float32)


def with_moved_statistics(network):
  """Running statistics and biases away from their start, so that evaluation mode has something to get wrong."""
  rng = np.random.default_rng(7)
  for path, leaf in nnx.to_flat_state(nnx.state(network)):
    shape = leaf[...].shape
    if path[-1] in ("bias", "mean"):
      leaf[...] = jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32)
    elif path[-1] == "var":
      leaf[...] = jnp.asarray(rng.uniform(0.5, 2, shape), jnp.float32)
  return network


@pytest.mark.parametrize(
  "variant,backbone",
  [("0.03b", 33_134_272), ("0.13b", 132_298_432), ("1-1-1-1", 5_930_944), ("1-4-4-1", 11_098_816)],
)
def test_parameter_counts_are_the_published_ones(variant, backbone):
  layers, channels = p3d.sizes(variant)
  assert count(lambda: p3d.P3D(layers=layers, channels=channels, rngs=nnx.Rngs(0))) == backbone


def test_heads_have_the_published_number_of_parameters():
  head = lambda norm: PartMLP(BODY.count, 512, 512, 512, final_norm=norm, rngs=nnx.Rngs(0))  # noqa: E731
  assert count(lambda: head(True)) == 16_316_416
  assert count(lambda: head(False)) == 16_284_672


def test_variants_are_named_or_written_out():
  for variant in ("0.03b", "0.13b", "test", "1-1-1-1", "1-2-3-1@8-8-16-24"):
    assert p3d.variant_of(*p3d.sizes(variant)) == variant
  for wrong in ("0.3b", "1-1-1", "1-0-1-1", "1-1-1-1@8-8"):
    with pytest.raises(ConfigError, match="not known; known: 0.03b, 0.13b, 1-1-1-1.*1-2-2-1"):
      p3d.sizes(wrong)


@functools.partial(jax.jit, static_argnames="layers")
def plain_forward(state, x, layers):
  """The published block structure on a torch-named state dict, [n c t h w], in a plain loop, running statistics."""
  def convolve(x, kernel, stride=1):
    if kernel.ndim == 4:
      kernel = kernel[:, :, None]
    padding = [(k // 2, k // 2) for k in kernel.shape[2:]]
    return jax.lax.conv_general_dilated(x, kernel, (1, stride, stride), padding)

  def norm(x, name):
    mean, var, scale, bias = (
      state[f"{name}.{k}"][:, None, None, None] for k in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias

  x = jax.nn.relu(norm(convolve(x, state["layer0.forward_block.0.weight"]), "layer0.forward_block.1"))
  for i in range(layers[0]):
    block = f"layer1.forward_block.{i}"
    a = jax.nn.relu(norm(convolve(x, state[f"{block}.conv1.weight"]), f"{block}.bn1"))
    x = jax.nn.relu(norm(convolve(a, state[f"{block}.conv2.weight"]), f"{block}.bn2") + x)
  for stage, stride in ((2, 2), (3, 2), (4, 1)):
    for i in range(layers[stage - 1]):
      block, step = f"layer{stage}.{i}", stride if i == 0 else 1
      a = convolve(x, state[f"{block}.conv1.forward_block.0.weight"], step)
      a = jax.nn.relu(norm(a, f"{block}.conv1.forward_block.1"))
      a = jax.nn.relu(a + norm(convolve(a, state[f"{block}.shortcut3d.weight"]), f"{block}.sbn"))
      a = norm(convolve(a, state[f"{block}.conv2.forward_block.0.weight"]), f"{block}.conv2.forward_block.1")
      if i == 0 and f"{block}.downsample.0.weight" in state:
        x = norm(convolve(x, state[f"{block}.downsample.0.weight"], step), f"{block}.downsample.1")
      x = jax.nn.relu(a + x)
  return x


@pytest.mark.parametrize("remat", ["none", "dots"])
def test_stacked_blocks_equal_a_plain_loop_over_the_released_names(remat):
  layers = (2, 1, 3, 2)
  network = with_moved_statistics(make(layers, remat=remat))
  network.eval()
  _, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
  state = {}
  for tree in (params, stats):
    state |= names.FOUNDATION_GAIT.export_tree({"encoder": nnx.to_pure_dict(tree)})
  x = silhouettes(2, 3)
  ours = nnx.jit(lambda network, x: network.encode(x, jnp.ones((2, 3), bool)).features)(network, x)
  expected = plain_forward(state, jnp.moveaxis(x, -1, 1), layers)
  np.testing.assert_allclose(jnp.moveaxis(ours, -1, 1), expected, atol=1e-5 * float(jnp.max(expected)))


def test_padding_never_reaches_a_real_frame():
  network = with_moved_statistics(make())
  network.eval()
  encode = nnx.jit(lambda network, x, valid: network.encode(x, valid))
  x = silhouettes(2, 7)
  valid = jnp.arange(7) < jnp.array([[4], [7]])
  together = encode(network, x, valid)
  alone = encode(network, x[:1, :4], jnp.ones((1, 4), bool))
  np.testing.assert_allclose(together.features[0, :4], alone.features[0], atol=1e-6)
  assert not together.present[0, 4:].any()
  assert together.present[1].all()


def test_batch_statistics_count_real_frames_only():
  short, long = make(), make()
  x = silhouettes(2, 3)
  padded = jnp.pad(x, ((0, 0), (0, 2), (0, 0), (0, 0), (0, 0)), constant_values=5.0)
  a = nnx.jit(lambda n, x: n.encode(x, jnp.ones((2, 3), bool)).features)(short, x)
  b = nnx.jit(lambda n, x: n.encode(x, jnp.broadcast_to(jnp.arange(5) < 3, (2, 5))).features)(long, padded)
  np.testing.assert_allclose(b[:, :3], a, atol=1e-5)
  for left, right in zip(
    jax.tree.leaves(nnx.state(short, nnx.BatchStat)), jax.tree.leaves(nnx.state(long, nnx.BatchStat)), strict=True
  ):
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_strips_are_images_of_their_own():
  """An aligned strip is encoded as if alone; a shifted one too, its outermost half rows being zeros."""
  network = with_moved_statistics(make())
  network.eval()
  x, valid = silhouettes(2, 2), jnp.ones((2, 2), bool)
  out = nnx.jit(lambda n, x: n.encode_parts(x, valid, crop_list=(4,)).features)(network, x)
  encode = nnx.jit(lambda n, x: n.encode(x, valid[:1]).features)
  assert out.shape == (2, 2, 16, 3, 8)
  np.testing.assert_allclose(out[0, :, 4:8], encode(network, x[:1, :, 16:32])[0], atol=1e-5)
  np.testing.assert_allclose(out[1, :, 2:6], encode(network, x[1:, :, 8:24])[0], atol=1e-5)
  first = jnp.pad(x[1:, :, :8], ((0, 0), (0, 0), (8, 0), (0, 0), (0, 0)))
  np.testing.assert_allclose(out[1, :, :2], encode(network, first)[0, :, 2:], atol=1e-5)


def test_groups_keep_the_order_of_the_batch():
  network = make()
  network.eval()
  x, valid = silhouettes(4, 2), jnp.ones((4, 2), bool)
  run = nnx.jit(lambda n, x: n.encode_parts(x, valid, crop_list=(2, 1)).features)
  whole = nnx.jit(lambda n, x: n.encode(x, valid).features)(network, x)
  np.testing.assert_allclose(run(network, x)[1::2], whole[1::2], atol=1e-5)


def test_rematerialisation_changes_no_gradient_and_updates_statistics_once():
  x, valid = silhouettes(2, 2, w=8), jnp.ones((2, 2), bool)

  def run(remat):
    network = make((1, 1, 2, 1), remat=remat)
    loss = lambda n: jnp.sum(n.encode(x, valid).features ** 2)  # noqa: E731
    gradients = nnx.jit(nnx.grad(loss))(network)
    return jax.tree.leaves(gradients), jax.tree.leaves(nnx.state(network, nnx.BatchStat))

  plain, full = run("none"), run("full")
  for a, b in zip(plain[0] + plain[1], full[0] + full[1], strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(jnp.max(jnp.abs(a))))


def test_wrong_arguments_are_named():
  network = make()
  x, valid = silhouettes(3, 2), jnp.ones((3, 2), bool)
  with pytest.raises(ConfigError, match="batch_size=3 does not divide into the 4 equal groups"):
    network.encode_parts(x, valid, crop_list=(2, 1))
  with pytest.raises(ValueError, match="2 strips need rows that divide by 16; got 8"):
    network.encode_parts(x[:2, :, :8], valid[:2], crop_list=(2,))
  with pytest.raises(ValueError, match="remat 'some'.*dots, full"):
    make(remat="some")
