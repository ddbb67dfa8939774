"""The embedded training population: synthetic people, each walk of whom has nothing but the person in common."""

from data_prep.datasets.record import Record
from data_prep.sources.base import Source


def _source(raw) -> Source:
  from data_prep.sources.crowd import CrowdSource  # its renderer is only loaded where it is used

  return CrowdSource()


RECORD = Record(
  name="crowd",
  title="Synthetic crowd to train on: every walk with camera, segmenter, speed and often clothes of its own",
  homepage="",
  obtain="nothing to obtain: made by this code",
  licence="made by this code, no person behind it; bodies after ANSUR II's statistics, steps after Fukuchi et al. 2018",
  citation="",
  kind="synthetic",
  source=_source,
  layout="none",
  partition=None,
  conditions={"nm": "normal", "bg": "carrying a bag", "cl": "wearing a coat"},
  frame_rate=(18.0, 30.0),
  protocol="own",
  needs_raw=False,
  subjects=(960, 0),
)
