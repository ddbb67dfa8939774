"""Public data sets of gait identification. Sizes and splits: `data_prep/partitions`; protocols: `docs/protocols.md`.

Recordings are taken as their makers hand them out (images) or as OpenGait's pretreatment leaves them (pickles).
"""

import functools

from data_prep import partitions
from data_prep.datasets.record import Record
from data_prep.sources.base import Source
from data_prep.sources.recordings import recordings
from data_prep.sources.servers import PROBE, ServerSource

ON_REQUEST = "on request to the makers, by a signed agreement; research only, not to be redistributed"
PICKLES = "or OpenGait's <id>/<type>/<view>/*.pkl"


def public(name: str, *, layout: str, reading: dict | None = None, **fields) -> Record:
  """A record whose walkers are real, read by `recordings` and split by the official identity list of its name."""
  return Record(
    name=name, kind="real", layout=f"{layout}, {PICKLES}", partition=name,
    source=functools.partial(_open, name, reading or {}), **fields,
  )  # fmt: skip


_CCGR = {
  "homepage": "https://github.com/ShinanZou/CCGR",
  "licence": ON_REQUEST,
  "citation": "Zou, Fan, Xiong, Shen, Yu, Tang. Cross-covariate gait recognition: a benchmark. AAAI 2024.",
  "layout": "<id>/<covariate>/<view>/*.png",
  "reading": {"pickles": "*sil*.pkl"},
  "conditions": {},
  "frame_rate": None,
}


def _open(partition: str, reading: dict, raw) -> Source:
  listed = partitions.load(partition)
  if PROBE not in listed.get("test", ()):
    return recordings(raw, partition=listed, **reading)
  source = recordings(raw, partition=None, **reading)
  return ServerSource(source, raw, partitions.load_for(partition, source.subjects()))


RECORDS = (
  public(
    "casia_b",
    title="CASIA-B: 124 subjects, 11 views, normal / bag / coat",
    homepage="http://www.cbsr.ia.ac.cn/english/Gait%20Databases.asp",
    obtain="GaitDatasetB-silh, one archive a subject; archives need not be unpacked",
    licence=ON_REQUEST,
    citation="Yu, Tan, Tan. A framework for evaluating the effect of view angle, clothing and carrying condition on "
    "gait recognition. ICPR 2006.",
    layout="<id>/<type>/<view>/*.png",
    conditions={"nm": "normal", "bg": "carrying a bag", "cl": "wearing a coat"},
    frame_rate=25.0,
    protocol="casia_b",
  ),
  public(
    "casia_e",
    title="CASIA-E: over 1,000 subjects, 26 views, three scenes",
    homepage="https://www.scidb.cn/en/detail?dataSetId=57be0e918db743279baf44a38d013a06",
    obtain="train001-500.zip, val501-614.zip, test615-1014.zip; unpack once, the tars inside may stay",
    licence=ON_REQUEST,
    citation="Song, Huang, Wang, Wang. CASIA-E: a large comprehensive dataset for gait recognition. TPAMI 2022.",
    layout="<id>/<H|L>/<scene>/<nm|bg|cl>/<view>/<number>/*.jpg",
    reading={"layout": "casia_e", "frames": "casia_e"},
    conditions={"nm": "normal", "bg": "carrying a bag", "cl": "wearing a coat"},
    frame_rate=None,
    protocol="casia_e",
  ),
  public(
    "oumvlp",
    title="OU-MVLP: 10,307 subjects, 14 views, two walks",
    homepage="http://www.am.sanken.osaka-u.ac.jp/BiometricDB/GaitMVLP.html",
    obtain="the Silhouette_<view>-<sequence> archives, unpacked with the password the makers give",
    licence=ON_REQUEST,
    citation="Takemura, Makihara, Muramatsu, Echigo, Yagi. Multi-view large population gait dataset and its "
    "performance evaluation for cross-view gait recognition. IPSJ T. Computer Vision and Applications 2018.",
    layout="Silhouette_<view>-<sequence>/<id>/*.png",
    reading={"layout": "oumvlp"},
    conditions={"00": "probe walk", "01": "gallery walk"},
    frame_rate=25.0,
    protocol="oumvlp",
  ),
  public(
    "gait3d",
    title="Gait3D: 4,000 subjects in a supermarket, 39 cameras",
    homepage="https://gait3d.github.io/",
    obtain="2D_Silhouettes, on request",
    licence=ON_REQUEST,
    citation="Zheng, Liu, Liu, He, Yan, Mei. Gait recognition in the wild with dense 3D representations and a "
    "benchmark. CVPR 2022.",
    layout="<id>/<camera_video>/<sequence>/*.png",
    conditions={},
    frame_rate=None,
    protocol="gait3d",
  ),
  public(
    "grew",
    title="GREW: 26,000 subjects in the wild",
    homepage="https://www.grew-benchmark.org/",
    obtain="train.zip and test.zip, unpacked with the password the makers give",
    licence=ON_REQUEST,
    citation="Zhu, Guo, Yang, Huang, Deng, Huang, Lu, Du, Zhou. Gait recognition in the wild: a benchmark. ICCV 2021.",
    layout="train/<id>/<walk>/*.png, test/gallery/<id>/<walk>/*.png, test/probe/<walk>/*.png",
    reading={"layout": "grew", "frames": "cut"},
    conditions={"00": "training", "01": "first gallery walk", "02": "second gallery walk", "03": "server's probes"},
    frame_rate=None,
    protocol="grew_validation",
  ),
  public(
    "ccpg",
    title="CCPG: 200 subjects who change clothes, ten cameras",
    homepage="https://github.com/BNU-IVC/CCPG",
    obtain="CCPG_G_SIL, on request",
    licence=ON_REQUEST,
    citation="Li, Hou, Zhang, Cao, Liu, Huang, Zhao. An in-depth exploration of person re-identification and gait "
    "recognition in cloth-changing conditions. CVPR 2023.",
    layout="<id>/<clothes>/<camera>/*.png",
    reading={"frames": "area", "pickles": "*-aligned-sils.pkl"},
    conditions={"U0_D0": "own clothes", "U0_D0_BG": "own clothes and a bag", "U3_D3": "whole outfit changed"},
    frame_rate=None,
    protocol="ccpg",
  ),
  public(
    "ccgr",
    title="CCGR: 970 subjects, 33 views, 53 covariates",
    obtain="on request",
    protocol="ccgr",
    **_CCGR,
  ),
  public(
    "ccgr_mini",
    title="CCGR-MINI: one walk per subject and covariate of CCGR",
    obtain="CCGR_MINI_SIL_PAR_POSE, on request",
    protocol="ccgr_mini",
    population="ccgr",
    **_CCGR,
  ),
  public(
    "sustech1k",
    title="SUSTech1K: 1,050 subjects, camera and LiDAR, twelve views",
    homepage="https://lidargait.github.io",
    obtain="SUSTech1K-pkl.zip or SUSTech1K-RAW.zip, unpacked with the password the makers give",
    licence=ON_REQUEST,
    citation="Shen, Fan, Wu, Wang, Huang, Yu. LidarGait: benchmarking 3D gait recognition with point clouds. "
    "CVPR 2023.",
    layout="<id>/<type>/<view>/Sils_aligned/*.png",
    # By name, not by number: where a modality is missing, the official preparation counts on without it. Not "sync".
    reading={"layout": "sustech1k", "frames": "resize", "pickles": "*[!c]-Camera-Sils_aligned.pkl"},
    conditions={
      "nm": "normal", "bg": "bag", "cl": "clothing", "cr": "carrying", "ub": "umbrella", "uf": "uniform",
      "oc": "occlusion", "nt": "night",
    },
    frame_rate=None,
    protocol="sustech1k",
  ),
  public(
    "freegait",
    title="FreeGait: 1,195 subjects in open scenes, camera and LiDAR",
    homepage="",
    obtain="on request to the makers",
    licence=ON_REQUEST,
    citation="Han et al. Gait recognition in large-scale free environment via single LiDAR. ACM MM 2024.",
    layout="<id>/<device>/<sequence>/image/image.pkl",
    reading={"pickles": "image.pkl", "inside": "image"},
    conditions={},
    frame_rate=None,
    protocol="freegait",
  ),
  public(
    "hid",
    title="HID, 2022 and later: human identification at a distance",
    homepage="http://hid2022.iapr-tc4.org/",
    obtain="of the year's page, in one folder: train.tar, HID2022_test_gallery.zip and HID2022_test_probe.zip; since "
    "2023, when there was no training part, the gallery and the probes of one phase",
    licence="for the competition; see its page",
    citation="",
    layout="train/<id>/<walk>/*.png, HID2022_test_gallery/<id>/<walk>/*.png, HID2022_test_probe/<walk>/*.png; since "
    "2023 gallery/<id>/<walk>/*.png, probe/<walk>/*.png",
    reading={"layout": "hid", "frames": "resize"},
    conditions={"00": "all walks; which one, or which video of the probes, is the view"},
    frame_rate=None,
    protocol="hid",
  ),
  public(
    "gaitlu_1m",
    title="GaitLU-1M: a million unlabelled walks from public videos",
    homepage="https://github.com/ShiqiYu/OpenGait/tree/master/datasets/GaitLU-1M",
    obtain="signed release agreement and ethical requirements to the makers",
    licence=ON_REQUEST,
    citation="Fan, Hou, Wang, Huang, Yu. Learning gait representation from massive unlabelled walking videos: a "
    "benchmark. TPAMI 2023.",
    layout="<folder>/<folder>/<folder>/*.pkl",
    conditions={},
    frame_rate=None,
    protocol="none",
  ),
)
