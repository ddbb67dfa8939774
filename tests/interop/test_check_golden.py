"""The recorded arrays of the official module, and that a wrong one is noticed."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

from fgait_jax.errors import DataError
from fgait_jax.interop import check_golden, recorded

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "p3d_tiny.npz"


@pytest.fixture(scope="module")
def lines():
  return check_golden.check(GOLDEN)


def test_every_recorded_array_is_within_its_tolerance(lines):
  assert len(lines) > 200
  assert {line.name.split("/")[0] for line in lines} == {
    "eval", "train", "grad", "student_after_step", "teacher_after_step",
    "end to end: student_after_step", "end to end: teacher_after_step",
  }
  assert not [str(line) for line in lines if not line.passed]


def test_lines_say_name_error_and_tolerance(lines):
  text = {line.name: str(line) for line in lines}
  assert text["train/loss"].startswith("ok")
  assert "within 1e-05" in text["train/loss"]
  assert str(recorded.Line("grad/x", 0.5, 1e-3)).startswith("FAIL")
  assert not recorded.Line("eval/x", float("inf"), 1e-4).passed


def test_products_are_whole_float32_on_any_device(monkeypatch):
  programs = []

  def evaluation(golden, graph, params, stats):
    network, view = graph.merge(params, stats), golden.teacher_view
    network.eval()
    programs.append(jax.make_jaxpr(network.encoder.encode)(view, np.ones(view.shape[:2], bool)))
    return []

  monkeypatch.setattr(check_golden, "evaluation", evaluation)
  monkeypatch.setattr(check_golden, "training", lambda *_: [])
  check_golden.check(GOLDEN)
  products = re.findall(r" precision=(.*)", str(programs[0]))
  assert len(products) > 10
  assert all("HIGHEST" in precision for precision in products)


def changed(tmp_path, change) -> pathlib.Path:
  with np.load(GOLDEN) as file:
    arrays = {k: file[k] for k in file.files}
  change(arrays)
  np.savez(tmp_path / "changed.npz", **arrays)
  return tmp_path / "changed.npz"


def test_weights_that_do_not_fit_meta_are_listed(tmp_path, capsys):
  def change(arrays):
    arrays["weights/layer5.0.conv.weight"] = arrays.pop("weights/layer2.0.sbn.weight")
    arrays["weights/predictor.3.fc_bin"] = arrays["weights/predictor.3.fc_bin"][:2]

  path = changed(tmp_path, change)
  with pytest.raises(DataError, match="missing layer2.0.sbn.weight.*misshapen predictor.3.*unknown layer5.0.conv"):
    check_golden.check(path)
  assert check_golden.main([str(path)]) == 1
  assert "missing layer2.0.sbn.weight" in capsys.readouterr().err


def test_other_bins_and_other_files_are_refused(tmp_path):
  def other_bins(arrays):
    meta = json.loads(str(arrays["meta"])) | {"bins": [16]}
    arrays["meta"] = np.array(json.dumps(meta))

  with pytest.raises(DataError, match=r"meta.bins is \[16\]"):
    check_golden.check(changed(tmp_path, other_bins))
  with pytest.raises(DataError, match="lacks meta"):
    check_golden.check(changed(tmp_path, lambda arrays: arrays.pop("meta")))
  (tmp_path / "text.npz").write_text("no archive")
  with pytest.raises(DataError, match="text.npz: not a readable .npz of plain arrays"):
    check_golden.check(tmp_path / "text.npz")


def test_errors_are_relative_to_the_largest_magnitude():
  expected = np.array([10.0, 0.1], np.float32)
  assert recorded.relative_error(expected + np.float32(0.01), expected, 0.0) == pytest.approx(1e-3, rel=1e-2)
  assert recorded.relative_error(None, expected, 0.0) == float("inf")
  assert recorded.relative_error(expected[:1], expected, 0.0) == float("inf")
  assert recorded.relative_error(expected * np.nan, expected, 0.0) == float("inf")
