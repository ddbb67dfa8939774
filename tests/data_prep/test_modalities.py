"""Pictures of several kinds as channels: what each kind of file becomes, and what is no frame."""

import io
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep import build
from data_prep.sources.modalities import is_silhouette
from fgait_jax.data import schema
from fgait_jax.data.source import open_split

LABELS = np.zeros((64, 44), np.uint8)
LABELS[4:60, 10:20], LABELS[20:40, 20:30] = 1, 3


def silhouette(left=12):
  cut = np.zeros((64, 44), np.uint8)
  cut[2:62, left : left + 16] = 255
  return cut


def png(image) -> bytes:
  return cv2.imencode(".png", image)[1].tobytes()


def by_pillow(image: Image.Image) -> bytes:
  content = io.BytesIO()
  image.save(content, "PNG")
  return content.getvalue()


def palette(labels) -> bytes:
  image = Image.fromarray(labels, "L").convert("P")
  image.putdata(labels.ravel().tolist())
  image.putpalette([200, 30, 30, 0, 255, 0, 0, 0, 255, 9, 9, 9])
  return by_pillow(image)


def put(root, name: str, content: bytes) -> None:
  path = root / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)


def built(tmp_path, *flags: str, code: int = 0):
  assert build.main(["own", f"--raw={tmp_path / 'raw'}", f"--out={tmp_path / 'out'}", "--workers=1", *flags]) == code
  return open_split(tmp_path / "out", "own", "test") if code == 0 else None


def test_a_palette_gives_its_indices_and_silhouettes_one_channel(tmp_path):
  """Label images are mostly stored with a palette of colours; a silhouette may have one, or three channels, too."""
  put(tmp_path / "raw", "a/nm/0/sil/1.png", png(np.repeat(silhouette()[..., None], 3, 2)))
  put(tmp_path / "raw", "a/nm/0/parsing/1.png", palette(LABELS))
  split = built(tmp_path, "--modalities=sil, parsing")
  np.testing.assert_array_equal(split.frames(0)[0], np.stack([silhouette(), LABELS], axis=-1))
  assert split.manifest["pixels"] == schema.MAPS


@pytest.mark.parametrize(("flags", "pixels"), [
  (("--modalities=sil",), schema.SILHOUETTES), (("--modalities=parsing",), schema.MAPS), ((), schema.SILHOUETTES),
])
def test_the_manifest_says_what_pixels_are(tmp_path, flags, pixels):
  folder = f"a/nm/0/{flags[0].partition('=')[2]}" if flags else "a/nm/0"
  put(tmp_path / "raw", f"{folder}/1.png", png(silhouette()))
  assert built(tmp_path, *flags).manifest["pixels"] == pixels


def test_manifests_of_before_are_of_silhouettes_if_frames_have_one_channel():
  assert schema.pixels_of({}, 1) == schema.SILHOUETTES
  assert schema.pixels_of({}, 3) == schema.MAPS


@pytest.mark.parametrize(("content", "reason"), [
  (png(LABELS)[:24] + b"\x02" + png(LABELS)[25:], "2-bit picture, whose values a reader scales: save it with 8 bits"),
  (png(np.dstack([np.full((64, 44, 3), 90, np.uint8), silhouette()])), "picture with transparency"),
  (by_pillow(Image.merge("LA", [Image.fromarray(LABELS), Image.fromarray(silhouette())])), "picture with transparency"),
  (png(np.zeros((64, 50), np.uint8)), "not cut to 64 x 64 or 44"),
])
def test_pictures_that_would_be_misread_are_refused(tmp_path, capsys, content, reason):
  put(tmp_path / "raw", "a/nm/0/parsing/1.png", content)
  built(tmp_path, "--modalities=parsing", code=1)
  assert reason in capsys.readouterr().err


def test_grey_with_whole_alpha_is_one_channel(tmp_path):
  whole = Image.fromarray(np.full((64, 44), 255, np.uint8))
  put(tmp_path / "raw", "a/nm/0/depth/1.png", by_pillow(Image.merge("LA", [Image.fromarray(LABELS), whole])))
  np.testing.assert_array_equal(built(tmp_path, "--modalities=depth").frames(0)[0, ..., 0], LABELS)


def test_frames_without_a_silhouette_energy_images_and_copies_are_left_out(tmp_path):
  pictures = np.random.default_rng(0).integers(1, 255, (4, 64, 44), np.uint8)
  for frame in range(4):
    sil = silhouette() if frame != 2 else np.zeros((64, 44), np.uint8)
    put(tmp_path / "raw", f"a/nm/0/sil/{frame:03d}.png", png(sil))
    put(tmp_path / "raw", f"a/nm/0/depth/{frame:03d}.png", png(pictures[frame]))
  for kind, content in (("sil", silhouette()), ("depth", pictures[1])):
    put(tmp_path / "raw", f"a/nm/0/{kind}/001 - Copy.png", png(content))
    put(tmp_path / "raw", f"a/nm/0/{kind}/gei.png", png(content))
  split = built(tmp_path, "--modalities=depth,sil")
  np.testing.assert_array_equal(split.frames(0)[..., 0], pictures[[0, 1, 3]])
  counts = {reason: found["count"] for reason, found in split.manifest["refused_frames"].items()}
  assert counts == {"all black": 1, "copy of another frame": 1}


def test_a_frame_dark_in_its_first_modality_alone_is_kept(tmp_path):
  put(tmp_path / "raw", "a/nm/0/depth/1.png", png(np.zeros((64, 44), np.uint8)))
  put(tmp_path / "raw", "a/nm/0/parsing/1.png", png(LABELS))
  assert built(tmp_path, "--modalities=depth,parsing").frames(0).shape == (1, 64, 44, 2)


def test_walks_come_by_their_keys_and_of_one_tree(tmp_path, capsys):
  for subject in ("b", "a", "c"):
    put(tmp_path / "raw", f"x/{subject}/nm/0/parsing/1.png", png(LABELS))
  assert built(tmp_path, "--modalities=parsing").subjects.tolist() == ["a", "b", "c"]
  put(tmp_path / "raw", "y/d/nm/0/parsing/1.png", png(LABELS))
  built(tmp_path, "--modalities=parsing", "--overwrite", code=1)
  assert "error: " in capsys.readouterr().err


def test_walks_of_different_channels_are_an_error_that_names_two(tmp_path, capsys):
  put(tmp_path / "raw", "a/nm/000/pic/1.png", png(np.full((64, 44, 3), 90, np.uint8)))
  put(tmp_path / "raw", "a/nm/090/pic/1.png", png(LABELS))
  built(tmp_path, "--modalities=pic", code=1)
  assert "own: frames have different channels, 1 of a/nm/090 and 3 of a/nm/000; all walks" in capsys.readouterr().err


def test_pickles_of_labels_are_not_scaled_and_of_one_channel_checked(tmp_path, capsys):
  """128 rows are halved where they are silhouettes alone, and [t, 1, 64, 44] is looked at as [t, 64, 44] is."""
  big = np.kron(LABELS, np.ones((2, 2), np.uint8))[None]
  put(tmp_path / "raw", "a/nm/0/parsing.pkl", pickle.dumps(big))
  built(tmp_path, "--modalities=parsing", code=1)
  assert "wrong shape" in capsys.readouterr().err
  for array, reason in ((silhouette()[None, None] // 255, "not a mask of 0 and 255"),
                        (255 - silhouette()[None, ..., None], "background looks white")):
    put(tmp_path / "raw", "a/nm/0/parsing.pkl", pickle.dumps(array))
    built(tmp_path, code=1)
    assert reason in capsys.readouterr().err
  put(tmp_path / "raw", "a/nm/0/parsing.pkl", pickle.dumps(LABELS[None, None]))
  assert built(tmp_path, "--modalities=parsing").frames(0).shape == (1, 64, 44, 1)
  put(tmp_path / "raw", "a/nm/0/parsing2.pkl", pickle.dumps(LABELS[None]))
  built(tmp_path, "--modalities=parsing", code=1)
  assert "let --modalities name more of the one that is meant" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sil", "Sils", "silhouette", "mask", "mask_aligned", "sil-1"])
def test_names_of_silhouettes(name):
  assert is_silhouette(name)
  assert not is_silhouette(f"depth{name}")
