"""The linear probe: what it learns, from whom, and that it leaves the network alone."""

import pytest

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import program
from tests.evaluation.conftest import content
from tests.evaluation.stand_in import Walks, config_of


def test_the_probe_learns_subjects_from_the_gallery_and_leaves_the_network_alone(world, tmp_path):
  (path,) = program.run(config_of("linear_probe"), tmp_path)
  found = content(path)
  assert [row["name"] for row in found["rows"]] == ["model", "untrained", "raw_gei", "chance"]
  assert set(found["rows"][0]["figures"]) == {"NM", "CL"}
  assert found["rows"][0]["figures"]["CL"]["accuracy"] > 75
  assert found["rows"][-1]["figures"]["CL"]["accuracy"] == pytest.approx(100 / 6)
  assert found["frozen"]["unchanged"] is True
  for row in found["rows"][:-1]:  # each by itself, from the same penalties
    assert row["penalty"] == float(min(row["tried"], key=row["tried"].get))
  assert any(note.startswith("Logistic regression to convergence; L2 penalties, each by") for note in found["notes"])
  config = config_of("linear_probe", **{"linear_probe.train_conditions": ("cl-03",)})
  with pytest.raises(ConfigError, match=r"walkers-subject.json is there .*\n  config.linear_probe.train_conditions"):
    program.run(config, tmp_path)
  (path,) = program.run(config, tmp_path / "cl")
  assert set(content(path)["rows"][0]["figures"]) == {"nm-01", "nm-02", "nm-03"}


def test_a_network_that_changes_under_the_probe_is_an_error(world, tmp_path):
  networks, _ = world
  embed = networks[True].embed

  def drifting(frames, valid):
    networks[True].stats["mean"] += 1e-6
    return embed(frames, valid)

  networks[True].embed = drifting
  with pytest.raises(RuntimeError, match="frozen network changed"):
    program.run(config_of("linear_probe"), tmp_path)


def test_an_attribute_is_learnt_from_other_people(world, tmp_path):
  (path,) = program.run(config_of("linear_probe", **{"linear_probe.target": "tall"}), tmp_path)
  assert path.name == "linear_probe-walkers-tall.json"
  found = content(path)
  assert found["title"] == "Linear probe of tall on walkers"
  assert found["rows"][-1]["figures"]["all"]["accuracy"] == 50
  _, splits = world
  splits["train"] = Walks("walkers/train", first=5)
  with pytest.raises(ConfigError, match=r"share 1 subjects \(005, ...\): what is learnt would know"):
    program.run(config_of("linear_probe", **{"linear_probe.target": "tall"}), tmp_path)
