"""Anybody's own folder becomes a data set with one command, with one channel or several."""

import json
import os
import pickle

import cv2
import numpy as np
import pytest

from data_prep import build, datasets, verify
from fgait_jax.data import schema
from fgait_jax.data.source import open_split


def write(root, name, image):
  file = root / name
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def mask(left=40):
  image = np.zeros((120, 160), np.uint8)
  image[10:110, left : left + 30] = 255
  return image


def own(raw, out, *flags):
  return build.main(["own", "--raw", str(raw), "--out", str(out), "--workers", "1", *flags])


def test_a_folder_of_masks_is_built_under_its_own_name(tmp_path, capsys):
  for view in ("front", "side ä"):
    for frame in range(3):
      write(tmp_path / "raw", f"p 01/slow/{view}/{frame}.png", mask(frame * 20))
  write(tmp_path / "raw", "p 01/slow/front/3.png", np.zeros((120, 160), np.uint8))
  assert own(tmp_path / "raw", tmp_path / "out", "--name", "ward_3") == 0
  assert "refused 1 frames of 7 in the stored walks: all black" in capsys.readouterr().out
  split = open_split(tmp_path / "out", "ward_3", "test")
  assert split.keys.tolist() == ["p 01/slow/front", "p 01/slow/side ä"]
  assert split.frames(0).shape == (3, 64, 64, 1)
  assert verify.main([str(tmp_path / "out" / "ward_3"), "--workers", "1"]) == 0


def test_gallery_and_probe_stay_the_types_that_the_protocol_asks_for(tmp_path):
  for walk in ("01/gallery/d1p2-r", "01/gallery/d1p1-r", "01/probe/d1p2-r"):
    write(tmp_path / "raw", f"{walk}/1.png", mask())
  assert own(tmp_path / "raw", tmp_path / "out") == 0
  split = open_split(tmp_path / "out", "own", "test")
  assert split.keys.tolist() == ["01/gallery/d1p1-r", "01/gallery/d1p2-r", "01/probe/d1p2-r"]
  assert split.conditions.tolist() == ["gallery", "gallery", "probe"]


def test_own_walks_may_be_of_the_people_of_another_data_set(tmp_path, capsys):
  write(tmp_path / "raw", "00001/positive/000/1.png", mask())
  out = tmp_path / "out"
  population = lambda: schema.population_of(open_split(out, "mine", "test").manifest)  # noqa: E731
  assert own(tmp_path / "raw", out, "--name", "mine") == 0
  assert population() == "mine"
  assert own(tmp_path / "raw", out, "--name", "mine", "--population", "scoliosis1k_118") == 1
  assert "holds another build of mine" in capsys.readouterr().err
  assert own(tmp_path / "raw", out, "--name", "mine", "--population", "scoliosis1k_118", "--overwrite") == 0
  assert population() == "scoliosis1k"
  assert own(tmp_path / "raw", out, "--name", "mine", "--population", "No Body") == 1
  assert "--population 'No Body': expected small letters" in capsys.readouterr().err
  assert schema.population_of({"name": "mine"}) == "mine"  # built before populations were recorded


def test_a_leading_tilde_is_the_users_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  for subject in ("a", "b"):
    write(tmp_path / "raw", f"{subject}/nm/0/1.png", mask())
  (tmp_path / "train.txt").write_text("a")
  assert build.main(["own", "--raw=~/raw", "--out=~/built", "--train-subjects=~/train.txt", "--workers=1"]) == 0
  assert verify.main(["~/built/own", "--workers=1"]) == 0
  assert sorted(path.name for path in tmp_path.iterdir()) == ["built", "raw", "train.txt"]


def test_masks_of_44_columns_are_taken_as_cut(tmp_path):
  cut = np.zeros((64, 44), np.uint8)
  cut[5:60, 2:20] = 200  # neither centred nor full height: another cut would move it
  write(tmp_path / "raw", "a/b/c/1.png", cut)
  assert own(tmp_path / "raw", tmp_path / "out") == 0
  np.testing.assert_array_equal(open_split(tmp_path / "out", "own", "test").frames(0)[0, ..., 0], cut)


def test_pictures_of_several_modalities_become_channels(tmp_path):
  rng = np.random.default_rng(0)
  grey, colour = rng.integers(0, 9, (4, 64, 44), np.uint8), rng.integers(0, 256, (4, 64, 44, 3), np.uint8)
  for frame in range(4):
    write(tmp_path / "raw", f"001/nm/0/parsing/{frame}.png", grey[frame])
    if frame:
      write(tmp_path / "raw", f"001/nm/0/Depth/{frame}.png", colour[frame][..., ::-1])
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "parsing,depth") == 0
  split = open_split(tmp_path / "out", "own", "test")
  assert (split.subjects[0], split.conditions[0], split.views[0]) == ("001", "nm", "0")
  assert split.manifest["refused_frames"] == {"no depth": {"count": 1, "examples": ["001/nm/0/0"]}}
  expected = np.concatenate([grey[1:, ..., None], colour[1:]], axis=-1)
  np.testing.assert_array_equal(split.frames(0), expected)
  np.testing.assert_array_equal(split.frames(0, [2, 0, 0]), expected[[2, 0, 0]])


def test_modalities_may_lie_in_trees_of_their_own(tmp_path):
  for name in ("map", "par"):
    write(tmp_path / "raw", f"{name}/001/nm/0/1.png", np.full((64, 64), len(name), np.uint8))
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "map,par") == 0
  assert open_split(tmp_path / "out", "own", "test").frames(0).shape == (1, 64, 64, 2)


def test_frames_of_modalities_are_in_the_order_of_their_numbers(tmp_path):
  for name in ("map", "par"):
    for frame in (2, 10, 1):
      write(tmp_path / "raw", f"001/nm/0/{name}/{frame}.png", np.full((64, 64), frame, np.uint8))
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "map,par") == 0
  assert open_split(tmp_path / "out", "own", "test").frames(0)[:, 0, 0].tolist() == [[1, 1], [2, 2], [10, 10]]


def test_modalities_of_a_fast_recording_are_brought_to_the_usual_rate(tmp_path, capsys):
  """Refused frames count as time: of twenty at 50 a second, every second is taken, whatever is missing."""
  for name in ("map", "par"):
    for frame in range(20):
      if (name, frame) not in {("par", 3), ("map", 9)}:
        write(tmp_path / "raw", f"001/nm/0/{name}/{frame:02d}.png", np.full((64, 64), frame + 1, np.uint8))
    (tmp_path / "raw" / "001" / "nm" / "0" / name / "video.json").write_text('{"frame_rate": 50.0}')
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "map,par") == 0
  frames = open_split(tmp_path / "out", "own", "test").frames(0)
  assert frames[:, 0, 0, 0].tolist() == list(range(1, 21, 2))
  assert "belong to no walk" not in capsys.readouterr().err


def test_the_first_modality_that_a_frame_lacks_is_told(tmp_path, capsys):
  for name in ("map/1", "map/2", "par/2", "dep/2"):
    write(tmp_path / "raw", f"001/nm/0/{name}.png", np.full((64, 64), 9, np.uint8))
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "map,par,dep") == 0
  assert "refused 1 frames of 2 in the stored walks: no par, such as 001/nm/0/1" in capsys.readouterr().out


def test_other_modalities_are_another_data_set(tmp_path, capsys):
  for name in ("map", "par", "dep"):
    write(tmp_path / "raw", f"{name}/001/nm/0/1.png", np.full((64, 64), 9, np.uint8))
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "map,par") == 0
  for others in ("map,dep", "par,map"):
    assert own(tmp_path / "raw", tmp_path / "out", "--modalities", others) == 1
    assert "holds another build of own" in capsys.readouterr().err


def test_a_stray_pickle_among_masks_is_named_and_not_taken_for_the_recordings(tmp_path, capsys):
  for frame in range(3):
    write(tmp_path / "raw", f"001/nm/0/{frame}.png", mask())
  (tmp_path / "raw" / "001" / "meta.pkl").write_bytes(pickle.dumps({}))
  assert own(tmp_path / "raw", tmp_path / "out") == 0
  assert "1 files belong to no walk by their names and are left out: 001/meta.pkl" in capsys.readouterr().err


def test_files_of_no_modality_are_named_and_a_frame_twice_is_an_error(tmp_path, capsys):
  cut = np.full((64, 64), 9, np.uint8)
  for name in ("001/nm/0/map/1.png", "001/nm/0/par/1.png", "001/nm/0/rgb/1.png"):
    write(tmp_path / "raw", name, cut)
  (tmp_path / "raw" / "notes.txt").write_text("hello")
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "map,par") == 0
  unread = open_split(tmp_path / "out", "own", "test").manifest["unread_files"]
  assert unread == {"count": 2, "examples": ["001/nm/0/rgb/1.png", "notes.txt"]}
  assert "2 files belong to no walk by their names and are left out: 001/nm/0/rgb/1.png" in capsys.readouterr().err
  write(tmp_path / "raw", "par/001/nm/0/1.png", cut)
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "map,par") == 1
  twice = "001/nm/0/par/1.png and par/001/nm/0/1.png are the same frame's par; remove one"
  assert twice in capsys.readouterr().err


@pytest.mark.parametrize("width", [64, 44])
def test_maps_in_pickles_of_either_axis_order_keep_their_channels(tmp_path, width):
  maps = np.random.default_rng(1).integers(0, 256, (5, 2, 64, width), np.uint8)
  for view, array in (("a", maps), ("b", maps.transpose(0, 2, 3, 1))):
    folder = tmp_path / "raw" / "001" / "nm" / view
    folder.mkdir(parents=True)
    (folder / "maps.pkl").write_bytes(pickle.dumps(array))
  assert own(tmp_path / "raw", tmp_path / "out") == 0
  split = open_split(tmp_path / "out", "own", "test")
  for row in range(2):
    np.testing.assert_array_equal(split.frames(row, [4, 1]), maps[[4, 1]].transpose(0, 2, 3, 1))


def test_uncut_modalities_are_an_error_that_says_so(tmp_path, capsys):
  write(tmp_path / "raw", "001/nm/0/sil/1.png", mask())
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "sil") == 1
  assert "mostly: not cut to 64 x 64 or 44" in capsys.readouterr().err
  assert own(tmp_path / "raw", tmp_path / "out", "--modalities", "sil,depth") == 1
  assert "no pictures of depth; expected <id>/<type>/<view>/depth/*.png" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["own", "--name", "Ward 3"], "--name 'Ward 3': expected small letters"),
    (["own", "--name", "kth"], "--name kth: a public data set is called so"),
    (["own", "--modalities", "sil,"], "--modalities sil,: expected names of folders, none empty and none twice"),
    (["own", "--modalities", "a,b,a"], "none twice"),
    (["kth", "--name", "mine"], "--name belongs to the data sets own, own_mocap, crowd, not to kth"),
    (["kth", "--train-subjects", "0.7"], "--train-subjects belongs to the data sets own, own_mocap, not"),
    (["own"], "nothing_here: no such folder or archive; it must hold <id>/<type>/<view>"),
  ],
)
def test_names_that_cannot_be_are_refused(argv, message, tmp_path, capsys):
  assert build.main([*argv, "--raw", str(tmp_path / "nothing_here"), "--out", str(tmp_path / "out")]) == 1
  assert message in capsys.readouterr().err


def test_a_frame_whose_name_is_not_utf8_is_told_where_it_is_refused_or_changed(tmp_path):
  for number in range(3):
    write(tmp_path / "raw", f"001/nm/0/{number}.png", mask(40 + number))
  (tmp_path / "raw/002/nm/0").mkdir(parents=True)
  for name, image in ((b"001/nm/0/\xff8.png", 0 * mask()), (b"002/nm/0/\xff1.png", 0 * mask()),
                      (b"001/nm/0/\xff9.png", mask() - np.uint8(5) * (mask() > 0))):
    with open(os.fsencode(tmp_path / "raw") + b"/" + name, "wb") as file:
      file.write(cv2.imencode(".png", image)[1].tobytes())
  assert own(tmp_path / "raw", tmp_path / "out", "--limit-dropped", "0.5") == 0
  manifest = open_split(tmp_path / "out", "own", "test").manifest
  assert next(iter(manifest["refused_frames"].values()))["examples"] == ["001/nm/0/\ufffd8.png"]
  assert next(iter(manifest["altered_frames"].values()))["examples"] == ["001/nm/0/\ufffd9.png"]
  assert "(as \ufffd1.png)" in manifest["dropped"]["no usable frame"]["examples"][0]


def test_of_a_fast_recording_the_frames_that_are_stored_are_counted(tmp_path, capsys):
  for number in range(40):
    write(tmp_path / "raw", f"001/nm/0/{number}.png", mask() - np.uint8(5) * (mask() > 0))
  facts = tmp_path / "raw/001/nm/0/video.json"
  facts.write_text('{"frame_rate": 100.0}')
  assert own(tmp_path / "raw", tmp_path / "out") == 0
  split = open_split(tmp_path / "out", "own", "test")
  assert len(split.frames(0)) == 10
  (altered,) = split.manifest["altered_frames"].values()
  assert (altered["count"], altered["examples"][:2]) == (10, ["001/nm/0/0.png", "001/nm/0/4.png"])
  facts.write_text('{"frame_rate": 200.0}')  # of the same size
  assert own(tmp_path / "raw", tmp_path / "out") == 1
  assert "holds another build of own" in capsys.readouterr().err


def test_what_is_built_may_not_lie_in_what_is_read(tmp_path, capsys):
  write(tmp_path / "raw", "001/nm/0/1.png", mask())
  assert own(tmp_path / "raw", tmp_path / "raw/out") == 1
  assert "which is to be built, lies in --raw" in capsys.readouterr().err
  assert not (tmp_path / "raw/out").exists()


def test_another_frame_rate_is_another_data_set(tmp_path):
  write(tmp_path, "001/nm/0/1.png", mask())
  sources = [datasets.own.named(frame_rate=rate).source(tmp_path) for rate in (0.0, 50.0, 59.94, 60.0)]
  assert len({source.fingerprint() for source in sources}) == 4


@pytest.fixture
def people(tmp_path):
  for subject in ("ann", "bo", "cy", "p 04", "05"):
    for view in ("a", "b"):
      write(tmp_path / "people", f"{subject}/nm/{view}/1.png", mask())
  return tmp_path / "people"


def subjects_of(out, split):
  return sorted(set(open_split(out, "own", split).subjects.tolist()))


def test_a_share_of_the_people_trains_the_same_ones_each_time(people, tmp_path, capsys):
  assert own(people, tmp_path / "out", "--train-subjects", "0.6") == 0
  train, test = (subjects_of(tmp_path / "out", split) for split in ("train", "test"))
  assert (len(train), len(test)) == (3, 2)
  assert sorted(train + test) == ["05", "ann", "bo", "cy", "p 04"]
  manifest = open_split(tmp_path / "out", "own", "train").manifest
  assert manifest["choices"] == {"train_subjects": "0.6", "seed": 0}
  assert verify.main([str(tmp_path / "out" / "own"), "--workers", "1"]) == 0
  assert own(people, tmp_path / "again", "--train-subjects", "0.6") == 0
  assert subjects_of(tmp_path / "again", "train") == train
  capsys.readouterr()
  assert own(people, tmp_path / "out", "--train-subjects", "0.6") == 0
  assert "is built already" in capsys.readouterr().out
  assert own(people, tmp_path / "out", "--train-subjects", "0.4") == 1
  assert "from other recordings, choices or code" in capsys.readouterr().err
  assert own(people, tmp_path / "out", "--train-subjects", "0.4", "--overwrite") == 0
  assert len(subjects_of(tmp_path / "out", "train")) == 2


@pytest.mark.parametrize(
  ("encoding", "flags"), [("utf-8", ()), ("utf-16-le", ()), ("utf-16-be", ()), ("utf-8", ("--modalities", "sil"))]
)
def test_listed_people_train(tmp_path, encoding, flags):
  cut = np.pad(np.full((64, 20), 255, np.uint8), [(0, 0), (12, 12)])
  for subject in ("001", "p 04"):
    write(tmp_path / "raw", f"{subject}/nm/0/{'sil/' if flags else ''}1.png", cut)
  lines = "\ufeffp 04 \r\n\r\n"  # as Windows' editor saves them
  (tmp_path / "train.txt").write_bytes(lines.encode(encoding))
  assert own(tmp_path / "raw", tmp_path / "out", "--train-subjects", str(tmp_path / "train.txt"), *flags) == 0
  assert subjects_of(tmp_path / "out", "train") == ["p 04"]
  assert subjects_of(tmp_path / "out", "test") == ["001"]
  choices = open_split(tmp_path / "out", "own", "test").manifest["choices"]
  assert choices == {"train_subjects": "train.txt"}


@pytest.mark.parametrize(
  ("chosen", "message"),
  [
    ("1.0", "--train-subjects 1.0: expected a share between 0 and 1"),
    ("nan", "--train-subjects nan: expected a share between 0 and 1"),
    ("-0.1", "--train-subjects -0.1: expected a share between 0 and 1"),
    ("0.01", "of the 5 subjects of {raw} none is left to train; at least one must train and one be tested"),
    ("0.99", "of the 5 subjects of {raw} none is left to test"),
    ("{tmp}/nowhere.txt", "nowhere.txt: neither a share such as 0.7 nor a readable text file of subjects, one a line"),
    ("ann\ncj\n", "train.txt: 1 subjects are not in {raw}: cj; there are 05, ann, bo, cy, p 04"),
    ("", "none is left to train"),
    ("ann\nbo\ncy\np 04\n05", "none is left to test"),
  ],
)
def test_choices_of_people_that_cannot_be_met_are_refused(chosen, message, people, tmp_path, capsys):
  if "\n" in chosen or not chosen:
    (tmp_path / "train.txt").write_text(chosen)
    chosen = "{tmp}/train.txt"
  flag = f"--train-subjects={chosen.format(tmp=tmp_path)}"
  assert own(people, tmp_path / "out", flag) == 1
  assert message.format(raw=people) in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_how_labels_were_read_is_told(tmp_path, capsys):
  for raw, name in (("a", "01/nm-01/090/000.png"), ("b", "masks/01/nm-01/front/000.png")):
    write(tmp_path / raw, name, mask())
    assert own(tmp_path / raw, tmp_path / "out" / raw) == 0
    view = name.split("/")[-2]
    assert f"read as subject 01, type nm-01, view {view}, from {name}\n" in capsys.readouterr().out


def test_pictures_of_one_person_one_folder_too_deep_are_refused(tmp_path, capsys):
  for walk in ("nm-01/000", "nm-01/090", "bg-01/000"):
    write(tmp_path / "raw", f"01/{walk}/silhouettes/1.png", mask())
  assert own(tmp_path / "raw", tmp_path / "out") == 1
  error = capsys.readouterr().err
  assert "01/bg-01/000/silhouettes/1.png seems to lie one folder too deep: it reads as subject bg-01, type 000" in error
  assert f"if they are read rightly let --raw name {tmp_path}/raw/01" in error
  assert own(tmp_path / "raw" / "01", tmp_path / "out") == 0  # as that error says


def test_the_manifest_of_own_walks_is_like_any_other(tmp_path):
  write(tmp_path / "raw", "a/b/c/1.png", mask())
  assert own(tmp_path / "raw", tmp_path / "out") == 0
  manifest = json.loads((tmp_path / "out" / "own" / schema.BUILDER_VERSION / schema.MANIFEST).read_text())
  assert manifest["splits"] == {"test": {"sequences": 1, "subjects": 1, "frames": 1}}
  assert manifest["kind"] == "real"
