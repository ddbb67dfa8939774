"""A third backbone, of this file alone, is built, cut over eight devices, pretrained and fine-tuned: nothing but its
record says how."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from configs import pretrain
from fgait_jax import defaults
from fgait_jax.errors import ConfigError
from fgait_jax.models import backbones, crops, tokenizer
from fgait_jax.models.blocks import Linear
from fgait_jax.models.encoder import Backbone, Size
from fgait_jax.models.parts import FeatureMap
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import configuration, supervised
from fgait_jax.training import state as states
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.step import pretraining_step

RULES = defaults.fine_tune().optim.rules


class Mixers(nnx.Module):
  def __init__(self, width, layers, *, rngs):
    self.kernel = nnx.Param(0.1 * jax.random.normal(rngs.params(), (layers, width, width)))


class Patches(nnx.Module):
  """A linear map of every 4 x 4 patch of a frame, and a few layers that mix its features."""

  def __init__(self, *, width, layers, in_channels, dtype, remat, rngs):
    del remat
    self.features = width
    self.patch = Linear(16 * in_channels, width, dtype=dtype, rngs=rngs)
    self.mixers = Mixers(width, layers, rngs=rngs)

  def encode(self, frames, valid):
    x = self.patch(tokenizer.patchify(frames, patch_time=1, patch_columns=4))
    for kernel in self.mixers.kernel[...]:
      x = x + jnp.tanh(x @ kernel)
    return FeatureMap(x, jnp.broadcast_to(valid[:, :, None, None], x.shape[:-1]))

  def encode_parts(self, frames, valid, *, crop_list):
    crops.check_batch(frames.shape[0], crop_list)
    return self.encode(frames, valid)  # a patch sees nothing but itself


RECORD = Backbone(
  name="patches", sizes={"two": Size(encoder={"width": 8, "layers": 2}, embed=8)}, encoder=Patches,
  sharding=((r"patch/kernel", ("whole", "hidden")), (r"mixers/kernel", ("embed", "hidden"))),
  low_rank=((r"mixers/kernel", 0),), depth=((r"patch/.*", False), (r"mixers/.*", True)),
)


@pytest.fixture(scope="module", autouse=True)
def registered():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(backbones.BACKBONES, RECORD.name, RECORD)
    yield


def configure(**changes):
  config = pretrain.get_config("test")
  for name in ("affine", "perspective", "flip", "dilate", "blur"):
    config.augment[name] = 0.0
  own = {"model.name": "patches", "model.variant": "two", "student.masked_fractions": (0.0,), "student.crop_list": (2,),
         "objectives.contrastive.queue": 0, "objectives.reconstruction.weight": 0.0, "data.batch_size": 8}
  config.update_from_flattened_dict(own | changes)
  return config


@pytest.fixture(scope="module")
def mesh():
  return make_mesh(data=2, fsdp=2, tensor=2)


def draws(*shape):
  return 255 * np.random.default_rng(0).integers(0, 2, (*shape, 64, 64, 1), np.uint8)


def test_it_is_cut_and_pretrained(mesh):
  config = configure()
  configuration.check(config, mesh)
  graph, state, shardings = states.create(config, mesh)
  encoder = state["params"]["encoder"]
  assert encoder["mixers"]["kernel"].sharding.spec == P(None, "fsdp", "tensor")
  assert encoder["patch"]["kernel"].sharding.spec == P(None, "tensor")
  before = jax.device_get(encoder)
  step = pretraining_step(config, graph, mesh=mesh, shardings=shardings)
  batch = {"frames": draws(8, 2, 4), "valid": np.ones((8, 2, 4), bool), "group": np.arange(8, dtype=np.int32),
           "readable": np.ones(8, bool)}
  for number in range(2):  # the first step of the warm-up has rate 0
    state, metrics = step(state, batch, np.int32(number))
  assert metrics["finite"][0] == 1
  for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(state["params"]["encoder"]), strict=True):
    assert not np.array_equal(old, new)
    assert np.isfinite(new).all()


def test_it_is_fine_tuned_by_low_rank_updates_and_slower_below(mesh):
  config = configure()
  weights = jax.jit(lambda: states.initial_weights(config))()
  pretrained = Pretrained(graph=states.make_graph(config), **weights, config=config, step=0, path=None,
                          identity="none", mesh=mesh)
  options = {"head": "identity", "reads": "projection", "classes": 4, "features": 8, "statistics": "frozen",
             "rank": 2, "lora_scale": 1.0, "prompt_tokens": 0, "prompt_pixels": 0, "rules_of_rates": RULES, "seed": 0}
  adapted = supervised.create(pretrained, method="lora", **options).trainable
  assert {name for name in adapted if name.startswith("lora/encoder")} == {
    "lora/encoder/mixers/kernel/a", "lora/encoder/mixers/kernel/b"}
  learner = supervised.create(pretrained, method="full", **options)
  sgd = {"name": "sgd", "momentum": 0.0, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.0, "clip_norm": 0.0}
  ones = jax.tree.map(jnp.ones_like, learner.trainable)

  def updates(decay):
    optimizer = supervised.optimizer_of(learner.trainable, backbone=RECORD, rules_of_rates=RULES, layer_decay=decay,
                                        schedule=lambda _: 1.0, options=sgd)
    return jax.jit(optimizer.update)(ones, optimizer.init(ones), ones, number=0)[0]

  slowed = jax.tree.map(lambda slow, fast: slow / fast, updates(0.5), updates(1.0))
  np.testing.assert_allclose(slowed["encoder/patch/kernel"], 0.25)  # two layers above
  np.testing.assert_allclose(slowed["encoder/mixers/kernel"][:, 0, 0], [0.5, 1.0])
  np.testing.assert_allclose(slowed["projector/fc1/kernel"], 1.0)


@pytest.mark.parametrize("changes, message", [
  ({"student.masked_fractions": (0.5,)}, "config.model.name='patches' cannot leave tokens out; set them and .* to 0"),
  ({"model.variant": "three"}, "model.variant='three' is not known; known: two"),
])
def test_what_it_cannot_do_is_refused(mesh, changes, message):
  with pytest.raises(ConfigError, match=message):
    configuration.check(configure(**changes), mesh)


@pytest.mark.parametrize("make", [
  lambda: states.make_graph(configure(**{"model.stem": "tubelet"})),
  lambda: states.make_graph(configure(**{"model.name": "p3d", "model.variant": "test", "model.stem": "tubelet"})),
])
def test_a_stem_that_a_backbone_lacks_is_refused(make):
  with pytest.raises(ConfigError, match="model.stem='tubelet' is not known; known: conv"):
    make()
