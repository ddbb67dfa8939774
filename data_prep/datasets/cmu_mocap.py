"""CMU motion capture: recorded walks, rendered as silhouettes from seven views."""

import dataclasses
import functools
import pathlib

from data_prep import partitions
from data_prep.datasets.own_mocap import reading_of
from data_prep.datasets.record import Record, chosen
from data_prep.sources.mocap import MocapSource

# Sessions of one person, by the recordings' own subject pages.
SAME_PERSON = {"38": "07", "39": "08", "10": "06"}


def _source(raw: pathlib.Path, **reading) -> MocapSource:
  return MocapSource(raw=raw, partition=partitions.load("cmu_mocap"), same_person=SAME_PERSON, **reading)


RECORD = Record(
  name="cmu_mocap",
  title="CMU motion capture, its walks: 14 sessions, 69 trials",
  homepage="http://mocap.cs.cmu.edu",
  obtain="per subject, the .asf and the .amc of its walking trials, in one folder a subject",
  licence="free for research and commercial use, not to be resold; acknowledge mocap.cs.cmu.edu and NSF EIA-0196217",
  citation="The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding "
  "from NSF EIA-0196217.",
  kind="real motion, rendered",
  source=_source,
  layout="<session>/<session>.asf, <session>/<session>_<trial>.amc",
  partition="cmu_mocap",
  conditions={},
  frame_rate=25.0,
  protocol="own",
)


def read_as(*, unit: str | None = None, up: str | None = None, frame_rate: float | None = None) -> Record:
  """The record with another unit, another axis up or another frame rate (see `own_mocap.reading_of`)."""
  reading = reading_of(unit=unit, up=up, frame_rate=frame_rate)
  source = functools.partial(_source, **reading)
  return dataclasses.replace(RECORD, source=source, choices=chosen(unit=unit, up=up, frame_rate=frame_rate))
