"""Anybody's own motion capture: recorded walks, rendered as silhouettes from seven views.

All walks are for testing, except those of the subjects that the command line chooses for training.
"""

import dataclasses
import functools
import pathlib

from data_prep.datasets import own
from data_prep.datasets.record import Record, chosen
from data_prep.sources.base import Source
from data_prep.sources.joints import UNITS, UP
from data_prep.sources.mocap import MocapSource
from fgait_jax.errors import DataError


def _source(raw: pathlib.Path, train_subjects: str | None = None, **reading) -> Source:
  return own.OwnSource(MocapSource(raw=raw, partition=None, **reading), raw, train_subjects)


RECORD = Record(
  name="own_mocap",
  title="Your own motion capture, as BVH or ASF/AMC; --name gives it a name",
  homepage="",
  obtain="bring your own",
  licence="yours to say; keep to what the people in it agreed to",
  citation="",
  kind="real motion, rendered",
  source=_source,
  layout="<id>/<trial>.bvh, or <id>/<trial>.amc beside their .asf",
  partition=None,
  conditions={},
  frame_rate=25.0,
  protocol="own",
)


def named(
  name: str = RECORD.name, *, train_subjects: str | None = None, population: str = "", unit: str | None = None,
  up: str | None = None, frame_rate: float | None = None,
) -> Record:
  """The record of own motion capture with the name `name`. `train_subjects` and `population` are those of `own.named`,
  the others those of `reading_of`."""
  own.check_names(name, population)
  reading = reading_of(unit=unit, up=up, frame_rate=frame_rate)
  source = functools.partial(_source, train_subjects=train_subjects, **reading)
  choices = own.choice_of(train_subjects) | chosen(unit=unit, up=up, frame_rate=frame_rate)
  return dataclasses.replace(RECORD, name=name, source=source, choices=choices, population=population or name)


def reading_of(*, unit: str | None, up: str | None, frame_rate: float | None) -> dict:
  """Keywords of `MocapSource`. `unit` is a name of UNITS or a length in metres, `up` one of UP; `frame_rate`, in frames
  a second, is for files that do not state it (AMC) or state it wrongly. Raises `DataError` naming the flag."""
  reading = {}
  if unit is not None:
    reading["unit"] = UNITS[unit] if unit in UNITS else _metres(unit)
  if up is not None:
    if up not in UP:
      raise DataError(f"--up {up}: expected one of {', '.join(UP)}")
    reading["up"] = up
  if frame_rate is not None:
    reading["rate"] = frame_rate
  return reading


def _metres(unit: str) -> float:
  try:
    if 0 < (metres := float(unit)) < 100:
      return metres
  except ValueError:
    pass
  raise DataError(f"--unit {unit}: expected one of {', '.join(UNITS)}, or the metres of one unit, such as 0.01")
