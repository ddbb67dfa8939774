"""Paths of other stores are refused wherever a run reads or writes, and make no local folder of their name."""

import pathlib

import pytest

from configs import pretrain
from data_prep import build, preview, verify, video
from data_prep.datasets import own
from fgait_jax import defaults
from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import program
from fgait_jax.evaluation.features import files
from fgait_jax.evaluation.report import page, sources
from fgait_jax.evaluation.tasks import identify, score
from fgait_jax.interop import check_golden, export, import_opengait
from fgait_jax.paths import local_path
from fgait_jax.training import checkpoints, pretraining

REMOTE = "gs://bucket/run"


def identification(path):
  config = defaults.evaluation().unlock()
  config.task, config.gallery, config.probes = "identify", path, path
  return config


@pytest.mark.parametrize("use", [
  pytest.param(lambda: pretraining.run(pretrain.get_config("test"), REMOTE, splits={}), id="workdir"),
  pytest.param(lambda: checkpoints.Checkpoints(REMOTE, keep=1), id="checkpoints"),
  pytest.param(lambda: checkpoints.load_network(REMOTE), id="checkpoint"),
  pytest.param(lambda: open_split(REMOTE, "kth", "train"), id="data"),
  pytest.param(lambda: program.run(defaults.evaluation(), REMOTE), id="out"),
  pytest.param(lambda: page.write(["results"], f"{REMOTE}.html"), id="report"),
  pytest.param(lambda: files.cached(REMOTE, {}, lambda: None), id="cache"),
  pytest.param(lambda: score.score(REMOTE, protocol="own"), id="embeddings"),
  pytest.param(lambda: identify.run(identification(REMOTE), pathlib.Path("results")), id="probes"),
  pytest.param(lambda: sources.read(REMOTE, flag="--report"), id="report-of"),
  pytest.param(lambda: own.partition(REMOTE, {"a", "b"}, where=pathlib.Path("masks")), id="train-subjects"),
])
def test_other_stores_are_refused_everywhere(use, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError, match="gs://bucket/run.*: gs:// cannot be read or written here; give a local folder"):
    use()
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program, words", [
  (build, ("kth", "--raw", REMOTE)), (build, ("walkers", "--out", REMOTE)), (video, (REMOTE, "--out", "masks")),
  (video, ("film.mp4", f"--out={REMOTE}")), (verify, (REMOTE,)), (preview, (REMOTE,)),
  (preview, ("built/kth", "--out", REMOTE)), (check_golden, (REMOTE,)),
  (export, (REMOTE, "--out", "weights", "--format", "jax")), (import_opengait, (REMOTE, "--out", "runs")),
])
def test_other_stores_are_refused_on_every_command_line(program, words, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert program.main(list(words)) == 1
  assert "=gs://bucket/run: gs:// cannot be read or written here; give a local folder" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


def test_local_paths_are_whole(monkeypatch):
  monkeypatch.setenv("HOME", "/home/walker")
  assert local_path("~/runs", "--workdir") == pathlib.Path("/home/walker/runs")
  assert local_path("runs:a/b", "--workdir") == pathlib.Path.cwd() / "runs:a" / "b"
  with pytest.raises(ConfigError, match="--out=s3:/bucket: s3://"):
    local_path(pathlib.Path("s3://bucket"), "--out")
