"""The training loop, whole, in its one order:

  before batch n: look at what batch n - 1 gave, log, save, evaluate, stop; then read batch n and step.

Everything that happens "at step n" sees the state after n batches, so a run stopped at any step and started again does
exactly what it would have done. What can fail or take long comes after saving: an evaluation that fails is said and
logged, and one that is on its way when the run is asked to stop is left, and done after the restart. Nothing about the
data is saved: batch n is a function of the configuration and n.
"""

import json
import pathlib
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np

from fgait_jax.data.pipeline import batches as open_batches
from fgait_jax.data.schema import HEIGHT, WIDTHS
from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError, DataError, FgaitError, NonFiniteLoss
from fgait_jax.models.discriminant import is_fitted
from fgait_jax.parallel import hosts
from fgait_jax.parallel.mesh import make_mesh, replicated
from fgait_jax.training import checkpoints, configuration, discriminant, preflight
from fgait_jax.training import state as states
from fgait_jax.training.metrics import LINES, Display, Sums, Writer, peak_memory
from fgait_jax.training.preflight import use_compilation_cache
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.session import Clock, Profiler, Reading, Stop, Stopped
from fgait_jax.training.step import step_of


def run(
  config, workdir: str | pathlib.Path, *, evaluators: Sequence = (), splits: Mapping | None = None, devices=None
):
  """Trains from the newest checkpoint in `workdir`, or from the start, and returns the state.

  Every evaluator has a `name`, `due(step) -> bool` and `run(Pretrained, step, between) -> dict[str, float]`, which
  calls `between()` between its batches: it raises `Stopped` where the run is to stop. `splits`, by name, stands in for
  those of `config.data.sets`, and `devices` for all there are. SIGTERM and SIGINT save and return. Raises
  `ConfigError`, `DataError`, `CheckpointError` before the first step; `NonFiniteLoss` at a step whose loss is not a
  number and `DataError` at one whose batch cannot be read, both with the state before it saved.
  """
  preflight.settle()
  use_compilation_cache(config.train.compilation_cache)
  workdir = preflight.writable(workdir, flag="--workdir")
  mesh = make_mesh(data=config.mesh.data, fsdp=config.mesh.fsdp, tensor=config.mesh.tensor, devices=devices)
  configuration.check(config, mesh)
  splits = opened(config.data.dir, config.data.sets) if splits is None else splits
  closing_sets = config.discriminant.sets if config.model.discriminant else {}
  closing_splits = opened(config.data.dir, closing_sets, first=splits) or splits
  met = list({split.name: split for split in (*splits.values(), *closing_splits.values())}.values())
  for split in met:
    if (channels := split.frames(0, np.arange(1)).shape[-1]) != config.model.channels:
      raise ConfigError(f"config.model.channels={config.model.channels}, but frames of {split.name} have {channels}")
  graph, target, shardings = states.abstract(config, mesh)
  optimizer, schedule = states.optimizer_of(config, target["params"]), states.schedule_of(config)
  steps = config.train.steps
  stop = steps if config.train.stop_at < 0 else config.train.stop_at

  with checkpoints.Checkpoints(workdir, keep=config.train.keep) as saved, Stop() as asked:
    # Where to begin.
    meta = checkpoints.new_meta(config, {split.name: split.manifest["content_hash"] for split in met},
                                checkpoints.people_of(met))
    start = saved.latest() or 0
    if saved.latest() is None:
      _, state, _ = states.create(config, mesh)
      if config.train.start_from:
        weights, meta["started_from"] = checkpoints.weights_to_start_from(config.train.start_from, state, mesh)
        state |= weights
        meta["data"] = meta["started_from"]["data"] | meta["data"]
        meta["people"] = checkpoints.people_of(met, meta["started_from"]["people"])
    else:
      before = saved.meta(start)
      checkpoints.check_restart(saved.folder, before, meta)
      meta |= {name: before[name] for name in ("run", "data", "people", "started_from") if name in before}
      state = saved.restore(start, target)
    if hosts.is_first():
      (workdir / "config.json").write_text(json.dumps(meta["config"], indent=2) + "\n")
    stop = max(stop, start)

    train_step = step_of(config, graph, optimizer, mesh=mesh, shardings=shardings, schedule=schedule)
    sums, pending, clock = Sums(), None, Clock()
    with (
      Reading(batches(config, splits, start=start, stop=stop), blank=blank(config)) as reading,
      Writer(workdir, start=start) as writer, Display(start=start, steps=steps) as display,
      Profiler(workdir, start=config.train.profile_at) as profiler,
    ):
      for line in opening(config, mesh, state, splits, workdir, start):
        display.say(line)

      # Only process 0 has read the file, and all must enter an evaluation or none.
      evaluated_at = start if hosts.any_process(writer.evaluated) else None
      step = logged_at = start
      while True:
        asked_now = asked.now()
        last = asked_now or step == stop
        log_due = step > logged_at and (last or step % config.train.log_every == 0)
        save_due = last or (step > start and step % config.train.save_every == 0)
        evaluators_due = [e for e in evaluators if e.due(step) and step != evaluated_at and not asked_now]

        # Look at batch `step - 1`; otherwise this happens one batch late, so that the device never waits for the host.
        if log_due or save_due or evaluators_due:
          pending = settle(pending, sums, state, saved, meta, splits, reading)

        # Log.
        if log_due:
          values = sums.means() | clock.lap(config.data.batch_size * config.data.clips) | peak_memory()
          writer.write(step, "train", values)
          display.train(step, values)
          saved.check()
          logged_at = step

        # Close: what is solved exactly, after the last step.
        with clock.away():
          closed = step == steps and not asked_now and close(
            config, graph, state, closing_splits, saved, meta, asked, display, mesh=mesh
          )

        # Save.
        with clock.away():
          if save_due:
            saved.save(step, state, meta, replace=closed)

        # Evaluate: the teacher, as it would be loaded from a checkpoint of this step.
        with clock.away():
          if evaluators_due:
            teacher = teacher_of(state, graph, config, mesh, workdir, meta, step)
            evaluate(evaluators_due, teacher, asked, writer, display)
        if evaluators_due and asked.now():
          continue  # log and save this step, unless it has been

        # Stop.
        if last:
          break

        # Read batch `step`, and step.
        with clock.waiting():
          host_batch = reading.next()
        if reading.error and alone():  # no other process waits for this step
          settle(pending, sums, state, saved, meta, splits, reading)
          end_unread(reading, step, state, saved, meta)
        names = ("frames", "valid", "group", "readable")
        batch = hosts.to_global({name: host_batch[name] for name in names}, mesh)
        profiler.at(step)
        with clock.stepping(compiles=step == start):
          state, metrics = train_step(state, batch, np.int32(step))
          settle(pending, sums, state, saved, meta, splits, reading)
        pending = (step, metrics, host_batch)
        step += 1
        display.advance(step)
      display.say(closing(asked, step, steps, saved.folder, whole=not unclosed(config, state)))
  return state


def unclosed(config, state) -> bool:
  """Whether a discriminant is asked for and not learnt yet."""
  return bool(config.model.discriminant) and not is_fitted(state["teacher"]["stats"])


def close(config, graph, state, splits, saved, meta, asked: Stop, display: Display, *, mesh) -> bool:
  """Learns the discriminant of a state after its last step, into it; whether it did. Not where a stop is asked for
  first: the restart does. Raises `DataError` where it cannot be learnt, with the state saved as it was."""
  if not unclosed(config, state):
    return False
  taught, numbers = discriminant.lessons(config)
  display.say(f"learning the discriminant from {len(numbers) * config.data.batch_size * config.data.clips:,} clips")
  stream = batches(taught, splits, start=numbers.start, stop=numbers.stop)
  try:
    with Reading(stream, blank=blank(taught)) as reading:
      found = discriminant.learn(
        config, graph, state["teacher"], reading, numbers=numbers, mesh=mesh, between=asked.check
      )
  except Stopped:
    return False
  except FgaitError as error:
    saved.save(config.train.steps, state, meta)
    raise DataError(
      f"the discriminant cannot be learnt: {error}. The state before it is saved as step {config.train.steps} in"
      f" {saved.folder}; mend or leave out what is wrong, then the same command learns it"
    ) from error
  state["teacher"]["stats"]["discriminant"] = jax.device_put(found, replicated(mesh))
  return True


def evaluate(evaluators: Sequence, teacher: Pretrained, asked: Stop, writer: Writer, display: Display) -> None:
  """Runs the evaluations of a step and logs all in one line, or none where the run is to stop first: the restart does
  them. One that fails is said and logged, with where it failed: training can do without."""
  step, values = teacher.step, {}
  for evaluator in evaluators:
    try:
      found = evaluator.run(teacher, step, asked.check)
    except Stopped:
      return
    except Exception as error:
      writer.failed(step, traceback.format_exc())
      display.say(f"step {step}: the evaluation {evaluator.name} failed and is left out, training goes on; {LINES} has"
                  f" the whole error: {type(error).__name__}: {error}")
    else:
      display.evaluate(step, found)
      values |= found
  if values:
    writer.write(step, "evaluate", values)


def opened(folder: str, sets, *, first: Iterable[str] = ()) -> dict:
  """Name -> split of each of `sets`, sorted, those named in `first` before the others: an order that is the same
  however the sets were written down, so that it cannot change what a batch holds."""
  names = sorted(sets, key=lambda name: (name not in first, name))
  return {name: open_split(folder, name, sets[name].split) for name in names}


def batches(config, splits: Mapping, *, start: int, stop: int):
  """This process's share of batches start..stop-1, as `fgait_jax.data.pipeline` gives them; `dataset` in them numbers
  `splits` in their order, and all else that is said of a data set is found by its name."""
  data, sets = config.data, [config.data.sets[name] for name in splits]
  return open_batches(
    tuple(splits.values()), factors=tuple(s.factor for s in sets), positives=tuple(s.positives for s in sets),
    seed=config.seed, batch_size=data.batch_size, clips=data.clips, clip_frames=data.clip_frames,
    window_frames=data.window_frames, exponent=data.exponent, mix=data.mix, start=start, stop=stop,
    process_index=jax.process_index(), process_count=jax.process_count(), threads=data.threads, workers=data.workers,
    prefetch=data.prefetch,
  )


def alone() -> bool:
  return jax.process_count() == 1


def blank(config) -> dict[str, np.ndarray]:
  """What stands for this process's share of a batch that it cannot read."""
  data = config.data
  share, clips = data.batch_size // jax.process_count(), (data.clips, data.clip_frames)
  return {
    "frames": np.zeros((share, *clips, HEIGHT, WIDTHS[0], config.model.channels), np.uint8),
    "valid": np.ones((share, *clips), bool), "group": np.zeros(share, np.int32),
  }


def end_unread(reading: Reading, step: int, state, saved, meta) -> None:
  """Saves the state before batch `step`, which some process could not read, and raises `DataError` with its words."""
  if step > 0:
    saved.save(step, state, meta)
  words = reading.words()
  kept = f"The state before it is saved as step {step} in {saved.folder}; mend" if step > 0 else "Mend"
  raise DataError(
    f"batch {step} cannot be read: {words}. {kept} or leave out what cannot be read, then the same command goes on"
  ) from reading.error


def settle(pending, sums: Sums, state, saved, meta, splits, reading: Reading) -> None:
  """Waits for the metrics of one step and adds them; raises `DataError` if its batch could not be read by every
  process, and `NonFiniteLoss` if they are not numbers.

  The state never took that step (see `training.step`): it is saved as it was before it.
  """
  if pending is None:
    return
  step, metrics, host_batch = pending
  metrics = jax.device_get(metrics)
  if not metrics.pop("readable")[0]:
    end_unread(reading, step, state, saved, meta)
  if metrics.pop("finite")[0]:
    sums.add(metrics)
    return
  saved.save(step, state, meta)
  rows = zip(*(host_batch[name].tolist() for name in ("dataset", "index", "positive")), strict=True)
  of = list(splits.values())
  keys = [f"{of[d].name}/{of[d].keys[row]}" for d, *pair in rows for row in dict.fromkeys(pair)]
  loss, norm = (float(metrics[name][0]) for name in ("loss", "gradient_norm"))
  raise NonFiniteLoss(
    f"loss {loss} with gradient norm {norm} at step {step}, in batch number {step}. The state before it is saved as"
    f" step {step} in {saved.folder}. Its sequences: {', '.join(keys)}. Look at these sequences first; else begin a new"
    f" --workdir with --config.train.start_from={saved.folder.parent} (or, where that state is broken already, an"
    " earlier folder in its checkpoints) and a lower config.optim.peak_rate, a longer config.optim.warmup_steps, or"
    " config.model.dtype=float32."
  )


def teacher_of(state, graph, config, mesh, workdir, meta, step) -> Pretrained:
  """What `checkpoints.load_network` would give for this step."""
  return Pretrained(
    graph=graph, **state["teacher"], config=config, step=step, path=workdir, identity=f"{meta['run']}-{step}-teacher",
    mesh=mesh,
  )


def told(positives: str) -> str:
  """What pretraining is told of a data set, given its `positives`."""
  return "without labels" if positives == "sequence" else f"told the {positives} of each"


def opening(config, mesh, state, splits, workdir, start) -> list[str]:
  """The first lines of a run: devices, mesh, parameters, data, and where everything is written."""
  device = mesh.devices.flat[0]
  total = states.count_parameters(state["params"])
  parts = ", ".join(f"{name} {states.count_parameters(tree):,}" for name, tree in state["params"].items())
  return [
    f"devices     {mesh.size} x {device.device_kind} ({device.platform}) in {jax.process_count()} processes",
    f"mesh        {', '.join(f'{name} {size}' for name, size in mesh.shape.items())}",
    f"model       {config.model.name} {config.model.variant}: {total:,} parameters ({parts}), student and teacher each",
    *(f"data        {split.name}: {len(split):,} sequences, {told(config.data.sets[name].positives)}"
      for name, split in splits.items()),
    f"batch       {config.data.batch_size} sequences x {config.data.clips} clips x {config.data.clip_frames} frames",
    f"readers     {max(config.data.workers, 1)} x {config.data.threads} threads in each process of training",
    *([f"weights     of {config.train.start_from} to begin with"] if config.train.start_from else []),
    f"written to  {workdir}: config.json, {LINES}, tensorboard/, {checkpoints.FOLDER}/",
    f"steps       {start} to {config.train.steps}" + (" (continuing)" if start else ""),
  ]


def closing(asked, step: int, steps: int, folder: pathlib.Path, *, whole: bool) -> str:
  """The last line: done, or how to go on."""
  if step == steps and whole:
    return f"done: {steps} steps, saved in {folder}"
  why = f"stopped by {asked.name}" if asked.name else "stopped as config.train.stop_at asks"
  command = shlex.join([pathlib.Path(sys.executable).name, *sys.argv])
  return f"{why} at step {step} of {steps}, saved in {folder}. To continue as if never stopped: {command}"
