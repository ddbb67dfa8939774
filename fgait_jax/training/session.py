"""What surrounds the loop without being part of training: signals, the watchdog, reading, the clock, the profiler."""

import contextlib
import faulthandler
import pathlib
import signal
import threading
import time

import jax
import numpy as np

from fgait_jax.errors import FgaitError, ReaderHangs
from fgait_jax.parallel import hosts


class Stopped(Exception):
  """Something was left because the run is to stop, by the signal that it names; the same command goes on."""


class Watchdog:
  """Prints the stacks of all threads on stderr whenever `alive` was not called for `minutes` (0: never); use with
  `with`, in the main thread.

  Where it `stops` the run, too, a batch that is waited for then counts as one that cannot be read, so that the run
  saves and ends. Anything else that hangs, as a device or an evaluation, cannot be left from outside: the run stops
  when it comes back.
  """

  def __init__(self, *, minutes: float, stops: bool):
    self.seconds, self.stops, self.reading, self.barked = 60 * minutes, stops, False, False

  def __enter__(self):
    self.active = self.seconds > 0 and threading.current_thread() is threading.main_thread()
    if self.active and self.stops:
      self._before = signal.signal(signal.SIGALRM, self._bark)
    return self

  def __exit__(self, *_):
    if self.active:
      faulthandler.cancel_dump_traceback_later()
      if self.stops:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

  def alive(self) -> None:
    if self.active:
      faulthandler.dump_traceback_later(self.seconds, repeat=True, file=2)  # needs no lock that a hung thread may hold
      if self.stops:
        signal.setitimer(signal.ITIMER_REAL, self.seconds + 1)  # once the stacks are printed

  def _bark(self, *_):
    self.barked = True
    if self.reading:
      raise ReaderHangs(f"nothing was read for {self.seconds / 60:g} minutes, the stacks above say where it hangs")


class Stop:
  """SIGTERM and SIGINT ask the loop to save and end; a second one of them acts at once, as usual. So does `watchdog`
  where it stops runs, which is told at every question that the run is alive."""

  def __init__(self, watchdog: Watchdog):
    self.name, self.watchdog = "", watchdog
    self._answer = None
    self._decided = False

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
    """Whether to stop; the loop asks before every step, and an evaluation between its batches. Several processes stop
    together, a question after one was asked: the answer read is the one before, which the device has given by now, so
    that nothing waits for it. A stop once decided stays."""
    self.watchdog.alive()
    if self.watchdog.barked:
      self.name = self.name or "the watchdog"
    if jax.process_count() == 1 or self._decided:
      return bool(self.name)
    before, self._answer = self._answer, hosts.any_process_later(bool(self.name))
    self._decided = before is not None and bool(np.asarray(before))
    if self._decided:
      self.name = self.name or "a signal to another process"
    return self._decided

  def heard(self) -> str:
    """By which signal any process was asked to stop, "" for none; all must call it together, and wait."""
    return hosts.first_message(self.name)

  def check(self) -> None:
    """Raises `Stopped` where the run is to stop; all processes must call it together."""
    if self.now():
      raise Stopped(self.name)


class Reading:
  """The batches that this process reads; use with `with`.

  Of several processes none may stay out of a step that the others take. So a batch that cannot be read is blank and
  not `readable`, as are all after it: the step changes nothing (training/step.py), and all processes learn of it
  together. `error` is what went wrong, once something has.
  """

  def __init__(self, stream, *, blank: dict[str, np.ndarray], watchdog: Watchdog):
    self.stream, self.blank, self.watchdog, self.error = stream, blank, watchdog, None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.stream.close()

  def next(self) -> dict[str, np.ndarray]:
    batch = self.blank
    if self.error is None:
      try:
        self.watchdog.reading = True
        batch = next(self.stream)
      except Exception as error:  # of whatever file system; the loop passes all of them on
        self.error = error
      finally:
        self.watchdog.reading = False
    return batch | {"readable": np.full(len(batch["frames"]), self.error is None)}

  def words(self) -> str:
    """What went wrong, in the words of the first process for which something has; all must call it together."""
    error = self.error
    return hosts.first_message("" if error is None else str(error) if isinstance(error, FgaitError) else repr(error))


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
