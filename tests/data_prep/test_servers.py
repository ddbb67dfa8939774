"""Competitions with nameless probes: each year's form builds, with a gallery, and ends in the server's CSV."""

import csv
import pickle

import cv2
import numpy as np
import pytest

from data_prep import build, datasets, partitions, verify
from fgait_jax.data.source import open_split
from fgait_jax.errors import DataError
from fgait_jax.evaluation import protocols
from fgait_jax.evaluation.protocols.servers import write_csv

# Folders of walks; re-ranking wants more than six.
LATER = [f"{identity}/{walk}" for identity in ("00000", "00858") for walk in ("001", "002", "003")]
FORMS = {
  "2022": ["train/0001/002", *(f"HID2022_test_gallery/0{500 + n % 2}/{n}" for n in range(5)),
           "HID2022_test_probe/0007", "HID2022_test_probe/0008"],
  "2023": [*(f"gallery/{walk}" for walk in LATER), "probe/00017", "probe/00018"],
  "2023, as its tutorial unpacks it": [*LATER, "probe_phase1/00017", "probe_phase1/00018"],
}  # fmt: skip


def picture() -> np.ndarray:
  image = np.zeros((128, 128), np.uint8)
  image[:, 50:80] = 255
  return image


def write_pictures(root, walks, frames=2):
  for walk in walks:
    (root / walk).mkdir(parents=True)
    for frame in range(frames):
      (root / walk / f"{frame}.png").write_bytes(cv2.imencode(".png", picture())[1].tobytes())


def built(raw, out, name="hid"):
  assert build.main([name, "--raw", str(raw), "--out", str(out), "--workers", "1"]) == 0
  return open_split(out, name, "test")


def submission(split, path, protocol="hid") -> list[list[str]]:
  embeddings = np.random.default_rng(0).normal(size=(len(split), 4, 2)).astype(np.float32)
  found = protocols.get(protocol).evaluate(embeddings, split.subjects, split.conditions, split.views, bootstrap=0)
  return list(csv.reader(write_csv(found, path).open()))


@pytest.mark.parametrize("year", FORMS)
def test_hid_of_every_year_is_built_and_ends_in_the_servers_csv(year, tmp_path, capsys):
  write_pictures(tmp_path / "raw", FORMS[year])
  split = built(tmp_path / "raw", tmp_path / "out")
  told = capsys.readouterr()
  assert "belong to no walk" not in told.err
  assert ("of the train partition are absent" in told.err) == (year == "2022")
  gallery = set(split.subjects) - {"probe"}
  assert gallery == ({"0500", "0501"} if year == "2022" else {"00000", "00858"})
  head, *rows = submission(split, tmp_path / "hid.csv")
  assert head == ["videoID", "label"]
  assert sorted(row[0] for row in rows) == (["0007", "0008"] if year == "2022" else ["00017", "00018"])
  assert {row[1] for row in rows} <= gallery
  assert verify.main([str(tmp_path / "out" / "hid"), "--workers", "1"]) == 0


def test_the_pickles_of_opengaits_pretreatment_keep_the_videos_names(tmp_path):
  gallery = [f"0500/{walk}/default" for walk in range(5)]
  for walk in (*gallery, "probe/0007/default", "probe/0008/default"):
    (tmp_path / "raw" / walk).mkdir(parents=True)
    (tmp_path / "raw" / walk / "a.pkl").write_bytes(pickle.dumps(np.stack([picture()] * 2)))
  assert datasets.get("hid").source(tmp_path / "raw").subjects() == {"0500", "probe"}
  split = built(tmp_path / "raw", tmp_path / "out")
  assert split.keys.tolist() == [*gallery, "probe/default/0007", "probe/default/0008"]
  assert [row[0] for row in submission(split, tmp_path / "hid.csv")[1:]] == ["0007", "0008"]


@pytest.mark.parametrize(
  ("name", "walks", "message"),
  [
    ("hid", ("probe/00017", "probe/00018"), "2 nameless probes and no gallery to find them in"),
    ("hid", ("probe/00017", "gallery/abc/001"), "files that belong to no walk by their names: gallery/abc/001/0.png"),
    ("hid", ("probe/1", "gallery/00000/1", "train/0001/1"), "two editions of hid lie together, such as 0001 and 00000"),
    ("grew", ("test/probe/aa", "train/00001/bb"), "1 nameless probes and no gallery to find them in"),
  ],
)
def test_probes_without_a_gallery_are_refused_while_building(name, walks, message, tmp_path, capsys):
  write_pictures(tmp_path / "raw", walks)
  assert build.main([name, "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
  assert message in capsys.readouterr().err
  assert not (tmp_path / "out" / name).exists()


def test_other_recordings_of_the_same_names_are_another_build(tmp_path, capsys):
  write_pictures(tmp_path / "raw", FORMS["2023"])
  built(tmp_path / "raw", tmp_path / "out")
  (tmp_path / "raw/gallery/00000/001/0.png").write_bytes(cv2.imencode(".png", picture()[:, ::-1].copy() // 2)[1])
  assert build.main(["hid", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
  assert "holds another build of hid" in capsys.readouterr().err


def test_a_small_trial_of_grew_builds_with_its_gallery(tmp_path):
  walks = ("test/gallery/00001/aa", "test/gallery/00002/bb", "test/probe/cc", "test/probe/dd")
  for walk in walks:
    (tmp_path / "raw" / walk).mkdir(parents=True)
    (tmp_path / "raw" / walk / "1.png").write_bytes(cv2.imencode(".png", picture()[:64, 10:74])[1].tobytes())
  split = built(tmp_path / "raw", tmp_path / "out", "grew")
  assert split.keys.tolist() == ["00001/01/aa", "00002/01/bb", "probe/03/cc", "probe/03/dd"]


def test_a_partition_is_that_of_the_edition_at_hand():
  assert partitions.load_for("hid", {"0001"}) == partitions.load("hid")
  assert partitions.load_for("casia_b", {"001"}) == partitions.load("casia_b")
  later = partitions.load_for("hid", {"00003", "probe"})
  assert list(later) == ["test"]
  assert (len(later["test"]), later["test"][858], later["test"][-1]) == (860, "00858", "probe")
  with pytest.raises(DataError, match="two editions of hid"):
    partitions.load_for("hid", {"00003", "0003"})
