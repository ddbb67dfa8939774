"""The evaluation program: a configuration in, result files and pictures out. Tables come from the files it writes."""

import pathlib

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import registry, setup, tasks  # noqa: F401  importing the tasks registers them
from fgait_jax.evaluation.report import sources
from fgait_jax.training import configuration, folders, preflight


def run(config, out: str | pathlib.Path) -> list[pathlib.Path]:
  """Does `config.task` and returns the result files written to `out`.

  Raises `ConfigError`, `DataError`, `CheckpointError` or `RunError` for anything the user can mend.
  """
  task = registry.get(config.task)
  registry.check_centres(config)
  configuration.check_seed(config.seed)
  setup.one_process()
  out = preflight.writable(out, flag="--out")
  if task.checkpoint and not config.checkpoint:
    raise ConfigError("config.checkpoint is empty; give --config.checkpoint=FOLDER, the --workdir of a pretraining run")
  # Two at once would both find nothing in the way, hours before one replaces what the other has written.
  with folders.locked(out, f".{task.path(config, out, evaluation='').name}.lock"):
    written = task.run(config, out)
  if task.checkpoint:
    sources.keep_training(config.checkpoint, out)
  return written
