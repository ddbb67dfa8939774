"""The page: what it says, that names stay text, and that no file can break it."""

import html.parser
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from data_prep.datasets import record
from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.report import curves, layout, page, side_by_side, sources
from fgait_jax.evaluation.tasks import score
from tests.evaluation.conftest import typed


def test_every_kind_of_data_has_words():
  assert set(record.KINDS) < set(results.KINDS)


class Reader(html.parser.HTMLParser):
  """Visible text, tags and addresses of a page."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.addresses, self.words, self._hidden = [], [], [], 0
    self.feed(text)
    self.text = " ".join(" ".join(self.words).split())

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.addresses += [value for name, value in attrs if name in ("src", "href")]
    self._hidden += tag in ("style", "script")

  def handle_endtag(self, tag):
    self._hidden -= tag in ("style", "script")

  def handle_data(self, data):
    if not self._hidden:
      self.words.append(data)


def made(folders, tmp_path):
  out = tmp_path / "report.html"
  page.write([str(folder) for folder in folders], out)
  return out.read_text(encoding="utf-8")


def rewrite(path, **changes):
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_page_says_what_was_evaluated(results_folder, tmp_path):
  found = Reader(made([results_folder], tmp_path))
  for words in (
    "transformer tiny, step 400 runs/first", "walkers (train) without labels", "synthetic walkers, no real people",
    "480 walks of 12 subjects", "2026-01-02", "jax 0.10.2", "Linear probe of sex on walkers",
    "62.5 57.5 to 67.5", "Protocol walkers.", "zero_shot-walkers.json",
  ):
    assert words in found.text, words
  assert "Passed over" not in found.text


def test_every_kind_of_content_is_there(results_folder, tmp_path):
  text = made([results_folder], tmp_path)
  found = Reader(text)
  for heading in ("At a glance", "Cumulative match", "View by view", "Confusion", "Robustness", "Nearest neighbours",
                  "Training"):
    assert heading in found.text, heading
  assert text.count('role="img"') == 2 + 2 + 5  # CMC of two conditions, two corruptions, loss, rate, rank-1 of two
  # evaluations, effective rank
  assert 'aria-label="walkers: rank-1, %. walkers/NM/rank1: 12.5 at step 6; walkers/gait CL/rank1: 9.5' in text
  assert 'aria-label="kth: rank-1, %. kth/all/rank1: 40.5 at step 6"' in text
  assert "effective rank of embeddings. walkers/effective_rank: 20.5 at step 6; kth/effective_rank: 3.5" in text
  assert text.count('class="walk right"') == 1
  assert text.count('class="walk wrong"') == 4
  assert "9 90 % 1 10 % 10" in found.text  # a line of the confusion matrix: counts, shares, sum
  assert "data:image/png;base64," in text
  assert "noise. tiny: 60.0, 50.0, 40.0, 30.0, 20.0" in text


def test_nothing_is_asked_of_a_network(results_folder, tmp_path):
  text = made([results_folder], tmp_path)
  assert all(a.startswith(("#", "data:")) for a in Reader(text).addresses)
  assert "default-src 'none'" in text
  assert not re.search(r"url\((?!#|data:)", text.replace("url(#", "url(#"))


def test_names_from_files_stay_text(results_folder, tmp_path):
  bad = '<img src=x onerror=alert(1)>"\'</script><script>alert(2)</script>$a_$'
  path = results_folder / "zero_shot-walkers.json"
  content = json.loads(path.read_text())
  text = json.dumps(content).replace("raw GEI", "@@").replace("Protocol walkers.", "@@").replace('"NM"', '"@@"')
  text = text.replace("NM: 80 probes", "@@").replace("walkers (train)", "@@").replace("transformer tiny", "@@")
  text = text.replace('"090"', '"@@"').replace('"rank-1 %"', '"@@"').replace("runs/first", "@@")
  path.write_text(text.replace("@@", json.dumps(bad)[1:-1]))
  strip = results_folder / "neighbours-walkers.json"
  strip.write_text(strip.read_text().replace("003, cl-01, 090", json.dumps(bad)[1:-1]))
  (results_folder / "<b>.json").write_text("{}")
  text = made([results_folder], tmp_path)
  tags = Reader(text).tags
  assert tags.count("script") == 1
  assert "b" not in [t for t in tags if t == "b"] or "<b>.json" not in text
  assert "onerror=alert" not in re.sub(r"&[a-z#0-9]+;", "", re.sub(r"&lt;img src=x onerror=alert", "", text))
  assert tags.count("img") == 6 + 1  # played walks and one picture


def test_missing_and_foreign_files_are_named(results_folder, tmp_path):
  (results_folder / "broken.json").write_text("{")
  (results_folder / "list.json").write_text("[1]")
  (results_folder / "old.json").write_text(json.dumps({"format": 0}))
  (results_folder / "odd.json").write_text(
    (results_folder / "zero_shot-walkers.json").read_text().replace('"figures"', '"numbers"'))
  (results_folder / "walks.json").write_text(json.dumps({"format": 1, "kind": "neighbours"}))
  (results_folder / "reconstructions-walkers.png").unlink()
  rewrite(results_folder / "robustness.json", pictures=["../secret.png"])
  text = Reader(made([results_folder], tmp_path)).text
  assert "broken.json : broken.json" in text or re.search(r"broken\.json ?: ", text)
  for words in (r"list\.json ?: .*not a result file", r"old\.json ?: .*found 0",
                r"odd\.json ?: .*rows\[0\]: no 'figures'",
                r"walks\.json ?: .*KeyError: 'probes'", r"secret\.png ?: not a picture of the results folder",
                r"reconstructions-walkers\.png ?: named by a result, but not in the folder"):
    assert re.search(words, text), words


@pytest.mark.parametrize("damage,place", [
  (lambda r: r["rows"][0]["per_view"]["NM"].update(rank1=[[1, 2]]), r"rows[0].per_view.NM: a table that is not 3 x 3"),
  (lambda r: r["rows"][1].update(cmc=[1, 2]), "rows[1].cmc: expected dict, found [1, 2]"),
  (lambda r: r["rows"][0]["figures"]["NM"].update(confusion={"classes": ["a"]}), "confusion: no 'true_by_predicted'"),
  (lambda r: r["rows"][0]["figures"]["NM"]["ci"].update(rank1=[1]), "figures.NM: ci.rank1: expected [low, high]"),
  (lambda r: r["rows"][0]["figures"]["CL"]["by_subject"].update(trials=[1]), "columns of different lengths"),
  (lambda r: r["data"].update(walks="many"), "data.walks: expected int, found 'many'"),
  (lambda r: r["columns"][0].update(digits=None), "columns[0].digits: expected int, found None"),
  (lambda r: r["rows"][0]["figures"]["NM"].update(identical=1, identical_probes=[3]),
   "figures.NM.identical_probes[0]: expected str, found 3"),
  (lambda r: r["columns"][0].update(digits=-1), "columns[0]: better 'higher' and -1 digits"),
  (lambda r: r["columns"][0].update(better="more"), "columns[0]: better 'more' and 1 digits"),
  (lambda r: r.pop("conditions"), "result: no 'conditions'"),
  (lambda r: r["rows"][0].update(robustness={"fog": [1, 2]}), "rows hold robustness at [2] severities, 0 are named"),
])
def test_a_damaged_result_is_named_with_the_place(results_folder, tmp_path, damage, place):
  path = results_folder / "zero_shot-walkers.json"
  found = json.loads(path.read_text())
  damage(found)
  path.write_text(json.dumps(found))
  with pytest.raises(DataError, match=rf"zero_shot-walkers.json: a damaged or foreign .*{re.escape(place)}"):
    results.read(path)
  text = Reader(made([results_folder], tmp_path)).text
  assert place in text
  assert "62.5 57.5 to 67.5" not in text


def test_corruptions_of_each_row_are_drawn_at_their_severities(results_folder, tmp_path):
  path = results_folder / "robustness.json"
  content = json.loads(path.read_text())
  rows = [{"name": n, "title": t, "centred": "none", "robustness": {"salt_pepper": [50, 30 + k]}, "figures": {
    c: {"rank1": 40} for c in ("mean", "salt_pepper")}} for k, (n, t) in enumerate((("model", "m"), ("raw_gei", "g")))]
  path.write_text(json.dumps(content | {
    "rows": rows, "severities": [1, 5],
    "conditions": [{"name": c, "title": c} for c in ("mean", "salt_pepper")]}))
  text = made([results_folder], tmp_path)
  assert "salt_pepper. m: 50.0, 30.0; g: 50.0, 31.0" in text
  glance = Reader(text).text.split("At a glance")[1].split("Bar:")[0]
  assert glance.count("Robustness on walkers") == 1  # the mean alone


def test_the_glance_draws_per_cent_as_bars_and_nothing_else(results_folder, tmp_path, result):
  text = made([results_folder], tmp_path)
  assert '<div style="--w:62.50%"><i></i><b style="left:75.00%"></b><s style="left:2.50%"></s></div>' in text
  result["columns"] = [{"key": "rank1", "title": "pixels", "better": "lower"}]
  result["rows"][1]["figures"]["NM"]["rank1"] = 3000.5
  result["rows"].insert(2, result["rows"][1] | {"title": "row bands", "figures": {"NM": {"rank1": 70.25}}})
  (results_folder / "zero_shot-walkers.json").write_text(json.dumps(result))
  text = made([results_folder], tmp_path)
  assert "--w:62.50%" not in text
  assert Reader(text).text.count("NM pixels 62.5 70.2 row bands 2.5") == 1  # of the baselines, the lowest


def test_rates_tried_in_fine_tuning_are_drawn(results_folder, tmp_path, result):
  tried = [{"factor": f, "curve": [{"step": s, "loss": 1.0, "validation": f * s} for s in (10, 20)]
            + [{"step": 30, "loss": 0.5}]} for f in (0.5, 1)]
  result["fine_tuning"] = {"method": "full", "measure": "rank-1", "tried": [t | {"best_step": 20} for t in tried]}
  (results_folder / "fine_tune-walkers.json").write_text(json.dumps(result | {"task": "fine_tune"}))
  assert "Validation rank-1. rate x 0.5: 10.0 at best; rate x 1: 20.0 at best" in made([results_folder], tmp_path)
  full, lora = (typed(result | {"fine_tuning": result["fine_tuning"] | {"method": name}}) for name in ("full", "lora"))
  assert side_by_side.pairs([full], [lora]) == ([(full, lora)], [])
  assert side_by_side.pairs([full, lora], [lora]) == ([(lora, lora)], [full.title])  # the same method goes first


def test_a_p_has_no_best(result):
  result["columns"] = [{"key": "p_rank1", "title": "p", "better": "", "digits": 4}]
  assert not any(cell.best for s in layout.sections(typed(result)) for line in s.lines for cell in line.cells)


def test_scores_of_two_files_are_compared_by_protocol(result):
  first, second = (typed(result | {"task": "score", "title": f"CASIA-B: {name}", "data": result["data"] | {
    "name": name, "content_hash": name}}) for name in ("a.npz", "b.npz"))
  found, alone = side_by_side.pairs([first], [second, second])
  assert (len(found), alone) == (1, ["CASIA-B: b.npz"])
  assert {line["subjects"] for line in side_by_side.compared(*found[0])["lines"]} == {12}


def test_a_folder_without_results_is_an_error_that_names_what_it_holds(tmp_path):
  (tmp_path / "x.json").write_text(json.dumps({"format": 1}))
  with pytest.raises(DataError, match=r"^--show=.*: no result files; run_eval\.py --config=.*"
                     r"\n  x\.json: not a result file of format 2 \(found 1\); run the evaluation again$"):
    sources.read(tmp_path, flag="--show")
  with pytest.raises(DataError, match=r"^--show=.*absent: not a folder"):
    sources.read(tmp_path / "absent", flag="--show")
  with pytest.raises(DataError, match=r"^--show=.*x\.json: not a result file of format 2 \(found 1\)"):
    sources.read(tmp_path / "x.json", flag="--show")


def test_people_read_the_synthetic_data_first_and_of_each_zero_shot_recognition(tmp_path, result):
  for name, task, data, kind in (("a", "linear_probe", "walkers", "synthetic"), ("b", "zero_shot", "kth", "real"),
                                 ("c", "zero_shot", "walkers", "synthetic"), ("d", "linear_maps", "kth", "real")):
    found = result | {"task": task, "data": result["data"] | {"name": data, "kind": kind}}
    (tmp_path / f"{name}.json").write_text(json.dumps(found))
  assert [shown.path.stem for shown in sources.read(tmp_path, flag="--show").results] == ["c", "a", "b", "d"]


def test_one_file_is_read_alone(results_folder):
  source = sources.read(results_folder / "zero_shot-walkers.json", flag="--show")
  assert [shown.path.name for shown in source.results] == ["zero_shot-walkers.json"]
  assert source.folder == results_folder


@pytest.mark.parametrize("out", [None, "report", "report.pdf"])
def test_the_page_wants_a_html_file(results_folder, out):
  with pytest.raises(ConfigError, match=r"--out=FILE\.html"):
    page.write([str(results_folder)], out)


def test_a_folder_in_the_place_of_the_page_is_named(results_folder, tmp_path):
  (tmp_path / "r.html").mkdir()
  with pytest.raises(ConfigError, match=r"r\.html is a folder; --report writes one file there"):
    page.write([str(results_folder)], tmp_path / "r.html")


def test_a_page_that_cannot_be_written_is_named(results_folder, tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(ConfigError, match=r"--out=.*file cannot be written .*file is a file.; give another folder"):
    page.write([str(results_folder)], tmp_path / "file" / "r.html")


def test_at_most_two_are_compared(results_folder, tmp_path):
  with pytest.raises(ConfigError, match="given 3 times"):
    page.write([str(results_folder)] * 3, tmp_path / "r.html")


def test_two_checkpoints_stand_side_by_side(result, results_folder, tmp_path):
  other = tmp_path / "other"
  other.mkdir()
  for row in result["rows"][:1]:
    for figures in row["figures"].values():
      figures["rank1"] += 8
      figures["by_subject"]["rank1"] = [v + 8 for v in figures["by_subject"]["rank1"]]
  result["checkpoint"] |= {"identity": "0b", "step": 800}
  (other / "zero_shot-walkers.json").write_text(json.dumps(result))
  found = Reader(made([results_folder, other], tmp_path))
  assert "NM rank-1 % 62.5 57.5 to 67.5 70.5 57.5 to 67.5 +8.0 +8.0 to +8.0 0.0" in found.text
  assert "In one of them only: Linear probe of sex on walkers; Robustness on walkers." in found.text
  assert "step 400" in found.text
  assert "step 800" in found.text


def test_differences_on_other_data_are_not_paired(result):
  second = json.loads(json.dumps(result))
  second["data"]["content_hash"] = "other"
  found = side_by_side.compared(typed(result), typed(second))
  assert "not paired" in found["notes"][0]
  assert len(found["lines"]) == 4
  assert all("p" not in line and line["difference"] == 0 for line in found["lines"])


def test_a_test_over_the_same_outcomes_finds_nothing(result):
  lines = side_by_side.compared(typed(result), typed(result))["lines"]
  assert [(line["condition"], line["column"], line["p"], line["subjects"]) for line in lines] == [
    (c, m, 1.0, 12) for c in ("NM", "CL") for m in ("rank-1 %", "mAP %")]


def test_other_walks_of_the_same_people_are_not_paired(result):
  second = json.loads(json.dumps(result))
  second["rows"][0]["figures"]["NM"]["by_subject"]["trials"] = [9] * 12
  found = side_by_side.compared(typed(result), typed(second))
  assert {line["condition"] for line in found["lines"] if "p" in line} == {"CL"}
  assert found["notes"][0] == "NM is not paired: the probes are not the same (12 and 12 subjects, 120 and 108 trials)."


def test_identical_views_are_said_to_be_left_out_only_where_they_are(result):
  views = layout.views(typed(result))
  # (rank1 + 30) / 2, rank1, (40 + 2 rank1 - 40) / 2 have the mean rank1 only where rank1 is 30
  assert [v["without_identical"] for v in views] == [False, False]
  cells = [[1, 30, 30], [30, 2, 30], [40, 20, None]]
  result["rows"][0]["per_view"]["NM"]["rank1"] = cells
  result["rows"][0]["figures"]["NM"]["rank1"] = 30.0
  assert [v["without_identical"] for v in layout.views(typed(result))] == [True, False]


def test_lower_equal_error_rates_are_better(result):
  result["columns"] = [{"key": "eer", "title": "EER %", "better": "lower"}]
  for row, value in zip(result["rows"], (12.0, 10.0, 50.0), strict=True):
    row["figures"]["NM"]["eer"] = value
  assert [line.cells[0].best for line in layout.sections(typed(result))[0].lines] == [False, True, False]


def test_a_logarithmic_axis_has_plain_numbers():
  drawn = curves.panel([(0, [1, 2, 3], [30, 800, 400])], label='a "b" & <c> \\d', x_title="$x_$", y_title="y", log=True)
  assert ">100<" in drawn
  assert "mathdefault" not in drawn
  assert "$x_$" in drawn  # letters, not mathematics
  assert 'aria-label="a &quot;b&quot; &amp; &lt;c&gt; \\d"' in drawn
  assert "var(--s0)" in drawn
  assert "#fe0" not in drawn  # every stand-in colour was replaced


def test_training_curves_travel_with_the_results(tmp_path):
  run, out = tmp_path / "run", tmp_path / "results"
  run.mkdir()
  (run / "metrics.jsonl").write_text('{"step": 2, "kind": "train", "loss": 1.5}\n{"step": 4, "ki')
  sources.keep_training(run / "checkpoints" / "4", out)
  assert json.loads((out / "training.json").read_text())["lines"] == [{"step": 2, "kind": "train", "loss": 1.5}]
  for beside in (run / "checkpoints", run / "weights", run):
    assert sources._lines_of_run(beside)[0] == run
  for other in (tmp_path / "none", run / "results", run / "other" / "4"):  # not the run's own: of another network
    sources.keep_training(other, tmp_path / "empty")
  assert not (tmp_path / "empty").exists()


def test_the_command_writes_page_and_tables(results_folder, tmp_path):
  command = [sys.executable, "run_eval.py", f"--report={results_folder}", f"--out={tmp_path / 'r.html'}"]
  done = subprocess.run(command, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  assert sorted(p.name for p in tmp_path.glob("r.*")) == ["r.csv", "r.html", "r.md", "r.tex"]
  assert str(tmp_path / "r.html") in done.stdout


def test_ccpg_has_curves_and_matrices_under_the_names_of_its_figures(tmp_path):
  """Of a score: the gait reading leaves identical cameras out of its mean, and all readings have their curves."""
  clothes = ("U0_D0_BG", "U0_D0", "U1_D1", "U1_D0", "U3_D3", "U0_D3")
  walks = [(s, kind, f"{camera}_0") for s in range(4) for kind in clothes for camera in "123"]
  rng = np.random.default_rng(0)
  people = rng.normal(size=(4, 3, 2))
  labels, types, views = (np.array([str(walk[n]) for walk in walks]) for n in range(3))
  np.savez(tmp_path / "e.npz", labels=labels, types=types, views=views,
           embeddings=(people[labels.astype(int)] + rng.normal(size=(len(walks), 3, 2))).astype(np.float32))
  config = defaults.evaluation().unlock()
  config.task, config.protocol, config.embeddings, config.bootstrap = "score", "ccpg", str(tmp_path / "e.npz"), 0
  found = results.read(score.run(config, tmp_path)[0])
  names = [f"{reading} {pair}" for reading in ("gait", "reid", "identical") for pair in ("CL", "UP", "DN", "BG")]
  assert list(found.rows[0].figures) == list(layout.cmc(found, "none")) == names
  assert [(v["condition"], v["without_identical"]) for v in layout.views(found)] == [(n, True) for n in names[:4]]
  assert list(found.rows[0].per_view) == names[:4]
