"""The wheel, installed outside the checkout: its commands run there with the configurations it brought."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run(*command, cwd, status=0, **env):
  done = subprocess.run(
    [str(word) for word in command], cwd=cwd, env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", **env},
    capture_output=True, text=True, timeout=600, check=False,
  )  # fmt: skip
  assert done.returncode == status, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """Made from the source distribution, as `python -m build` does, of a copy: building leaves files in the checkout."""
  copy, out = (tmp_path_factory.mktemp(name) for name in ("checkout", "dist"))
  for name in ("configs", "data_prep", "fgait_jax"):
    shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
  for path in (p for p in ROOT.iterdir() if p.is_file() and p.name != ".git"):
    shutil.copy(path, copy)
  run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ".", cwd=copy)
  made, = out.glob("*.whl")
  return made


@pytest.mark.slow
def test_nothing_but_the_two_packages_is_installed(wheel):
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"fgait_jax", "data_prep"}
  ours = {str(p.relative_to(ROOT)) for package in ("fgait_jax", "data_prep") for p in (ROOT / package).rglob("*")
          if p.is_file() and p.suffix != ".pyc"}
  configs = {f"fgait_jax/configs/{p.name}" for p in (ROOT / "configs").glob("*.py")}
  assert {name for name in names if ".dist-info" not in name} == ours | configs


@pytest.mark.slow
def test_commands_run_where_there_is_no_checkout(wheel, tmp_path):
  site, work = tmp_path / "site", tmp_path / "work"
  run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel, cwd=tmp_path)
  for subject in range(16):
    folder = tmp_path / f"masks/{subject}/slow/front"
    folder.mkdir(parents=True)
    for frame in range(6):
      mask = np.zeros((120, 160), np.uint8)
      mask[10 + subject : 110, 40 + frame : 70 + frame + 2 * subject] = 255
      cv2.imwrite(str(folder / f"{frame}.png"), mask)
  work.mkdir()

  def command(name, *words, status=0):
    return run(site / "bin" / name, *words, cwd=work, status=status, PYTHONPATH=str(site),
               JAX_COMPILATION_CACHE_DIR=str(ROOT / ".cache" / "jax"))

  where = run(sys.executable, "-c", "import fgait_jax; print(fgait_jax.__file__)", cwd=work, PYTHONPATH=str(site))
  assert pathlib.Path(where.strip()).is_relative_to(site)
  assert "--config: file:variant" in command("fgait-pretrain", "--help", status=1)  # absl's own
  assert "--config: file:variant" in command("fgait-eval", "--help", status=1)
  command("fgait-data", "own", "--raw", tmp_path / "masks", "--name", "walks", "--train-subjects", "0.5")
  command("fgait-pretrain", "--config=configs/pretrain.py:test", "--workdir=run", "--config.data.sets=walks",
          "--config.train.steps=2")
  said = command("fgait-eval", "--config=configs/embed.py:walks", "--config.checkpoint=run", "--out=found")
  assert "embeddings.npz" in said
  assert np.load(work / "found" / "embeddings.npz")["embeddings"].shape[0] == 8
