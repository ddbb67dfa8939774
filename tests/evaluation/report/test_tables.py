"""Tables and captions, from result files alone."""

import copy
import io

import numpy as np
import pytest
from rich.console import Console

from fgait_jax import defaults
from fgait_jax.evaluation import results
from fgait_jax.evaluation.report import layout, tables
from fgait_jax.evaluation.tasks import score
from tests.evaluation.conftest import COLUMNS, typed


def row(name, title, rank1, *, centred="none", interval=True):
  figures = {"rank1": rank1, "map": rank1 / 2}
  return {"name": name, "title": title, "centred": centred,
          "figures": {"CL": figures | ({"ci": {"rank1": [rank1 - 5, rank1 + 5]}} if interval else {})}}


RESULT = {
  "format": results.FORMAT, "task": "zero_shot", "title": "Zero-shot recognition on walkers",
  "notes": ["Protocol walkers."], "columns": COLUMNS,
  "data": {"name": "walkers", "split": "test", "kind": "synthetic", "walks": 480, "subjects": 40, "content_hash": "d"},
  "pretraining": {"datasets": ["walkers (train)"], "label_use": "without labels"}, "config": {},
  "conditions": [{"name": "CL", "title": "CL: 80 probes of 40 subjects, gallery of 160 walks"}],
  "rows": [
    row("model", "transformer tiny, 400 steps", 62.5), row("untrained", "untrained network", 31.25),
    row("raw_gei", "raw GEI", 75), row("chance", "chance", 2.5, interval=False),
    row("model", "transformer tiny, 400 steps", 80, centred="condition"),
  ],
}

EXPECTED = """
Zero-shot recognition on walkers
                                                  rank-1 %  95 % interval  mAP %
 ───────────────────────────────────────────────────────────────────────────────
  CL: 80 probes of 40 subjects, gallery of 160 walks
    transformer tiny, 400 steps █████                 62.5   57.5 to 67.5   31.2
    untrained network           ██▌                   31.2   26.2 to 36.2   15.6
    raw GEI                     ██████                75.0   70.0 to 80.0   37.5
    chance                      ▎                      2.5                   1.2
"""


def shown(path):
  stream = io.StringIO()
  tables.show([results.read(path)], console=Console(file=stream, width=tables.WIDTH))
  return stream.getvalue()


def bold(result):
  """What a table of the plain rows sets in bold."""
  console = Console(file=io.StringIO(), width=110)
  return {segment.text.strip() for segment in console.render(tables.table(typed(result)))
          if segment.style and segment.style.bold}


def words(text):
  return [line.split() for line in text.splitlines() if line.strip(" ─")]


def test_a_table_is_as_recorded(tmp_path):
  text = shown(results.write(tmp_path / "zero_shot-walkers.json", typed(RESULT)))
  plain, rest = text.split("Zero-shot recognition on walkers, centred by condition")
  rest = rest.split("Data:")[0]
  assert words(plain) == words(EXPECTED)
  assert "80.0" in rest
  assert "raw GEI" not in rest  # centred and plain figures never share a table
  assert all(len(line) <= tables.WIDTH for line in text.splitlines())


def test_the_caption_says_what_the_figures_are_figures_of(tmp_path):
  text = " ".join(shown(results.write(tmp_path / "r.json", typed(RESULT))).split())
  assert "Data: walkers, split test, synthetic walkers, no real people; 480 walks of 40 subjects." in text
  assert "The model was pretrained on walkers (train), without labels." in text
  among = RESULT | {"pretraining": RESULT["pretraining"] | {"evaluated_split_among_them": True}}
  assert "without labels; the walks evaluated here are among them." in tables.caption(typed(among))
  alone = RESULT | {"pretraining": {"datasets": []}, "data": RESULT["data"] | {"kind": "embeddings"}}
  assert "What their model was pretrained on is not known." in tables.caption(typed(alone))
  real = RESULT | {"data": RESULT["data"] | {"kind": "real"}}
  assert "recordings of real people" in tables.caption(typed(real))


def test_the_best_of_a_section_is_bold():
  assert bold(RESULT) & {"62.5", "75.0", "37.5"} == {"75.0", "37.5"}
  errors = copy.deepcopy(RESULT["rows"][:2])
  for found, value in zip(errors, (5.0, 50.0), strict=True):
    found["figures"]["CL"]["eer"] = value
  error = {"key": "eer", "title": "EER %", "better": "lower"}
  assert bold(RESULT | {"rows": errors, "columns": [error]}) & {"5.0", "50.0"} == {"5.0"}


def test_a_p_is_shown_whole_and_is_nobodys_best():
  p = {"key": "p", "title": "p", "better": "", "digits": 4}
  rows = [row("model", "A", 50), row("difference", "B - A", 1)]
  rows[1]["figures"]["CL"]["p"] = 0.0499
  stream = io.StringIO()
  Console(file=stream, width=110).print(tables.table(typed(RESULT | {"rows": rows, "columns": [*COLUMNS, p]})))
  assert words(stream.getvalue())[-1][-1] == "0.0499"
  assert "0.0499" not in bold(RESULT | {"rows": rows, "columns": [*COLUMNS, p]})


def test_the_widest_table_keeps_to_its_width(tmp_path):
  keys = ("rank1", "rank5", "map", "minp", "auc", "eer")
  wide = [{"key": k, "title": f"{k} %", "interval": k == "rank1"} for k in keys]
  rows = [row("model", "transformer giant, 100000 steps", 100.0)]
  rows[0]["figures"]["CL"] = dict.fromkeys(keys, 100.0) | {"ci": {"rank1": [99.9, 100.0]}}
  text = shown(results.write(tmp_path / "r.json", typed(RESULT | {"rows": rows, "columns": wide})))
  assert "transformer giant, 100000 steps" in text
  assert words(text)[3][-8:] == ["100.0", "99.9", "to", "100.0", *["100.0"] * 5][-8:]


def test_a_table_that_needs_the_room_has_no_bars_and_all_its_figures(tmp_path):
  keys = {"accuracy": True, "precision": False, "recall": False, "f1": False, "auc": True, "eer": False}
  wide = [{"key": k, "title": f"{k} %", "interval": v, "digits": 2} for k, v in keys.items()]
  rows = [row("model", "transformer giant", 100.0)]
  rows[0]["figures"]["CL"] = dict.fromkeys(keys, 100.0) | {"ci": {k: [100.0, 100.0] for k, v in keys.items() if v}}
  text = shown(results.write(tmp_path / "r.json", typed(RESULT | {"rows": rows, "columns": wide})))
  assert "█" not in text
  interval = ["100.00", "to", "100.00"]
  assert words(text)[3][-10 - 2:] == ["100.00", *interval, "100.00", "100.00", "100.00", "100.00", *interval, "100.00"]
  assert "recall %" in text
  assert "eer %" in text


def test_figures_that_are_missing_show_as_a_dash(tmp_path):
  rows = [row("model", "m", 50), row("chance", "c", 1)]
  rows[1]["figures"]["CL"] = {"rank1": None}
  text = shown(results.write(tmp_path / "r.json", typed(RESULT | {"rows": rows})))
  assert words(text)[4] == ["c", "–", "–"]


@pytest.mark.parametrize("value,text", [(0, ""), (100, "█" * 8), (150, "█" * 8), (None, ""), (6.25, "▌")])
def test_bars(value, text):
  assert tables.bar(value) == text


def test_what_is_not_per_cent_has_no_bar(tmp_path):
  text = shown(results.write(tmp_path / "r.json", typed(RESULT)))
  assert "█" in text
  pixels = [{"key": "rank1", "title": "pixels"}]
  text = shown(results.write(tmp_path / "r.json", typed(RESULT | {"columns": pixels})))
  assert not set("▏▎▍▌▋▊▉█") & set(text)


def test_figures_that_say_less_than_they_seem_to_are_cautioned(tmp_path):
  """Embeddings of one person score 100 %, and rows that stand on both sides find themselves."""
  rng = np.random.default_rng(0)

  def told(x, labels, types):
    count = len(labels)
    np.savez(tmp_path / "e.npz", embeddings=x, labels=np.array(labels), types=np.array(types),
             views=np.array(["0"] * count))
    config = defaults.evaluation().unlock()
    config.task, config.protocol, config.bootstrap = "score", "own", 0
    config.embeddings = str(tmp_path / "e.npz")
    return tables.caption(results.read(score.run(config, tmp_path / str(count))[0]))

  x = rng.normal(size=(6, 8, 4)).astype("f4")
  assert "the gallery of all is one person: whoever of them walks is found" in told(x, ["anna"] * 6, ["a"] * 6)
  text = told(np.concatenate([x, x + 1]), [*"aaaaaa", *"aabcde"], ["gallery"] * 6 + ["probe"] * 6)
  assert "the gallery of all is one person" in text  # though some of the probes are others
  assert "Probes without a mate in the gallery: 4 in all; counted as excluded." in text
  twice = np.concatenate([x, x[:2]])
  labels, sides = [*"abcdef", "a", "b"], ["gallery"] * 6 + ["probe"] * 2
  text = told(twice, labels, sides)
  assert "in the gallery: 2 in all; a-probe-0 = a-gallery-0, b-probe-0 = b-gallery-0." in text
  assert "one person" not in text
  text = told(np.concatenate([x, x[:1] + 1]), [*"abcdef", "a"], ["gallery"] * 6 + ["probe"])
  assert "Caution" not in text
  short = RESULT | {"data": RESULT["data"] | {"one_frame": 3}}
  assert "Caution: 3 of" in tables.caption(typed(short))
  for people, narrow in ((8, True), (40, False)):
    few = copy.deepcopy(RESULT)
    few["rows"][0]["figures"]["CL"]["probe_subjects"] = people
    assert ("too narrow where these are as few as 8" in tables.caption(typed(few))) == narrow
  few = copy.deepcopy(RESULT)
  few["rows"][0]["figures"]["CL"]["by_subject"] = {"subjects": ["a", "b"], "accuracy": [1.0, 0.0], "trials": [1, 1]}
  assert "too narrow where these are as few as 2" in tables.caption(typed(few))  # of classes
  nobody = RESULT | {"data": RESULT["data"] | {"subjects": 0}}
  assert "480 walks of nobody named" in tables.caption(typed(nobody))


def test_a_control_is_no_rival(result):
  """It is the model again: nothing beats itself."""
  control = copy.deepcopy(result["rows"][0]) | {"name": "reversed", "title": "network, time reversed", "control": True}
  for figures in control["figures"].values():
    figures["rank1"] = 99.0
  result["rows"].append(control)
  (first, *_), found = layout.sections(typed(result)), layout.glance(typed(result))
  best = {line.name: line.cells[0].best for line in first.lines}
  assert best == {"model": False, "raw_gei": True, "chance": False, "reversed": False}
  assert all(one["rival"].name == "raw_gei" for one in found)
