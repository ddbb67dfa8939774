"""A small film of a synthetic walker becomes masks and a data set; a film of nobody is an error that names it."""

import importlib.util

import cv2
import numpy as np
import pytest

from data_prep import build, video
from data_prep.sources.walkers import render_walk
from fgait_jax.data.source import open_split

BACKGROUND = ["--segmenter", "background"]


@pytest.fixture(scope="module")
def walk():
  """Silhouettes bool [30, 64, 64]."""
  frames = render_walk(seed=0, subject="0001", condition="nm-01", view="090", frames=(30, 30), clean=True).frames
  return frames > 127


def film(file, bodies, *, height=120, width=240, seed=0):
  """A noisy scene of 45 frames; `bodies` cross it, 3 pixels a frame, five frames after its beginning."""
  rng = np.random.default_rng(seed)
  scene = cv2.GaussianBlur(rng.integers(60, 200, (height, width, 3)).astype(np.uint8), (0, 0), 4)
  file.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
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


def test_one_bad_film_does_not_stop_the_others(tmp_path, walk, capsys):
  film(tmp_path / "videos" / "a.avi", walk)
  (tmp_path / "videos" / "b.mp4").write_bytes(b"not a film")
  assert video.main([str(tmp_path / "videos"), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 1
  told = capsys.readouterr()
  assert "b.mp4: not a readable video" in told.err
  assert "1 of 2 videos gave no walk" in told.err
  assert (tmp_path / "masks" / "a" / "00" / "00" / "000005.png").is_file()
  assert video.main([str(tmp_path / "videos" / "a.avi"), "--out", str(tmp_path / "masks"), *BACKGROUND]) == 0
  assert "masks/a/00/00: there already, left as it is; remove it to make" in capsys.readouterr().out


def test_places_where_videos_are_not(tmp_path, capsys):
  (tmp_path / "empty").mkdir()
  for place, message in (("empty", "no videos"), ("nowhere", "no such video or folder")):
    assert video.main([str(tmp_path / place), "--out", str(tmp_path / "masks")]) == 1
    assert message in capsys.readouterr().err


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
