"""The protocols themselves, as data. Patterns are regular expressions that match a whole type."""

from fgait_jax.evaluation.protocols.base import Protocol
from fgait_jax.evaluation.protocols.ccpg import Ccpg
from fgait_jax.evaluation.protocols.classify import Attributes, Classify
from fgait_jax.evaluation.protocols.ranked import CrossView, CrossViewGallery, Listed, Own, Pooled
from fgait_jax.evaluation.protocols.servers import Server

OPENGAIT = "OpenGait's evaluator (Fan et al., CVPR 2023)"
CASIA_TYPES = r"nm-0[1-6]|(bg|cl)-0[12]"
CASIA_B_VIEWS = "|".join(f"{angle:03d}" for angle in range(0, 181, 18))
OUMVLP = {
  "wants": "types 00 (probe) and 01 (gallery) and views 000, 015 .. 090, 180 .. 270", "gallery": r"01",
  "conditions": {"NM": r"00"}, "known": r"0[01]",
  "known_views": "|".join(f"{angle:03d}" for angle in (*range(0, 91, 15), *range(180, 271, 15))),
}
CASIA_E_VIEWS = "|".join(f"{angle:03d}" for angle in range(0, 360, 15))
SUSTECH = {"Normal": "01-nm", "Bag": "bg", "Clothing": "cl", "Carrying": "cr", "Umbrella": "ub", "Uniform": "uf"}
SUSTECH |= {"Occlusion": "oc", "Night": "nt"}

RECORDS: tuple[Protocol, ...] = (
  CrossView(
    name="casia_b",
    title="CASIA-B",
    source=f"{OPENGAIT}, evaluate_indoor_dataset; data: Yu et al., ICPR 2006",
    wants="types nm-01..nm-06, bg-01, bg-02, cl-01, cl-02 (gallery nm-01..nm-04) and views 000, 018 .. 180",
    gallery=r"nm-0[1-4]",
    conditions={"NM": r"nm-0[56]", "BG": r"bg-0[12]", "CL": r"cl-0[12]"},
    known=CASIA_TYPES,
    known_views=CASIA_B_VIEWS,
  ),
  CrossViewGallery(
    name="casia_b_cross_view_gallery",
    title="CASIA-B, gallery of all views",
    source=f"{OPENGAIT}, cross_view_gallery_evaluation",
    wants="types nm-01, nm-02, bg-01, bg-02, cl-01, cl-02 (gallery: the 02 ones) and views 000, 018 .. 180",
    gallery=r"(nm|bg|cl)-02",
    conditions={"NM": r"nm-01", "BG": r"bg-01", "CL": r"cl-01"},
    known=CASIA_TYPES,
    known_views=CASIA_B_VIEWS,
  ),
  CrossView(
    name="oumvlp",
    title="OU-MVLP",
    source=f"{OPENGAIT}, evaluate_indoor_dataset; data: Takemura et al., IPSJ CVA 2018",
    **OUMVLP,
  ),
  CrossViewGallery(
    name="oumvlp_cross_view_gallery",
    title="OU-MVLP, gallery of all views",
    source=f"{OPENGAIT}, cross_view_gallery_evaluation",
    **OUMVLP,
  ),
  CrossView(
    name="casia_e",
    title="CASIA-E",
    source=f"{OPENGAIT}, evaluate_indoor_dataset; data: Song et al., T-PAMI 2023",
    wants="types {H,L}-{scene1,scene2,scene3,scene3_s}-{nm,bg,cl}-{1,2} (gallery scene1-nm) and views 000, 015 .."
    " (270 is left out)",
    gallery=r"[HL]-scene1-nm-[12]",
    conditions={c.upper(): rf"[HL]-(scene2|scene3|scene3_s)-{c}-[12]" for c in ("nm", "bg", "cl")},
    known=r"[HL]-(scene1|scene2|scene3|scene3_s)-(nm|bg|cl)-[12]",
    known_views=CASIA_E_VIEWS,
    drop_views=("270",),
  ),
  CrossView(
    name="sustech1k",
    title="SUSTech1K",
    source=f"{OPENGAIT}, evaluate_indoor_dataset; data: Shen et al., CVPR 2023",
    wants="types such as 00-nm (gallery), 01-nm, 01-bg, 02-cl, 03-uf, 04-nt and their views",
    gallery=r".*00-nm.*",
    conditions={name: f".*{part}.*" for name, part in SUSTECH.items()} | {"Overall": r".*(01|02|03|04).*"},
    known=r"0\d-.*",
    summary="Overall",
  ),
  Ccpg(
    name="ccpg",
    title="CCPG",
    source=f"{OPENGAIT}, evaluate_CCPG, and its issue 242 on the two readings; data: Li et al., CVPR 2023",
    wants="types U<i>_D<j> and U0_D0_BG, views <camera>_<number>",
    pairs={
      "CL": (r"U0_D0_BG|U0_D0", r"U1_D1|U2_D2|U3_D3"),
      "UP": (r"U3_D3", r"U0_D3"),
      "DN": (r"U1_D0", r"U1_D1"),
      "BG": (r"U0_D0_BG", r"U0_D0"),
    },
    known=r"U\d_D\d(_BG)?",
  ),
  Listed(
    name="gait3d",
    title="Gait3D",
    source=f"{OPENGAIT}, evaluate_Gait3D; data and probe list: Zheng et al., CVPR 2022",
    wants="labels, types camid<i>_videoid<j> and views seq<k> of the test set; probes are the official 1,000",
    role="probe",
    names="gait3d",
  ),
  Listed(
    name="freegait",
    title="FreeGait",
    source=f"{OPENGAIT}, evaluate_FreeGait; data and lists: Han et al., ACM MM 2024",
    wants="labels, types devid_<i> and views seq_<k> of the test set; the gallery is the official list of 691",
    role="gallery",
    names="freegait",
  ),
  Listed(
    name="ccgr_mini",
    title="CCGR-MINI",
    source=f"{OPENGAIT}, evaluate_CCGR_MINI; data and gallery list: Zou et al., AAAI 2024 and later",
    wants="labels, types (covariate) and views <angle>.avi of the test set; the gallery is the official list of 795",
    role="gallery",
    names="ccgr_mini",
  ),
  Pooled(
    name="grew_validation",
    title="GREW, gallery 01 and probe 02 of the test identities (not the server's figure)",
    source=f"{OPENGAIT}, evaluate_real_scene; data: Zhu et al., ICCV 2021",
    wants="types 01 (gallery) and 02 (probe)",
    gallery=r"01",
    conditions={"all": r"02"},
    known=r"0[123]",
  ),
  Server(
    name="grew",
    title="GREW, submission to the server",
    source=f"{OPENGAIT}, GREW_submission; data: Zhu et al., ICCV 2021",
    wants='gallery sequences (types 01, 02) with whole numbers as labels, and probes under the label "probe", their'
    " video as view",
    columns=("videoId", *(f"rank{k}" for k in range(1, 21))),
    numbers=True,
  ),
  Server(
    name="hid",
    title="HID, submission to the server, re-ranked",
    source=f"{OPENGAIT}, HID_submission; k-reciprocal re-ranking of Zhong et al., CVPR 2017",
    wants='gallery sequences under their labels, and probes under the label "probe", their video as view',
    columns=("videoID", "label"),
    reranked=True,
  ),
  Listed(
    name="ccgr",
    title="CCGR, gallery as in CCGR-MINI",
    source="this project: OpenGait has no evaluator of the full set; data: Zou et al., AAAI 2024",
    wants="labels, types (covariate) and views <angle>.avi of the test set; the gallery is CCGR-MINI's list",
    role="gallery",
    names="ccgr_mini",
  ),
  Classify(
    name="scoliosis1k",
    title="Scoliosis1K",
    source=f"{OPENGAIT}, evaluate_scoliosis; data: Zhou et al., MICCAI 2024",
    wants="logits [N, 3, parts] in the order negative, neutral, positive, and these three as types",
    classes={"negative": r"-negative$", "neutral": r"-neutral$", "positive": r"-positive$"},
  ),
  Classify(
    name="d_gait",
    title="D-Gait, depression",
    source="this project: no evaluator is released; class 1 where label-type holds a D, as OpenGait's model reads it",
    wants="logits [N, 2, parts] in the order healthy, depressed; labels N_<i> and D_<i>",
    classes={"healthy": r"^[^D]*$", "depressed": r"D"},
    binary="depressed",
  ),
  Attributes(
    name="ragar",
    title="RAGAR, attributes",
    source="this project: no evaluator is released; types carry the values as OpenGait's model reads them",
    wants="types <any>_<value>_<value>..., integers, and logits [N, sum of values per attribute, parts]",
  ),
  CrossView(
    name="walkers",
    title="Synthetic walkers",
    source="this project, after CASIA-B",
    wants="types nm-01, nm-02 (gallery), nm-03 and on, bg-.., cl-.. (probes), and views",
    gallery=r"nm-0[12]",
    conditions={"NM": r"nm-(0[3-9]|[1-9]\d)", "BG": r"bg-\d+", "CL": r"cl-\d+"},
    known=r"(nm|bg|cl)-\d+",
  ),
  Pooled(
    name="kth",
    title="KTH walking, across scenes and clothes",
    source="this project; data: Schuldt, Laptev, Caputo, ICPR 2004",
    wants="types d1 (gallery), d2, d3, d4 (probes)",
    gallery=r"d1",
    conditions={"d4": r"d4", "d3": r"d3", "d2": r"d2"},
    known=r"d[1-4]",
  ),
  Pooled(
    name="usf17",
    title="USF HumanID Gait Challenge 1.7, probes A to G",
    source="Sarkar et al., TPAMI 2005: gallery grass, shoe A, right camera",
    wants="types ga, gb, ca, cb (ground and shoe) and views r, l; gallery ga seen from r",
    published="MPCA 90.1, 82.9, 70.7, 34.3, 30.2, 20.9, 20.9 and MPCA with LDA 98.6, 82.9, 78.0, 40.3, 30.2, 25.4, 27.9"
    " (rank-1 % of A to G, all 71 persons, learnt from the gallery and its labels; Lu et al., IEEE Trans. Neural"
    " Networks 19(1), 2008, as release 1.3 of their code prints on the same 32 x 22 silhouettes)",
    gallery=r"ga/r",
    conditions={
      "A": r"ga/l", "B": r"gb/r", "C": r"gb/l", "D": r"ca/r", "E": r"cb/r", "F": r"ca/l", "G": r"cb/l",
    },
    known=r"[gc][ab]",
    known_views=r"[lr]",
    by_view=True,
  ),
  Own(
    name="own",
    title="Own data",
    source="this project",
    wants="types gallery and probe, or several sequences per label, of which the first is the gallery",
  ),
)
