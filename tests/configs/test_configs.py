"""Every resolved configuration is as recorded: a changed default shows in the diff. UPDATE_GOLDEN=1 rewrites."""

import importlib.util
import os
import pathlib
import re

import pytest

from configs import pretrain, reference
from data_prep import datasets
from fgait_jax import defaults
from fgait_jax.training import configuration

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "configs"
OTHERS = [p.stem for p in sorted((ROOT / "configs").glob("*.py")) if p.stem not in ("__init__", "pretrain")]


def check_golden(path: pathlib.Path, text: str) -> None:
  if os.environ.get("UPDATE_GOLDEN"):
    path.write_text(text)
  assert text == path.read_text(), f"{path} differs; if meant, run with UPDATE_GOLDEN=1 and say why in the commit"


@pytest.mark.parametrize("variant", pretrain.VARIANTS)
def test_pretraining_is_as_recorded(variant):
  check_golden(GOLDEN / f"pretrain_{variant}.txt", configuration.lines(pretrain.get_config(variant)))


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_as_recorded(name):
  spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  check_golden(GOLDEN / f"{name}.txt", configuration.lines(module.get_config()))


def test_the_published_mixture_is_twelve_data_sets_that_can_be_built():
  for variant in ("0.03b", "0.13b"):
    sets = reference.get_config(variant).data.sets
    assert len(sets) == 12
    assert set(sets) < set(datasets.RECORDS)
    assert {name for name, taught in sets.items() if taught.factor != 1} == {"gaitlu_1m"}
    assert sets.gaitlu_1m.factor == 0.1
    assert {taught.positives for taught in sets.values()} == {"sequence"}


def test_unknown_variant_names_the_known():
  with pytest.raises(ValueError, match=r"unknown variant 'tinny'; known: test, tiny, tiny_masked, tiny_masked_alone, "):
    pretrain.get_config("tinny")


def test_configurations_are_locked():
  config = pretrain.get_config("tiny")
  with pytest.raises(AttributeError, match="batch_size"):
    config.data.bacth_size = 3
  with pytest.raises(TypeError):
    config.data.batch_size = "many"


def test_every_key_says_what_it_is():
  """A line that sets a key in defaults.py carries a comment, or follows one; of evaluation, most do."""
  text = (ROOT / "fgait_jax" / "defaults.py").read_text()
  for part, tolerated in zip(text.split("def evaluation"), (0, 0.1), strict=True):
    keys = re.findall(r"^(  # .*\n)?  c\.(\w+) = (?!\w+\(\)$).*?(#.*)?$", part, re.MULTILINE)
    bare = [name for before, name, comment in keys if not (before or comment)]
    assert len(bare) <= tolerated * len(keys), f"keys without unit and meaning: {bare}"


def test_defaults_hold_a_whole_pretraining_configuration():
  flat = configuration.flat(defaults.pretrain())
  assert {name.partition(".")[0] for name in flat} >= {"seed", "data", "model", "objectives", "optim", "mesh", "train"}
