"""USF/NIST HumanID Gait Challenge 1.7: 71 persons outdoors, two cameras, two surfaces, two pairs of shoes."""

from data_prep.datasets.record import Record
from data_prep.sources.recordings import recordings

RECORD = Record(
  name="usf17",
  title="USF HumanID Gait Challenge 1.7: 71 persons outdoors, surface, shoe and view",
  homepage="https://www.eng.usf.edu/cvprg/GaitBaseline/Overview.htm",
  obtain="silhouettes from the homepage on request, or the half gait cycles of 32x22 pixels that Lu et al. (2008) made"
  " of them, sorted into folders",
  licence="no licence text found: research, not to be redistributed",
  citation="Sarkar, Phillips, Liu, Vega, Grother, Bowyer. The humanID gait challenge problem: data sets, performance,"
  " and analysis. TPAMI 27(2), 2005; Lu, Plataniotis, Venetsanopoulos. MPCA: multilinear principal component analysis"
  " of tensor objects. IEEE TNN 19(1), 2008.",
  kind="real",
  source=lambda raw: recordings(raw, partition=None),  # all persons are for testing, none for training
  layout="<person>/<ga|gb|ca|cb>/<r|l>/*.png, or OpenGait's <id>/<type>/<view>/*.pkl",
  partition=None,
  conditions={
    "ga": "grass, first shoes", "gb": "grass, second shoes", "ca": "concrete, first shoes",
    "cb": "concrete, second shoes",
  },
  frame_rate=None,
  protocol="usf17",
)  # fmt: skip
