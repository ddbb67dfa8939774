"""Where numbers of a run go: JSON lines, TensorBoard event files, and the console with its progress bar.

A line of `metrics.jsonl` is {"step": batches used so far, "kind": "train" or "evaluate", name: value, ...}, or of the
kind "failed" with the "error" of an evaluation. Only process 0 writes. After a restart, lines of steps after the
checkpoint are dropped: they will come again.
"""

import json
import math
import pathlib
import resource
import sys
import time

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

LINES = "metrics.jsonl"
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
  """Metric files of a run; use with `with`."""

  def __init__(self, workdir: pathlib.Path, *, start: int):
    self.active = jax.process_index() == 0
    self.path = workdir / LINES
    self.evaluations: list[dict] = []  # on file up to step `start`: {"step", name: value}, as process 0 alone knows
    if self.active:
      kept = [line for line in read_lines(workdir) if line["step"] <= start] if start else []
      found = [line for line in kept if line["kind"] == "evaluate"]
      self.evaluations = [{name: value for name, value in line.items() if name != "kind"} for line in found]
      self.path.write_text("".join(json.dumps(line) + "\n" for line in kept))
      self.events = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1 if start else None)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self.active:
      self.events.close()

  def write(self, step: int, kind: str, values: dict[str, float]) -> None:
    """One line, and one scalar "<kind>/<name>" each; a value that is not finite is written as null in JSON."""
    if not self.active:
      return
    line = {"step": step, "kind": kind}
    self._append(line | {name: value if math.isfinite(value) else None for name, value in values.items()})
    for name, value in values.items():
      self.events.add_scalar(f"{kind}/{name}", value, step)
    self.events.flush()

  def failed(self, step: int, error: str) -> None:
    """One line about an evaluation that could not be done."""
    if self.active:
      self._append({"step": step, "kind": "failed", "error": error})

  def _append(self, line: dict) -> None:
    with self.path.open("a") as file:
      file.write(json.dumps(line) + "\n")


def read_lines(workdir: pathlib.Path) -> list[dict]:
  """The lines of a run's `metrics.jsonl`; one cut short by a crash is left out."""
  path = pathlib.Path(workdir) / LINES
  lines = []
  for text in path.read_text().splitlines() if path.exists() else []:
    try:
      lines.append(json.loads(text))
    except json.JSONDecodeError:
      continue
  return lines


class Display:
  """The console: a progress bar with rate, losses and time left on a terminal, plain lines in a log file."""

  def __init__(self, *, start: int, steps: int, console: Console | None = None):
    self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
    self.active = jax.process_index() == 0
    self.began, self.start, self.steps = time.monotonic(), start, steps
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
    numbers = " ".join(
      f"{short} {100 * values[name]:.3g}%" if short == "acc" else f"{short} {values[name]:.4g}"
      for name, short in (
        ("loss", "loss"), ("reconstruction", "rec"), ("contrastive", "con"), ("contrastive_accuracy", "acc"),
        ("triplet", "tri"), ("cross_entropy", "ce"), ("accuracy", "acc"),
        ("rate", "lr"), ("clips_per_second", "clips/s"),
      )
      if name in values
    )
    if self.live:
      self.bar.update(self.task, completed=step, numbers=numbers)
    else:
      self.say(f"step {step}/{self.steps}  {numbers}  left {self._left(step)}")

  def evaluate(self, step: int, values: dict[str, float]) -> None:
    self.say(f"step {step}/{self.steps}  evaluation  " + "  ".join(f"{k} {v:.4g}" for k, v in values.items()))

  def _left(self, step: int) -> str:
    if step == self.start:
      return "?"
    seconds = int((time.monotonic() - self.began) / (step - self.start) * (self.steps - step))
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def peak_memory() -> dict[str, float]:
  """Highest bytes in use so far: of the fullest device where the backend counts them, and of this process."""
  scale = 1 if sys.platform == "darwin" else 1024
  found = {"host_peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)}
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  if peaks := [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]:
    found["device_peak_bytes"] = float(max(peaks))
  return found
