"""Every variant of fine-tuning, as recorded where it differs from defaults.py. UPDATE_GOLDEN=1 rewrites."""

import os
import pathlib

import pytest

from configs import fine_tune, health
from fgait_jax import defaults
from fgait_jax.evaluation import protocols
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import configuration
from fgait_jax.training.fine_tuning import check_settings

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "configs"
VARIANTS = [(fine_tune, v) for v in fine_tune.VARIANTS] + [(health, v) for v in health.VARIANTS]


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


@pytest.mark.parametrize("module", [fine_tune, health])
def test_unknown_variants_name_the_known(module):
  with pytest.raises(ValueError, match="unknown variant 'casiab'; known: walkers"):
    module.get_config("casiab")
