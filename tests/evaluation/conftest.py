"""Result files written by hand, for what reads nothing but such files; a run that has learnt nothing, and a stand-in
for a run."""

import copy
import json

import cv2
import jax
import numpy as np
import pytest

from fgait_jax import config_files
from fgait_jax.errors import DataError
from fgait_jax.evaluation import columns, results, setup
from fgait_jax.evaluation.plain import encoded
from fgait_jax.evaluation.report import strips
from fgait_jax.evaluation.tasks import linear_probe
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints, state
from tests.evaluation.stand_in import Network, Walks

COLUMNS = [encoded(columns.RANK1), encoded(columns.MAP)]
_SUBJECTS = [f"{n:03d}" for n in range(12)]


@pytest.fixture(scope="session")
def save_untrained():
  """`save_untrained(folder, data, people)`: a run of the test-sized transformer, saved before its first step."""
  def save(folder, data, people):
    config = config_files.load("configs/pretrain.py:test")
    _, values, _ = state.create(config, make_mesh(devices=jax.devices()[:1]))
    with checkpoints.Checkpoints(folder, keep=1) as saved:
      saved.save(0, values, checkpoints.new_meta(config, data, people))
    return folder

  return save


@pytest.fixture
def world(monkeypatch):
  """The networks and splits that the program will find."""
  networks = {True: Network(), False: Network(trained=False)}
  splits = {"test": Walks(), "train": Walks("walkers/train", first=6)}

  def open_split(folder, name, split):
    if split not in splits:
      raise DataError(f"{folder}/{name} has no split {split!r}")
    return splits[split]

  monkeypatch.setattr(setup, "open_split", open_split)
  monkeypatch.setattr(linear_probe, "open_split", open_split)
  monkeypatch.setattr(setup, "load_network", lambda path, *, mesh, which="teacher", trained=True: networks[trained])
  return networks, splits


def _row(name: str, title: str, rank1: float, *, interval=True) -> dict:
  figures = {}
  for condition, drop in (("NM", 0), ("CL", 10)):
    value = rank1 - drop
    each = [min(100, value + n) for n in range(-6, 6)]
    figures[condition] = {"rank1": value, "map": value / 2, "by_subject": {
      "subjects": _SUBJECTS, "rank1": each, "map": [v / 2 for v in each], "trials": [10] * 12}}
    if interval:
      figures[condition]["ci"] = {"rank1": [value - 5, value + 5]}
  cells = [[90, rank1, 30], [rank1, 80, rank1], [40, 2 * rank1 - 40, None]]
  return {"name": name, "title": title, "centred": "none", "figures": figures,
          "cmc": {c: [min(100, rank1 + 5 * k) for k in range(20)] for c in ("NM", "CL")},
          "per_view": {"NM": {"probe_views": ["000", "090", "180"], "gallery_views": ["000", "090", "180"],
                              "rank1": cells}}}


def _result() -> dict:
  return {
    "format": results.FORMAT, "task": "zero_shot", "title": "Zero-shot recognition on walkers",
    "date": "2026-01-02T03:04:05+00:00",
    "notes": ["Protocol walkers."], "columns": COLUMNS, "config": {"seed": 0}, "pictures": ["neighbours-walkers.png"],
    "protocol": {"name": "walkers", "title": "Walkers", "source": "made up", "metric": "euclidean"},
    "versions": {"python": "3.11", "jax": "0.10.2", "devices": "8 x cpu"},
    "data": {"name": "walkers", "split": "test", "kind": "synthetic", "walks": 480, "subjects": 12,
             "content_hash": "abc"},
    "checkpoint": {"path": "runs/first", "step": 400, "identity": "0a-400-teacher", "model": "transformer tiny",
                   "network": "teacher", "embedding": "prediction"},
    "pretraining": {"datasets": ["walkers (train)"], "label_use": "without labels", "steps": 400,
                    "evaluated_data_among_them": True},
    "conditions": [{"name": "NM", "title": "NM: 80 probes"}, {"name": "CL", "title": "CL: 80 probes"}],
    "rows": [_row("model", "transformer tiny, 400 steps", 62.5), _row("raw_gei", "raw GEI", 75.0),
             {"name": "chance", "title": "chance", "centred": "none",
              "figures": {c: {"rank1": 2.5, "map": None} for c in ("NM", "CL")}}],
  }


def _walk(text: str, height: int) -> dict:
  frames = np.zeros((10, 64, 64, 1), np.uint8)
  for n in range(10):
    frames[n, 64 - height :, 20 + n : 34 + n] = 255
  return {"text": text, "played": strips.sheet(frames)}


def content(path) -> dict:
  """What a result file holds, as it is written there."""
  return json.loads(path.read_text(encoding="utf-8"))


def typed(found: dict) -> results.Result:
  """The content of a result file, checked."""
  return results.parsed(json.loads(json.dumps(found)), origin="made up")


@pytest.fixture
def result() -> dict:
  """The file of a zero-shot result: model, raw GEI and chance in NM and CL, with curves, views and subjects."""
  return copy.deepcopy(_result())


@pytest.fixture
def results_folder(tmp_path, result):
  """A folder with that result, the walks it shows, its training curves, a classification and a robustness result."""
  folder = tmp_path / "results"
  folder.mkdir()
  probes = [_walk("003, cl-01, 090", 40) | {"neighbours": [
    _walk(f"00{n}, nm-01, 000", 30 + 5 * n) | {"distance": 0.1 * n, "right": n == 3} for n in range(5)]}]
  strips.write(folder / "neighbours-walkers.json", probes=probes, title="made up")
  lines = [{"step": n, "kind": "train", "loss": 5 / n, "rate": 1e-3} for n in (2, 4, 6)]
  lines += [{"step": 6, "kind": "evaluate", "walkers/NM/rank1": 12.5, "walkers/gait CL/rank1": 9.5,
             "walkers/effective_rank": 20.5, "kth/all/rank1": 40.5, "kth/effective_rank": 3.5}]
  classes = result | {
    "task": "linear_probe", "title": "Linear probe of sex on walkers", "pictures": [], "columns": COLUMNS[:1],
    "conditions": [{"name": "all", "title": "all: 20 walks"}],
    "rows": [{"name": "model", "title": "tiny", "centred": "none", "figures": {"all": {
      "rank1": 85.0, "confusion": {"classes": ["0", "1"], "true_by_predicted": [[9, 1], [2, 8]]}}}}]}
  corrupted = classes | {
    "task": "robustness", "title": "Robustness on walkers", "conditions": [], "severities": [1, 2, 3, 4, 5],
    "rows": [{"name": "model", "title": "tiny", "figures": {}, "robustness": {
      "noise": [60, 50, 40, 30, 20], "blur": [61, 55, 44, 33, 22]}}]}
  png = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
  (folder / "reconstructions-walkers.png").write_bytes(png)
  zero_shot = result | {"pictures": ["neighbours-walkers.png", "reconstructions-walkers.png"]}
  for name, content in (("zero_shot-walkers", zero_shot), ("linear_probe-walkers", classes), ("robustness", corrupted),
                        ("training", {"format": 1, "kind": "training", "run": "runs/first", "lines": lines})):
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
  return folder
