"""The default data set: synthetic walkers, rendered from parameters by this code, with nothing to download."""

from data_prep.datasets.record import Record
from data_prep.sources.base import Source


def _source(raw) -> Source:
  from data_prep.sources.walkers import WalkersSource  # its renderer is only loaded where it is used

  return WalkersSource()


RECORD = Record(
  name="walkers",
  title="Synthetic walkers that differ in build and gait, several views, normal / bag / coat",
  homepage="",
  obtain="nothing to obtain: made by this code",
  licence="made by this code, no person behind it",
  citation="",
  kind="synthetic",
  source=_source,
  layout="none",
  partition=None,
  conditions={"nm": "normal", "bg": "carrying a bag", "cl": "wearing a coat"},
  frame_rate=(25.0, 30.0),
  protocol="walkers",
  needs_raw=False,
  subjects=(120, 40),
)
