"""Records of public data sets: complete, and each opens a small tree of its own layout."""

import dataclasses
import io
import json
import pickle
import zipfile

import cv2
import numpy as np
import pytest
from rich.console import Console

from data_prep import build, catalogue, datasets, partitions
from fgait_jax import mappings
from fgait_jax.errors import DataError
from fgait_jax.evaluation import protocols

# One file name of a training subject, in the raw layout its makers hand out.
RAW = {
  "casia_b": "GaitDatasetB-silh/001/nm-01/090/001-nm-01-090-001.png",
  "casia_e": "forTrain/001/H/scene1/bg/000/1/0001.png",
  "oumvlp": "Silhouette_090-01/00003/0001.png",
  "gait3d": "2D_Silhouettes/1234/camid0_videoid2/seq0/0001.png",
  "grew": "train/00001/4XPn5Z28/00001.png",
  "ccpg": "000/U0_D0/00_0/0001.png",
  "ccgr": "1/NM1/90_1/0001.png",
  "sustech1k": "0000/00-nm/000/Sils_aligned/0001.png",
}


def mask(name: str) -> bytes:
  size = (64, 64) if name in ("grew", "sustech1k") else (120, 90)
  image = np.zeros(size, np.uint8)
  image[4:-4, size[1] // 3 : -size[1] // 3] = 255
  return cv2.imencode(".png", image)[1].tobytes()


@pytest.mark.parametrize("name", datasets.RECORDS)
def test_a_record_says_what_a_user_must_know(name):
  record = datasets.get(name)
  assert record.title
  assert record.licence
  assert record.obtain
  assert record.layout
  assert record.protocol == "none" or protocols.get(record.protocol)
  assert record.partition is None or partitions.load(record.partition)["train"]


@pytest.mark.parametrize("name", RAW)
def test_raw_images_are_found_and_split(name, tmp_path):
  with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
    for number in range(6):  # CASIA-E leaves out shorter walks
      archive.writestr(RAW[name].replace("001.png", f"00{number}.png"), mask(name))
  splits = datasets.get(name).source(tmp_path / "raw.zip").splits()
  (walk,) = splits["train"]
  assert not splits["test"]
  assert walk.subject in partitions.load(datasets.get(name).partition)["train"]
  assert walk.read().frames.shape == (6, 64, 64)


@pytest.mark.parametrize("names", [
  ("05-000-Camera-Sils_raw.pkl", "06-000-Camera-Sils_aligned.pkl"),
  ("06-000-far-Camera-Sils_raw.pkl", "05-000-far-Camera-Sils_aligned.pkl"),  # of a walk without poses
  ("12-sync-Camera-Sils_aligned.pkl", "06-Camera-Sils_aligned.pkl"),
], ids=["all", "a modality missing", "synchronised, too"])
def test_the_pickle_of_silhouettes_is_chosen_among_others(tmp_path, names):
  folder = tmp_path / "0000" / "00-nm" / "000"
  folder.mkdir(parents=True)
  for name, value in zip(names, (1, 255), strict=True):
    (folder / name).write_bytes(pickle.dumps(np.full((3, 64, 64), value, np.uint8)))
  (walk,) = datasets.get("sustech1k").source(tmp_path).splits()["train"]
  assert (walk.read().frames == 255).all()


def test_a_public_set_is_built_from_its_archive(tmp_path, capsys):
  with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
    for subject in ("001", "074", "075", "124"):
      for frame in range(3):
        archive.writestr(f"silh/{subject}/nm-01/090/{frame}.png", mask("casia_b"))
  args = ["casia_b", "--raw", str(tmp_path / "raw.zip"), "--out", str(tmp_path / "built"), "--workers", "1"]
  assert build.main(args) == 0
  assert "72 subjects of the train partition are absent" in capsys.readouterr().err
  (file,) = (tmp_path / "built" / "casia_b").glob("*/manifest.json")
  manifest = json.loads(file.read_text())
  assert {split: facts["subjects"] for split, facts in manifest["splits"].items()} == {"train": 2, "test": 2}
  assert len(manifest["absent_subjects"]["test"]) == 48


def test_an_unknown_name_suggests_the_nearest():
  with pytest.raises(DataError, match="did you mean casia_b"):
    datasets.get("casia-b")


@pytest.mark.parametrize("name", ["Usf 17/a", "", "17usf", "uśf"])
def test_a_name_that_makes_no_folder_is_refused(name):
  with pytest.raises(ValueError, match=f"{name!r} is no name of a data set: expected small letters, digits and under"):
    dataclasses.replace(datasets.get("kth"), name=name)


def test_two_records_of_one_name_are_refused():
  with pytest.raises(ValueError, match="two records are called kth: "):
    mappings.by_name([datasets.get("kth"), datasets.get("usf17"), datasets.get("kth")])


def test_data_sets_of_the_same_people_are_one_population():
  others = {name: record.population for name, record in datasets.RECORDS.items() if record.population != name}
  scoliosis = {f"scoliosis1k_{ratio}": "scoliosis1k" for ratio in ("112", "114", "118", "1116")}
  assert others == scoliosis | {"ccgr_mini": "ccgr", "crowd4800": "crowd", "crowd_pairs": "crowd"}
  assert "those of scoliosis1k" in " ".join(_told("scoliosis1k_118"))
  one, other = (partitions.load(f"scoliosis1k_{ratio}") for ratio in ("118", "112"))
  assert set(one["train"]) & set(other["test"])


def _told(name: str) -> list[str]:
  console = Console(file=io.StringIO(), width=200)
  console.print(catalogue.about(datasets.get(name)))
  return console.file.getvalue().split()


def test_who_walks_in_a_record_is_one_of_three_kinds():
  with pytest.raises(ValueError, match=r"walkers: kind 'drawn', expected one of \('real', 'real motion, rendered', "):
    dataclasses.replace(datasets.get("walkers"), kind="drawn")
