"""The training loop, whole, in its one order:

  before batch n: look at what batch n - 1 gave, log, close, save, evaluate, stop; then read batch n and step.

Everything that happens "at step n" sees the state after n batches, so a run stopped at any step and started again does
exactly what it would have done. What can fail or take long comes after saving: an evaluation that is on its way when
the run is asked to stop is left, and done after the restart. Nothing about the data is saved: batch n is a function of
the configuration and n. What is trained, pretraining or fine-tuning, is a `Training`; the loop knows neither.
"""

import dataclasses
import json
import pathlib
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from fgait_jax.errors import BadBatch, CheckpointError, DamagedCheckpoint, DataError
from fgait_jax.parallel import hosts
from fgait_jax.training import bad_batches, checkpoints, folders
from fgait_jax.training.metrics import LINES, Display, Sums, Writer, peak_memory
from fgait_jax.training.session import Clock, Profiler, Reading, Stop, Stopped, Watchdog


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """When a run does what. It ends after step `end`, and stops for now at `stop`."""

  end: int
  stop: int
  log_every: int
  save_every: int
  keep: int  # newest checkpoints kept
  keep_every: int  # and those of its multiples; 0 none of them
  on_damage: str  # of the newest checkpoint: "stop", or go on from the "previous" one
  watchdog: float  # minutes without a step after which all stacks are printed; 0 never
  watchdog_stops: bool  # and the run saves and ends
  profile_at: int = -1


class Training(Protocol):
  """Everything in which pretraining and fine-tuning differ (pretraining.py, fine_tuning.py)."""

  limits: Limits
  mesh: Mesh
  meta: dict  # of its checkpoints; that of a run that is continued takes its place
  target: Any  # shapes of the state, with their shardings
  clips: int  # in a batch
  evaluators: Sequence  # each with `name`, `due(step)` and `run(network, step, between) -> {name: value}`
  evaluations_may_fail: bool  # said and left out, or raised
  section: str  # of the configuration that holds the keys of `limits`, such as "config.train"

  def begin(self) -> Any:
    """The state before the first step; may add to `meta`."""

  def step(self, state, batch, number) -> tuple[Any, dict]:
    """`training.step.make_step`'s step."""

  def batches(self, start: int, stop: int):
    """This process's share of batches start..stop-1, a generator."""

  def blank(self) -> dict[str, np.ndarray]:
    """What stands for this process's share of a batch that it cannot read; its names are what the step takes."""

  def sequences(self, host_batch: dict) -> list[str]:
    """Which sequences a batch holds, for people."""

  def network(self, state, step: int) -> Any:
    """What evaluators look at."""

  def close(self, state, saved: checkpoints.Checkpoints, asked: Stop, display: Display) -> bool:
    """Puts into the state after the last step what is solved exactly, unless a stop is asked for; whether it did."""

  def is_whole(self, state) -> bool:
    """Whether nothing is left to `close`."""

  def best(self, evaluations: list[dict]) -> int | None:
    """The step whose checkpoint is kept, beside the newest, given the evaluations so far: {"step", name: value}."""

  def remarks(self, evaluations: list[dict]) -> list[str]:
    """What to say of the last of the evaluations so far, in the light of those before."""

  def has_enough(self, evaluations: list[dict]) -> bool:
    """Whether to end before the last step, given the same."""

  def opening(self, state) -> list[str]:
    """The first lines: what is trained on what."""

  def advice(self, saved: checkpoints.Checkpoints) -> str:
    """What to do where the loss is not a number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
  """How `run` left a training. `evaluations` are all so far; `complete` says that nothing is left to do, `stopped` by
  which signal it was asked to stop, "" for none: it may have come when all was done."""

  state: Any
  step: int
  evaluations: list[dict]
  complete: bool
  stopped: str


def run(training: Training, workdir: pathlib.Path) -> Ended:
  """Trains from the newest checkpoint in `workdir`, or from the start.

  SIGTERM and SIGINT save and return. Raises `RunError` where another run writes there, and `CheckpointError` where the
  folder holds another run or a damaged checkpoint, before the first step; `BadBatch` at a step whose loss is bad,
  unless it is skipped, and `DataError` at one whose batch cannot be read, both with the state before it saved.
  """
  watchdog = Watchdog(minutes=training.limits.watchdog, stops=training.limits.watchdog_stops)
  with folders.locked(workdir), watchdog, Stop(watchdog) as asked:
    ended = train(training, workdir, asked)
    stopped = asked.heard()
    if stopped and ended.complete and hosts.is_first():
      print(f"{stopped} came when all was done; it is saved in {workdir}, and the same command goes on from there")
  return dataclasses.replace(ended, stopped=stopped)


def train(training: Training, workdir: pathlib.Path, asked: Stop) -> Ended:
  """`run` in a folder that is locked, with what was saved last on disk when it returns."""
  limits, meta, evaluations = training.limits, training.meta, []
  with checkpoints.Checkpoints(
    workdir, keep=limits.keep, every=limits.keep_every, best=lambda: training.best(evaluations)
  ) as saved:
    # Where to begin.
    start, state, remarks = restored(training, saved)
    path, text = workdir / "config.json", json.dumps(meta["config"], indent=2) + "\n"
    folders.by_first(path, lambda: folders.write_text(path, text))
    stop = max(limits.stop, start)

    sums, pending, clock = Sums(), None, Clock()
    with (
      Reading(training.batches(start, stop), blank=training.blank(), watchdog=asked.watchdog) as reading,
      Writer(workdir, start=start) as writer, Display(start=start, steps=limits.end) as display,
      Profiler(workdir, start=limits.profile_at) as profiler,
    ):
      for line in (*opening(training, state, workdir, start), *remarks, *writer.remarks):
        display.say(line)

      # Only process 0 has read the file, and all must enter an evaluation or none.
      evaluations += json.loads(hosts.agree(json.dumps(writer.evaluations)))
      step = logged_at = start
      while True:
        asked_now = asked.now()
        last = asked_now or step == stop
        log_due = step > logged_at and (last or step % limits.log_every == 0)
        save_due = last or (step > start and step % limits.save_every == 0)
        done = {key.partition("/")[0] for line in evaluations if line["step"] == step for key in line}
        evaluators_left = [e for e in training.evaluators if e.due(step) and e.name not in done]
        evaluators_due = [] if asked_now else evaluators_left

        # Look at batch `step - 1`; otherwise this happens one batch late, so that the device never waits for the host.
        if log_due or save_due or evaluators_due:
          pending = collect_metrics(pending, sums, state, saved, training, reading, writer, display)

        # Log.
        if log_due:
          values = sums.means() | clock.lap(training.clips) | peak_memory()
          writer.write(step, "train", values)
          display.train(step, values)
          saved.check()
          writer.check()
          logged_at = step

        # Close: what is solved exactly, after the last step.
        with clock.away():
          closed = step == limits.end and not asked_now and training.close(state, saved, asked, display)

        # Save.
        with clock.away():
          if save_due:
            saved.save(step, state, meta, replace=closed)

        # Evaluate: the network, as it would be loaded from a checkpoint of this step.
        with clock.away():
          found = evaluate(training, evaluators_due, state, step, asked, writer, display) if evaluators_due else []
          evaluations += found
          for line in training.remarks(evaluations) if found else ():
            display.say(line)
        if evaluators_due and asked.now():
          continue  # log and save this step, unless it has been

        # Stop.
        enough = training.has_enough(evaluations)
        if last or enough:
          writer.check()
          break

        # Read batch `step`, and step.
        with clock.waiting():
          host_batch = reading.next()
        if reading.error and alone():  # no other process waits for this step
          collect_metrics(pending, sums, state, saved, training, reading, writer, display)
          end_unread(reading, step, state, saved, meta)
        batch = hosts.to_global({name: host_batch[name] for name in (*reading.blank, "readable")}, training.mesh)
        profiler.at(step)
        with clock.stepping(compiles=step == start):
          state, metrics = training.step(state, batch, np.int32(step))
          collect_metrics(pending, sums, state, saved, training, reading, writer, display)
        pending = (step, metrics, host_batch)
        step += 1
        display.advance(step)
      left = asked_now and evaluators_left
      complete = enough or (step == limits.end and training.is_whole(state) and not left)
      display.say(closing(asked, step, limits.end, saved.folder, complete=complete))
  return Ended(state=state, step=step, evaluations=evaluations, complete=complete, stopped=asked.name)


def restored(training: Training, saved: checkpoints.Checkpoints) -> tuple[int, Any, list[str]]:
  """(step, state, remarks) of the newest checkpoint, or of the start; `training.meta` becomes that of the run.

  A damaged one is raised, or where `limits.on_damage` says so moved aside, once one before it is found sound.
  """
  steps, damaged = saved.steps(), {}
  for step in reversed(steps):
    try:
      before = saved.meta(step)
      checkpoints.check_restart(saved.folder, before, training.meta)
      state = saved.restore(step, training.target)
    except DamagedCheckpoint as error:
      if training.limits.on_damage != "previous":
        others = f"; sound or not, there are those of steps {steps[:-1]}" if steps[1:] else "; there is no other"
        raise DamagedCheckpoint(f"{error}{others}. To go on from the newest sound one, give the same command with"
                                f" --{training.section}.on_damage=previous") from error
      damaged[step] = error
    else:
      remarks = [f"passed over {error}; now in {saved.set_aside(step)}" for step, error in damaged.items()]
      training.meta.update({n: before[n] for n in ("run", "data", "people", "sources", "started_from") if n in before})
      return step, state, remarks
  if damaged:
    raise CheckpointError("; ".join(map(str, damaged.values())) + ". There is no other; begin anew in another folder")
  return 0, training.begin(), []


def evaluate(
  training: Training, evaluators: Sequence, state, step: int, asked: Stop, writer: Writer, display: Display
) -> list[dict]:
  """Runs the evaluations of a step, logs all in one line and returns it; none where the run is to stop first: the
  restart does them. One that fails is said and logged, with where it failed, where training can do without."""
  network, values = training.network(state, step), {}
  for evaluator in evaluators:
    try:
      found = evaluator.run(network, step, asked.check)
    except Stopped:
      return []
    except Exception as error:
      if not training.evaluations_may_fail:
        raise
      writer.failed(step, traceback.format_exc())
      display.say(f"step {step}: the evaluation {evaluator.name} failed and is left out, training goes on; {LINES} has"
                  f" the whole error: {type(error).__name__}: {error}")
    else:
      display.evaluate(step, found)
      values |= found
  if not values:
    return []
  writer.write(step, "evaluate", values)
  return [{"step": step, **values}]


def alone() -> bool:
  return jax.process_count() == 1


def end_unread(reading: Reading, step: int, state, saved, meta) -> None:
  """Saves the state before batch `step`, which some process could not read, and raises `DataError` with its words."""
  if step > 0:
    saved.save(step, state, meta)
  words = reading.words()
  kept = f"The state before it is saved as step {step} in {saved.folder}; mend" if step > 0 else "Mend"
  raise DataError(
    f"batch {step} cannot be read: {words}. {kept} or leave out what cannot be read, then the same command goes on"
  ) from reading.error


def collect_metrics(
  pending, sums: Sums, state, saved, training: Training, reading: Reading, writer: Writer, display: Display
) -> None:
  """Waits for the metrics of one step and adds them; raises `DataError` if its batch could not be read by every
  process, and `BadBatch` if its loss is bad and it was not skipped.

  The state never took that step (see `training.step`): it is saved as it was before it. Which batch it was is written
  to a file in either case.
  """
  if pending is None:
    return
  step, metrics, host_batch = pending
  metrics = jax.device_get(metrics)
  if not metrics.pop("readable")[0]:
    end_unread(reading, step, state, saved, training.meta)
  finite, spike, skipped = (bool(metrics.pop(name)[0]) for name in ("finite", "spike", "skipped"))
  if finite and not spike:
    sums.add(metrics)
    return
  loss, norm = (float(metrics[name][0]) for name in ("loss", "gradient_norm"))
  what = f"loss {loss:g} with gradient norm {norm:g} at step {step}, in batch number {step}"
  if finite:
    what += f", is above {training.section}.spike times the median of those before"
  values, sequences = {"loss": loss, "gradient_norm": norm}, training.sequences(host_batch)
  file = bad_batches.write(saved.folder.parent, step, values, sequences, training.meta)
  if skipped:
    writer.write(step, "skipped", values)
    display.say(f"skipped: {what}; {file} says which sequences it holds")
    return
  saved.save(step, state, training.meta)
  raise BadBatch(
    f"{what}. The state before it is saved as step {step} in {saved.folder}. Its sequences:"
    f" {', '.join(sequences)}. Look at these first ({file}); else {training.advice(saved)} The same"
    f" command with --{training.section}.on_nonfinite=skip goes on without such batches, skip_at_most in a row."
  )


def opening(training: Training, state, workdir: pathlib.Path, start: int) -> list[str]:
  """The first lines of a run: devices, mesh, what is trained on what, and where everything is written."""
  mesh = training.mesh
  device = mesh.devices.flat[0]
  return [
    f"devices     {mesh.size} x {device.device_kind} ({device.platform}) in {jax.process_count()} processes",
    f"mesh        {', '.join(f'{name} {size}' for name, size in mesh.shape.items())}",
    *training.opening(state),
    f"written to  {workdir}: config.json, {LINES}, tensorboard/, {checkpoints.FOLDER}/",
    f"steps       {start} to {training.limits.end}" + (" (continuing)" if start else ""),
  ]


def closing(asked: Stop, step: int, end: int, folder: pathlib.Path, *, complete: bool) -> str:
  """The last line: done, or how to go on."""
  if complete:
    early = f" of {end}: no better score for a while" if step < end else ""
    return f"done: {step} steps{early}, saved in {folder}"
  why, words = f"stopped by {asked.name}", sys.argv
  if not asked.name:  # the same words would stop it here again
    why = "stopped as config.train.stop_at asks"
    words = [*(w for w in words if not w.startswith("--config.train.stop_at=")), "--config.train.stop_at=-1"]
  command = shlex.join([pathlib.Path(sys.executable).name, *words])
  return f"{why} at step {step} of {end}, saved in {folder}. To continue as if never stopped: {command}"
