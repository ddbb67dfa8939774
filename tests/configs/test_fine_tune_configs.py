"""Every variant of fine-tuning, as recorded where it differs from the defaults. UPDATE_GOLDEN=1 rewrites."""

import pytest
from flax import nnx

from configs import baselines, fine_tune, health
from fgait_jax import defaults
from fgait_jax.evaluation import protocols
from fgait_jax.interop.networks import names_of
from fgait_jax.models.backbones import create_network
from fgait_jax.models.recognition import Recognizer
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import configuration, optimizers
from fgait_jax.training.fine_tuning import check_settings
from fgait_jax.training.supervised import flat
from tests.configs.test_configs import differing
from tests.recorded import check_recorded

VARIANTS = [(fine_tune, v) for v in fine_tune.VARIANTS] + [(health, v) for v in health.VARIANTS]
VARIANTS += [(baselines, v) for v in baselines.SUPERVISED]


@pytest.mark.parametrize("module, variant", VARIANTS)
def test_variants_are_as_recorded_and_can_work(module, variant):
  config = module.get_config(variant)
  check_recorded(f"configs/{module.__name__.rpartition('.')[2]}_{variant}.txt", differing(config))
  assert protocols.get(config.protocol)
  check_settings(config, defaults.pretrain(), make_mesh())
  assert config.is_locked


@pytest.mark.parametrize("module, first", [(fine_tune, "walkers"), (health, "walkers"), (baselines, "gaitset, ")])
def test_unknown_variants_name_the_known(module, first):
  with pytest.raises(ValueError, match=f"unknown variant 'casiab'; known: {first}"):
    module.get_config("casiab")


@pytest.mark.parametrize("variant", baselines.NETWORKS)
def test_baselines_can_be_pretrained(variant):
  config = baselines.get_config(variant)
  configuration.check(config, make_mesh())
  assert config.is_locked


def rates(variant, size) -> dict[str, tuple[float, float]]:
  """(decay, rate) of every parameter of a published network under its head, by its published names."""
  config = baselines.get_config(variant)
  name, settings = variant.partition("_")[0], config.fine_tune

  def build():
    network = create_network(name=name, variant=size, projects=settings.reads == "projection", rngs=nnx.Rngs(0))
    return Recognizer(network, head="identity", classes=3, features=settings.features, rngs=nnx.Rngs(0))

  params = flat(nnx.to_pure_dict(nnx.state(nnx.eval_shape(build), nnx.Param)))
  decays, factors = optimizers.factors(params, settings.optim.rules)
  published = names_of(name, size)
  return {torch: (settings.optim.weight_decay * decays[path], settings.optim.peak_rate * factors[path])
          for path, leaf in params.items() for torch in published.torch_names(path, leaf.shape)}


def test_swingait_decays_and_learns_as_published():
  found = rates("swingait_gait3d", "1-2-2-2@4-4-16")
  kept = ("patch_embed", "norm", "relative_position_bias_table")
  for name, (decay, rate) in found.items():
    transformer = name.startswith("transformer.")
    assert rate == pytest.approx(3e-4 if transformer else 3e-5), name
    assert decay == (0 if transformer and any(part in name for part in kept) else 0.02), name
  assert {name.split(".")[0] for name in found} == {"layer0", "layer1", "layer2", "transformer", "FCs", "BNNecks"}
  assert found["transformer.layers.0.downsample.0.weight"][0] == 0.02  # a norm that is not called so


@pytest.mark.parametrize("data, first, decay", [("gait3d", 0.0, 0.0), ("casia_b", 0.0, 5e-4), ("oumvlp", 1e-3, 5e-3)])
def test_gaitssb_learns_by_layers_as_published(data, first, decay):
  found = rates(f"gaitssb_{data}", "4-4-6-8")
  wanted = {"conv1": 0.0, "bn1": 0.0, "layer1": first, "layer2": 1e-3, "layer3": 1e-3, "layer4": 1e-3,
            "projector": 0.01, "head0": 0.1}
  assert {decays for decays, _ in found.values()} == {decay}
  assert {name.removeprefix("Backbone.forward_block.").split(".")[0] for name in found} == {*wanted, "BNNecks"}
  for name, (_, rate) in found.items():
    module = name.removeprefix("Backbone.forward_block.").split(".")[0]
    assert rate == pytest.approx(wanted.get(module, 0.1)), name  # BNNecks: no loss sees its scores
