"""Two recipes of docs/architecture.md, followed to the letter in a copy of the repository, do what they say."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PLACES = ("configs", "data_prep", "docs", "fgait_jax", "tests", "pyproject.toml", "run_eval.py", "run_pretrain.py")
TRAIN = """
import sys
sys.path[:0] = [".", "tests/training"]
import conftest
from configs import pretrain
from fgait_jax import defaults
from fgait_jax.training import pretraining

config = pretrain.get_config("test")
config.update_from_flattened_dict({
  "data.threads": 1, "student.crop_list": (2,), "train.steps": 2, "train.log_every": 1,
  "objectives.variance.weight": 0.5,
})
config.data.sets = defaults.data_sets("toy")
for name in ("affine", "perspective", "flip", "dilate", "blur"):
  config.augment[name] = 0.0
pretraining.run(config, "run", splits={"toy": conftest.ToySplit()})
"""


def steps_of(title: str) -> list[tuple[str, str, str]]:
  """(file, kind, text) of each block of a recipe: "python", the whole file; "diff", lines to put in; "console"."""
  page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
  recipe = page.split(f"### {title}\n")[1].split("\n### ")[0]
  file, found = None, []
  for line, kind, text in re.findall(r"^(`[^`\n][^\n]*)|^```(\w+)\n(.*?)^```", recipe, re.M | re.S):
    if line:
      file = line.split("`")[1]
    elif kind:
      found.append((file, kind, text))
  return found


@pytest.fixture
def followed(tmp_path):
  """`followed(title)`: a copy of the repository in which that recipe was done."""

  def follow(title: str) -> pathlib.Path:
    for place in PLACES:
      if (ROOT / place).is_dir():
        shutil.copytree(ROOT / place, tmp_path / place, symlinks=True,
                        ignore=shutil.ignore_patterns("__pycache__"))
      else:
        shutil.copy(ROOT / place, tmp_path / place)
    for file, kind, text in steps_of(title):
      path = tmp_path / file
      if kind == "python":
        assert not path.exists(), f"{file} is there already"
        path.write_text(text, encoding="utf-8")
      if kind != "diff":
        continue
      lines = text.splitlines(keepends=True)
      before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
      there = path.read_text(encoding="utf-8")
      assert there.count(before) == 1, f"{file}: the lines around what is added stand there {there.count(before)} times"
      path.write_text(there.replace(before, after), encoding="utf-8")
    return tmp_path

  return follow


def run(folder: pathlib.Path, *words: str, **variables: str) -> str:
  env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"), "PYTHONDONTWRITEBYTECODE": "1",
                      "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
  done = subprocess.run([sys.executable, *words], cwd=folder, env=env | variables, text=True, capture_output=True)
  assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
  return done.stdout


def test_an_objective(followed):
  folder = followed("Add an objective")
  run(folder, "-m", "pytest", "-q", "tests/configs", "tests/objectives/test_variance.py", UPDATE_GOLDEN="1")
  run(folder, "-m", "pytest", "-q", "tests/configs", "tests/test_house.py")
  run(folder, "-c", TRAIN)
  lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
  for line in (line for line in lines if line["kind"] == "train"):
    rest = line["contrastive"] + line["reconstruction"]
    assert line["variance"] > 0
    np.testing.assert_allclose(line["loss"], rest + 0.5 * line["variance"], rtol=1e-5)


def test_a_protocol(followed):
  folder = followed("Add a protocol")
  run(folder, "-m", "pytest", "-q", "tests/test_house.py", "tests/evaluation/protocols/test_my_lab.py",
      "tests/evaluation/protocols/test_protocols.py")
  rows = [(person, kind, view) for person in "abc" for kind in ("nm-01", "nm-02", "coat-01") for view in ("000", "090")]
  labels, types, views = np.array(rows).T
  embeddings = np.eye(3, dtype=np.float32)[np.unique(labels, return_inverse=True)[1]]
  embeddings += np.random.default_rng(0).normal(0, 0.01, embeddings.shape).astype(np.float32)
  np.savez(folder / "mine.npz", embeddings=embeddings, labels=labels, types=types, views=views)
  words = [word for block in steps_of("Add a protocol") if block[1] == "console" for word in block[2].split()]
  out = run(folder, *words[1:])
  assert "My laboratory" in out
  result = json.loads((folder / "results" / "my_lab.json").read_text())
  assert {c["name"]: result["rows"][0]["figures"][c["name"]]["rank1"] for c in result["conditions"]} == {
    "NM": 100.0, "CL": 100.0}
