"""A small pretraining run for the crash matrix: python tests/faults/program.py WORKDIR [options].

Its last line is "digest " and the SHA-256 of the state. Options plant faults; KEY=VALUE sets a configuration key.
"""

import argparse
import hashlib
import os
import pathlib
import resource
import sys
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "training")]


def main() -> int:
  parser = argparse.ArgumentParser()
  parser.add_argument("workdir")
  parser.add_argument("config", nargs="*", metavar="KEY=VALUE")
  parser.add_argument("--data", help="folder of the built data set `fake`; toys in memory without it")
  parser.add_argument("--at", type=int, default=-1, help="batch that is asked for when ...")
  parser.add_argument("--fault", help="... it raises, hangs, or a file of the data is removed:PATH or truncated:PATH")
  parser.add_argument("--delay", type=float, default=0.0, help="seconds that every batch takes to read")
  parser.add_argument("--clock", type=float, default=0.0, help="seconds by which the clock is wrong")
  parser.add_argument("--disk", type=int, default=0, help="bytes from which on a file cannot grow, as on a full disk")
  parser.add_argument("--join", nargs=3, metavar=("COORDINATOR", "PROCESSES", "PROCESS"))
  given = parser.parse_intermixed_args()
  if given.clock:
    now, now_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: now() + given.clock, lambda: now_ns() + int(1e9 * given.clock)

  import jax
  import numpy as np
  from absl import logging
  from conftest import ToySplit

  from configs import pretrain
  from fgait_jax import defaults
  from fgait_jax.data.source import open_split
  from fgait_jax.errors import FgaitError
  from fgait_jax.parallel import hosts
  from fgait_jax.training import pretraining

  logging.set_verbosity(logging.FATAL)  # as the command does
  jax.config.update("jax_compilation_cache_dir", os.environ.get("FAULTS_CACHE", str(ROOT / ".cache" / "jax")))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
  jax.config.update("jax_disable_most_optimizations", True)
  if given.join:
    hosts.initialize(coordinator=given.join[0], processes=int(given.join[1]), process=int(given.join[2]))
  config = pretrain.get_config("test")
  config.data.threads = 1
  for name in ("affine", "perspective", "flip", "dilate", "blur"):
    config.augment[name] = 0.0
  config.student.crop_list = (2,)
  config.optim.peak_rate = 1e-4
  config.train.steps, config.train.save_every, config.train.log_every, config.train.keep = 24, 3, 1, 3
  config.train.compilation_cache = ""
  for word in given.config:
    key, _, value = word.partition("=")
    kind = type(_find(config, key))
    config.update_from_flattened_dict({key: value == "True" if kind is bool else kind(value)})
  made = pretraining.open_batches

  def batches(splits, *, start, **options):
    for number, batch in enumerate(made(splits, start=start, **options), start=start):
      time.sleep(given.delay)
      if number == given.at:
        fault(given.fault)
      yield batch

  pretraining.open_batches = batches
  try:
    if given.data:
      config.data.sets, splits = defaults.data_sets("fake"), {"fake": open_split(given.data, "fake", "train")}
    else:
      config.data.sets, splits = defaults.data_sets("toy"), {"toy": ToySplit()}
    if given.disk:
      resource.setrlimit(resource.RLIMIT_FSIZE, (given.disk, given.disk))
    devices = None if given.join else jax.devices()[:1]
    state = pretraining.run(config, given.workdir, splits=splits, devices=devices).state
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(1)  # a reader that hangs would be waited for
  found = hashlib.sha256()
  for leaf in jax.tree.leaves(state):
    found.update(np.asarray(leaf.addressable_data(0)).tobytes())
  print("digest", found.hexdigest(), flush=True)
  return 0


def fault(what: str) -> None:
  if what == "raises":
    raise OSError(5, "Input/output error")
  if what == "hangs":
    threading.Event().wait()
  how, _, path = what.partition(":")
  if how == "removed":
    os.remove(path)
  elif how == "truncated":
    os.truncate(path, os.path.getsize(path) // 2)


def _find(config, key: str):
  for name in key.split("."):
    config = config[name]
  return config


if __name__ == "__main__":
  sys.exit(main())
