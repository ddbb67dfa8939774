"""Protocols on data made by hand: what counts, what is left out, what is refused and how it says so."""

import json

import numpy as np
import pytest

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import protocols
from fgait_jax.evaluation.features import baselines
from fgait_jax.evaluation.labels import Features, Labels
from fgait_jax.evaluation.protocols import lists
from fgait_jax.evaluation.protocols.figures import MEASURES
from fgait_jax.evaluation.protocols.servers import write_csv
from fgait_jax.evaluation.protocols.trials import trials_of
from fgait_jax.evaluation.tasks.score import score


def rows(*table):
  """(place, label, type, view) rows as a protocol takes them; a place is an embedding of one channel and one part."""
  places, labels, types, views = zip(*table, strict=True)
  return np.array(places, np.float32)[:, None, None], *(np.array(c, str) for c in (labels, types, views))


def evaluate(name, *table, **options):
  return protocols.get(name).evaluate(*rows(*table), **{"bootstrap": 0} | options)


# Two subjects, two views. In view 0 the gallery stands at a: 0, b: 10; in view 1 at a: 1, b: 11.
GALLERY = [(0, "a", "nm-01", "000"), (10, "b", "nm-01", "000"), (1, "a", "nm-02", "090"), (11, "b", "nm-02", "090")]
PROBES = [
  (2, "a", "nm-05", "000"),  # nearest in view 090: a, right
  (12, "b", "nm-05", "090"),  # nearest in view 000: b, right
  (9, "a", "bg-01", "000"),  # nearest in view 090: b, wrong
  (3, "b", "bg-01", "090"),  # nearest in view 000: a, wrong
  (9, "b", "cl-01", "000"),  # right
  (9, "a", "cl-01", "090"),  # wrong
]


@pytest.mark.parametrize("name, renamed", [("casia_b", {}), ("walkers", {"nm-05": "nm-03"})])
def test_cross_view_by_hand(name, renamed):
  table = [(p, label, renamed.get(kind, kind), view) for p, label, kind, view in GALLERY + PROBES]
  result = evaluate(name, *table)
  assert [result["conditions"][c]["rank1"] for c in ("NM", "BG", "CL")] == [100, 0, 50]
  assert result["conditions"]["BG"]["map"] == 50
  assert result["summary"]["rank1"] == 50
  assert result["conditions"]["CL"]["chance_rank1"] == 50
  assert result["per_view"]["CL"]["rank1"] == [[100, 100], [0, 0]]
  assert result["cmc"]["BG"][:2] == [0, 100]
  assert result["absent"] == []
  json.dumps(result, allow_nan=False)


def test_the_summary_is_the_mean_of_the_conditions_or_the_one_that_stands_for_all():
  table = [(0, "a", "d1", "l"), (10, "b", "d1", "l"), (1, "a", "d4", "l"), (9, "b", "d4", "l"), (1, "a", "d3", "l"),
           (9, "b", "d3", "l"), (9, "a", "d2", "l"), (1, "b", "d2", "l")]
  result = evaluate("kth", *table)
  assert [c["rank1"] for c in result["conditions"].values()] == [100, 100, 0]
  assert result["summary"]["rank1"] == pytest.approx(200 / 3)
  assert result["summary"]["auc"] == pytest.approx(200 / 3)


def test_identical_views_do_not_count():
  """A probe that only its own view recognises is wrong."""
  result = evaluate("casia_b", *GALLERY, (0, "a", "nm-05", "000"), (10.5, "a", "nm-06", "000"))
  assert result["per_view"]["NM"]["rank1"][0] == [50, 50]
  moved = evaluate("casia_b", (0, "a", "nm-01", "000"), (9, "b", "nm-01", "090"), (99, "a", "nm-01", "090"),
                   (0, "a", "nm-05", "000"))
  assert moved["conditions"]["NM"]["rank1"] == 0


def test_gallery_of_all_views_leaves_out_the_own_view():
  table = [(0, "a", "nm-02", "000"), (5, "a", "bg-02", "090"), (1, "b", "cl-02", "000"), (0, "a", "nm-01", "000")]
  found = evaluate("casia_b_cross_view_gallery", *table)["conditions"]["NM"]
  assert (found["rank1"], found["map"], found["gallery"]) == (0, 50, 3)


def test_a_gallery_of_all_views_counts_a_probe_without_a_mate_as_an_error_of_ranks_alone():
  """OpenGait's compute_ACC_mAP: such a probe is an error of rank-k, and no average precision is taken of it."""
  table = [(0, "a", "nm-02", "090"), (9, "b", "nm-02", "000"), (1, "a", "nm-01", "000"),  # a is found in view 090
           (8, "b", "nm-01", "000"),  # b has a walk in its own view alone
           (2, "a", "nm-01", "000"), (3, "c", "nm-01", "090")]  # c has none at all
  result = evaluate("casia_b_cross_view_gallery", *table, bootstrap=100)
  found = result["conditions"]["NM"]
  assert found["reading"] == "error, excluded from mAP"
  assert found["rank1"] == pytest.approx((200 / 3 + 0) / 2)  # views 000 and 090, then their mean
  assert (found["map"], found["minp"]) == (100, 100)
  assert (found["without_mate"], found["without_mate_probes"]) == (2, ["b-nm-01-000", "c-nm-01-090"])
  assert found["readings"]["error"]["rank1"] == found["rank1"]
  assert found["readings"]["excluded"]["rank1"] == 100
  assert found["readings"]["error"]["map"] == pytest.approx(100 / 3)
  assert found["readings"]["excluded"]["map"] == found["map"]
  assert result["cmc"]["NM"][0] == found["rank1"]
  by = found["by_subject"]
  assert (by["subjects"], by["trials"], by["rank1"]) == (["a", "b", "c"], [2, 1, 1], [100, 0, 0])
  assert (by["map_trials"], by["map"]) == ([2, 0, 0], [100, None, None])


def test_each_protocol_reads_probes_without_a_mate_as_its_evaluator_does():
  expected = dict.fromkeys(
    ("casia_b", "oumvlp", "casia_e", "sustech1k", "ccpg", "grew_validation", "walkers", "kth", "usf17"), "error")
  expected |= dict.fromkeys(("gait3d", "freegait", "ccgr_mini", "ccgr", "own"), "excluded")
  expected |= dict.fromkeys(("casia_b_cross_view_gallery", "oumvlp_cross_view_gallery"), "error, excluded from mAP")
  assert {name: protocols.get(name).averaging.reading for name in expected} == expected


def test_hubs_are_counted_where_views_differ():
  """In identical views every probe finds its own; only b is ever found from another view."""
  table = [(0, "a", "nm-01", "000"), (10, "b", "nm-01", "000"), (100, "a", "nm-01", "090"), (90, "b", "nm-01", "090"),
           (0, "a", "nm-05", "000"), (10, "b", "nm-05", "000"), (100, "a", "nm-05", "090"), (90, "b", "nm-05", "090")]
  hubs = evaluate("casia_b", *table)["conditions"]["NM"]["hubness"]
  assert (hubs["largest_share"], hubs["subject"]) == (100, "b")


def test_walks_that_are_in_probes_and_gallery_are_named():
  """Every row twice: half of the probes find themselves; identical views, which do not meet, are no matter."""
  table = [(0, "a", "d1", "v"), (10, "b", "d1", "v"), (0, "a", "d4", "v"), (9, "b", "d4", "v"), (10, "c", "d4", "w")]
  found = evaluate("kth", *table)["conditions"]["d4"]
  assert (found["identical"], found["identical_probes"]) == (2, ["a-d4-v = a-d1-v", "c-d4-w = b-d1-v"])
  apart = evaluate("casia_b", *GALLERY, (0, "a", "nm-05", "000"), (0.5, "a", "nm-06", "000"))["conditions"]["NM"]
  assert apart["identical"] == 0
  met = evaluate("casia_b", *GALLERY, (1, "a", "nm-05", "000"), (0.5, "a", "nm-06", "000"))["conditions"]["NM"]
  assert met["identical_probes"] == ["a-nm-05-000 = a-nm-02-090"]


def test_probes_without_a_mate_have_both_readings():
  table = [(0, "a", "d1", "p1-l"), (10, "b", "d1", "p1-l"), (1, "a", "d4", "p1-l"), (2, "c", "d4", "p1-l")]
  found = evaluate("kth", *table)["conditions"]["d4"]
  assert found["without_mate"] == 1
  assert found["without_mate_probes"] == ["c-d4-p1-l"]
  assert found["reading"] == "error"
  assert found["rank1"] == found["readings"]["error"]["rank1"] == 50
  assert found["readings"]["excluded"]["rank1"] == 100


def test_kth_ranks_every_condition_and_names_the_absent():
  table = [(0, "a", "d1", "l"), (10, "b", "d1", "l"), (1, "a", "d2", "l"), (2, "b", "d3", "l"), (9, "b", "d3", "r")]
  result = evaluate("kth", *table)
  assert result["conditions"]["d2"]["rank1"] == 100
  assert result["conditions"]["d3"]["rank1"] == 50
  assert result["conditions"]["d3"]["hubness"]["largest_share"] == 50
  assert result["absent"] == ["d4"]


def test_own_data_takes_the_first_of_each_subject_or_the_types():
  table = [(0, "a", "x", "v"), (1, "a", "y", "v"), (10, "b", "x", "v"), (9, "b", "z", "w"), (2, "b", "z", "w")]
  first = evaluate("own", *table)["conditions"]["all"]
  assert (first["probes"], first["gallery"]) == (3, 2)
  assert first["rank1"] == pytest.approx(200 / 3)
  typed = evaluate("own", (0, "a", "gallery", ""), (9, "b", "gallery", ""), (8, "a", "probe", ""))
  assert typed["conditions"]["all"]["rank1"] == 0


@pytest.mark.parametrize("types", [("Gallery", "probe"), ("gallery", "gallery"), ("probe", "probe"), ("probe ", "nm")])
def test_own_types_spelled_otherwise_are_refused(types):
  with pytest.raises(DataError, match='types are not exactly "gallery" and "probe". Protocol own wants'):
    evaluate("own", *((n, "a", name, "v") for n, name in enumerate(types)))


def test_intervals_surround_the_figure_and_repeat():
  rng = np.random.default_rng(0)
  num = 100
  labels = np.tile(np.arange(20).astype(str), 3)
  types = np.repeat(["d1", "d4", "d3"], 20)
  centres = rng.normal(size=(20, 4, 2))
  x = (np.tile(centres, (3, 1, 1)) + 0.7 * rng.normal(size=(60, 4, 2))).astype(np.float32)
  found, again = (
    protocols.get("kth").evaluate(x, labels, types, np.full(60, "l"), bootstrap=num, seed=3)["conditions"]["d4"]
    for _ in range(2)
  )
  assert found == again
  assert set(found["ci"]) == {*MEASURES, "auc", "eer"}
  for name, (low, high) in found["ci"].items():
    assert low <= found[name] <= high, name
  assert found["by_subject"]["subjects"] == sorted({*labels.tolist()})
  assert np.mean(found["by_subject"]["rank1"]) == pytest.approx(found["rank1"])


def test_intervals_are_of_people_whose_walks_come_and_go_together_by_the_seed_that_is_given():
  """Everybody's probes twice are no more people: every interval stays, that of verification too."""
  rng = np.random.default_rng(0)
  labels, types = np.tile(np.arange(20).astype(str), 2), np.repeat(["d1", "d4"], 20)
  centres = rng.normal(size=(20, 4, 2))
  x = (np.tile(centres, (2, 1, 1)) + 0.9 * rng.normal(size=(40, 4, 2))).astype(np.float32)

  def intervals(rows, seed):
    found = protocols.get("kth").evaluate(x[rows], labels[rows], types[rows], np.full(len(rows), "l"), bootstrap=200,
                                          seed=seed)
    return found["conditions"]["d4"]["ci"]

  once, twice = np.arange(40), np.r_[np.arange(40), np.arange(20, 40)]
  found, doubled, other = intervals(once, 3), intervals(twice, 3), intervals(once, 4)
  for name, interval in found.items():
    assert interval == pytest.approx(doubled[name], abs=0.01), name
  assert all(found[name] != other[name] for name in ("map", "auc"))


def test_a_subjects_share_is_not_rounded_to_half_its_digits():
  """What a paired test multiplies by trials again must come out whole."""
  table = [(0, "a", "d1", "v"), (9, "b", "d1", "v"), *((8 if n < 4 else 1, "a", "d4", "v") for n in range(7))]
  found = evaluate("kth", *table)["conditions"]["d4"]["by_subject"]
  assert found["rank1"][0] * found["trials"][0] == pytest.approx(300, abs=1e-9)


def test_only_the_subjects_asked_for():
  table = GALLERY + PROBES
  result = evaluate("casia_b", *table, subjects=("a",))
  assert result["subjects"] == 1
  assert result["conditions"]["BG"]["rank1"] == 100
  with pytest.raises(DataError, match="none of the 1 subjects"):
    evaluate("casia_b", *table, subjects=("z",))


def test_servers_rank_gallery_labels(tmp_path):
  gallery = [(k, f"{k:05d}", "01", "v") for k in range(30)]
  result = evaluate("grew", *gallery, (7.2, "probe", "03", "video9"))
  closest = sorted(range(30), key=lambda k: abs(k - 7.2))[:20]
  assert result["submission"]["rows"] == [["video9", *closest]]  # whole numbers, as the server's own evaluator writes
  text = write_csv(result, tmp_path / "grew.csv").read_text().splitlines()
  assert text[0].startswith("videoId,rank1,rank2")
  assert text[1].startswith("video9,7,8,6")
  with pytest.raises(DataError, match="labels that are no whole numbers: a7. Protocol grew wants"):
    evaluate("grew", *gallery, (3, "a7", "01", "v"), (7.2, "probe", "03", "video9"))
  with pytest.raises(DataError, match="2 probes are of one video, default, by their views. Protocol hid wants"):
    evaluate("hid", *gallery, (7.2, "probe", "1", "default"), (7.3, "probe", "2", "default"))
  hid = evaluate("hid", *gallery, (7.2, "probe", "x", "video9"), (20.1, "probe", "x", "video8"))
  assert hid["submission"]["columns"] == ["videoID", "label"]
  assert [row[0] for row in hid["submission"]["rows"]] == ["video9", "video8"]
  assert {row[1] for row in hid["submission"]["rows"]} < {row[1] for row in gallery}  # labels as they are
  few = evaluate("grew", *gallery[:20], (7.2, "probe", "03", "video9"))
  assert len(few["submission"]["rows"][0]) == 21
  with pytest.raises(DataError, match="19 gallery sequences cannot fill the 20 ranks .* embed the whole gallery.*grew"):
    evaluate("grew", *gallery[:19], (7.2, "probe", "03", "video9"))
  three = [*gallery[:2], (0.2, "probe", "x", "v9")]
  with pytest.raises(ConfigError, match="config.rerank.k1=6 must lie in 1 to 2: there are 3 probes and gallery walks"):
    evaluate("hid", *three)
  with pytest.raises(ConfigError, match="config.rerank.k2=6 must lie in 1 to 3"):
    evaluate("hid", *three, rerank={"k1": 2})
  with pytest.raises(ConfigError, match="config.rerank.weight=1.5 must lie in 0 to 1"):
    evaluate("hid", *three, rerank={"k1": 2, "k2": 2, "weight": 1.5})
  assert evaluate("hid", *three, rerank={"k1": 2, "k2": 2})["submission"]["rows"] == [["v9", "00000"]]
  with pytest.raises(ConfigError, match="config.protocol=grew gives no figures: .*configs/score.py"):
    trials_of(protocols.get("grew"), Labels(subjects="a", conditions="a", views="a"))
  with pytest.raises(DataError, match="there are no probes.*grew wants"):
    evaluate("grew", *gallery)


@pytest.mark.parametrize("name, count", [("gait3d", 1000), ("ccgr_mini", 795), ("freegait", 691)])
def test_official_lists_are_whole(name, count):
  assert len(set(lists.load(name))) == count


def test_listed_gallery_and_probes():
  gallery = lists.load("ccgr_mini")[0].split("-", 2)
  result = evaluate("ccgr_mini", (0, *gallery), (1, gallery[0], "NM1", "0.avi"), (0, "999999", "NM1", "0.avi"))
  assert result["conditions"]["all"]["gallery"] == 1
  assert result["conditions"]["all"]["without_mate"] == 1
  with pytest.raises(DataError, match="official list of the gallery"):
    evaluate("ccgr_mini", (0, "x", "NM1", "v"), (1, "y", "NM1", "v"))


def test_unknown_protocol_names_the_nearest():
  with pytest.raises(ConfigError, match="unknown protocol 'casiab'.*one of casia_b, .*walkers"):
    protocols.get("casiab")


@pytest.mark.parametrize(
  "change, message",
  [
    ({"types": "nm-99"}, "unknown types: nm-99. Protocol casia_b wants types nm-01..nm-06"),
    ({"views": "front"}, "unknown views: front"),
    ({"views": "017"}, "unknown views: 017. Protocol casia_b wants .*views 000, 018 .. 180"),
    ({"labels": ""}, "1 of 10 labels are empty, the first in row 0"),
    ({"embeddings": np.nan}, "1 of 10 embeddings are not finite: a-nm-01-000"),
  ],
)
def test_bad_rows_are_named(change, message):
  columns = dict(zip(("embeddings", "labels", "types", "views"), rows(*GALLERY, *PROBES), strict=True))
  for name, value in change.items():
    columns[name] = columns[name].astype(columns[name].dtype if name == "embeddings" else object)
    columns[name][0] = value
  with pytest.raises(DataError, match=message):
    protocols.get("casia_b").evaluate(**columns, bootstrap=0)


def test_bad_shapes_are_named():
  x, labels, types, views = rows(*GALLERY, *PROBES)
  kth = protocols.get("casia_b")
  with pytest.raises(DataError, match=r"shape \(10,\); wanted \[sequences, channels, parts\]"):
    kth.evaluate(x[:, 0, 0], labels, types, views)
  flat = kth.evaluate(x[..., 0], labels, types, views)  # [sequences, channels]: one part
  assert flat["conditions"] == kth.evaluate(x[..., :1], labels, types, views)["conditions"]
  with pytest.raises(DataError, match=r"labels have shape \(9,\)"):
    kth.evaluate(x, labels[:-1], types, views)
  with pytest.raises(DataError, match="labels are int64; wanted text"):
    kth.evaluate(x, np.arange(10), types, views)
  with pytest.raises(DataError, match="wanted floating point"):
    kth.evaluate(x.astype(int), labels, types, views)
  with pytest.raises(DataError, match="all 10 embeddings are the same"):
    kth.evaluate(np.ones_like(x), labels, types, views)
  with pytest.raises(ConfigError, match="unknown metric"):
    kth.evaluate(x, labels, types, views, metric="l1")
  for few in (-1, 1, 99):
    with pytest.raises(ConfigError, match=f"config.bootstrap={few} must be at least 100, .* or 0"):
      kth.evaluate(x, labels, types, views, bootstrap=few)


def test_empty_sides_are_named():
  with pytest.raises(DataError, match="the gallery is empty.*casia_b wants.*came: 6 sequences"):
    evaluate("casia_b", *PROBES)
  with pytest.raises(DataError, match="there are no probes"):
    evaluate("casia_b", *GALLERY)


def test_curves_pass_through_the_ranks_of_the_table():
  rng = np.random.default_rng(0)
  labels, types = np.tile(np.arange(30).astype(str), 2), np.repeat(["d1", "d4"], 30)
  x = (np.tile(rng.normal(size=(30, 4, 2)), (2, 1, 1)) + 1.5 * rng.normal(size=(60, 4, 2))).astype(np.float32)
  found = protocols.get("kth").evaluate(x, labels, types, np.full(60, "l"), bootstrap=0)
  curve, figures = found["cmc"]["d4"], found["conditions"]["d4"]
  assert [curve[k - 1] for k in (1, 5, 10)] == [figures["rank1"], figures["rank5"], figures["rank10"]]
  assert len(curve) == 20
  assert np.all(np.diff(curve) >= 0)
  assert curve[19] > curve[9] > curve[4]


def test_a_score_is_drawn_by_its_seed(tmp_path):
  rng = np.random.default_rng(0)
  labels, types = np.tile(np.arange(20).astype(str), 2), np.repeat(["d1", "d4"], 20)
  x = (np.tile(rng.normal(size=(20, 4, 2)), (2, 1, 1)) + rng.normal(size=(40, 4, 2))).astype(np.float32)
  np.savez(tmp_path / "e.npz", embeddings=x, labels=labels, types=types, views=np.full(40, "l"))
  intervals = [score(tmp_path / "e.npz", protocol="kth", bootstrap=100, seed=seed)["conditions"]["d4"]["ci"]["map"]
               for seed in (0, 0, 1)]
  assert intervals[0] == intervals[1] != intervals[2]


def test_score_names_the_file(tmp_path):
  x, labels, types, views = rows(*GALLERY, *PROBES)
  path = tmp_path / "e.npz"
  np.savez(path, embeddings=x, labels=labels, types=types, views=views)
  plain = score(path, protocol="casia_b", bootstrap=0)
  assert plain["conditions"]["CL"]["rank1"] == 50
  assert score(path, protocol="casia_b", bootstrap=0, centre_by="view")["centred"] == "view"
  with pytest.raises(ConfigError, match="centre_by is 'camera'"):
    score(path, protocol="casia_b", centre_by="camera")
  with pytest.raises(DataError, match=r"e.npz: unknown types"):
    score(path, protocol="oumvlp", bootstrap=0)
  np.savez(path, embeddings=x, labels=labels, views=views)
  with pytest.raises(DataError, match=r"e.npz: has no array types; expected embeddings \[N, C, P\], labels"):
    score(path, protocol="casia_b")
  np.savez(path, embeddings=x, labels=labels.astype(object), types=types, views=views)
  with pytest.raises(DataError, match=r"e.npz: labels hold Python objects"):
    score(path, protocol="casia_b")
  path.write_bytes(b"PK")
  with pytest.raises(DataError, match=r"e.npz: not a readable"):
    score(path, protocol="casia_b")
  with pytest.raises(DataError, match=r"absent.npz: not a readable"):
    score(tmp_path / "absent.npz", protocol="casia_b")


def test_usf_probes_are_told_apart_by_ground_shoe_and_camera():
  keys = [(kind, view) for kind in ("ga", "gb", "ca", "cb") for view in "rl"]
  labels = np.repeat(["u01", "u02", "u03"], len(keys))
  types, views = (np.array([key[i] for key in keys] * 3) for i in (0, 1))
  rng = np.random.default_rng(0)
  own = np.repeat(rng.standard_normal((3, 8)), len(keys), axis=0)
  concrete = 20 * (np.char.startswith(types, "c"))[:, None] * rng.standard_normal(8)
  embeddings = (own + concrete).astype(np.float32)[..., None]
  found = protocols.get("usf17").evaluate(embeddings, labels, types, views, bootstrap=0)["conditions"]
  assert list(found) == list("ABCDEFG")
  assert {name: (f["probes"], f["gallery"]) for name, f in found.items()} == dict.fromkeys("ABCDEFG", (3, 3))
  assert [found[name]["rank1"] for name in "ABC"] == [100.0] * 3
  assert max(found[name]["rank1"] for name in "DEFG") < 50  # concrete moves all alike: centring finds them again
  features = Features(embeddings=embeddings, subjects=labels, conditions=types, views=views, keys=labels)
  moved = baselines.centred(features, "condition_view")
  found = protocols.get("usf17").evaluate(moved.embeddings, labels, types, views, bootstrap=0)["conditions"]
  assert [f["rank1"] for f in found.values()] == [100.0] * 7
  with pytest.raises(DataError, match="unknown types: na"):
    protocols.get("usf17").evaluate(embeddings, labels, np.full(len(types), "na"), views, bootstrap=0)
