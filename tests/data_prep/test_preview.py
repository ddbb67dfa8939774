"""The contact sheet shows what was stored; the film has a picture a frame."""

import pickle

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image, ImageSequence

from data_prep import build, preview
from fgait_jax.data.schema import BUILDER_VERSION
from fgait_jax.data.source import open_split


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  out = tmp_path_factory.mktemp("preview")
  for subject in ("11", "19", "20"):
    folder = out / "raw" / subject / "d1" / "p1-l"
    folder.mkdir(parents=True)
    frames = np.zeros((5 if subject == "20" else 7, 64, 64), np.uint8)
    for time, frame in enumerate(frames):
      frame[10:60, 20 : 40 + time] = 255
    (folder / "walk.pkl").write_bytes(pickle.dumps(frames))
  assert build.main(["kth", "--raw", str(out / "raw"), "--out", str(out / "built"), "--workers", "1"]) == 0
  return out


def test_pictures_show_the_walks(built, capsys):
  assert preview.main([str(built / "built" / "kth"), "--out", str(built / "pictures")]) == 0
  sheet, film = capsys.readouterr().out.split()
  picture = np.asarray(Image.open(sheet).convert("L"))
  assert 0.05 < (picture == 255).mean() < 0.95
  with Image.open(film) as moving:
    assert moving.n_frames == 7
    assert moving.size == (6 * 64, 64)
    assert moving.info["duration"] == 40  # milliseconds: the usual rate
    assert moving.info["loop"] == 0  # without end
    pictures = [np.asarray(each.convert("L")) for each in ImageSequence.Iterator(moving)]
  widths = [[int((picture[30, left : left + 64] > 127).sum()) for picture in pictures] for left in (0, 64)]
  assert widths == [[20, 21, 22, 23, 24, 25, 26], [20, 21, 22, 23, 24, 20, 21]]  # the shorter walk begins again


def test_the_version_folder_and_strange_keys_are_fine_and_no_walks_are_not(built, capsys):
  folder = built / "built" / "kth" / BUILDER_VERSION
  for flag, value, least in (("--walks", "0", 1), ("--seed", "-1", 0)):
    with pytest.raises(SystemExit):
      preview.main([str(folder), "--out", str(built / "pictures"), f"{flag}={value}"])
    assert f"argument {flag}: '{value}' is not a whole number from {least}" in capsys.readouterr().err
  split = open_split(built / "built", "kth", "test")
  split._columns["key"] = np.array(["a$^$b"] * len(split))
  assert all(path.is_file() for path in preview.preview(split, built / "pictures", walks=1))


def test_as_many_walks_are_shown_as_asked_for(built):
  split = open_split(built / "built", "kth", "test")
  heights = [Image.open(preview.preview(split, built / f"of_{walks}", walks=walks)[0]).height for walks in (1, 2, 9)]
  assert heights[0] < heights[1] == heights[2]  # there are two
  assert preview.main([str(built / "built" / "kth"), f"--out={built}/one", "--walks=1", "--seed=0"]) == 0
  assert Image.open(built / "one" / "kth-test.png").height == heights[0]


class Maps:
  """Two walks of two channels and 44 columns: frame t is t, and another channel shows a line."""

  name, keys, num_frames, manifest = "mine/test", ["a", "b"], np.array([9, 5]), {"kind": "real"}

  def __len__(self):
    return 2

  def frames(self, row, indices):
    frames = np.zeros((self.num_frames[row], 64, 44, 2), np.uint8)
    frames[..., 0], frames[:, 32, :, 1] = np.arange(len(frames))[:, None, None], 200
    return frames[indices]


def test_a_strip_shows_a_walk_from_its_first_to_its_last_frame(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(Axes, "imshow", lambda axes, picture, **_: drawn.append(picture))
  monkeypatch.setattr(Axes, "set_yticks", lambda axes, places, labels, **_: drawn.extend([places, labels]))
  monkeypatch.setattr(Axes, "set_title", lambda axes, title, **_: drawn.append(title))
  preview.preview(Maps(), tmp_path, walks=5, columns=3, seed=2)  # draws the second walk first
  picture, places, labels, title = drawn
  shown = np.zeros((2, 2, 64, 3, 64), np.uint8)  # walks, channels, rows, frames, columns
  shown[:, 0, :, :, 10:54] = np.array([0, 127, 255])[:, None]  # its largest value is white
  shown[:, 1, 32, :, 10:54] = 255
  np.testing.assert_array_equal(picture, shown.reshape(256, 192))
  assert (places.tolist(), labels) == ([64, 192], ["a  (9 frames)", "b  (5 frames)"])
  assert title == "mine/test: 2 of 2 walks, 3 frames of each (real)"
  assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-test.gif", "mine-test.png"]


def test_an_unknown_set_is_one_clean_line(built, capsys):
  assert preview.main([str(built / "built" / "casia_b"), "--out", str(built / "pictures")]) == 1
  assert "kth" in capsys.readouterr().err
