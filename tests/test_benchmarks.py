"""Every benchmark runs to its figures, at sizes that say nothing about speed, or refuses its arguments in one line."""

import pathlib
import re
import runpy
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
NEEDS_BUILT_DATA = {"facing.py", "few_people.py", "gap.py", "packing.py", "population.py", "transfer.py"}
NEEDS_LIBTPU = {"ahead.py"}


def test_every_benchmark_is_here():
  assert {p.name for p in (ROOT / "benchmarks").glob("*.py")} == {*SMALL, *NEEDS_BUILT_DATA, *NEEDS_LIBTPU}


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


@pytest.mark.parametrize("script, arguments, words", [
  ("ahead.py", "--config configs/zero_shot.py", "--config=configs/zero_shot.py is no configuration of pretraining"),
  ("ahead.py", "--topology v5e:3x5", "--topology=v5e:3x5: "),
  ("ahead.py", "--fsdp 0", "argument --fsdp: '0' is not a whole number from 1"),
  ("augment.py", "--repeats 0", "argument --repeats: '0' is not a whole number from 1"),
  ("data_scale.py", "--folder {tmp}", "give --sequences or --index"),
  ("embed.py", "--networks gaitbase", "argument --networks: 'gaitbase' is not backbone:variant, such as transformer"),
  ("embed.py", "--networks gaitbase:huge --walks 1 --frames 4", "config.model.variant='huge' is not known; known: "),
  ("embed_torch.py", "--walks 0", "argument --walks: '0' is not a whole number from 1"),
  ("few_people.py", "{tmp}", "{tmp} holds no checkpoint yet"),
  ("gap.py", "{tmp}", "{tmp} holds no checkpoint yet"),
  ("input_pipeline.py", "--built {tmp}", "no data set 'walkers' in {tmp}"),
  ("input_pipeline_opencv.py", "--sequences many", "argument --sequences: 'many' is not a whole number from 1"),
  ("packing.py", "--data_dir {tmp}", "no data set 'walkers' in {tmp}"),
  ("population.py", "--people 2 --only walker", "--only: no population walker; known: walkers, crowd, without bodies"),
  ("retrieval.py", "--repeats -1", "argument --repeats: '-1' is not a whole number from 0"),
  ("retrieval_torch.py", "--repeats 0", "argument --repeats: '0' is not a whole number from 1"),
  ("step.py", "--batch 0", "argument --batch: '0' is not a whole number from 1"),
  ("step.py", "--steps -1", "argument --steps: '-1' is not a whole number from 0"),
  ("step.py", "--config configs/zero_shot.py", "--config=configs/zero_shot.py is no configuration of pretraining"),
  ("step.py", "--variant huger", "config.model.variant='huger' is not known; known: "),
  ("step_torch.py", "--variant 1-1-1", "argument --variant: '1-1-1' is not the blocks of four stages"),
  ("transfer.py", "--embedding predicted", "argument --embedding: invalid choice: 'predicted'"),
  ("walkers_render.py", "--walks 0", "argument --walks: '0' is not a whole number from 1"),
])
def test_arguments_that_cannot_work_are_refused_in_a_line(script, arguments, words, tmp_path, monkeypatch, capsys):
  if "torch" in script:
    pytest.importorskip("torch", reason="torch is not installed: pip install -r requirements-interop.txt")
  if "opencv" in script:
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install -r requirements-video.txt")
  monkeypatch.setattr(sys, "argv", [script, *arguments.format(tmp=tmp_path).split()])
  monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
  monkeypatch.chdir(ROOT)
  with pytest.raises(SystemExit) as left:
    runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
  said = capsys.readouterr().err.splitlines()[-1] if left.value.code == 2 else left.value.code
  assert words.format(tmp=tmp_path) in said
  assert "\n" not in said


def test_what_devices_send_is_counted_once_by_kind(monkeypatch):
  """Of a program for TPUs: a gather in two halves, a sum of which each device keeps a part, a sum, and a shuffle."""
  monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
  text = """
%all-reduce-scatter.1 (input_0: f32[8,128]) -> f32[2,128] {
  %all-reduce.5 = (f32[8,128]{1,0:T(8,128)}, f32[128]{0}) all-reduce(%input_0, %input_1), channel_id=1, to_apply=%add
}
%all-reduce-scatter.2 (input_0: f32[4]) -> f32[1] {
  %all-reduce.6 = f32[4]{0} all-reduce(%input_0), channel_id=1, to_apply=%add
}
ENTRY %main {
  %all-gather-start.1 = bf16[16,4]{1,0} all-gather-start(%p), channel_id=7, dimensions={0}
  %all-gather.2 = bf16[16,4]{0,1} all-gather(%p), channel_id=7, dimensions={0}
  %all-reduce.7 = s32[] all-reduce(%q), channel_id=9, to_apply=%add
  %all-to-all.3 = pred[32]{0} all-to-all(%r), channel_id=11
  %fusion.1 = f32[1000]{0} fusion(%all-gather.2), calls=%f
}
"""
  found = runpy.run_path(str(ROOT / "benchmarks" / "ahead.py"))["sent"](text)
  assert found == {"scattered": 4 * (8 * 128 + 128 + 4), "gathered": 2 * 64, "summed": 4, "all-to-all": 32}
