"""Paths of other stores are refused wherever a run reads or writes, and make no local folder of their name."""

import pathlib

import pytest

from configs import base, pretrain
from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import features, program
from fgait_jax.evaluation.report import page
from fgait_jax.paths import local_path
from fgait_jax.training import checkpoints, loop

REMOTE = "gs://bucket/run"


@pytest.mark.parametrize("use", [
  pytest.param(lambda: loop.run(pretrain.get_config("test"), REMOTE, splits=[]), id="workdir"),
  pytest.param(lambda: checkpoints.Checkpoints(REMOTE, keep=1), id="checkpoints"),
  pytest.param(lambda: checkpoints.load_network(REMOTE), id="checkpoint"),
  pytest.param(lambda: open_split(REMOTE, "kth", "train"), id="data"),
  pytest.param(lambda: program.run(base.evaluation(), REMOTE), id="out"),
  pytest.param(lambda: page.write(["results"], f"{REMOTE}.html"), id="report"),
  pytest.param(lambda: features.cached(REMOTE, {}, lambda: None), id="cache"),
])
def test_other_stores_are_refused_everywhere(use, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError, match="gs://bucket/run.*: gs:// cannot be read or written here; give a local folder"):
    use()
  assert list(tmp_path.iterdir()) == []


def test_local_paths_are_whole(monkeypatch):
  monkeypatch.setenv("HOME", "/home/walker")
  assert local_path("~/runs", "--workdir") == pathlib.Path("/home/walker/runs")
  assert local_path("runs:a/b", "--workdir") == pathlib.Path.cwd() / "runs:a" / "b"
  with pytest.raises(ConfigError, match="--out=s3:/bucket: s3://"):
    local_path(pathlib.Path("s3://bucket"), "--out")
