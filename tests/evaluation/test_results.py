"""Result files: written whole, read back equal, refused by name."""

import json

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import results

RESULT = {
  "task": "zero_shot", "title": "Zero-shot", "data": {}, "notes": [], "pretraining": {}, "conditions": [],
  "metrics": [], "config": {"seed": 0, "mirror_views": ("*-l",)},
  "rows": [{"figures": {"nm": {"rank1": np.float32(12.5), "auc": float("nan"), "cmc": np.array([1, 2])}}}],
}


def test_written_results_come_back_with_date_and_versions(tmp_path):
  path = results.write(tmp_path / "deep" / "zero_shot-walkers.json", RESULT)
  back = results.read(path)
  assert back["rows"][0]["figures"]["nm"] == {"rank1": 12.5, "auc": None, "cmc": [1, 2]}
  assert back["config"]["mirror_views"] == ["*-l"]
  assert back["date"].endswith("+00:00")
  assert {"python", "jax", "numpy", "devices"} <= set(back["versions"])
  assert [p.name for p in path.parent.iterdir()] == ["zero_shot-walkers.json"]


def test_a_result_of_other_settings_is_not_replaced(tmp_path):
  config = defaults.evaluation().unlock()
  path = results.write(tmp_path / "zero_shot-walkers.json", RESULT | {"config": config.to_dict()})
  config.bootstrap, config.cache, config.probe.iterations = 0, "off", 1  # no figure of this task changes
  assert results.claim(path, config) == path
  config.metric, config.checkpoint = "cosine", "runs/other"
  with pytest.raises(ConfigError, match=r"zero_shot-walkers\.json is there already, a result of other settings:\n"
                     r"  config\.checkpoint: '' there, 'runs/other' here\n"
                     r"  config\.metric: 'euclidean' there, 'cosine' here\nGive another --out"):
    results.claim(path, config)
  path.write_text("{}")
  with pytest.raises(ConfigError, match="is there already and is no result"):
    results.claim(path, config)


def test_a_result_is_of_weights_and_data_and_not_of_folders(tmp_path):
  config = defaults.evaluation().unlock()
  about = {"checkpoint": {"identity": "a-480-teacher", "path": "runs/first"}, "data": {"content_hash": "d"}}
  path = results.write(tmp_path / "zero_shot-walkers.json", RESULT | about | {"config": config.to_dict()})
  config.checkpoint, config.data_dir = "/moved/first", "/moved/built"
  assert results.claim(path, config, about) == path
  with pytest.raises(ConfigError, match=r"weights \(run, step, network\): a-480-teacher there, a-960-teacher here"):
    results.claim(path, config, about | {"checkpoint": {"identity": "a-960-teacher"}})
  with pytest.raises(ConfigError, match="other settings:\n  build of the data: d there, e here\nGive another"):
    results.claim(path, config, about | {"data": {"content_hash": "e"}})


@pytest.mark.parametrize("task,key", [("linear_probe", "probe.iterations"), ("fine_tune", "fine_tune.optim.peak_rate")])
def test_the_section_of_a_task_counts(tmp_path, task, key):
  config = defaults.evaluation().unlock()
  config.task = task
  path = results.write(tmp_path / "a.json", RESULT | {"config": config.to_dict()})
  config.update_from_flattened_dict({key: 7})
  with pytest.raises(ConfigError, match=f"config.{key}: .* there, 7.* here"):
    results.claim(path, config)


def test_other_files_are_refused_by_name_and_passed_over_in_a_folder(tmp_path):
  (tmp_path / "a.json").write_text("{")
  (tmp_path / "b.json").write_text(json.dumps({"format": 99}))
  with pytest.raises(DataError, match=r"a\.json: not a readable result file"):
    results.read(tmp_path / "a.json")
  with pytest.raises(DataError, match=r"b\.json: not a result file of format 1 \(found 99\)"):
    results.read(tmp_path / "b.json")
  with pytest.raises(DataError, match="no result files; run_eval.py"):
    results.find(tmp_path)
  with pytest.raises(DataError, match="absent"):
    results.find(tmp_path / "absent")
  results.write(tmp_path / "c.json", RESULT)
  assert [p.name for p in results.find(tmp_path)] == ["c.json"]


def test_a_result_without_what_tables_need_is_not_written(tmp_path):
  with pytest.raises(ValueError, match="without \\['rows'\\]"):
    results.write(tmp_path / "x.json", {k: v for k, v in RESULT.items() if k != "rows"})
  assert not list(tmp_path.iterdir())
