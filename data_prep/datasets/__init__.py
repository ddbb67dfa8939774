"""The data sets that can be built, one record each."""

import difflib

from data_prep.datasets import cmu_mocap, crowd, health, identification, kth, own, usf, walkers
from data_prep.datasets.record import Record
from fgait_jax.errors import DataError

RECORDS: dict[str, Record] = {
  record.name: record
  for record in (
    walkers.RECORD, crowd.RECORD, kth.RECORD, usf.RECORD, cmu_mocap.RECORD, *identification.RECORDS, *health.RECORDS,
    own.RECORD,
  )  # fmt: skip
}


def get(name: str) -> Record:
  """The record of data set `name`; raises `DataError` naming the nearest known one."""
  if name in RECORDS:
    return RECORDS[name]
  nearest = difflib.get_close_matches(name, RECORDS, 1)
  hint = f"did you mean {nearest[0]}? " if nearest else ""
  raise DataError(f"no data set {name!r}; {hint}Known: {', '.join(RECORDS)} (python -m data_prep.build --list)")
