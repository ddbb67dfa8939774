"""The official evaluator's recorded results are met within 0.01 points, one test a file, through the task "score"."""

import json
import pathlib
import re

import numpy as np
import pytest

from fgait_jax.evaluation.metrics import retrieval
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.evaluation.metrics.rerank import rerank
from fgait_jax.evaluation.tasks.score import score

RECORDS = pathlib.Path(__file__).parents[2] / "golden" / "protocols"
WITHIN = 0.01  # points
LISTED = {"Rank-1": "rank1", "Rank-5": "rank5", "Rank-10": "rank10", "mAP": "map", "mINP": "minp"}


def golden(name):
  """The path of a recorded file."""
  return RECORDS / f"{name}.npz"


def scored(path, protocol, *, metric="euclidean"):
  with np.load(path) as file:
    recorded = {k.removeprefix("test_accuracy/"): v for k, v in json.loads(str(file["results"])).items()}
    log = str(file["log"])
  return score(path, protocol=protocol, metric=metric, bootstrap=0), recorded, log


def agree(ours, theirs):
  assert theirs
  for key, value in theirs.items():
    assert ours[key] == pytest.approx(value, abs=WITHIN), key


def by_condition(result, measure="rank1", label="@R1", rename=()):
  return {dict(rename).get(name, name) + label: found[measure] for name, found in result["conditions"].items()}


@pytest.mark.parametrize("name", ["casia_b", "casia_b_cosine", "oumvlp", "casia_e"])
def test_cross_view(name):
  metric = "cosine" if name.endswith("_cosine") else "euclidean"
  result, recorded, _ = scored(golden(name), name.removesuffix("_cosine"), metric=metric)
  agree(by_condition(result), recorded)


def test_casia_b_per_view():
  result, _, log = scored(golden("casia_b"), "casia_b")
  for name, table in result["per_view"].items():
    cells = np.array(table["rank1"], float)
    np.fill_diagonal(cells, np.nan)
    recorded = re.search(rf"{name}@R1: \[([^\]]*)\]", log)[1].split()
    np.testing.assert_allclose(np.nanmean(cells, axis=1), np.array(recorded, float), atol=WITHIN)


def test_casia_b_cross_view_gallery():
  result, recorded, _ = scored(golden("casia_b_cross_view_gallery"), "casia_b_cross_view_gallery")
  agree(by_condition(result, label="-Rank@1") | by_condition(result, "map", "-mAP"), recorded)


def test_sustech1k():
  result, recorded, log = scored(golden("sustech1k"), "sustech1k")
  rename = {"Umbrella": "Umberalla"}
  agree(by_condition(result, rename=rename.items()), recorded)
  rank5 = {f"{k}@R5": float(v) for k, v in re.findall(r"(\w+)@R5: ([\d.]+)%", log)}
  agree(by_condition(result, "rank5", "@R5", rename.items()), rank5)
  assert result["summary"]["rank1"] == pytest.approx(recorded["Overall@R1"], abs=WITHIN)


@pytest.mark.parametrize("name", ["gait3d", "freegait", "ccgr_mini", "grew_validation"])
def test_one_ranking(name):
  result, recorded, _ = scored(golden(name), name)
  agree({k: result["conditions"]["all"][v] for k, v in LISTED.items()}, recorded)


def test_grew_validation_ranks_10_and_20():
  result, _, log = scored(golden("grew_validation"), "grew_validation")
  recorded = dict(re.findall(r"==Rank-(\d+)==\s+([\d.]+)", log))
  agree({k: result["conditions"]["all"][f"rank{k}"] for k in recorded}, {k: float(v) for k, v in recorded.items()})


def test_ccpg():
  result, recorded, _ = scored(golden("ccpg"), "ccpg")
  ours = {}
  for name, found in result["readings"]["reid"]["conditions"].items():
    for title, key in (("Rank-1", "rank1"), ("mAP", "map"), ("mINP", "minp")):
      ours[f"{title} (Exclude identical-view cases for Person Re-Identification) | {name}"] = found[key]
  for reading, title in (("gait", "Exclude"), ("identical", "Include")):
    for name, found in result["readings"][reading]["conditions"].items():
      ours[f"Rank-1 ({title} identical-view cases) | {name}"] = found["rank1"]
  agree(ours, recorded)


def test_scoliosis1k():
  result, recorded, _ = scored(golden("scoliosis1k"), "scoliosis1k")
  agree({f"{k}/": v for k, v in result["summary"].items() if k != "ci"},
        {{"": "accuracy/"}.get(k, k.removeprefix("test_")): 100 * v for k, v in recorded.items()})


def test_rerank():
  """The very distances, in half precision where the evaluator has it, and so the same neighbours and rank-1."""
  with np.load(golden("rerank")) as file:
    arrays = {k: file[k] for k in file.files}
  distances = pairwise(arrays["embeddings"], arrays["embeddings"])
  np.testing.assert_allclose(distances, arrays["distances"], atol=2e-2)
  num = int(arrays["num_query"])
  ours = rerank(arrays["distances"], num_probes=num)
  np.testing.assert_array_equal(ours, arrays["reranked"])
  labels = arrays["labels"]
  ranking = retrieval.rank(arrays["embeddings"][:num], arrays["embeddings"][num:], probe_labels=labels[:num],
                           gallery_labels=labels[num:])
  assert ranking.hits(1).mean() == pytest.approx(float(arrays["rank1_before"]))
  assert (labels[num:][ours.argmin(1)] == labels[:num]).mean() == pytest.approx(float(arrays["rank1_after"]))
