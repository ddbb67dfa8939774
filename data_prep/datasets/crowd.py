"""The synthetic training population, made by this code: the walks of one person share nothing but the person."""

import dataclasses
import functools

from data_prep.datasets import own, walkers
from data_prep.datasets.record import Record, chosen
from data_prep.sources.base import Source

PEOPLE = 960
WALKS = 8  # of each


def _source(raw, people: int = PEOPLE, walks: int = WALKS) -> Source:
  from data_prep.sources.crowd import CrowdSource  # its renderer is only loaded where it is used

  return CrowdSource(subjects=people, walks=walks)


RECORD = dataclasses.replace(
  walkers.RECORD,
  name="crowd",
  population="crowd",
  title="Synthetic crowd to train on: every walk with camera, segmenter, speed and often clothes of its own",
  licence="made by this code, no person behind it; bodies after ANSUR II's statistics, steps after Fukuchi et al. 2018",
  source=_source,
  frame_rate=(18.0, 30.0),
  protocol="own",
  subjects=(PEOPLE, 0),
)


def of(*, people: int | None = None, walks: int | None = None, name: str = RECORD.name) -> Record:
  """The crowd of another number of `people`, and of `walks` of each, under another `name`; the first people of any two
  are the same, and so are their first walks. Raises `DataError` for a name that cannot be one."""
  own.check_names(name, RECORD.population)
  count = people or PEOPLE
  source = functools.partial(_source, people=count, walks=walks or WALKS)
  choices = chosen(people=people, walks=walks)
  return dataclasses.replace(RECORD, name=name, source=source, choices=choices, subjects=(count, 0))


PAIRS = of(walks=2, name="crowd_pairs")  # what the discriminant of configs/pretrain.py:tiny learns from
LARGE = of(people=4800, name="crowd4800")  # what configs/pretrain.py:tiny_long trains on
