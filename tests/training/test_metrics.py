"""Metric files can be read back, and a restart leaves no line twice."""

import io
import json

import jax
import pytest
from rich.console import Console

from fgait_jax import objectives
from fgait_jax.errors import RunError
from fgait_jax.parallel import hosts
from fgait_jax.training.metrics import Display, Sums, Writer, peak_memory, read_lines


def test_means_weigh_by_count():
  sums = Sums()
  sums.add({"loss": (1.0, 1.0), "reconstruction": (6.0, 2.0), "none": (0.0, 0.0)})
  sums.add({"loss": (3.0, 1.0), "reconstruction": (0.0, 4.0)})
  assert sums.means() == {"loss": 2.0, "reconstruction": 1.0}
  assert sums.means() == {}


def test_a_restart_drops_the_lines_that_come_again(tmp_path):
  with Writer(tmp_path, start=0) as writer:
    for step in (1, 2, 3, 4):
      writer.write(step, "train", {"loss": float(step)})
    writer.write(2, "evaluate", {"rank1": 0.5})
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 5, "ki')  # a crash
  with Writer(tmp_path, start=2) as writer:
    assert writer.evaluations == [{"step": 2, "rank1": 0.5}]
    writer.write(3, "train", {"loss": float("nan")})
  lines = read_lines(tmp_path)
  assert [(line["step"], line["kind"]) for line in lines] == [(1, "train"), (2, "train"), (2, "evaluate"), (3, "train")]
  assert lines[-1]["loss"] is None
  assert [json.loads(text)["step"] for text in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 2, 3]
  with Writer(tmp_path, start=1) as writer:
    assert writer.evaluations == []


def test_what_comes_again_leaves_one_line(tmp_path):
  """Batch 2, which is left out after step 2 was saved, and an evaluation of step 2 that fails once more."""
  for start in (0, 2, 2):
    with Writer(tmp_path, start=start) as writer:
      if not start:
        writer.write(1, "skipped", {"loss": 9.0})
        writer.write(2, "train", {"loss": 1.0})
      writer.failed(2, "no memory")
      writer.write(2, "skipped", {"loss": 8.0})
  kinds = [(line["step"], line["kind"]) for line in read_lines(tmp_path)]
  assert kinds == [(1, "skipped"), (2, "train"), (2, "failed"), (2, "skipped")]


def test_event_files_hold_the_scalars(tmp_path):
  from tensorboardX.proto import event_pb2
  from tensorboardX.record_writer import RecordWriter  # noqa: F401  the same package wrote the file

  with Writer(tmp_path, start=0) as writer:
    writer.write(7, "train", {"loss": 1.5})
  (path,) = (tmp_path / "tensorboard").glob("events*")
  data, found, at = path.read_bytes(), {}, 0
  while at < len(data):  # records: length (8 bytes), checksum (4), event, checksum (4)
    length = int.from_bytes(data[at : at + 8], "little")
    event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
    found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
    at += 16 + length
  assert found == {"train/loss": (7, 1.5)}


@pytest.mark.parametrize("terminal", [True, False])
def test_display_shows_rate_losses_and_time_left(terminal):
  out = io.StringIO()
  console = Console(file=out, force_terminal=terminal, width=160, highlight=False)
  with Display(start=0, steps=10, console=console) as display:
    display.say("devices [8]")
    display.advance(5)
    display.train(4, {"loss": 1.5})  # compiling: nothing was timed yet
    display.train(5, {"loss": 1.25, "rate": 1e-3, "clips_per_second": 80.0, "seconds_per_step": 20.0})
    display.evaluate(5, {"rank1": 0.5})
  text = out.getvalue()
  assert "devices [8]" in text
  assert "loss 1.25" in text
  assert "lr 0.001" in text
  assert "clips/s 80" in text
  assert "rank1 0.5" in text
  assert ("\x1b[" in text) == terminal  # a log file holds no control characters
  assert terminal or "loss 1.5  left ?" in text
  assert terminal or "left 0:01:40" in text


def test_an_objective_of_no_short_name_is_shown_by_its_own(monkeypatch):
  monkeypatch.setitem(objectives.OBJECTIVES, "variance", None)
  out = io.StringIO()
  with Display(start=0, steps=10, console=Console(file=out, width=160)) as display:
    display.train(5, {"loss": 1.25, "variance": 0.5, "contrastive": 0.75, "contrastive_accuracy": 0.125, "ema": 1.0})
  assert "loss 1.25 con 0.75 variance 0.5 acc 12.5%  left" in out.getvalue()


def test_peak_memory_is_counted_in_bytes():
  assert peak_memory()["host_peak_bytes"] > 1e7


def test_of_several_processes_none_ends_alone_where_a_line_cannot_be_written(tmp_path, monkeypatch):
  """The words wait until all meet; one process alone raises them at once (tests/training/test_damage.py)."""
  writer = Writer(tmp_path, start=0)
  writer.path.unlink()
  writer.path.symlink_to("/dev/full")
  heard = []
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(hosts, "first_message", lambda text: heard.append(text) or text)
  writer.write(1, "train", {"loss": 1.0})
  writer.failed(1, "an evaluation")
  with pytest.raises(RunError, match=r"cannot write .*metrics\.jsonl: No space left on device"):
    writer.check()
  assert len(heard) == 1
  other = Writer.__new__(Writer)
  other.words = ""
  other.check()
