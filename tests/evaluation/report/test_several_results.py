"""Results of one title, of several dates and of two folders in one report, and what a report replaces."""

import json
import types

import pandas as pd
import pytest

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.report import export, page, side_by_side, sources, tables
from fgait_jax.evaluation.results import Candidate, Match
from tests.evaluation.conftest import typed


def changed(result, **data):
  return result | {"data": result["data"] | data}


def source(folder, *results, label=""):
  folder.mkdir(parents=True)
  for number, one in enumerate(results):
    (folder / f"r{number}.json").write_text(json.dumps(one))
  return sources.read(folder, flag="--report", label=label)


def test_results_of_one_title_are_told_apart_by_their_files(tmp_path, result):
  other = result | {"checkpoint": result["checkpoint"] | {"identity": "0b-9-teacher"}}
  read = source(tmp_path / "both", result, other, result | {"title": "Another"})
  titles = ["Zero-shot recognition on walkers (r0.json)", "Zero-shot recognition on walkers (r1.json)", "Another"]
  assert list(dict.fromkeys(line["evaluation"] for line in page._head(read)["glance"])) == titles
  text = page.render([read])
  assert all(f"{title}</h2>" in text for title in titles)
  csv = export.tidy([("", shown) for shown in read.results])
  assert csv.groupby("file").checkpoint.unique().map(list).to_dict() == {
    "r0.json": ["0a-400-teacher"], "r1.json": ["0b-9-teacher"], "r2.json": ["0a-400-teacher"]}


def test_the_newest_versions_both_dates_and_what_was_seen_head_the_page(tmp_path, result):
  """Seen is the data set that a network was pretrained on, and no other."""
  unseen = result["pretraining"] | {"evaluated_data_among_them": False}
  old, new = result["versions"] | {"jax": "0.10.2"}, result["versions"] | {"jax": "0.12.0"}
  head = page._head(source(
    tmp_path / "r", result | {"versions": old},
    changed(result, name="kth") | {"versions": new, "date": "2026-03-04T00:00:00+00:00", "pretraining": unseen}))
  assert head["versions"]["jax"] == "0.12.0"
  assert head["dates"] == ["2026-01-02", "2026-03-04"]
  assert head["seen"] == {"walkers"}


def test_two_folders_of_one_name_are_a_and_b_in_the_table(tmp_path, result):
  for name in ("one", "two"):
    source(tmp_path / name / "results", result)
  page.write([str(tmp_path / name / "results") for name in ("one", "two")], tmp_path / "report.html")
  assert set(pd.read_csv(tmp_path / "report.csv").source) == {"A", "B"}


def test_each_side_has_its_own_interval(result):
  second = json.loads(json.dumps(result))
  second["rows"][0]["figures"]["NM"]["ci"]["rank1"] = [10.0, 20.0]
  line = side_by_side.compared(typed(result), typed(second))["lines"][0]
  assert line["intervals"] == ["57.5 to 67.5", "10.0 to 20.0"]


def test_a_training_curve_leaves_out_what_it_cannot_draw():
  """No logarithm of a gradient norm of zero, and no place for a line without a step."""
  lines = [{"step": n, "kind": "train", "gradient_norm": norm} for n, norm in ((1, 0.0), (2, 2.0), (3, 3.0))]
  found, rest = (page._curves_of(types.SimpleNamespace(lines=some), "train", "norm", {"gradient_norm": "it"}, log=True)
                 for some in (lines, lines[1:]))
  assert found == rest


def test_lines_of_a_run_without_a_step_are_passed_over(tmp_path, result):
  run = tmp_path / "run"
  run.mkdir()
  (run / "metrics.jsonl").write_text('{"kind": "train", "loss": 9}\n{"step": 2, "kind": "train", "loss": 1.5}\n')
  read = source(tmp_path / "results", result | {"checkpoint": result["checkpoint"] | {"path": str(run)}})
  assert read.lines == [{"step": 2, "kind": "train", "loss": 1.5}]


def test_every_one_of_few_probes_is_printed():
  near = [Candidate(subject="a", distance=1)]
  found = [Match(probe=f"p{n}", label="", type="t", view="v", answer="a", candidates=near) for n in range(2)]
  for count in (1, 2):
    (grid, *_) = tables.matches(found[:count]).renderables
    assert [str(cell).split()[0] for cell in grid.columns[0].cells] == ["probe", "p0", "p1"][: count + 1]


def test_the_caution_of_few_people_is_of_the_fewest(result):
  result["rows"][0]["figures"]["NM"]["probe_subjects"] = 8
  result["rows"][0]["figures"]["CL"]["probe_subjects"] = 40
  assert any("as few as 8." in line for line in tables.cautions(typed(result)))
  assert any("1 of 480 walks have one frame" in line for line in tables.cautions(typed(changed(result, one_frame=1))))


def test_a_report_replaces_reports_and_nothing_else(tmp_path, result):
  read = source(tmp_path / "results", result)
  (tmp_path / "paper.tex").write_text("my paper")
  with pytest.raises(ConfigError, match=r"paper\.html: paper\.tex there would be lost, and is not of a report"):
    page.write([str(read.folder)], tmp_path / "paper.html")
  (tmp_path / "site.html").write_text("<html>my site</html>")
  with pytest.raises(ConfigError, match=r"site\.html there would be lost"):
    page.write([str(read.folder)], tmp_path / "site.html")
  assert (tmp_path / "paper.tex").read_text() == "my paper"
  first = page.write([str(read.folder)], tmp_path / "report.html")
  assert page.write([str(read.folder)], tmp_path / "report.html") == first


def test_the_folder_of_a_run_says_where_its_results_lie(tmp_path, result):
  source(tmp_path / "run" / "results", result)
  with pytest.raises(DataError, match=r"run: no result files; \S+run/results holds some; give that$"):
    sources.read(tmp_path / "run", flag="--report")
