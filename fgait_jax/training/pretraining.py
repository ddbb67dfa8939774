"""Pretraining as the loop trains it: a student and its teacher on clips without names, from a configuration of
`run_pretrain.py`."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fgait_jax.data.pipeline import batches as open_batches
from fgait_jax.data.schema import HEIGHT, WIDTHS
from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError, DataError, FgaitError
from fgait_jax.models.discriminant import is_fitted
from fgait_jax.parallel import hosts
from fgait_jax.parallel.mesh import make_mesh, replicated
from fgait_jax.paths import local_path
from fgait_jax.training import (
  bad_batches,
  checkpoints,
  configuration,
  discriminant,
  loop,
  pixels,
  preflight,
  watch,
  weights,
)
from fgait_jax.training import state as states
from fgait_jax.training.metrics import Display
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.session import Reading, Stop, Stopped, Watchdog
from fgait_jax.training.step import pretraining_step


def run(
  config, workdir: str | pathlib.Path, *, evaluators: Sequence = (), splits=None, devices=None
) -> loop.Ended:
  """Trains from the newest checkpoint in `workdir`, or from the start.

  Every evaluator has a `name`, `due(step) -> bool` and `run(Pretrained, step, between) -> dict[str, float]`, which
  calls `between()` between its batches: it raises `Stopped` where the run is to stop. `splits`, by name, stands in for
  those of `config.data.sets`, and `devices` for all there are. Raises `ConfigError`, `DataError`, `CheckpointError`
  before the first step, and what `loop.run` raises.
  """
  training = prepare(config, workdir, evaluators=evaluators, splits=splits, devices=devices)
  return loop.run(training, training.workdir)


def replay(file: str | pathlib.Path, given=None, *, splits=None, devices=None) -> list[str]:
  """`bad_batches.replay` of a file in a run's folder, with `splits` and `devices` as in `run`. Devices and
  readers (`configuration.PLACE`) are those of the configuration `given`, if it is."""
  path = local_path(file, "--replay")
  number, config = bad_batches.read(path)
  if lacking := configuration.lacking(config, ("",)):
    raise DataError(f"--replay={path}: its config has {', '.join(lacking[:5])} not or of another kind; use the version"
                    " that wrote it")
  config = ConfigDict(config)
  if given is not None:
    config.update_from_flattened_dict(configuration.place(given))
  training = prepare(config.lock(), path.parent.parent, evaluators=(), splits=splits, devices=devices)
  return bad_batches.replay(training, training.workdir, number)


def prepare(
  config, workdir: str | pathlib.Path, *, evaluators: Sequence, splits: Mapping | None, devices
) -> "Pretraining":
  """What `run` trains, checked; raises what it raises before the first step."""
  preflight.configure_jax()
  preflight.use_compilation_cache(config.train.compilation_cache)
  workdir = preflight.writable(workdir, flag="--workdir")
  weights.refuse_over(workdir, "--workdir")
  mesh = make_mesh(data=config.mesh.data, fsdp=config.mesh.fsdp, tensor=config.mesh.tensor, devices=devices)
  configuration.check(config, mesh)
  if splits is None:
    splits = hosts.together(lambda: opened(config.data.dir, config.data.sets))
  closing_sets = config.discriminant.sets if config.model.discriminant else {}
  closing_splits = hosts.together(lambda: opened(config.data.dir, closing_sets, first=splits)) or splits
  met = list({split.name: split for split in (*splits.values(), *closing_splits.values())}.values())
  check_frames(met, config.model)
  graph, target, shardings = states.abstract(config, mesh)
  hashes = {split.name: split.manifest["content_hash"] for split in met}
  train = config.train
  return Pretraining(
    config=config, mesh=mesh, graph=graph, target=target, splits=splits, closing_splits=closing_splits,
    evaluators=evaluators, workdir=workdir, step=pretraining_step(config, graph, mesh=mesh, shardings=shardings),
    meta=checkpoints.new_meta(config, hashes, checkpoints.people_of(met)) | {"sources": checkpoints.sources_of(met)},
    limits=loop.Limits(
      end=train.steps, stop=train.steps if train.stop_at < 0 else train.stop_at, log_every=train.log_every,
      save_every=train.save_every, keep=train.keep, keep_every=train.keep_every, on_damage=train.on_damage,
      watchdog=train.watchdog, watchdog_stops=train.watchdog_stops, profile_at=train.profile_at,
    ),
  )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Pretraining:
  """A `loop.Training` on `splits`, by name; `closing_splits` teach the discriminant."""

  config: Any
  mesh: Mesh
  graph: states.Graph
  target: Any
  step: Any
  splits: Mapping
  closing_splits: Mapping
  evaluators: Sequence
  workdir: pathlib.Path
  meta: dict
  limits: loop.Limits

  evaluations_may_fail = True
  section = "config.train"

  @property
  def clips(self) -> int:
    return self.config.data.batch_size * self.config.data.clips

  def begin(self):
    shardings = jax.tree.map(lambda leaf: leaf.sharding, self.target)
    state = states.initialiser(self.config, self.graph, shardings)()
    if self.config.train.start_from:
      weights, origin = checkpoints.weights_to_start_from(self.config, state, self.mesh)
      state |= weights
      people = checkpoints.people_of((*self.splits.values(), *self.closing_splits.values()), origin["people"])
      self.meta.update(started_from=origin, people=people,
                       **{name: origin[name] | self.meta[name] for name in ("data", "sources")})
    return state

  def batches(self, start: int, stop: int):
    return batches(self.config, self.splits, start=start, stop=stop)

  def blank(self) -> dict[str, np.ndarray]:
    return blank(self.config)

  def sequences(self, host_batch: dict) -> list[str]:
    rows = zip(*(host_batch[name].tolist() for name in ("dataset", "index", "positive")), strict=True)
    of = list(self.splits.values())
    return [f"{of[d].name}/{of[d].keys[row]}" for d, *pair in rows for row in dict.fromkeys(pair)]

  def network(self, state, step: int) -> Pretrained:
    """The teacher, as `checkpoints.load_network` would give it for this step."""
    return Pretrained(
      graph=self.graph, **state["teacher"], config=self.config, step=step, path=self.workdir,
      identity=f"{self.meta['run']}-{step}-teacher", mesh=self.mesh,
    )

  def best(self, evaluations: list[dict]) -> int | None:
    """The earliest step at which `train.keep_best` was highest, or with a "-" before it lowest; step 0 is not saved."""
    name = self.config.train.keep_best.removeprefix("-")
    sign = -1 if name != self.config.train.keep_best else 1
    scored = [line for line in evaluations if line["step"] and math.isfinite(_number(line.get(name)))]
    return max(scored, key=lambda line: sign * line[name])["step"] if scored else None

  def remarks(self, evaluations: list[dict]) -> list[str]:
    watch.check_best(evaluations, self.config.train.keep_best, asked=[e.name for e in self.evaluators])
    return watch.collapse(evaluations)

  def has_enough(self, evaluations: list[dict]) -> bool:
    return False

  def is_whole(self, state) -> bool:
    """Whether no discriminant is asked for, or it is learnt."""
    return not self.config.model.discriminant or is_fitted(state["teacher"]["stats"])

  def close(self, state, saved: checkpoints.Checkpoints, asked: Stop, display: Display) -> bool:
    """Learns the discriminant. Raises `DataError` where it cannot be learnt. The state is saved as it is first: longer
    clips may want more memory than training had, and what ends a process for that leaves it no time."""
    config = self.config
    if self.is_whole(state):
      return False
    saved.save(config.train.steps, state, self.meta)
    display.say(f"learning the discriminant from {len(discriminant.closing_batches(config)[1]) * self.clips:,} clips")
    try:
      found = learnt_discriminant(
        config, self.graph, state["teacher"], self.closing_splits, mesh=self.mesh, watchdog=asked.watchdog,
        between=asked.check,
      )
    except Stopped:
      return False
    except FgaitError as error:
      raise DataError(
        f"the discriminant cannot be learnt: {error}. The state before it is saved as step {config.train.steps} in"
        f" {saved.folder}; mend or leave out what is wrong, then the same command learns it"
      ) from error
    state["teacher"]["stats"]["discriminant"] = found
    return True

  def opening(self, state) -> list[str]:
    config, data = self.config, self.config.data
    total = states.count_parameters(state["params"])
    parts = ", ".join(f"{name} {states.count_parameters(tree):,}" for name, tree in state["params"].items())
    name, anew = f"{config.model.name} {config.model.variant}", self.meta.get("started_from", {}).get("anew")
    return [
      f"model       {name}: {total:,} parameters ({parts}), student and teacher each",
      *(f"data        {split.name}: {len(split):,} sequences, {label_use(data.sets[name].positives)}"
        for name, split in self.splits.items()),
      f"batch       {data.batch_size} sequences x {data.clips} clips x {data.clip_frames} frames",
      f"readers     {max(data.workers, 1)} x {data.threads} threads in each process of training",
      *([f"weights     of {config.train.start_from} to begin with" + (f", {', '.join(anew)} anew" if anew else "")]
        if config.train.start_from else []),
    ]

  def advice(self, saved: checkpoints.Checkpoints) -> str:
    return (
      f"begin a new --workdir with --config.train.start_from={saved.folder.parent} (or, where that state is broken"
      " already, an earlier folder in its checkpoints) and a lower config.optim.peak_rate, a longer"
      " config.optim.warmup_steps, or config.model.dtype=float32."
    )


def _number(value: float | None) -> float:
  """A value of an evaluation; None, which stands in the file where there is none, is not a number."""
  return math.nan if value is None else value


def learnt_discriminant(config, graph, teacher, splits: Mapping, *, mesh: Mesh, watchdog: Watchdog, between) -> dict:
  """`discriminant.learn` from `splits`, by name, with the result on every device."""
  closing, numbers = discriminant.closing_batches(config)
  stream = batches(closing, splits, start=numbers.start, stop=numbers.stop, contrasts=False)
  with Reading(stream, blank=blank(closing), watchdog=watchdog) as reading:
    found = discriminant.learn(config, graph, teacher, reading, numbers=numbers, mesh=mesh, between=between)
  return jax.device_put(hosts.of_first(found), replicated(mesh))


def check_frames(splits: Iterable, model: ConfigDict) -> None:
  """Raises `ConfigError` where the frames of a split are others than those of the network of the section `model`."""
  for split in splits:
    if misfit := pixels.misfit(split, model):
      raise ConfigError(f"{split.name}: {misfit}; set config.model.channels and config.model.pixels, or choose other"
                        " data")


def opened(folder: str, sets, *, first: Iterable[str] = ()) -> dict:
  """Name -> split of each of `sets`, sorted, those named in `first` before the others: an order that is the same
  however the sets were written down, so that it cannot change what a batch holds."""
  names = sorted(sets, key=lambda name: (name not in first, name))
  return {name: open_split(folder, name, sets[name].split) for name in names}


def batches(config, splits: Mapping, *, start: int, stop: int, contrasts: bool = True):
  """This process's share of batches start..stop-1, as `fgait_jax.data.pipeline` gives them; `dataset` in them numbers
  `splits` in their order, and all else that is said of a data set is found by its name."""
  data, sets = config.data, [config.data.sets[name] for name in splits]
  return open_batches(
    tuple(splits.values()), factors=tuple(s.factor for s in sets), positives=tuple(s.positives for s in sets),
    seed=config.seed, batch_size=data.batch_size, clips=data.clips, clip_frames=data.clip_frames,
    window_frames=data.window_frames, exponent=data.exponent, mix=data.mix, start=start, stop=stop,
    process_index=jax.process_index(), process_count=jax.process_count(), threads=data.threads, workers=data.workers,
    prefetch=data.prefetch, contrasts=contrasts,
  )


def blank(config) -> dict[str, np.ndarray]:
  """A batch of nothing, of this process's share."""
  data = config.data
  share, clips = data.batch_size // jax.process_count(), (data.clips, data.clip_frames)
  return {
    "frames": np.zeros((share, *clips, HEIGHT, WIDTHS[0], config.model.channels), np.uint8),
    "valid": np.ones((share, *clips), bool), "group": np.zeros(share, np.int32),
  }


def label_use(positives: str) -> str:
  """Which labels of a data set pretraining uses, given its `positives`."""
  return "without labels" if positives == "sequence" else f"with {positives} labels"
