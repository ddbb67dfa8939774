"""Markdown, LaTeX and CSV: exact, with names that would break them."""

import io

import pandas as pd
import pytest

from fgait_jax.evaluation.report import export
from fgait_jax.evaluation.report.sources import Shown
from tests.evaluation.conftest import typed

MARKDOWN = r"""
## Zero-shot recognition on walkers

| condition | method | rank-1 % | mAP % |
| --- | --- | ---: | ---: |
| NM | a\|b \*c\* & d\_e, 100 % | 62.5 (57.5 to 67.5) | 31.2 |
|  | raw GEI | **75.0** (70.0 to 80.0) | **37.5** |
|  | chance | 2.5 | – |
| CL | a\|b \*c\* & d\_e, 100 % | 52.5 (47.5 to 57.5) | 26.2 |
|  | raw GEI | **65.0** (60.0 to 70.0) | **32.5** |
|  | chance | 2.5 | – |

Data: walkers, split test, synthetic walkers, no real people; 480 walks of 12 subjects. Protocol walkers. Intervals
 over resampled people are too narrow where these are as few as 12. The model was
 pretrained on walkers (train), without labels.
"""

LATEX = r"""
\begin{tabular}{llrrr}
\toprule
condition & method & rank-1 \% & 95 \% interval & mAP \% \\
\midrule
NM & a|b *c* \& d\_e, 100 \% & 62.5 & 57.5 to 67.5 & 31.2 \\
 & raw GEI & \textbf{75.0} & 70.0 to 80.0 & \textbf{37.5} \\
 & chance & 2.5 &  & -- \\
CL & a|b *c* \& d\_e, 100 \% & 52.5 & 47.5 to 57.5 & 26.2 \\
 & raw GEI & \textbf{65.0} & 60.0 to 70.0 & \textbf{32.5} \\
 & chance & 2.5 &  & -- \\
\bottomrule
\end{tabular}
"""


@pytest.fixture
def named(result):
  result["rows"][0]["title"] = "a|b *c* & d_e, 100 %"
  return result


def test_markdown_is_as_recorded(named):
  assert export.markdown(typed(named)).strip() == MARKDOWN.replace("\n ", " ").strip()


def test_latex_is_as_recorded_and_headed_by_a_comment(named):
  comment, table = export.latex(typed(named)).split("\n", 1)
  assert table.strip() == LATEX.strip()
  assert comment.startswith("% Zero-shot recognition on walkers. Data: walkers, split test")


def test_latex_letters_that_command_are_spelt_out():
  assert export._tex("\\input{x}~^#$") == r"\textbackslash{}input\{x\}\textasciitilde{}\textasciicircum{}\#\$"


def test_csv_holds_every_figure_unrounded(named, tmp_path):
  named["rows"][0]["figures"]["NM"]["rank1"] = 62.512345678
  shown = Shown(path=tmp_path / "r.json", result=typed(named))
  paths = export.write(tmp_path / "report.html", [("first", shown)])
  assert [path.name for path in paths] == ["report.md", "report.tex", "report.csv"]
  text = paths[2].read_text()
  lines = text.splitlines()
  assert lines[0] == ("source,file,checkpoint,task,evaluation,data,split,kind,centred,condition,row,title,metric,value,"
                      "low,high")
  assert lines[1] == ('first,r.json,0a-400-teacher,zero_shot,Zero-shot recognition on walkers,walkers,test,synthetic,'
                      'none,NM,model,"a|b *c* & d_e, 100 %",rank1,62.512345678,57.5,67.5')
  assert lines[-1].endswith(",walkers,test,synthetic,none,CL,chance,chance,map,,,")
  assert len(pd.read_csv(io.StringIO(text))) == 3 * 2 * 2


def test_centred_rows_have_a_table_of_their_own(result):
  centred = [row | {"centred": "condition"} for row in result["rows"][:1]]
  text = export.markdown(typed(result | {"rows": result["rows"] + centred}))
  assert "## Zero-shot recognition on walkers, centred by condition" in text
  assert text.count("| --- | --- |") == 2
  assert "**" not in text.split("centred by condition")[1]  # a best of one is none
