"""What surrounds the loop without being part of training: signals, the clock, and the profiler."""

import contextlib
import pathlib
import signal
import threading
import time

import jax
import numpy as np

from fgait_jax.parallel import hosts


class Stop:
  """SIGTERM and SIGINT ask the loop to save and end; a second one of them acts at once, as usual."""

  def __init__(self):
    self.name = ""
    self._answer = None

  def __enter__(self):
    self._before = {}
    if threading.current_thread() is threading.main_thread():
      self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _ask(self, number, _):
    self.name = signal.Signals(number).name
    signal.signal(number, self._before[number])

  def now(self) -> bool:
    """Whether to stop; the loop asks before every step. Several processes stop together, a step after one was asked:
    the answer read is the one before, which the device has given by now, so that nothing waits for it."""
    if jax.process_count() == 1:
      return bool(self.name)
    before, self._answer = self._answer, hosts.any_process_later(bool(self.name))
    if before is None or not np.asarray(before):
      return False
    self.name = self.name or "a signal to another process"
    return True


class Clock:
  """Times between log lines, without evaluations, checkpoints and compilation."""

  def __init__(self):
    self._reset()

  def _reset(self):
    self._began, self._steps, self._waited, self._away = time.monotonic(), 0, 0.0, 0.0

  @contextlib.contextmanager
  def waiting(self):
    began = time.monotonic()
    yield
    self._waited += time.monotonic() - began

  @contextlib.contextmanager
  def away(self):
    began = time.monotonic()
    yield
    self._away += time.monotonic() - began

  @contextlib.contextmanager
  def stepping(self, *, compiles: bool):
    """The first step of a process compiles; it is not counted."""
    yield
    if compiles:
      self._reset()
    else:
      self._steps += 1

  def lap(self, clips: int) -> dict[str, float]:
    """Rates since the last lap, at `clips` per step; {} when no step was timed."""
    elapsed, steps, waited = time.monotonic() - self._began - self._away, self._steps, self._waited
    self._reset()
    if not steps:
      return {}
    return {
      "seconds_per_step": elapsed / steps, "clips_per_second": clips * steps / elapsed,
      "waiting_share": waited / elapsed,
    }


class Profiler:
  """A trace of five steps for TensorBoard's profile page, into <workdir>/profile."""

  LENGTH = 5

  def __init__(self, workdir: pathlib.Path, *, start: int):
    self.folder, self.start, self.running = workdir / "profile", start, False

  def __enter__(self):
    return self

  def at(self, step: int) -> None:
    if step == self.start and self.start >= 0:
      jax.profiler.start_trace(str(self.folder))
      self.running = True
    elif self.running and step >= self.start + self.LENGTH:
      self.__exit__()

  def __exit__(self, *_):
    if self.running:
      jax.profiler.stop_trace()
      self.running = False
