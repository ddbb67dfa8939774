"""The tasks of `run_eval.py`. Each file of tasks/ registers one; the program, the check before a result is replaced,
comparisons and tests derive from what it says of itself."""

import dataclasses
import difflib
import pathlib
from collections.abc import Callable

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import results
from fgait_jax.training import configuration

# Keys that change no figure of a result, or only how sure it is and what stands beside it.
_FREE = ("baselines", "batch_frames", "bootstrap", "cache", "compilation_cache", "data_dir", "pictures",
         "compare.resamples", "fine_tune.log_every", "fine_tune.prefetch", "fine_tune.threads", "fine_tune.workers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """`run(config, out)` writes into the folder `out` and returns the files.

  writes: name of the file it writes, with `{config.KEY}` for values of the configuration. sections: of the
  configuration, those that it reads beside the keys that stand alone. checkpoint: it evaluates one. outcomes: its rows
  hold what the probes of each subject came to, so that two of its results can be compared. centres: it has rows without
  the mean of each camera, as `config.centre_by` asks.
  """

  name: str
  run: Callable[..., list[pathlib.Path]]
  writes: str
  sections: tuple[str, ...] = ()
  checkpoint: bool = True
  outcomes: bool = False
  centres: bool = False

  def path(self, config, out: pathlib.Path, **names: str) -> pathlib.Path:
    """The file it writes into `out`; `names` are those in `writes` that the configuration does not tell."""
    return out / self.writes.format(config=config, **names)


TASKS: dict[str, Task] = {}


def task(name: str, **facts) -> Callable:
  """Registers the function below it as the `run` of the task `name`; `facts` are the other fields of `Task`."""

  def add(run: Callable) -> Callable:
    if name in TASKS:
      raise ValueError(f"two tasks are called {name}: {TASKS[name].run.__module__} and {run.__module__}")
    TASKS[name] = Task(name=name, run=run, **facts)
    return run

  return add


def get(name: str) -> Task:
  """The task of that name; raises `ConfigError` that names the nearest."""
  if name not in TASKS:
    nearest = difflib.get_close_matches(name, TASKS, n=1, cutoff=0)[0]
    raise ConfigError(f"config.task is {name!r}; did you mean {nearest!r}? Known: {', '.join(sorted(TASKS))}")
  return TASKS[name]


def check_centres(config) -> None:
  """Raises `ConfigError` where the task would ignore `config.centre_by`."""
  if config.centre_by != "none" and not get(config.task).centres:
    able = ", ".join(sorted(name for name, task in TASKS.items() if task.centres))
    raise ConfigError(f"config.centre_by={config.centre_by!r}, but task {config.task} has no centred rows; set it to"
                      f" 'none', or take one of {able}")


def claim(config, out: pathlib.Path, about: tuple[str | None, str] | None = None,
          **names: str) -> pathlib.Path:
  """Where the result of `config` goes, if it may be written there: nothing is, or a result of the same settings, which
  it will replace. Raises `ConfigError` that names what is different in the result there.

  `about` is (identity of the weights, content hash of the data) of what is evaluated. These are compared themselves,
  and not the folder they came from: it may hold a later step by now, or have been moved.
  """
  chosen = get(config.task)
  path = chosen.path(config, out, **names)
  if not path.exists():
    return path
  try:
    result = results.read(path)
  except DataError as error:
    raise ConfigError(f"{path} is there already and is no result ({error}); give another --out") from error
  there, wanted = configuration.flat(configuration.completed(result.config)), configuration.flat(config)
  sections, free = ("", *chosen.sections), _FREE if about is None else (*_FREE, "checkpoint")
  read_by_task = [key for key in sorted(wanted) if key not in free
                  and key.rpartition(".")[0].partition(".")[0] in sections]
  differing = [f"config.{key}: {there.get(key, 'absent')!r} there, {wanted[key]!r} here" for key in read_by_task
               if there.get(key, "absent") != wanted[key]]
  if about is not None:
    before = result.checkpoint.identity if result.checkpoint else None, result.data.content_hash
    for what, old, new in zip(("weights (run, step, network)", "content of the data"), before, about, strict=True):
      if old != new:
        differing.append(f"{what}: {old} there, {new} here")
  if differing:
    raise ConfigError(f"{path} is there already, a result of other settings:\n  " + "\n  ".join(differing)
                      + "\nGive another --out, or move it away.")
  return path
