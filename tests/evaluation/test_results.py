"""Result files: written whole, read back equal, refused by name."""

import dataclasses
import json

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import registry, results, tasks  # noqa: F401  importing the tasks registers them

DATA = results.Data(name="walkers", split="test", kind="synthetic", walks=2, subjects=1, content_hash="d")
CHECKPOINT = results.Checkpoint(path="runs/first", step=480, identity="a-480-teacher", model="transformer tiny",
                                network="teacher", embedding="prediction")
FIGURES = results.figures_of({"nm": {
  "rank1": np.float32(12.5), "auc": float("nan"), "hubs": np.array([1, 2]), "ci": {"rank1": (12, 13)}}})
RESULT = results.Result(
  task="zero_shot", title="Zero-shot", data=DATA, notes=[], pretraining=results.Pretraining(), conditions=[],
  columns=[], rows=[results.Row(name="model", title="tiny", figures=FIGURES)],
  config={"seed": 0, "mirror_views": ("*-l",)})


def written(path, **changes):
  return results.write(path, dataclasses.replace(RESULT, **changes))


def test_written_results_come_back_with_date_and_versions(tmp_path):
  path = results.write(tmp_path / "deep" / "zero_shot-walkers.json", RESULT)
  back = results.read(path)
  figures = back.rows[0].figures["nm"]
  assert figures.values == {"rank1": 12.5, "auc": None, "hubs": [1, 2]}
  assert (figures.number("rank1"), figures.number("auc"), figures.number("hubs")) == (12.5, None, None)
  assert (figures.interval("rank1"), figures.interval("auc")) == ([12, 13], None)
  assert back.config["mirror_views"] == ["*-l"]
  assert back.date.endswith("+00:00")
  assert {"python", "jax", "numpy", "devices"} <= set(back.versions)
  assert results.read(results.write(tmp_path / "again.json", back)).rows == back.rows
  assert [p.name for p in path.parent.iterdir()] == ["zero_shot-walkers.json"]


def config_of(**values):
  config = defaults.evaluation().unlock()
  config.update_from_flattened_dict(values)
  return config


def test_a_result_of_other_settings_is_not_replaced(tmp_path):
  path = written(tmp_path / "zero_shot-walkers.json", config=config_of().to_dict())
  # No figure of this task changes.
  assert registry.claim(config_of(bootstrap=0, cache="off", **{"linear_probe.iterations": 1}), tmp_path) == path
  config = config_of(metric="cosine", checkpoint="runs/other")
  with pytest.raises(ConfigError, match=r"zero_shot-walkers\.json is there already, a result of other settings:\n"
                     r"  config\.checkpoint: '' there, 'runs/other' here\n"
                     r"  config\.metric: 'euclidean' there, 'cosine' here\nGive another --out"):
    registry.claim(config, tmp_path)
  path.write_text("{}")
  with pytest.raises(ConfigError, match="is there already and is no result"):
    registry.claim(config, tmp_path)


def test_a_result_is_of_weights_and_data_and_not_of_folders(tmp_path):
  path = written(tmp_path / "zero_shot-walkers.json", config=config_of().to_dict(), checkpoint=CHECKPOINT)
  config = config_of(checkpoint="/moved/first", data_dir="/moved/built")
  ours = CHECKPOINT.identity, DATA.content_hash
  assert registry.claim(config, tmp_path, ours) == path
  with pytest.raises(ConfigError, match=r"weights \(run, step, network\): a-480-teacher there, a-960-teacher here"):
    registry.claim(config, tmp_path, ("a-960-teacher", ours[1]))
  with pytest.raises(ConfigError, match="other settings:\n  content of the data: d there, e here\nGive another"):
    registry.claim(config, tmp_path, (ours[0], "e"))


@pytest.mark.parametrize("task,key", [
  ("linear_probe", "linear_probe.iterations"), ("fine_tune", "fine_tune.optim.peak_rate"),
  ("fine_tune", "linear_probe.iterations"), ("linear_maps", "linear_maps.floor")])
def test_the_section_of_a_task_counts(tmp_path, task, key):
  config = config_of(task=task)
  written(registry.get(task).path(config, tmp_path), config=config.to_dict())
  with pytest.raises(ConfigError, match=f"config.{key}: .* there, 7.* here"):
    registry.claim(config_of(task=task, **{key: 7}), tmp_path)


def test_other_files_are_refused_by_name(tmp_path):
  (tmp_path / "a.json").write_text("{")
  (tmp_path / "b.json").write_text(json.dumps({"format": 99}))
  with pytest.raises(DataError, match=r"a\.json: not a readable result file"):
    results.read(tmp_path / "a.json")
  with pytest.raises(DataError, match=r"b\.json: not a result file of format 2 \(found 99\)"):
    results.read(tmp_path / "b.json")


def test_a_result_of_another_layout_is_not_written(tmp_path):
  with pytest.raises(ValueError, match="result.title: expected str, found 3"):
    written(tmp_path / "x.json", title=3)
  assert not list(tmp_path.iterdir())
