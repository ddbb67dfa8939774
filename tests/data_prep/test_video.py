"""A small film of a synthetic walker becomes masks and a data set; a film of nobody is an error that names it."""

import importlib.util
import json
import pathlib
import sys
import types

import cv2
import numpy as np
import pytest

from data_prep import build, segmenters, video
from data_prep.sources import rates
from data_prep.sources.base import Reading, Walk, with_bodies
from data_prep.sources.walkers import render_walk
from fgait_jax.data.source import open_split
from fgait_jax.errors import DataError

BACKGROUND = ["--segmenter", "background"]


@pytest.fixture(scope="module")
def walk():
  """Silhouettes bool [30, 64, 64]."""
  frames = render_walk(seed=0, subject="0001", condition="nm-01", view="090", frames=(30, 30), clean=True).frames
  return frames > 127


def film(file, bodies, *, height=120, width=240, seed=0, rate=25):
  """A noisy scene of 45 frames; `bodies` cross it, 3 pixels a frame, five frames after its beginning."""
  rng = np.random.default_rng(seed)
  scene = cv2.GaussianBlur(rng.integers(60, 200, (height, width, 3)).astype(np.uint8), (0, 0), 4)
  file.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), rate, (width, height))
  for i in range(45):
    frame = scene.copy()
    if 5 <= i < 5 + len(bodies):
      body = bodies[i - 5]
      left = 20 + 3 * (i - 5)
      frame[40 : 40 + len(body), left : left + body.shape[1]][body] = (40, 20, 30)
    writer.write(np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8))
  writer.release()
  assert file.stat().st_size
  return file


def test_a_walker_before_a_fixed_camera_becomes_masks_and_a_data_set(tmp_path, walk, capsys):
  film(tmp_path / "videos" / "p1" / "coat" / "side.avi", walk)
  assert video.main([str(tmp_path / "videos"), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 0
  assert "30 of 45 frames" in capsys.readouterr().out
  masks = sorted((tmp_path / "masks" / "p1" / "coat" / "side").iterdir())
  assert masks.pop().name == "video.json"
  assert [mask.name for mask in masks] == [f"{i:06d}.png" for i in range(5, 35)]
  overlap = []
  for i, file in enumerate(masks):
    mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)[40:104, 20 + 3 * i : 84 + 3 * i] > 127
    overlap.append((mask & walk[i]).sum() / (mask | walk[i]).sum())
  assert np.mean(overlap) > 0.85
  assert build.main(["own", "--raw", str(tmp_path / "masks"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
  split = open_split(tmp_path / "out", "own", "test")
  assert split.keys.tolist() == ["p1/coat/side"]
  assert split.frames(0).shape == (30, 64, 64, 1)


def test_films_of_nobody_or_of_a_ball_are_named_and_leave_nothing(tmp_path, walk, capsys):
  nobody = film(tmp_path / "nobody.avi", ())
  assert video.main([str(nobody), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 1
  told = capsys.readouterr().err
  assert f"{nobody}: no walking person seen: the longest stretch with a whole body has 0 of 45" in told
  ball = film(tmp_path / "ball.avi", np.ones((30, 20, 40), bool))
  assert video.main([str(ball), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 1
  assert "a person is upright" in capsys.readouterr().err
  assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("frames", [9, 10])
def test_a_fraction_of_a_step_is_no_walk(frames, tmp_path, walk):
  file = film(tmp_path / "a.avi", walk[:frames])
  if frames < 10:
    with pytest.raises(DataError, match="the longest stretch with a whole body has 9 of 45 frames, at least 10 are"):
      video.write_masks(file, tmp_path / "masks", segmenter="background")
  else:
    assert video.write_masks(file, tmp_path / "masks", segmenter="background").kept == frames


def test_one_bad_film_does_not_stop_the_others(tmp_path, walk, capsys):
  film(tmp_path / "videos" / "a.avi", walk)
  (tmp_path / "videos" / "b.mp4").write_bytes(b"not a film")
  assert video.main([str(tmp_path / "videos"), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 1
  told = capsys.readouterr()
  assert "b.mp4: not a readable video" in told.err
  assert "1 of 2 videos gave no walk" in told.err
  assert (tmp_path / "masks" / "a" / "00" / "00" / "000005.png").is_file()
  assert video.main([str(tmp_path / "videos" / "a.avi"), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 0
  assert "masks/a/00/00: exists already and is kept; remove it to make" in capsys.readouterr().out


def test_places_where_videos_are_not(tmp_path, capsys):
  (tmp_path / "empty").mkdir()
  for place, message in (("empty", "no videos"), ("nowhere", "no such video or folder")):
    assert video.main([str(tmp_path / place), "--out", str(tmp_path / "masks")]) == 1
    assert message in capsys.readouterr().err


def test_the_person_is_where_the_pose_models_confidence_is_high(monkeypatch):
  """A stand-in for MediaPipe, which takes red first and here is confident of what is red."""
  class Pose:
    def __init__(self, *, enable_segmentation):
      assert enable_segmentation

    def process(self, picture):
      red = picture[..., 0] / 255
      return types.SimpleNamespace(segmentation_mask=red if red.any() else None)

    def close(self):
      pass

  monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.pose", types.SimpleNamespace(Pose=Pose))
  for package in ("mediapipe", "mediapipe.python", "mediapipe.python.solutions"):
    monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
  seen, empty = np.zeros((2, 4, 6, 3), np.uint8)
  seen[1:3, 2] = 20, 30, 200  # blue, green, red
  empty[0] = 255, 255, 0
  masks = list(segmenters.pose_masks([seen, empty]))
  assert [mask.dtype for mask in masks] == [bool, bool]
  np.testing.assert_array_equal(masks[0], seen[..., 2] > 127)
  assert not masks[1].any()


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is not None, reason="MediaPipe is installed")
def test_without_mediapipe_the_error_names_what_to_install(tmp_path, walk, capsys):
  file = film(tmp_path / "a.avi", walk)
  assert video.main([str(file), "--out", str(tmp_path / "masks")]) == 1
  assert "requirements-video.txt" in capsys.readouterr().err


@pytest.mark.skipif(
  importlib.util.find_spec("mediapipe") is None, reason="needs MediaPipe: pip install -r requirements-video.txt"
)
def test_mediapipe_sees_nobody_in_an_empty_scene(tmp_path, capsys):
  file = film(tmp_path / "a.avi", ())
  assert video.main([str(file), "--out", str(tmp_path / "masks")]) == 1
  assert f"{file}: no walking person seen" in capsys.readouterr().err


def test_a_damaged_frame_is_counted_and_what_follows_it_is_read(tmp_path, walk, capsys):
  file = film(tmp_path / "a.avi", walk)
  whole = file.read_bytes()
  places = [i for i in range(len(whole) - 4) if whole[i : i + 4] == b"00dc"]
  begin = places[20] + 8
  file.write_bytes(whole[:begin] + bytes(1500) + whole[begin + 1500 :])
  assert video.main([str(file), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 0
  told = capsys.readouterr()
  assert f"warning: {file}: 1 of the 45 frames that its header announces cannot be decoded; it is damaged" in told.err
  assert "29 of 44 frames" in told.out
  facts = json.loads((tmp_path / "masks" / "a" / "00" / "00" / "video.json").read_text())
  assert facts == {"video": "a.avi", "decoded_frames": 44, "lost_frames": 1, "frame_rate": 25.0}
  file.write_bytes(whole[: places[30]])
  assert video.main([str(file), "--out", str(tmp_path / "cut"), *BACKGROUND]) == 0
  assert "of the 45 frames that its header announces cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize("rate", [8, 120])
def test_the_rate_of_a_film_is_kept(rate, tmp_path, walk, capsys):
  file = film(tmp_path / "a.avi", walk, rate=rate)
  assert video.main([str(file), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 0
  assert f"30 of 45 frames of {file}, {rate} frames a second" in capsys.readouterr().out
  facts = json.loads((tmp_path / "masks" / "a" / "00" / "00" / "video.json").read_text())
  assert facts["frame_rate"] == rate


@pytest.mark.parametrize(("lost", "kept"), [((20, 23), 27), ((20, 24), 20)])
def test_a_stretch_may_miss_three_frames_and_not_four(lost, kept, tmp_path, walk):
  bodies = walk.copy()
  bodies[slice(*lost)] = False
  written = video.write_masks(film(tmp_path / "a.avi", bodies), tmp_path / "masks", segmenter="background")
  assert written.kept == kept == len(list((tmp_path / "masks").glob("*.png")))


@pytest.mark.parametrize("count", [30, 200])
def test_the_scene_is_what_is_seen_behind_the_walker_over_the_whole_film(count):
  scene = np.random.default_rng(0).integers(0, 200, (9, 60, 3)).astype(np.uint8)
  frames = [scene.copy() for _ in range(count)]
  for i, frame in enumerate(frames):  # there from the first frame on, and slow
    left = 50 * i // count
    frame[:, left : left + 10] = 255
  np.testing.assert_array_equal(segmenters.median_picture(iter(frames), count), scene)


def test_small_holes_and_specks_are_the_sensors():
  scene = np.full((60, 80, 3), 90, np.uint8)
  picture = scene.copy()
  picture[10:50, 30:50] = 200
  body = picture[..., 0] == 200
  picture[25, 40] = 90  # a hole of one pixel in the body, and a speck beside it
  picture[5, 5] = 200
  masks = list(segmenters.background_masks([picture, scene], scene))
  np.testing.assert_array_equal(masks[0], body)
  assert not masks[1].any()


def test_the_body_that_was_followed_is_followed_on():
  scene = np.zeros((4, 100, 200), bool)
  for number, mask in enumerate(scene):
    mask[20:80, 20 + 5 * number : 40 + 5 * number] = True
  walker = scene.copy()
  scene[1:3, 5:95, 120:180] = True  # somebody larger passes behind
  scene[2, 20:80, :100] = False  # and the walker is hidden for a moment
  found = list(segmenters.track_body(scene))
  np.testing.assert_array_equal(found[:2], walker[:2])
  assert found[2][50, 150]  # whoever is there
  np.testing.assert_array_equal(found[3], walker[3])
  lost = list(segmenters.track_body([walker[0], np.zeros_like(walker[0]), scene[1]]))
  assert lost[1] is None
  assert lost[2][50, 150]  # the largest, as at first
  assert list(segmenters.track_body(np.zeros((2, 9, 9), bool))) == [None, None]


def test_hidden_films_are_not_seen(tmp_path, walk):
  film(tmp_path / "videos" / "a.avi", walk[:1])
  (tmp_path / "videos" / "._a.avi").write_bytes(bytes(64))
  assert [file.name for file, _ in video.find(tmp_path / "videos")] == ["a.avi"]


def test_where_a_film_lies_says_whose_it_is(tmp_path):
  for name in ("b/coat/side.MP4", "b/coat/front.mov", "a.avi", "c/nm.mkv", "c/notes.txt"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
  found = [(file.relative_to(tmp_path).as_posix(), folder.as_posix()) for file, folder in video.find(tmp_path)]
  assert found == [
    ("a.avi", "a/00/00"), ("b/coat/front.mov", "b/coat/front"), ("b/coat/side.MP4", "b/coat/side"),
    ("c/nm.mkv", "c/nm/00"),
  ]  # fmt: skip
  assert video.find(tmp_path / "c" / "notes.txt") == [(tmp_path / "c" / "notes.txt", pathlib.Path("notes/00/00"))]
  (tmp_path / "a.mov").touch()
  with pytest.raises(DataError, match=r"a\.mov and .*a\.avi would both become a/00/00; rename one"):
    video.find(tmp_path)
  (tmp_path / "a.mov").unlink()
  (tmp_path / "b" / "coat" / "side").mkdir()
  (tmp_path / "b" / "coat" / "side" / "1.avi").touch()
  with pytest.raises(DataError, match=r"side/1\.avi lies too deep: expected <id>/<type>/<view>\.avi in "):
    video.find(tmp_path)


def write_masks(folder, walk, rate):
  folder.mkdir(parents=True)
  for i, body in enumerate(walk):
    (folder / f"{i:03d}.png").write_bytes(cv2.imencode(".png", body.astype(np.uint8) * 255)[1].tobytes())
  if rate:
    (folder / "video.json").write_text(json.dumps({"frame_rate": rate}))


def test_fast_walks_are_stored_at_the_usual_rate_and_slow_ones_are_named(tmp_path, walk, capsys):
  for name, rate in (("fast", 100), ("usual", 30), ("slow", 8), ("unknown", 0)):
    write_masks(tmp_path / "masks" / name / "00" / "00", walk, rate)
  args = ["own", "--raw", str(tmp_path / "masks"), "--out", str(tmp_path / "out"), "--workers", "1"]
  assert build.main(args) == 0
  told = capsys.readouterr().err
  assert "1 walks recorded at 100 frames a second are stored at 25, such as fast/00/00" in told
  assert "1 walks recorded at 8 frames a second are stored as they are, such as slow/00/00: public data sets" in told
  assert "the same walk seems 3.1 times as fast" in told
  assert "belong to no walk" not in told
  split = open_split(tmp_path / "out", "own", "test")
  assert dict(zip(split.subjects.tolist(), split.num_frames.tolist(), strict=True)) == {
    "fast": 8, "slow": 30, "unknown": 30, "usual": 30,
  }  # fmt: skip
  np.testing.assert_array_equal(split.frames(0), split.frames(3)[::4])
  assert split.manifest["recorded_frame_rates"] == {"8": 1, "30": 1, "100": 1}
  assert build.main([*args, "--frame-rate", "50"]) == 1
  assert "holds another build of own" in capsys.readouterr().err
  assert build.main([*args, "--frame-rate", "50", "--overwrite"]) == 0
  split = open_split(tmp_path / "out", "own", "test")
  assert split.num_frames.tolist() == [8, 30, 15, 30]
  assert split.manifest["choices"] == {"frame_rate": 50.0}
  assert split.manifest["recorded_frame_rates"] == {"8": 1, "30": 1, "50": 1, "100": 1}


@pytest.mark.parametrize("content", ["fast", "[25]", "{}", '{"frame_rate": null}', '{"frame_rate": "fast"}'])
def test_a_rate_of_another_form_is_named(content):
  with pytest.raises(DataError, match=r"fast/00/00/video\.json: not as data_prep.video writes it"):
    rates.read_facts(content.encode, "fast/00/00/video.json")


@pytest.mark.parametrize("rate", ["0", "-25", "nan", "inf", "fast"])
def test_a_rate_that_cannot_be_is_refused(rate, tmp_path, capsys):
  with pytest.raises(SystemExit):
    build.main(["own", "--raw", str(tmp_path), "--out", str(tmp_path), f"--frame-rate={rate}"])
  assert f"argument --frame-rate: invalid positive value: '{rate}'" in capsys.readouterr().err


@pytest.mark.parametrize("rate", [0.0, 8.0, 24.0, 32.0])
def test_no_frame_is_left_out_at_rates_that_are_unknown_or_not_higher_than_usual(rate):
  np.testing.assert_array_equal(rates.picked(30, rate), np.arange(30))


@pytest.mark.parametrize("rate", [33.0, 50.0, 59.94, 120.0, 240.0])
def test_picked_frames_are_evenly_spaced_and_as_many_as_the_time_gives(rate):
  found = rates.picked(int(4 * rate), rate)
  assert abs(len(found) - 100) <= 1
  np.testing.assert_allclose(found / rate, np.arange(len(found)) / rates.RATE, atol=0.5 / rate + 1e-9)
  assert all(rates.picked(count, rate).max() < count for count in range(1, 50))


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_frames_that_were_refused_were_time_all_the_same(share):
  """A walk of 120 frames a second, of which some show nobody: what is stored is 1/25 s apart, or a gap."""
  shown = np.random.default_rng(0).random(480) > share
  frames = np.broadcast_to((255 * shown)[:, None, None], (480, 64, 64)).astype(np.uint8)
  found = rates.thinned(with_bodies(frames, "a"), 120.0)
  assert shown[found.numbers].all()
  assert len(found.frames) == len(found.numbers) > 95  # of a hundred
  steps = np.diff(np.array(found.numbers) / 120 * 25)
  assert steps.mean() == pytest.approx(100 / len(found.frames), rel=0.02)
  assert steps.min() > 0.4


def test_what_is_known_of_a_walk_stays_known_at_another_rate():
  altered = {"made binary": {0: "1.png", 3: "4.png", 4: "5.png"}}
  told = Reading(np.zeros((8, 64, 64), np.uint8), {"all black": ["8.png"]}, altered)
  walk = Walk(subject="a", condition="b", view="c", key="a/b/c", read=lambda: told, file="a/b/c/1.png")
  reading = rates.at_usual_rate(walk, 100.0).read()
  assert len(reading.frames) == 2
  assert reading.refused == told.refused
  assert reading.altered == {"made binary": {0: "1.png", 1: "5.png"}}  # the first and the fifth are kept
