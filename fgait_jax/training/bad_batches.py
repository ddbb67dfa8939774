"""Batches whose loss was bad: which they were, in a file of the run's folder, and one of them once more, alone."""

import json
import math
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from fgait_jax.errors import CheckpointError, DataError
from fgait_jax.parallel import hosts
from fgait_jax.training import checkpoints, configuration, folders, stored

FOLDER = "bad_batches"


def write(workdir: pathlib.Path, number: int, values: dict[str, float], sequences: Sequence[str], meta: dict
          ) -> pathlib.Path:
  """Writes <workdir>/bad_batches/<number>.json, which `read` reads, and returns its path: the batch's number, what was
  measured of it (null: not a number), this process's part of its sequences, and the configuration."""
  path = workdir / FOLDER / f"{number}.json"
  values = {name: value if math.isfinite(value) else None for name, value in values.items()}
  about = {"batch": number, **values, "sequences": list(sequences), "config": meta["config"]}
  folders.by_first(path, lambda: folders.write_text(path, json.dumps(about, indent=1) + "\n"))
  return path


def read(path: pathlib.Path) -> tuple[int, dict]:
  """(number, configuration) of a file of `write`; raises `DataError`, which names it, unless it is one."""
  try:
    about = json.loads(path.read_text(encoding="utf-8"))
    number, config = about["batch"], about["config"]
    if type(number) is not int or number < 0 or not isinstance(config, dict):
      raise TypeError("batch is a number and config a configuration")
    config = configuration.completed(config)
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise DataError(f"--replay={path} is no batch that a run wrote to its {FOLDER} ({error})") from error
  return number, config


def replay(training, workdir: pathlib.Path, number: int) -> list[str]:
  """Takes step `number` of `training` once more, on the newest checkpoint in `workdir` that is not after it, and
  returns lines that say what came of it. Only reads. Raises `CheckpointError` where none is that old."""
  folder = workdir / checkpoints.FOLDER
  steps = [step for step in stored.steps_in(folder) if step <= number]
  if not steps:
    raise CheckpointError(f"{folder} holds no checkpoint of step {number} or before, to use batch {number} on; it has"
                          f" {stored.steps_in(folder) or 'none'}")
  state = stored.read_state(folder, steps[-1], training.target)
  stream = training.batches(number, number + 1)
  try:
    host_batch = next(stream)
  finally:
    stream.close()
  readable = np.full(len(host_batch["frames"]), True)
  given = {name: host_batch[name] for name in training.blank()} | {"readable": readable}
  state["step"] = jax.device_put(np.int32(number), state["step"].sharding)
  _, metrics = training.step(state, hosts.to_global(given, training.mesh), np.int32(number))
  metrics = jax.device_get(metrics)
  means = {name: float(total / count) for name, (total, count) in metrics.items() if count}
  exact = "as the run met it" if steps[-1] == number else (
    f"{number - steps[-1]} steps before it: the weights that the run had by then are not kept")
  verdict = ("a number is missing" if not means.pop("finite") else "a spike" if means.pop("spike") else
             "as good as any")
  lines = [f"batch {number} on the weights of step {steps[-1]}, {exact}: {verdict}"]
  lines += [f"  {name:22s}{value:.6g}" for name, value in means.items()
            if name not in ("readable", "skipped", "spike")]
  lines += ["its sequences, and the share of pixels that are body in each frame drawn of them, from least to most:"]
  for row, frames in enumerate(host_batch["frames"]):
    names = training.sequences({name: values[row : row + 1] for name, values in host_batch.items()})
    shares = frames.mean(axis=tuple(range(2, frames.ndim))) / 255
    lines += [f"  {' and '.join(names)}  {shares.min():.1%} to {shares.max():.1%}"]
  return lines
