"""The data sets that can be built, one record each."""

import difflib
import inspect
from collections.abc import Callable, Mapping

from data_prep.datasets import cmu_mocap, crowd, health, identification, kth, own, own_mocap, usf, walkers
from data_prep.datasets.record import Record
from fgait_jax.data import schema
from fgait_jax.errors import DataError
from fgait_jax.mappings import by_name

RECORDS: dict[str, Record] = by_name((
  walkers.RECORD, crowd.RECORD, crowd.PAIRS, crowd.LARGE, kth.RECORD, usf.RECORD, cmu_mocap.RECORD,
  *identification.RECORDS, *health.RECORDS, own.RECORD, own_mocap.RECORD,
))  # fmt: skip

# Data sets with options of their own: the functions' keywords are the command line's flags.
CHOICES: dict[str, Callable[..., Record]] = {
  "own": own.named, "own_mocap": own_mocap.named, "cmu_mocap": cmu_mocap.read_as, "crowd": crowd.of,
}  # fmt: skip


def get(name: str) -> Record:
  """The record of data set `name`; raises `DataError` naming the nearest known one."""
  if name in RECORDS:
    return RECORDS[name]
  if schema.rendered_people(name):
    raise DataError(f"{name} is not built but rendered while it is read: name it in config.data.sets as it is")
  nearest = difflib.get_close_matches(name, RECORDS, 1)
  hint = f"did you mean {nearest[0]}? " if nearest else ""
  raise DataError(f"no data set {name!r}; {hint}Known: {', '.join(RECORDS)} (python -m data_prep.build --list)")


def choose(name: str, choices: Mapping[str, object]) -> Record:
  """The record of data set `name` with `choices` (flag without dashes -> value) applied.

  Raises `DataError` for a flag that this data set does not take, naming those that do.
  """
  record = get(name)
  takes = {each: inspect.signature(function).parameters for each, function in CHOICES.items()}
  for flag in choices:
    if flag not in takes.get(name, ()):
      owners = ", ".join(each for each, flags in takes.items() if flag in flags)
      raise DataError(f"--{flag.replace('_', '-')} belongs to the data sets {owners}, not to {name}: leave it out")
  if not choices:
    return record
  if choices.get("name", name) in RECORDS.keys() - {name}:
    raise DataError(f"--name {choices['name']}: a public data set is called so; choose another name")
  if population := choices.get("population"):  # the four Scoliosis1K records share one
    choices = {**choices, "population": RECORDS[population].population if population in RECORDS else population}
  return CHOICES[name](**choices)
