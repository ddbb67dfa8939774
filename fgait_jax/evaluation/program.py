"""The evaluation program: a configuration in, result files and pictures out. One function a task, named in `TASKS`.

Tables come from the files it writes (tables.py), never from here.
"""

import difflib
import pathlib
from collections.abc import Callable

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import setup
from fgait_jax.evaluation.report import sources
from fgait_jax.evaluation.tasks import compare, embed, fine_tune, identify, linear_probe, robustness, score, zero_shot
from fgait_jax.evaluation.tasks import linear_maps as whiten
from fgait_jax.training import configuration, preflight

TASKS: dict[str, Callable] = {"zero_shot": zero_shot.run, "linear_probe": linear_probe.run, "score": score.run}
TASKS |= {"robustness": robustness.run, "compare": compare.run, "embed": embed.run, "identify": identify.run}
TASKS |= {"fine_tune": fine_tune.run, "whitening": whiten.run}


def run(config, out: str | pathlib.Path) -> list[pathlib.Path]:
  """Does `config.task` and returns the result files written to `out`.

  Raises `ConfigError`, `DataError` or `CheckpointError` for anything the user can mend.
  """
  if config.task not in TASKS:
    nearest = difflib.get_close_matches(config.task, TASKS, n=1, cutoff=0)[0]
    raise ConfigError(f"config.task is {config.task!r}; did you mean {nearest!r}? Known: {', '.join(TASKS)}")
  configuration.check_seed(config.seed)
  setup.one_process()
  out = preflight.writable(out, flag="--out")
  written = TASKS[config.task](config, out)
  if config.checkpoint:
    sources.keep_training(config.checkpoint, out)
  return written
