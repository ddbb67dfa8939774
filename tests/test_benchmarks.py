"""Every benchmark runs to its figures, at sizes that say nothing about speed."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SMALL = {
  "augment.py": "--clips 2 --frames 4 --repeats 1",
  "data_scale.py": "--index 200 --sequences 50 --folder {tmp}",
  "embed.py": "--networks transformer:tiny --walks 1 --frames 4 --repeats 1",
  "embed_torch.py": "--networks gaitset:32-64-128 --walks 1 --frames 4 --repeats 1",
  "input_pipeline.py": "--sequences 16 --batch 4 --frames 30",
  "input_pipeline_opencv.py": "--sequences 16",
  "step.py": "--config {root}/configs/pretrain.py:test --steps 1",
  "step_torch.py": "--channels 4 4 8 8 --frames 4 --steps 1",
  "retrieval.py": "--cases gait3d --repeats 1",
  "retrieval_torch.py": "--cases gait3d --repeats 1",
  "walkers_render.py": "--walks 2",
}
NEEDS_BUILT_DATA = {"packing.py", "population.py", "transfer.py"}


def test_every_benchmark_is_here():
  assert {p.name for p in (ROOT / "benchmarks").glob("*.py")} == {*SMALL, *NEEDS_BUILT_DATA}


@pytest.mark.slow
@pytest.mark.parametrize("script", SMALL)
def test_a_benchmark_ends_in_its_figures(script, tmp_path):
  if script.endswith("_torch.py"):
    pytest.importorskip("torch", reason="torch is not installed: pip install -r requirements-interop.txt")
  arguments = SMALL[script].format(tmp=tmp_path, root=ROOT).split()
  done = subprocess.run(
    [sys.executable, str(ROOT / "benchmarks" / script), *arguments], capture_output=True, text=True, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert re.search(r"\d", done.stdout), done.stdout
