"""The defaults are as recorded, and every configuration where it differs from them: a new key shows in one line of the
diff. UPDATE_GOLDEN=1 rewrites."""

import importlib.util
import pathlib
import re

import pytest

from configs import pretrain, reference
from data_prep import datasets
from fgait_jax import defaults
from fgait_jax.training import configuration, weights
from tests.recorded import check_recorded

ROOT = pathlib.Path(__file__).parents[2]
OTHERS = [p.stem for p in sorted((ROOT / "configs").glob("*.py")) if p.stem not in ("__init__", "pretrain")]


def differing(config) -> str:
  """The lines of `config` that are not among those of the defaults, and the keys that it has not of these."""
  whole = defaults.evaluation() if "task" in config else defaults.pretrain()
  usual, own = (configuration.lines(c).splitlines() for c in (whole, config))
  gone = sorted(configuration.flat(whole).keys() - configuration.flat(config).keys())
  return "".join(f"{line}\n" for line in own if line not in usual) + "".join(f"{name} -\n" for name in gone)


@pytest.mark.parametrize("name", ["pretrain", "evaluation"])
def test_defaults_are_as_recorded(name):
  check_recorded(f"configs/defaults_{name}.txt", configuration.lines(getattr(defaults, name)()))


@pytest.mark.parametrize("variant", pretrain.VARIANTS)
def test_pretraining_is_as_recorded(variant):
  check_recorded(f"configs/pretrain_{variant}.txt", differing(pretrain.get_config(variant)))


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_as_recorded(name):
  spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  check_recorded(f"configs/{name}.txt", differing(module.get_config()))


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
  """A line that sets a key carries a comment, or follows one; of evaluation and fine-tuning, most do."""
  for name, tolerated in (("pretraining", 0), ("fine_tuning", 0.1), ("evaluations", 0.1)):
    text = (ROOT / "fgait_jax" / "defaults" / f"{name}.py").read_text()
    keys = re.findall(r"^(  # .*\n)?  c\.(\w+) = (?!\w+\(\)$).*?(#.*)?$", text, re.MULTILINE)
    bare = [name for before, name, comment in keys if not (before or comment)]
    assert keys
    assert len(bare) <= tolerated * len(keys), f"keys without unit and meaning: {bare}"


def test_a_new_key_says_what_it_was_before():
  """The carried weights stand for all that is stored anywhere: whatever they lack must be in `defaults.EARLIER`."""
  config = weights.about(weights.located("walkers-tiny"))["config"]
  lacking = configuration.lacking(config, ("",))
  assert not lacking, f"{lacking}: give each a line in EARLIER of fgait_jax/defaults/__init__.py, with the value that" \
                      " leaves runs and weights that are stored already as they were"


def test_carried_weights_are_read_with_a_key_that_is_younger(monkeypatch):
  """Their checksum is of the settings as they were written."""
  monkeypatch.setattr(defaults, "EARLIER", defaults.EARLIER | {"augment.shift": 0.0})
  config = weights.about(weights.located("walkers-tiny"))["config"]
  assert config["augment"]["shift"] == 0.0


def test_carried_weights_embed_as_when_they_were_stored():
  """Before attention had windows to choose and discriminants a step."""
  config = weights.about(weights.located("walkers-tiny"))["config"]
  assert (config["model"]["attention_frames"], config["discriminant"]["step"]) == (16, 1)


def test_stored_configurations_are_completed_by_keys_and_by_entries(monkeypatch):
  monkeypatch.setattr(defaults, "EARLIER", {
    "augment.shift": 0.0, "objectives.variance.weight": 0.0, "data.sets.*.share": 1.0, "linear_maps.more": 1})
  stored = {"augment": {"flip": 0.5}, "objectives": {}, "data": {"sets": {"kth": {"factor": 2}, "usf": {"share": 0.5}}}}
  assert configuration.completed(stored) == {
    "augment": {"flip": 0.5, "shift": 0.0}, "objectives": {"variance": {"weight": 0.0}},
    "data": {"sets": {"kth": {"factor": 2, "share": 1.0}, "usf": {"share": 0.5}}}}
  assert stored["augment"] == {"flip": 0.5}
  assert configuration.completed({"augment": 3, "objectives": {"variance": {"weight": 0.1}}}) == {
    "augment": 3, "objectives": {"variance": {"weight": 0.1}}}


def test_defaults_hold_a_whole_pretraining_configuration():
  flat = configuration.flat(defaults.pretrain())
  assert {name.partition(".")[0] for name in flat} >= {"seed", "data", "model", "objectives", "optim", "mesh", "train"}
