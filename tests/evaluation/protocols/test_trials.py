"""A protocol's comparisons, and that pictures, probes and corruption rest on the same ones as the figures."""

import dataclasses
import json
import types

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import pictures, protocols
from fgait_jax.evaluation.features import files
from fgait_jax.evaluation.labels import Features, Labels
from fgait_jax.evaluation.protocols.trials import Meeting, trials_of
from fgait_jax.evaluation.setup import Setup
from fgait_jax.evaluation.tasks import linear_probe, robustness, score

CLOTHES = ("U0_D0", "U0_D0_BG", "U0_D3", "U1_D0", "U1_D1", "U3_D3")
CAMERAS = ("p_0", "p_1", "q_0")


class Walks:
  """CCPG's clothes and cameras of a few people; features lie where clothes and camera say, a little apart by person."""

  name, manifest = "ccpg/test", {"kind": "real", "name": "ccpg", "content_hash": "d" * 64}

  def __init__(self, people=3):
    rows = [(f"{n:03d}", kind, view) for n in range(people) for kind in CLOTHES for view in CAMERAS]
    self.subjects, self.conditions, self.views = (np.array(column) for column in zip(*rows, strict=True))
    self.keys = np.arange(len(rows)).astype(str)
    self.num_frames = np.full(len(rows), 8)

  def __len__(self):
    return len(self.keys)

  def frames(self, i, indices=None):
    return np.full((8, 64, 64, 1), 255, np.uint8)[indices]

  def columns(self):
    return self.subjects, self.conditions, self.views

  def features(self, place):
    """Embeddings of one channel, the number `place` gives (subject number, condition, view)."""
    values = [place(int(s), c, v) for s, c, v in zip(*self.columns(), strict=True)]
    return Features(embeddings=np.array(values, np.float32)[:, None, None], subjects=self.subjects,
                    conditions=self.conditions, views=self.views, keys=self.keys)


def labels(subjects, conditions, views):
  return Labels(subjects=np.array(subjects), conditions=np.array(conditions), views=np.array(views))


def test_who_may_meet():
  same_subject, same_camera = np.array([[True], [False]]), np.array([[True, False]])
  assert Meeting.ANY.allows(same_subject, same_camera).tolist() == [[True, True], [True, True]]
  assert Meeting.OTHER_CAMERA.allows(same_subject, same_camera).tolist() == [[False, True], [False, True]]
  assert Meeting.NOT_OWN_CAMERA.allows(same_subject, same_camera).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("name, types, meeting", [
  ("casia_b", ("nm-01", "nm-05", "bg-01"), Meeting.OTHER_CAMERA),
  ("casia_b_cross_view_gallery", ("nm-02", "nm-01", "bg-01"), Meeting.NOT_OWN_CAMERA),
  ("kth", ("d1", "d4", "d3"), Meeting.ANY),
])
def test_trials_of_types(name, types, meeting):
  trials = trials_of(protocols.get(name), labels(["a"] * 3, types, ["000", "018", "036"]))
  assert [t.gallery.tolist() for t in trials] == [[True, False, False]] * 2
  assert [t.probes.tolist() for t in trials] == [[False, True, False], [False, False, True]]
  assert {t.meeting for t in trials} == {meeting}
  with pytest.raises(ConfigError, match="so there is no gallery"):
    trials_of(protocols.get(name), labels(["a"], [types[1]], ["000"]))
  with pytest.raises(ConfigError, match="so there is no probe"):
    trials_of(protocols.get(name), labels(["a"], [types[0]], ["000"]))


def test_a_pair_of_ccpg_without_probes_is_absent_and_one_without_a_gallery_is_named():
  walks = Walks()
  ccpg, found = protocols.get("ccpg"), walks.features(lambda s, c, v: s)
  some = np.isin(walks.conditions, ["U0_D0", "U1_D1"])  # CL; U1_D1 is DN's gallery too, and U0_D0 that of BG
  columns = [column[some] for column in walks.columns()]
  result = ccpg.evaluate(found.embeddings[some], *columns, bootstrap=0)
  assert (list(result["conditions"]), result["absent"]) == (["CL"], ["UP", "DN", "BG"])
  assert [t.name for t in trials_of(ccpg, labels(*columns))] == ["CL"]
  some = np.isin(walks.conditions, ["U0_D0", "U1_D1", "U3_D3"])  # UP's probe, without its gallery
  columns = [column[some] for column in walks.columns()]
  with pytest.raises(ConfigError, match="so there is no gallery of UP"):
    trials_of(ccpg, labels(*columns))
  with pytest.raises(DataError, match="pair UP: the gallery is empty"):
    ccpg.evaluate(found.embeddings[some], *columns, bootstrap=0)


def test_classes_have_no_trials():
  with pytest.raises(ConfigError, match="config.protocol=d_gait scores classes and has no gallery"):
    trials_of(protocols.get("d_gait"), labels("a", "a", "a"))


def test_each_pair_of_ccpg_has_its_own_gallery():
  walks = Walks()
  trials = {t.name: t for t in trials_of(protocols.get("ccpg"), Labels.of(walks))}
  assert {name: sorted(set(walks.conditions[t.gallery])) for name, t in trials.items()} == {
    "CL": ["U1_D1", "U3_D3"], "UP": ["U0_D3"], "DN": ["U1_D1"], "BG": ["U0_D0"]}
  assert sorted(set(walks.conditions[trials["CL"].probes])) == ["U0_D0", "U0_D0_BG"]
  met = trials["BG"].may_meet(walks.subjects, np.array([3, 5]), np.array([0, 1, 2]))  # cameras p, q; p, p, q
  assert met.tolist() == [[False, False, True], [True, True, False]]


def test_the_three_readings_of_ccpg():
  """By hand: the same camera finds everybody, another one finds nobody."""
  walks = Walks()
  found = walks.features(lambda s, c, v: 10 * s + (0.1 * CLOTHES.index(c) if v[0] == "p" else 25 + 15 * s))
  result = protocols.get("ccpg").evaluate(found.embeddings, *walks.columns(), bootstrap=0)
  rank1 = {name: reading["conditions"]["BG"]["rank1"] for name, reading in result["readings"].items()}
  assert rank1["identical"] == pytest.approx((rank1["gait"] + 100) / 2)
  assert result["summary"]["rank1"] == result["readings"]["gait"]["summary"]["rank1"]
  assert result["readings"]["identical"]["conditions"]["BG"]["pairs"]["used"] == 9 * 9
  assert result["readings"]["gait"]["conditions"]["BG"]["pairs"]["used"] == 9 * 4
  assert result["readings"]["reid"]["conditions"]["BG"]["pairs"]["used"] == 9 * 9 - 3 * 5
  json.dumps(result, allow_nan=False)


def test_score_shows_all_readings_of_ccpg(tmp_path):
  walks = Walks()
  files.save(tmp_path / "e.npz", walks.features(lambda s, c, v: s))
  config = defaults.evaluation().unlock()
  config.task, config.protocol, config.embeddings, config.bootstrap = "score", "ccpg", str(tmp_path / "e.npz"), 0
  figures = json.loads(score.run(config, tmp_path)[0].read_text())["rows"][0]["figures"]
  assert list(figures) == [f"{r} {c}" for r in ("gait", "reid", "identical") for c in ("CL", "UP", "DN", "BG")]


def test_neighbours_come_from_the_probes_own_gallery_and_other_cameras(tmp_path):
  walks = Walks()
  found = walks.features(lambda s, c, v: s + 0.01 * (v[0] == "q"))
  pictures.nearest(tmp_path / "n.png", split=walks, found=found, protocol=protocols.get("ccpg"), metric="euclidean",
                   count=12, seed=0, mirror=(), subtitle="made up")
  trials = trials_of(protocols.get("ccpg"), Labels.of(walks))
  drawn = json.loads((tmp_path / "n.json").read_text())["probes"]
  assert len(drawn) == 12
  for probe in drawn:
    _, kind, view = probe["text"].split(", ")
    gallery = next(set(walks.conditions[t.gallery]) for t in trials if kind in walks.conditions[t.probes])
    assert probe["neighbours"]
    for walk in probe["neighbours"]:
      _, other, other_view = walk["text"].split(", ")
      assert other in gallery
      assert other_view[0] != view[0]


def test_the_linear_probe_learns_each_gallery_apart():
  config = defaults.evaluation()
  with config.unlocked():
    config.protocol = "ccpg"
  walks = Walks()
  layers = linear_probe._by_condition(Setup(config=config, out=None, split=walks, trained=None, untrained=None))
  assert [list(layer.tests) for layer in layers] == [["CL"], ["UP"], ["DN"], ["BG"]]
  for layer, gallery, asked in zip(layers, ({"U1_D1", "U3_D3"}, {"U0_D3"}, {"U1_D1"}, {"U0_D0"}),
                                    ({"U0_D0_BG", "U0_D0"}, {"U3_D3"}, {"U1_D0"}, {"U0_D0_BG"}), strict=True):
    assert set(walks.conditions[layer.train]) == gallery
    assert {kind for rows in layer.tests.values() for kind in walks.conditions[rows]} == asked
  found = [({name: {"accuracy": n}}, {"classes": n}) for n, name in enumerate("ab")]
  row = linear_probe._row("model", "tiny", [types.SimpleNamespace(tests={name: 0}) for name in "ab"], found)
  assert {name: figures.number("accuracy") for name, figures in row.figures.items()} == {"a": 0, "b": 1}
  assert row.details == {"layers": {"a": {"classes": 0}, "b": {"classes": 1}}}


def test_the_linear_probe_asks_for_nobody_it_has_not_learnt():
  config = defaults.evaluation()
  with config.unlocked():
    config.protocol = "ccpg"
  walks = Walks(people=4)
  away = (walks.subjects == "003") & np.isin(walks.conditions, ["U1_D1", "U3_D3"])  # the gallery of CL
  for name in ("subjects", "conditions", "views", "keys", "num_frames"):
    setattr(walks, name, getattr(walks, name)[~away])
  layer = linear_probe._by_condition(Setup(config=config, out=None, split=walks, trained=None, untrained=None))[0]
  assert "003" in walks.subjects[np.isin(walks.conditions, ["U0_D0"])]
  assert set(walks.subjects[layer.tests["CL"]]) == {"000", "001", "002"}
  assert "1 subjects without walks to learn from are left out" in layer.note


@pytest.mark.parametrize("side, expected", [("probe", (1, 0)), ("gallery", (0, 1)), ("both", (1, 1))])
def test_only_the_side_asked_for_is_corrupted(side, expected, monkeypatch):
  """U0_D0 is CL's probe and BG's gallery: in the one it is corrupted, in the other it is not."""
  config = defaults.evaluation()
  with config.unlocked():
    config.protocol, config.robustness.corrupt, config.bootstrap = "ccpg", side, 0
  walks, protocol, given = Walks(), protocols.get("ccpg"), []
  world = Setup(config=config, out=None, split=walks, trained=None, untrained=None)
  rows = np.arange(len(walks))
  changed = robustness._changed(world, protocol, rows)
  trials = trials_of(protocol, Labels.of(walks))
  sides = {"probe": ("probes",), "gallery": ("gallery",), "both": ("probes", "gallery")}[side]
  assert changed.tolist() == np.flatnonzero(np.any([getattr(t, s) for t in trials for s in sides], axis=0)).tolist()
  clean, spoilt = walks.features(lambda s, c, v: 0), walks.features(lambda s, c, v: 1).take(changed)

  def scored(setup, protocol, found, gallery=None):
    given.append([found, found if gallery is None else gallery])
    return {"rank1": 50.0, "by_cell": {"CL": {"subjects": np.array(["000"])}}}

  monkeypatch.setattr(robustness, "_scored", scored)
  system = (("model", "model", lambda f: f),), lambda split: clean if split is walks else spoilt
  robustness._rows(world, protocol, system, rows, changed, {("fog", 1): object()})
  mixed = given[1]
  place = [float(f.embeddings[changed].max()) for f in mixed]
  assert tuple(place) == expected
  assert all(f.embeddings[~np.isin(rows, changed)].max(initial=0) == 0 for f in mixed)


def test_a_gallery_may_be_seen_otherwise_than_the_probes():
  x = np.array([0, 10, 1, 9], np.float32)[:, None, None]
  walks = Features(embeddings=x, subjects=np.array(["a", "b", "a", "b"]), views=np.array(["v"] * 4),
                   conditions=np.array(["d1", "d1", "d4", "d4"]))
  swapped, wrong = (dataclasses.replace(walks, embeddings=y) for y in (x[[1, 0, 2, 3]], np.full_like(x, np.nan)))
  kth = protocols.get("kth")
  assert kth.score(walks, bootstrap=0)["conditions"]["d4"]["rank1"] == 100
  found = kth.score(walks, bootstrap=0, gallery=swapped)["conditions"]["d4"]
  assert (found["rank1"], found["auc"]) == (0, 0)
  with pytest.raises(DataError, match="not finite"):
    kth.score(walks, gallery=wrong)
