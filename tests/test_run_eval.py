"""The evaluation program from the command line: what a wrong call says, and tables shown again."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fgait_jax.evaluation import columns, registry, results, tasks  # noqa: F401  importing tasks registers them

ROOT = pathlib.Path(__file__).parents[1]


def run(*arguments):
  return subprocess.run([sys.executable, "run_eval.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
                        timeout=300, check=False)


def one_line(done):
  """The error, which must be all that was said."""
  assert done.returncode == 1
  assert "Traceback" not in done.stderr
  assert done.stderr.count("\n") == 1
  return done.stderr


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
  done = run("--config=configs/zero_shot.py", "--config.chekpoint=runs/first", f"--out={tmp_path}")
  assert "unknown key config.chekpoint; did you mean config.checkpoint?" in one_line(done)


@pytest.mark.parametrize("arguments,message", [
  ((), "error: give --config=configs/zero_shot.py"),
  (("--config=configs/zero_shot.py", "--config.data_dir=nowhere", "--config.checkpoint=runs/x"),
   "no data set 'walkers' in nowhere"),
])
def test_what_is_missing_is_said_in_one_line(tmp_path, arguments, message):
  assert message in one_line(run(*arguments, f"--out={tmp_path}"))
  assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_tables_are_shown_again_from_result_files_alone(tmp_path):
  figures = {"accuracy": 50.0}
  results.write(tmp_path / "a.json", results.Result(
    task="linear_probe", title="Linear probe", notes=[], config={}, pretraining=results.Pretraining(),
    data=results.Data(name="walkers", split="test", kind="synthetic", walks=2, subjects=2, content_hash="d"),
    conditions=[results.Condition(name="CL", title="CL")], columns=[columns.ACCURACY],
    rows=[results.Row(name="model", title="tiny", figures=results.figures_of({"CL": figures}))]))
  (tmp_path / "old.json").write_text('{"format": 1}')
  done = run(f"--show={tmp_path}")
  assert done.returncode == 0, done.stderr
  assert "passed over: old.json: not a result file of format 2 (found 1)" in done.stdout
  assert "50.0" in done.stdout
  assert "accuracy %" in done.stdout


@pytest.mark.parametrize("name", registry.TASKS)
def test_configurations_are_locked_and_name_their_task(name):
  spec = importlib.util.spec_from_file_location("config", ROOT / "configs" / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config()
  assert config.task == name
  assert config.is_locked
  with pytest.raises(AttributeError):
    config.chekpoint = "x"


def test_a_leading_tilde_is_the_users_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  numbers = np.random.default_rng(0).normal(size=(8, 4, 2)).astype(np.float32)
  kinds = np.array(["gallery", "probe"] * 4)
  labels, views = np.array(list("aabbccdd")), np.full(8, "0")
  np.savez(tmp_path / "e.npz", embeddings=numbers, labels=labels, types=kinds, views=views)
  done = run("--config=configs/score.py", "--config.embeddings=~/e.npz", "--config.protocol=own", "--out=~/results")
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "results").is_dir()
  assert not (ROOT / "~").exists()
