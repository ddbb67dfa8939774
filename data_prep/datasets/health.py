"""Public data sets of tasks beside identification: scoliosis screening, depression, attributes."""

from data_prep.datasets.identification import ON_REQUEST, public

_SCOLIOSIS = {
  "title": "Scoliosis1K: 1,493 walks of adolescents",
  "homepage": "https://zhouzi180.github.io/Scoliosis1K",
  "obtain": "Scoliosis1K-pkl.zip or Scoliosis1K-raw.zip, unpacked with the password the makers give",
  "licence": ON_REQUEST,
  "citation": "Zhou, Liang, Peng, Fan, An, Yu. Gait patterns as biomarkers: a video-based approach for classifying "
  "scoliosis. MICCAI 2024.",
  "layout": "<id>/<positive|neutral|negative>/<view>/*.png",
  "conditions": {"positive": "scoliosis", "neutral": "borderline", "negative": "healthy"},
  "frame_rate": None,
  "protocol": "scoliosis1k",
  "population": "scoliosis1k",
}

# The four official splits differ in the ratio positive : neutral : negative of the training set (1:1:2 ... 1:1:16).
RECORDS = (
  *(public(f"scoliosis1k_{ratio}", **_SCOLIOSIS) for ratio in ("112", "114", "118", "1116")),
  public(
    "d_gait",
    title="D-Gait: walks of depressed and healthy people",
    homepage="",
    obtain="on request to the makers",
    licence=ON_REQUEST,
    citation="",  # its paper was not found
    layout="<D_id|N_id>/<type>/<view>/*.png",
    conditions={},
    frame_rate=None,
    protocol="d_gait",
  ),
  public(
    "ragar",
    title="RAGAR: walks with attributes",
    homepage="",
    obtain="on request to the makers",
    licence=ON_REQUEST,
    citation="",  # its paper was not found
    layout="<id>/<type_attribute_attribute...>/<view>/*.png",
    conditions={},
    frame_rate=None,
    protocol="ragar",
  ),
)
