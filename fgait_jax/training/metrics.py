"""Where numbers of a run go: JSON lines, TensorBoard event files, and the console with its progress bar.

A line of `metrics.jsonl` is {"step": batches used so far, "kind": "train" or "evaluate", name: value, ...}, or of the
kind "skipped" with the number and the loss of a batch that was left out, or "failed" with the "error" of an evaluation.
Only process 0 writes. After a restart, lines of what comes after the checkpoint are dropped: they will come again.
"""

import collections
import contextlib
import json
import math
import pathlib
import resource
import sys
import time

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from fgait_jax import objectives
from fgait_jax.errors import RunError
from fgait_jax.parallel import hosts
from fgait_jax.training import folders

LINES = "metrics.jsonl"
_NUMBER = (int, float, type(None))
_VALUES = {"train": _NUMBER, "evaluate": _NUMBER, "skipped": _NUMBER, "failed": str}  # of a kind of line
# On the console. An objective that is not here, by its own name.
_ACCURACIES = ("contrastive_accuracy", "accuracy")
_SHORT = {"reconstruction": "rec", "contrastive": "con", "triplet": "tri", "cross_entropy": "ce", "rate": "lr",
          "clips_per_second": "clips/s"} | dict.fromkeys(_ACCURACIES, "acc")
# Names in a line that say something of the machine, and not of what is learnt.
MACHINE = ("seconds_per_step", "clips_per_second", "waiting_share", "host_peak_bytes", "device_peak_bytes")


class Sums:
  """Adds (sum, count) pairs by name; `means` empties it. A name whose counts add to 0 has no mean and is left out."""

  def __init__(self):
    self._sums: dict[str, tuple[float, float]] = {}

  def add(self, pairs: dict[str, tuple[float, float]]) -> None:
    for name, (total, count) in pairs.items():
      before = self._sums.get(name, (0.0, 0.0))
      self._sums[name] = (before[0] + float(total), before[1] + float(count))

  def means(self) -> dict[str, float]:
    sums, self._sums = self._sums, {}
    return {name: total / count for name, (total, count) in sums.items() if count}


class Writer:
  """Metric files of a run; use with `with`. Process 0 alone writes. Raises `RunError` where they cannot be written: on
  all processes where all of them meet, which is when it is made, and in `check`."""

  def __init__(self, workdir: pathlib.Path, *, start: int):
    self.active = jax.process_index() == 0
    self.path, self.folder = workdir / LINES, workdir / "tensorboard"
    self.evaluations: list[dict] = []  # on file up to step `start`: {"step", name: value}, as process 0 alone knows
    self.remarks: list[str] = []
    self.words = ""  # of what could not be written
    folders.by_first(self.path, lambda: self._begin(start))

  def _begin(self, start: int) -> None:
    lines, left_out = _read(self.path.parent)
    kept = [line for line in lines if _is_before(line, start)]
    found = [line for line in kept if line["kind"] == "evaluate"]
    self.evaluations = [{name: value for name, value in line.items() if name != "kind"} for line in found]
    if left_out and start:
      self.remarks = [f"note        {left_out} lines of {LINES} are cut short or damaged and were left out"]
    folders.write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
    with folders.noted(self.folder):
      self.folder.mkdir(exist_ok=True)
      # Not `SummaryWriter`: its thread dies on a full disk, and then it waits for that thread for ever.
      self.events = EventsWriter(str(self.folder / "events"), f".{start}")
      if start:
        self._event(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))  # hides what comes again

  def __enter__(self):
    return self

  def __exit__(self, failed, *_):
    if self.active:
      with contextlib.suppress(OSError) if failed else folders.noted(self.folder):
        self.events.close()

  def write(self, step: int, kind: str, values: dict[str, float]) -> None:
    """One line, and one scalar "<kind>/<name>" each; a value that is not finite is written as null in JSON."""
    if not self.active:
      return
    line = {"step": step, "kind": kind}
    self._append(line | {name: value if math.isfinite(value) else None for name, value in values.items()})
    with self._noted(self.folder):
      for name, value in values.items():
        self._event(Event(step=step, summary=scalar(f"{kind}/{name}", value)))
      self.events.flush()

  def check(self) -> None:
    """Raises `RunError` on all processes, which call it together, where one could not write something before. One
    process alone says so at once; of several none may end while others wait for it."""
    if words := hosts.first_message(self.words):
      raise RunError(words)

  def failed(self, step: int, error: str) -> None:
    """One line about an evaluation that could not be done."""
    if self.active:
      self._append({"step": step, "kind": "failed", "error": error})

  def _append(self, line: dict) -> None:
    with self._noted(self.path), self.path.open("a", encoding="utf-8") as file:
      file.write(json.dumps(line) + "\n")

  @contextlib.contextmanager
  def _noted(self, path: pathlib.Path):
    try:
      with folders.noted(path):
        yield
    except RunError as error:
      if jax.process_count() == 1:
        raise
      self.words = self.words or str(error)

  def _event(self, event: Event) -> None:
    event.wall_time = time.time()
    self.events.write_event(event)


def _is_before(line: dict, start: int) -> bool:
  """Whether `line` tells of what a run that goes on at step `start` will not do again."""
  if start and line["step"] == start:  # batch `start` comes again, and an evaluation there that could not be done
    return line["kind"] not in ("skipped", "failed")
  return line["step"] < start


def read_lines(workdir: pathlib.Path) -> list[dict]:
  """The lines of a run's `metrics.jsonl`; those cut short by a crash or damaged are left out."""
  return _read(pathlib.Path(workdir))[0]


def _read(workdir: pathlib.Path) -> tuple[list[dict], int]:
  """(lines, how many others there are) of `metrics.jsonl`."""
  path = workdir / LINES
  texts = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
  found = [_line(text) for text in texts]
  lines = [line for line in found if line is not None]
  return lines, len(found) - len(lines)


def _line(text: str) -> dict | None:
  try:
    line = json.loads(text)
  except (ValueError, RecursionError):
    return None
  if not isinstance(line, dict) or type(line.get("step")) is not int or line.get("kind") not in _VALUES:
    return None
  values = {name: value for name, value in line.items() if name not in ("step", "kind")}
  return line if all(isinstance(value, _VALUES[line["kind"]]) for value in values.values()) else None


class Display:
  """The console: a progress bar with rate, losses and time left on a terminal, plain lines in a log file."""

  def __init__(self, *, start: int, steps: int, console: Console | None = None):
    self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
    self.active = jax.process_index() == 0
    self.steps, self.paces = steps, collections.deque(maxlen=20)  # seconds a step, of the last lines
    columns = (
      TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[numbers]}"),
      TimeRemainingColumn(elapsed_when_finished=True),
    )
    self.bar = Progress(*columns, console=self.console, speed_estimate_period=120)
    self.live = self.active and self.console.is_terminal
    self.task = self.bar.add_task("train", total=steps, completed=start, numbers="compiling")

  def __enter__(self):
    if self.live:
      self.bar.start()
    return self

  def __exit__(self, *_):
    if self.live:
      self.bar.stop()

  def say(self, message: str) -> None:
    if self.active:
      self.console.print(message, markup=False)

  def advance(self, step: int) -> None:
    if self.live:
      self.bar.update(self.task, completed=step)

  def train(self, step: int, values: dict[str, float]) -> None:
    shown = ("loss", *objectives.OBJECTIVES, *_ACCURACIES, "rate", "clips_per_second")
    numbers = " ".join(
      f"{_SHORT.get(name, name)} " + (f"{100 * values[name]:.3g}%" if name in _ACCURACIES else f"{values[name]:.4g}")
      for name in shown if name in values
    )
    if "seconds_per_step" in values:
      self.paces.append(values["seconds_per_step"])
    if self.live:
      self.bar.update(self.task, completed=step, numbers=numbers)
    else:
      self.say(f"step {step}/{self.steps}  {numbers}  left {self._left(step)}")

  def evaluate(self, step: int, values: dict[str, float]) -> None:
    self.say(f"step {step}/{self.steps}  evaluation  " + "  ".join(f"{k} {v:.4g}" for k, v in values.items()))

  def _left(self, step: int) -> str:
    """The time of the steps left, without evaluations; "?" where none was timed yet."""
    if not self.paces:
      return "?"
    seconds = round(sum(self.paces) / len(self.paces) * (self.steps - step))
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def peak_memory() -> dict[str, float]:
  """Highest bytes in use so far: of the fullest device where the backend counts them, and of this process."""
  scale = 1 if sys.platform == "darwin" else 1024
  found = {"host_peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)}
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  if peaks := [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]:
    found["device_peak_bytes"] = float(max(peaks))
  return found
