"""The list of data sets is one line each on a narrow terminal; a record is told in full."""

import io

import pytest
from rich.console import Console

from data_prep import build, catalogue, datasets
from data_prep.sources.walkers import FRAME_RATES, WalkersSource


def shown(renderable, width=80) -> str:
  console = Console(file=io.StringIO(), width=width)
  console.print(renderable)
  return console.file.getvalue()


def test_the_list_is_one_line_a_data_set_on_80_columns():
  lines = [line for line in shown(catalogue.table()).splitlines() if line.strip()]
  assert len(lines) == len(datasets.RECORDS) + 2  # head and rule
  for record, line in zip(datasets.RECORDS.values(), lines[2:], strict=True):
    assert line.split()[0] == record.name
    assert record.protocol in line
    assert line.split()[-1] == ("needed" if record.needs_raw else "none")
    assert "…" not in line
  (grew,) = (line for line in lines if line.split()[0] == "grew")
  assert grew.split()[1:3] == ["20,000", "6,001"]


@pytest.mark.parametrize("name", datasets.RECORDS)
def test_a_record_is_told_in_full(name):
  record = datasets.get(name)
  told = " ".join(shown(catalogue.about(record), width=400).split())
  for fact in (record.title, record.licence, record.obtain, record.layout, record.citation, record.homepage):
    assert " ".join(fact.split()) in told
  for meaning in record.conditions.values():
    assert meaning in told


def test_sizes_of_a_partition_stand_on_their_sides():
  assert catalogue.subjects(datasets.get("casia_b")) == (74, 50)
  assert "74 to train, 50 to test" in shown(catalogue.about(datasets.get("casia_b")), width=200)


def test_the_walkers_record_says_what_their_source_does():
  record, source = datasets.get("walkers"), WalkersSource()
  assert record.frame_rate == FRAME_RATES
  assert record.subjects == (source.subjects, source.test_subjects)
  assert "between 25 and 30 frames a second" in shown(catalogue.about(record))


def test_the_command_line_shows_both(capsys):
  assert build.main(["--list"]) == 0
  assert "casia_b" in capsys.readouterr().out
  assert build.main(["--about", "casia_b"]) == 0
  assert "carrying a bag" in capsys.readouterr().out
  assert build.main(["--about", "casia-b"]) == 1
  assert "did you mean casia_b?" in capsys.readouterr().err
