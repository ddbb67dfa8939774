"""Robustness: which walks are corrupted, and an interval that is one of its figure, over probe subjects."""

import types

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import DataError
from fgait_jax.evaluation import program, protocols
from fgait_jax.evaluation.features import corruption
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics import statistics
from fgait_jax.evaluation.tasks import robustness
from tests.evaluation.conftest import content
from tests.evaluation.stand_in import config_of


def scored(*hits, trials=((9, 1), (9, 1), (9, 1))):
  """Three subjects in one row of two cells: `hits` [subject][cell] of `trials`."""
  hits, trials = (np.array(values, float)[:, None] for values in (hits, trials))
  rank1 = 100 * statistics.mean_of_cells(
    hits.sum(0)[..., None], trials.sum(0)[..., None], np.ones((1, 2), bool)).item()
  return {"rank1": rank1, "by_cell": {"CL": {"subjects": np.array(["a", "b", "c"]), "hits": hits, "trials": trials}}}


def row_of(clean, found):
  return robustness._row("model", "tiny", clean, found, defaults.evaluation())


ALL_RIGHT = scored((9, 1), (9, 1), (9, 1))


def test_figure_and_interval_are_both_averaged_over_cells():
  """Everybody loses the one trial of the second cell: half of the cells, a tenth of the trials."""
  row = row_of(ALL_RIGHT, {("rain", 1): scored((9, 0), (9, 0), (9, 0))})
  assert row.figures["rain"].number("relative") == 50
  assert row.figures["rain"].interval("relative") == pytest.approx([50, 50])


def test_the_interval_of_the_mean_is_over_subjects_and_not_over_cases():
  """Types differ and subjects do not: nothing is uncertain."""
  row = row_of(ALL_RIGHT, {("rain", 1): scored((0, 0), (0, 0), (0, 0)), ("fog", 1): ALL_RIGHT,
                           ("fog", 2): scored((9, 0), (9, 0), (9, 0))})
  assert row.figures["mean"].interval("relative") == pytest.approx([50, 50])
  assert row.figures["fog"].interval("relative") == pytest.approx([75, 75])
  # Subjects differ and types do not: every type says the same of them, so the mean of types is no surer.
  one_lost = scored((0, 0), (9, 1), (9, 1))
  row = row_of(ALL_RIGHT, {("rain", 1): one_lost, ("fog", 1): one_lost})
  low, high = row.figures["mean"].interval("relative")
  assert (low, high) == pytest.approx(row.figures["rain"].interval("relative"))
  assert low < 20
  assert high == pytest.approx(100)


def test_a_share_is_that_of_each_resamples_own_clean_figure():
  """Two of three are never right, clean or not, and the third loses half: always half of what there was."""
  clean, found = scored((8, 0), (0, 0), (0, 0)), scored((4, 0), (0, 0), (0, 0))
  row = row_of(clean, {("rain", 1): found})
  assert row.figures["rain"].number("relative") == pytest.approx(50)
  assert row.figures["rain"].interval("relative") == pytest.approx([50, 50])
  assert row.figures["rain"].number("probe_subjects") == 3


def test_a_condition_that_lacks_subjects_is_resampled_by_those_it_has():
  """`b`, whom the second condition alone has, is right there and nobody else is."""
  clean = {"rank1": 100.0, "by_cell": {
    "NM": {"subjects": np.array(["a", "c"]), "hits": np.full((2, 1, 1), 1.0), "trials": np.full((2, 1, 1), 1.0)},
    "CL": {"subjects": np.array(["b", "c"]), "hits": np.full((2, 1, 1), 1.0), "trials": np.full((2, 1, 1), 1.0)}}}
  found = {"rank1": 25.0, "by_cell": {
    "NM": clean["by_cell"]["NM"] | {"hits": np.zeros((2, 1, 1))},
    "CL": clean["by_cell"]["CL"] | {"hits": np.array([1.0, 0.0])[:, None, None]}}}
  config = defaults.evaluation()
  shares = robustness._resampled(clean, {("rain", 1): found}, config)["rain", 1]
  weights = statistics.subject_weights(3, resamples=config.bootstrap, seed=config.seed)
  drawn = (weights[:, 0] + weights[:, 2] > 0) & (weights[:, 1] + weights[:, 2] > 0)
  expected = weights[:, 1] / np.maximum(weights[:, 1] + weights[:, 2], 1) / 2
  np.testing.assert_allclose(shares[drawn], expected[drawn], rtol=1e-6)


def test_without_a_clean_figure_nothing_is_corrupted(monkeypatch):
  """Walks of one camera, under a protocol across cameras: no probe has a mate."""
  monkeypatch.setattr(robustness, "_scored", lambda *_: {"rank1": None, "by_cell": {}})
  setup = types.SimpleNamespace(split=types.SimpleNamespace(name="mine/test"))
  system = (("model", "tiny", lambda found: found),), lambda split: types.SimpleNamespace(take=lambda rows: rows)
  with pytest.raises(DataError, match="protocol walkers has no mean rank-1 on mine/test, of which shares"):
    robustness._rows(setup, protocols.get("walkers"), system, np.arange(3), np.arange(3), {("rain", 1): None})


def test_where_one_condition_stands_for_all_its_outcomes_alone_are_resampled():
  """SUSTech1K's Overall: figure and interval are of the same probes."""
  rng, kinds = np.random.default_rng(0), ("00-nm", "01-nm", "02-bg", "03-cl")
  rows = [(f"{s:04d}", kind, v) for s in range(4) for kind in kinds for v in ("000", "045", "090")]
  labels, conditions, views = (np.array(column) for column in zip(*rows, strict=True))
  found = Features(embeddings=rng.standard_normal((len(rows), 4, 1)).astype(np.float32), subjects=labels,
                   conditions=conditions, views=views)
  protocol = protocols.get("sustech1k")
  setup = types.SimpleNamespace(config=types.SimpleNamespace(metric="euclidean", seed=0))
  scored = robustness._scored(setup, protocol, found)
  assert list(scored["by_cell"]) == [protocol.summary]
  cells = scored["by_cell"][protocol.summary]
  hits, trials = (cells[key].sum(0)[..., None] for key in ("hits", "trials"))
  mean = statistics.mean_of_cells(hits, trials, np.ones(hits.shape[:2], bool))[0]
  assert 100 * mean == pytest.approx(scored["rank1"], rel=1e-5)


@pytest.mark.parametrize("name,types,views", [
  ("casia_b", ("nm-01", "nm-05", "bg-01"), ("000", "018", "090")),  # cells
  ("casia_b_cross_view_gallery", ("nm-01", "nm-02", "bg-02", "bg-01"), ("000", "018", "090")),  # cameras
  ("kth", ("d1", "d3", "d4"), ("p1-l", "p2-l", "p1-r")),  # probes
])
def test_outcomes_by_cell_average_to_the_figure(name, types, views):
  rng = np.random.default_rng(0)
  rows = [(f"{s:03d}", t, v) for s in range(6) for t in types for v in views]
  rows = [rows[n] for n in np.sort(rng.permutation(len(rows))[: len(rows) - 9])]  # cells are unevenly filled
  labels, conditions, cameras = (np.array(column) for column in zip(*rows, strict=True))
  embeddings = rng.standard_normal((len(rows), 4, 1)).astype(np.float32)
  found = protocols.get(name).evaluate(embeddings, labels, conditions, cameras, bootstrap=0, by_cell=True)
  for figures in found["conditions"].values():
    hits, trials = (np.array(figures["by_cell"][key]).sum(0)[..., None] for key in ("hits", "trials"))
    assert 100 * statistics.mean_of_cells(hits, trials, np.ones(hits.shape[:2], bool))[0] == pytest.approx(
      figures["rank1"], rel=1e-5)
    assert figures["by_cell"]["subjects"] == figures["by_subject"]["subjects"]
  assert "by_cell" not in protocols.get(name).evaluate(
    embeddings, labels, conditions, cameras, bootstrap=0)["conditions"].popitem()[1]


def test_robustness_embeds_the_clean_walks_once_and_keeps_every_severity(world, tmp_path):
  values = {"robustness.types": ("occlusion", "sampling"), "robustness.severities": (1, 5)}
  (path,) = program.run(config_of("robustness", **values), tmp_path)
  found = content(path)
  assert path.name == "robustness-walkers-probe.json"
  assert [row["name"] for row in found["rows"]] == ["model", "untrained", "row_bands", "raw_gei"]
  model = found["rows"][0]
  assert model["clean"] == 100
  assert set(model["robustness"]) == {"occlusion", "sampling"}
  assert found["severities"] == [1, 5]
  assert len(model["robustness"]["occlusion"]) == 2
  assert model["robustness"]["sampling"] == [100, 100]  # these walks stand still
  figures = model["figures"]
  assert figures["occlusion"]["rank1"] == pytest.approx(np.mean(model["robustness"]["occlusion"]))
  assert figures["mean"]["relative"] == pytest.approx(
    np.mean([v for values in model["robustness"].values() for v in values]))
  low, high = figures["occlusion"]["ci"]["relative"]
  assert low <= figures["occlusion"]["relative"] <= high
  assert len(list((tmp_path / "features").glob("*.npz"))) == 2  # clean walks, of two networks
  networks, _ = world
  calls = networks[True].calls
  program.run(config_of("zero_shot"), tmp_path)
  assert networks[True].calls == calls


GALLERY, PROBES = {"nm-01", "nm-02"}, {"nm-03", "cl-03"}


@pytest.mark.parametrize("side,types", [("probe", PROBES), ("gallery", GALLERY), ("both", GALLERY | PROBES)])
def test_the_side_that_was_asked_for_is_corrupted(world, monkeypatch, tmp_path, side, types):
  made = []

  class Noise:
    """Rows of a split whose frames are noise: whoever meets them is found by chance."""

    def __init__(self, split, rows, **how):
      self.name = f"{split.name} {how['kind']}"
      for name in ("subjects", "conditions", "views", "keys", "num_frames"):
        setattr(self, name, getattr(split, name)[rows])
      made.append(self)

    def __len__(self):
      return len(self.subjects)

    def frames(self, i, indices=None):
      return np.random.default_rng(i).integers(0, 255, (len(indices), 64, 64, 1), np.uint8)

  monkeypatch.setattr(corruption, "CorruptedSplit", Noise)
  values = {"robustness.types": ("occlusion",), "robustness.severities": (5,), "robustness.corrupt": side}
  (path,) = program.run(config_of("robustness", **values), tmp_path)
  assert path.name == f"robustness-walkers-{side}.json"
  assert all(set(split.conditions) == types for split in made)
  for row in content(path)["rows"]:
    assert row["clean"] > 2 * row["figures"]["occlusion"]["rank1"]


def test_part_of_the_walks_is_corrupted(world, tmp_path):
  values = {"robustness.types": ("occlusion",), "robustness.severities": (5,), "baselines": False}
  (path,) = program.run(config_of("robustness", **values, **{"robustness.max_sequences": 32}), tmp_path / "part")
  assert any("On 32 walks of 4 subjects" in note for note in content(path)["notes"])
  (path,) = program.run(config_of("robustness", **values), tmp_path)
  assert not any("On " in note for note in content(path)["notes"])
