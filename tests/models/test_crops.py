"""Groups and strips of a batch: cutting, stitching, what divides; and that nothing travels between devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models import crops
from fgait_jax.models.crops import Strips
from fgait_jax.models.p3d import P3D
from fgait_jax.models.transformer import GaitTransformer
from fgait_jax.parallel.mesh import batch_sharding, make_mesh


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_unfold_inverts_fold(parts):
  x = jax.random.normal(jax.random.key(0), (4, 2, 16, 3))
  folded = Strips(parts).fold(x)
  assert folded.shape == ((4, 2, 16, 3) if parts == 1 else (2 * (2 * parts + 1), 2, 16 // parts, 3))
  np.testing.assert_array_equal(Strips(parts).unfold(folded), x)


def test_aligned_strips_start_at_the_top_and_shifted_ones_half_a_strip_above():
  rows = jnp.tile(jnp.arange(1, 17)[None, None], (4, 1, 1)) + 100 * jnp.arange(4)[:, None, None]
  folded = np.asarray(Strips(4).fold(rows))[:, 0].reshape(2, 9, 4)
  body = np.arange(1, 17)
  for pair, (aligned, shifted) in enumerate(((body, body + 100), (body + 200, body + 300))):
    np.testing.assert_array_equal(folded[pair, :4], aligned.reshape(4, 4))
    np.testing.assert_array_equal(folded[pair, 4:], np.array([0, 0, *shifted, 0, 0]).reshape(5, 4))


def test_what_holds_of_a_sample_holds_of_its_strips():
  samples = jnp.array([[1], [2], [3], [4]])
  np.testing.assert_array_equal(Strips(2).repeat(samples)[:, 0], [1, 1, 2, 2, 2, 3, 3, 4, 4, 4])
  assert Strips(1).repeat(samples) is samples


def test_group_i_holds_every_gth_sample_from_i():
  x = jnp.arange(12)
  groups = crops.split(x, 3)
  np.testing.assert_array_equal(groups[1], [1, 4, 7, 10])
  np.testing.assert_array_equal(crops.merge(groups), x)


@pytest.mark.parametrize("batch, crop_list, options, message", [
  (8, (), {}, r"config.student.crop_list=\(\): each must be a number of strips, 1, 2, 4 or 8"),
  (8, (3,), {}, r"config.student.crop_list=\(3,\): each must be a number of strips, 1, 2, 4 or 8"),
  (3, (1, 1), {}, r"config.data.batch_size=3 does not divide into the 2 equal groups of .*\(1, 1\); take 2 or 4"),
  (3, (2,), {}, r"batch_size=3 does not divide into the 2 equal groups \(aligned and shifted\) .*; take 2 or 4"),
  (6, (2, 1), {}, "batch_size=6 does not divide into the 4 equal groups .*; take 4 or 8"),
  (8, (2, 1), {"asked": "2 x 4 = 8", "crops_key": "config.x", "devices": 16},
   r"2 x 4 = 8 does not .* of config.x=\(2, 1\) and over 16 devices; take 16"),
  (18, (1, 1, 1, 1), {"devices": 6}, "batch_size=18 does not .* over 6 devices; take 12 or 24"),
])
def test_batches_that_do_not_divide_are_refused(batch, crop_list, options, message):
  with pytest.raises(ConfigError, match=message):
    crops.check_batch(batch, crop_list, **options)


def encoders():
  small = {"width": 8, "layers": 1, "heads": 1, "patch_time": 2, "merge_columns": 3, "window_frames": 4}
  yield "transformer", lambda: GaitTransformer(**small, stem_channels=(4, 8), rngs=nnx.Rngs(0))
  yield "p3d", lambda: P3D(layers=(1, 1, 1, 1), channels=(4, 4, 4, 4), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("create", [pytest.param(create, id=name) for name, create in encoders()])
def test_cutting_moves_nothing_between_devices(create):
  def encode(state, frames, valid):
    encoder = nnx.merge(graph, state)
    encoder.eval()
    options = {}
    if hasattr(encoder, "choose_visible"):
      options = {"masked_fractions": (0.5, 0.5)}
      visible = encoder.choose_visible(jax.random.key(0), valid, crop_list=(4, 1), width=12, **options)
      options |= {"visible": visible}
    return encoder.encode_parts(frames, valid, crop_list=(4, 1), **options)

  graph, state = nnx.split(nnx.eval_shape(create))
  where = batch_sharding(make_mesh(data=2, devices=jax.devices()[:2]))
  shapes = ((8, 4, 64, 12, 1), jnp.float32), ((8, 4), bool)
  batch = [jax.ShapeDtypeStruct(shape, dtype, sharding=where) for shape, dtype in shapes]
  quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
  program = jax.jit(encode, out_shardings=where).lower(state, *batch).compile(compiler_options=quick).as_text()
  moved = re.findall(r"= \S+ (all-to-all|all-gather|all-reduce|collective-permute)[\w-]*\(", program)
  assert not moved, f"{len(moved)} collectives: {sorted(set(moved))}"
