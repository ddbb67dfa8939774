"""The command line of builds: what it hands on, what it refuses, what it tells."""

import io
import pathlib

import pytest
from rich.console import Console

from data_prep import build, builder, datasets
from data_prep.sources.limits import Limits
from fgait_jax.errors import DataError

MANIFEST = {
  "name": "mine", "version": "9.9", "kind": "real",
  "splits": {"train": {"subjects": 1200, "sequences": 5000, "frames": 123_456},
             "test": {"subjects": 7, "sequences": 41, "frames": 999}},
  "shards": {"a": {"split": "train", "bytes": 1000}, "b": {"split": "test", "bytes": 30},
             "c": {"split": "train", "bytes": 2500}},
  "dropped": {}, "refused_frames": {}, "altered_frames": {},
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
  """What the builder is asked for, in place of a build."""
  asked = {}

  def made(record, **options):
    asked.update(options, record=record)
    raise DataError("as asked")

  monkeypatch.setattr(builder, "build", made)
  return asked


def test_what_is_not_said_is_the_default(asked, monkeypatch, capsys):
  monkeypatch.setattr(builder, "usable_cores", lambda: 7)
  assert build.main(["walkers"]) == 1
  assert capsys.readouterr().err == "error: as asked\n"
  del asked["progress"]
  assert asked == {
    "record": datasets.get("walkers"), "raw": None, "out": pathlib.Path("built").absolute(), "workers": 7,
    "limit_dropped": 0.01, "overwrite": False, "writer": None,
        "limit": Limits(),
  }  # fmt: skip


def test_what_is_said_is_handed_on(asked, tmp_path):
  (tmp_path / "train.txt").write_text("a")
  said = [
    "own_mocap", f"--raw={tmp_path}", "--out=here", "--workers=3", "--limit-dropped=1", "--overwrite", "--name=mine",
    f"--train-subjects={tmp_path}/train.txt", "--population=theirs", "--frame-rate=59.94", "--unit=inch", "--up=-x",
  ]  # fmt: skip
  assert build.main(said) == 1
  record = asked["record"]
  assert (asked["raw"], asked["out"], asked["workers"]) == (tmp_path, pathlib.Path("here").absolute(), 3)
  assert (asked["limit_dropped"], asked["overwrite"]) == (1.0, True)
  assert (record.name, record.population) == ("mine", "theirs")
  assert record.choices == {"train_subjects": "train.txt", "unit": "inch", "up": "-x", "frame_rate": 59.94}
  assert build.main(["own", f"--raw={tmp_path}", "--modalities=sil,par"]) == 1
  assert asked["record"].source.keywords["modalities"] == ("sil", "par")


def test_an_engines_flags_may_be_one_that_looks_like_ours(asked, monkeypatch):
  monkeypatch.setattr(build.beam, "run", lambda jobs, **options: (jobs, options))
  for flags in (["--runner-options", "--workers=9"], ["--runner-options=--workers=9"]):
    assert build.main(["walkers", "--runner", "FlinkRunner", *flags]) == 1
    assert asked["writer"]("jobs") == ("jobs", {"runner": "FlinkRunner", "options": ["--workers=9"]})


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    ([], "name a data set, or pass --list or --about NAME"),
    (["walkers", "--workers", "0"], "argument --workers: '0' is not a whole number from 1"),
    (["walkers", "--limit-dropped", "-0.1"], "--limit-dropped -0.1: a share from 0 to 1, 0.01 is one percent"),
    (["walkers", "--limit-dropped", "1.1"], "--limit-dropped 1.1: a share from 0 to 1, 0.01 is one percent"),
    (["walkers", "--runner-options"], "argument --runner-options: expected one argument"),
    (["walkers", "--runner-options", "--x=1"], "--runner-options needs --runner"),
  ],
)
def test_what_cannot_be_meant_is_refused(argv, message, asked, capsys):
  with pytest.raises(SystemExit) as left:
    build.main(argv)
  assert left.value.code == 2
  assert message in capsys.readouterr().err
  assert not asked


@pytest.mark.parametrize("flag", ["--raw", "--out"])
def test_a_store_that_is_no_folder_is_refused_by_the_flags_name(flag, asked, capsys):
  assert build.main(["own", f"{flag}=gs://bucket/walks"]) == 1
  assert f"error: {flag}=gs://bucket/walks: gs:// cannot be read or written here" in capsys.readouterr().err
  assert not asked


def test_a_build_that_is_stopped_says_how_it_goes_on(monkeypatch, capsys):
  def stopped(record, **options):
    raise KeyboardInterrupt

  monkeypatch.setattr(builder, "build", stopped)
  assert build.main(["walkers"]) == 130
  assert capsys.readouterr().err == "stopped; the same command continues from the finished shards\n"


def told(monkeypatch, capsys, *, fresh=True, warnings=(), **changes) -> tuple[list[str], str]:
  """Lines of output, spaces and rules aside, and what is written to the error stream."""
  made = builder.Built(
    folder=pathlib.Path("built/mine"), manifest=MANIFEST | changes, fresh=fresh, seconds=20.0, warnings=warnings,
    read_as="read as subject [a], type b",
  )  # fmt: skip
  monkeypatch.setattr(builder, "build", lambda record, **options: made)
  assert build.main(["walkers"]) == 0
  out, err = capsys.readouterr()
  return [" ".join(line.replace("│", " ").split()) for line in out.splitlines()], err


def test_what_was_built_is_summed_up_by_split(monkeypatch, capsys):
  lines, err = told(monkeypatch, capsys, warnings=("one", "two"))
  assert err == "warning: one\nwarning: two\n"
  assert lines[0] == "read as subject [a], type b"
  assert lines[1] == "mine 9.9 (real)"
  assert [line for line in lines if line.startswith(("train ", "test "))] == [
    "train 1,200 5,000 123,456 3,500", "test 7 41 999 30",
  ]  # fmt: skip
  assert lines[-2:] == ["dropped none", "built/mine: 20.0 s, 252.1 sequences/s"]


def test_what_was_left_out_or_changed_is_summed_up_by_reason(monkeypatch, capsys):
  found = {"too [dark]": {"count": 1000, "examples": ["a/1.png", "b"]}, "torn": {"count": 1, "examples": ["c"]}}
  lines, _ = told(monkeypatch, capsys, dropped=found, refused_frames=found, altered_frames=found)
  assert lines[-7:-1] == [
    "dropped 1000: too [dark], such as a/1.png",
    "dropped 1: torn, such as c",
    "refused 1,000 frames of 125,455 in the stored walks: too [dark], such as a/1.png",
    "refused 1 frames of 124,456 in the stored walks: torn, such as c",
    "altered 1,000 frames of 124,455 in the stored walks: too [dark], such as a/1.png",
    "altered 1 frames of 124,455 in the stored walks: torn, such as c",
  ]  # fmt: skip


def test_a_build_that_was_there_is_not_summed_up(monkeypatch, capsys):
  lines, _ = told(monkeypatch, capsys, fresh=False)
  assert lines[1:] == ["built/mine is built already from recordings of the same names and sizes; nothing to do"
                       " (--overwrite builds it anew)"]


def test_a_terminal_shows_how_many_walks_of_all_are_done_and_how_fast(monkeypatch):
  now = iter(range(1000))
  console = Console(file=io.StringIO(), force_terminal=True, width=150, get_time=lambda: float(next(now)))
  with build._progress(console, "mine") as progress:
    for done in (0, 3, 6, 9):
      progress(done, 12)
  shown = console.file.getvalue()
  assert "mine" in shown
  assert "9/12" in shown
  assert "sequences/s" in shown
  assert not isinstance(progress, build._Lines)


def test_lines_of_progress_are_ten_seconds_apart(monkeypatch, capsys):
  now = iter([100.0, 101.0, 109.9, 110.0, 119.9, 125.0])
  monkeypatch.setattr(build.time, "monotonic", lambda: next(now))
  lines = build._Lines("mine")
  for done in (5, 5, 5, 20, 30):
    lines(done, 55)
  assert capsys.readouterr().out.splitlines() == [
    "mine: 5 of 55 sequences, 0.0 sequences/s, no rate yet", "mine: 30 of 55 sequences, 1.0 sequences/s, 25 s left",
  ]  # fmt: skip
