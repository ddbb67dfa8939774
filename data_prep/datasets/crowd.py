"""The synthetic training population, made by this code: the walks of one person share nothing but the person."""

import dataclasses

from data_prep.datasets import walkers
from data_prep.sources.base import Source


def _source(raw) -> Source:
  from data_prep.sources.crowd import CrowdSource  # its renderer is only loaded where it is used

  return CrowdSource()


RECORD = dataclasses.replace(
  walkers.RECORD,
  name="crowd",
  population="crowd",
  title="Synthetic crowd to train on: every walk with camera, segmenter, speed and often clothes of its own",
  licence="made by this code, no person behind it; bodies after ANSUR II's statistics, steps after Fukuchi et al. 2018",
  source=_source,
  frame_rate=(18.0, 30.0),
  protocol="own",
  subjects=(960, 0),
)
