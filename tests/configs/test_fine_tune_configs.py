"""Every variant of fine-tuning, as recorded where it differs from defaults.py. UPDATE_GOLDEN=1 rewrites."""

import os
import pathlib

import pytest

from configs import baselines, fine_tune, health
from fgait_jax import defaults
from fgait_jax.evaluation import protocols
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import configuration
from fgait_jax.training.fine_tuning import check_settings

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "configs"
VARIANTS = [(fine_tune, v) for v in fine_tune.VARIANTS] + [(health, v) for v in health.VARIANTS]
VARIANTS += [(baselines, v) for v in baselines.SUPERVISED]


@pytest.mark.parametrize("module, variant", VARIANTS)
def test_variants_are_as_recorded_and_can_work(module, variant):
  config = module.get_config(variant)
  common = set(configuration.lines(defaults.evaluation()).splitlines())
  text = "".join(f"{line}\n" for line in configuration.lines(config).splitlines() if line not in common)
  path = GOLDEN / f"{module.__name__.rpartition('.')[2]}_{variant}.txt"
  if os.environ.get("UPDATE_GOLDEN"):
    path.write_text(text)
  assert text == path.read_text(), f"{path} differs; if meant, run with UPDATE_GOLDEN=1 and say why in the commit"
  assert protocols.get(config.protocol)
  check_settings(config, 44, make_mesh())
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
