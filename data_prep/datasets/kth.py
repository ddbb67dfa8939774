"""KTH human action recordings, their walking part, as silhouettes in OpenGait's layout."""

from data_prep import partitions
from data_prep.datasets.record import Record
from data_prep.sources.opengait import OpenGaitSource

RECORD = Record(
  name="kth",
  title="KTH walking: 25 persons, four scenes, side view",
  homepage="https://www.csc.kth.se/cvap/actions/",
  obtain="download walking.zip from the homepage, segment the walkers, normalise to 64x64, one pickle a walk",
  licence="research, non-commercial, not to be redistributed",
  citation="Schuldt, Laptev, Caputo. Recognizing human actions: a local SVM approach. ICPR 2004.",
  kind="real",
  source=lambda raw: OpenGaitSource(root=raw, partition=partitions.load("kth")),
  layout="<person>/<d1..d4>/<pass>-<l|r>/<name>.pkl",
  partition="kth",
  conditions={
    "d1": "outdoors",
    "d2": "outdoors, oblique: scale changes",
    "d3": "outdoors, other clothes: coats, backpacks",
    "d4": "indoors",
  },
  frame_rate=25.0,
  protocol="kth",
)
