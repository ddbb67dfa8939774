"""The Python door: walks of any length and form in, the evaluators' own embeddings out, by few programs."""

import os
import pathlib
import re
import subprocess
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fgait_jax
from fgait_jax.data.schema import MANIFEST, to_canvas
from fgait_jax.errors import CheckpointError, ConfigError, DataError
from fgait_jax.evaluation.features import extraction, walks
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.interop import embedder, publish
from fgait_jax.interop.embedder import Embedder
from fgait_jax.training import pretrained

ROOT = pathlib.Path(__file__).parents[2]


def mask(width=30, step=0, size=(120, 160)):
  """A body that is `width` pixels wide, in a picture of `size`, legs apart by `step`."""
  picture = np.zeros(size, np.uint8)
  picture[10:70, 80 - width // 2 : 80 + width // 2] = 255
  picture[70:110, 80 - width // 2 - step : 80 - width // 2 + 10 - step] = 255
  picture[70:110, 80 + width // 2 - 10 + step : 80 + width // 2 + step] = 255
  return picture


def masks(width=30, count=12):
  return [mask(width, step=n % 5) for n in range(count)]


def write(folder, pictures):
  folder.mkdir(parents=True)
  for number, picture in enumerate(pictures):
    cv2.imwrite(str(folder / f"{number}.png"), picture)


@pytest.fixture(scope="module")
def model(network):
  return Embedder(network)


@pytest.fixture(scope="module")
def walk():
  return fgait_jax.normalise(masks())


def test_importing_the_package_is_light():
  code = "import sys, fgait_jax; print([m for m in ('jax', 'numpy', 'flax', 'cv2') if m in sys.modules])"
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"


def test_embeddings_are_those_of_the_evaluators(model, walk):
  """Whatever else is embedded with a walk, and whatever length its batch is padded to."""
  given = [walk, walk[:5], np.tile(walk, (3, 1, 1)), walk[..., None]]
  found = model.embed(given)
  for row, frames in enumerate(given):
    alone = walks.from_arrays([to_canvas(frames.reshape(*frames.shape[:3], 1))])
    own = extraction.extract_by(model.network, alone, embedding="discriminant", max_frames=720, batch_frames=512)
    np.testing.assert_allclose(found.embeddings[row], own.embeddings[0], atol=2e-6)
  assert found.embeddings.shape == (4, 8, 1)
  assert found.embeddings.dtype == np.float32
  assert found.keys.tolist() == ["0", "1", "2", "3"]


def test_frames_that_only_pad_a_walk_are_left_out_and_counted(model, walk):
  padded = np.concatenate([walk, np.zeros_like(walk[:5])])
  found = walks.from_arrays([walk, padded])
  assert found.notes == [f"walk 1: 5 of {len(padded)} frames left out, they show no body"]
  np.testing.assert_array_equal(found.stored[1], found.stored[0])


def test_both_widths_are_one_walk(model, walk):
  wide, narrow = (model.embed([frames]).embeddings for frames in (walk, walk[:, :, 10:54]))
  np.testing.assert_array_equal(wide, narrow)


def test_programs_are_few_however_many_lengths_come(network):
  """A walk at a time, as a server gets them, and many at once: at most two shapes for each of twelve lengths."""
  shapes = set()

  class Stub:
    embedding, stride, identity, config, mesh = "discriminant", 4, "stub", network.config, network.mesh

    def embed(self, frames, valid):
      shapes.add(frames.shape)
      return type("Output", (), {"discriminant": jnp.ones((len(frames), 1, 4)) * valid.sum(1)[:, None, None]})()

  model, rng = Embedder(Stub()), np.random.default_rng(0)
  frame = np.full((1, 64, 44), 255, np.uint8)
  for length in range(1, 769, 5):
    model.embed([np.repeat(frame, length, axis=0)], max_frames=768)
  alone = len(shapes)
  for _ in range(20):
    model.embed([np.repeat(frame, n, axis=0) for n in rng.integers(1, 400, rng.integers(2, 30))])
  assert alone == 12
  assert len(shapes) <= 23
  assert max(shape[0] * shape[1] for shape in shapes if shape[0] > 1) <= 512


def test_a_program_is_compiled_once_for_all_lengths_of_a_step(model, walk):
  model.embed([walk])
  before = pretrained._embed._cache_size()
  for length in (1, 3, 7, 11, 12):
    model.embed([walk[:length]])
  assert pretrained._embed._cache_size() == before


def test_a_folder_of_masks_is_read_as_it_would_be_built(model, tmp_path, walk):
  write(tmp_path / "ann" / "coat" / "090", masks())
  write(tmp_path / "bob" / "slow", masks(44))
  found = model.embed(tmp_path)
  assert found.keys.tolist() == ["ann/coat/090", "bob/slow/00"]
  assert (found.subjects.tolist(), found.conditions.tolist()) == (["ann", "bob"], ["coat", "slow"])
  arrays = model.embed([walk, fgait_jax.normalise(masks(44))])
  np.testing.assert_allclose(found.embeddings, arrays.embeddings, atol=2e-6)
  flat = model.embed(str(tmp_path / "bob" / "slow"))  # images, and no folder below
  assert flat.keys.tolist() == ["slow/00/00"]


def test_a_video_before_a_still_camera_is_a_walk(model, tmp_path):
  rng = np.random.default_rng(0)
  scene = rng.integers(80, 120, (120, 160, 3), np.uint8)
  file = cv2.VideoWriter(str(tmp_path / "ann.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (160, 120))
  for n in range(24):
    body = np.roll(mask(20, step=n % 4), 4 * n - 50, axis=1)
    file.write(np.where(body[..., None] > 0, np.uint8(250), scene))
  file.release()
  found = model.embed(tmp_path / "ann.avi")
  assert found.keys.tolist() == ["ann/00/00"]
  assert not np.any(walks.from_path(tmp_path / "ann.avi").named)  # a file's name is nobody's
  assert np.isfinite(found.embeddings).all()


def test_what_is_strange_about_a_video_is_said(model, tmp_path):
  """A low frame rate, and frames that are announced and not there; a hidden file is a video too."""
  file = cv2.VideoWriter(str(tmp_path / ".ann.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 8, (160, 120))
  scene = np.random.default_rng(0).integers(80, 120, (120, 160, 3), np.uint8)
  for n in range(48):
    body = np.roll(mask(20, step=n % 4), 2 * n - 50, axis=1)
    file.write(np.where(body[..., None] > 0, np.uint8(250), scene))
  file.release()
  content = (tmp_path / ".ann.avi").read_bytes()
  (tmp_path / ".ann.avi").write_bytes(content[: 2 * len(content) // 3])
  slow, cut = sorted(walks.from_path(tmp_path / ".ann.avi").notes, key=lambda note: "decoded" in note)
  assert "ann.avi: 8 frames a second; public data sets have 25 to 30, the same walk seems 3.1 times as fast" in slow
  assert "of the 48 frames that its header announces cannot be decoded; it is damaged or cut short" in cut


def test_distances_are_those_of_evaluation(model, walk):
  found = model.embed([walk, walk[:6], fgait_jax.normalise(masks(44))])
  distances = model.distance(found, found.embeddings[:2])
  np.testing.assert_array_equal(distances, pairwise(found.embeddings, found.embeddings[:2]))
  assert distances.shape == (3, 2)
  cosine = pairwise(found.embeddings, found.embeddings, metric="cosine")
  np.testing.assert_array_equal(model.distance(found, found, metric="cosine"), cosine)
  assert distances[0, 0] < 1e-3
  with pytest.raises(DataError, match="wanted .sequences, channels, parts. twice"):
    model.distance(found, found.embeddings[:, :3])


@pytest.mark.parametrize("change, message", [
  (lambda w: [w, w / np.float32(255)], r"walk 1: frames are float32, expected uint8 from 0 \(background\) to 255"),
  (lambda w: [w > 0], "walk 0: frames are bool, expected uint8"),
  (lambda w: [w // 255], "walk 0: the largest value of its frames is 1; expected 0 .* 255 .body.; multiply by 255"),
  (lambda w: [w * 0], "walk 0: the largest value of its frames is 0"),
  (lambda w: [w[:0]], "walk 0: no frames"),
  (lambda w: [w[:, :32]], r"walk 0: frames have shape \(12, 32, 64, 1\), expected .time, 64, 64 or 44"),
  (lambda w: [np.repeat(w[..., None], 3, axis=-1)], "frames are silhouettes of 3 channels, the network takes"),
  (lambda w: [w, np.repeat(w[..., None], 3, axis=-1)], "walk 1 has 3 channels, 0 has 1"),
  (lambda w: w, r"walks are one array of shape .*; give a list of walks, \[frames\] for one"),
  (lambda w: None, r"walks are None; give a list of arrays uint8 \[frames, 64, 64 or 44\], or a path"),
  (lambda w: [], "walks: no walks"),
  (lambda w: [w, [w[0], w[1, :32]]], "walk 1: its frames make no array"),
], ids=["float", "bool", "0 and 1", "black", "empty", "size", "channels", "mixed", "one array", "nothing",
        "none", "ragged"])
def test_walks_that_are_none_are_named_with_what_is_expected(model, walk, change, message):
  with pytest.raises(DataError, match=message):
    model.embed(change(walk))


def test_no_more_than_the_first_frames_are_embedded(model, walk):
  cut, short = model.embed([walk], max_frames=5).embeddings, model.embed([walk[:5]]).embeddings
  np.testing.assert_array_equal(cut, short)
  assert np.abs(cut - model.embed([walk]).embeddings).max() > 1e-4


def test_a_built_data_set_is_opened_by_its_folder(model, tmp_path, walk, monkeypatch):
  """At the split that was asked for; a split that is open already is taken as it is."""
  asked = []

  def opened(folder, name, split):
    asked.append((folder, name, split))
    return walks.from_arrays([walk])

  (tmp_path / "mine" / "1.0.0").mkdir(parents=True)
  (tmp_path / "mine" / "1.0.0" / MANIFEST).write_text("{}")
  monkeypatch.setattr(embedder, "open_split", opened)
  found = model.embed(tmp_path / "mine", split="train")
  assert asked == [(tmp_path, "mine", "train")]
  np.testing.assert_array_equal(model.embed(walks.from_arrays([walk])).embeddings, found.embeddings)


def test_masks_of_a_fast_video_are_brought_to_the_usual_rate(tmp_path):
  write(tmp_path / "ann", masks(count=24))
  (tmp_path / "ann" / "video.json").write_text('{"frame_rate": 50.0}')
  np.testing.assert_array_equal(walks.from_path(tmp_path).stored[0][..., 0], fgait_jax.normalise(masks(count=24)[::2]))


def test_patterns_of_views_are_a_list(model, walk, monkeypatch):
  given = []
  monkeypatch.setattr(type(model.network), "embed", lambda self, frames, valid: given.append(frames))
  for mirror in ((), ["0*"]):
    with pytest.raises(AttributeError):  # None has no embedding
      model.embed([walk], mirror=mirror)
  np.testing.assert_array_equal(given[1], np.pad(given[0][:, :, :, :0:-1], [(0, 0)] * 3 + [(1, 0), (0, 0)]))
  assert np.any(given[1] != given[0])
  with pytest.raises(ConfigError, match=r"mirror='\*-l': expected a list of patterns, such as \['\*-l'\]"):
    model.embed([walk], mirror="*-l")  # would be "*", and flip all


def test_it_is_shown_without_its_arrays(model):
  assert repr(model) == f"Embedder(transformer test, 4 steps, discriminant, '{model.network.identity}')"


def test_folders_that_hold_no_walks_are_named(model, tmp_path):
  write(tmp_path / "a" / "b" / "c" / "d", masks(count=1))
  with pytest.raises(DataError, match=r"a/b/c/d/0.png lies too deep; expected <person>/<type>/<view>"):
    model.embed(tmp_path)
  (tmp_path / "empty").mkdir()
  with pytest.raises(DataError, match="empty"):
    model.embed(tmp_path / "empty")
  write(tmp_path / "white", [255 - picture for picture in masks()])
  with pytest.raises(DataError, match="background looks white: invert the masks: .*white"):
    model.embed(tmp_path / "white")
  with pytest.raises(DataError, match="nowhere: there is no such folder, archive or video"):
    model.embed(tmp_path / "nowhere")


def test_frames_that_are_left_out_are_said(model, tmp_path):
  write(tmp_path / "ann", [*masks(), np.zeros((120, 160), np.uint8)])
  with pytest.warns(UserWarning, match="ann: 1 of 13 frames left out, mostly: all black .as 12.png"):
    model.embed(tmp_path)
  with pytest.raises(DataError, match=r"no usable mask: all black \(1\); expected uint8 .height, width., 0 backg"):
    fgait_jax.normalise([np.zeros((120, 160), np.uint8)])


def test_raw_masks_are_made_walks_as_a_folder_of_them_is(walk):
  """Of an image saved with losses, with specks, with a channel more or of truth values: the same walk, or an error."""
  specks = [mask.copy() for mask in masks()]
  for mask in specks:
    mask[:2, :2] = 1
  np.testing.assert_array_equal(fgait_jax.normalise(specks), walk)
  lossy = [cv2.imdecode(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_GRAYSCALE)
           for mask in masks()]
  assert np.mean(fgait_jax.normalise(lossy) != walk) < 0.02
  for wrong, message in (
    ([mask // 17 for mask in masks()], r"no usable mask: dark picture, not a mask of 0 and 255 \(12\)"),
    ([mask // 255 for mask in masks()], "values of 0 and 1 in place of 0 and 255: multiply by 255"),
    ([mask > 0 for mask in masks()], "not an 8-bit grey image: bool"),
    ([255 - mask for mask in masks()], "background looks white: invert the masks"),
    ([*masks(), None], "mask 12 is no array of numbers but None; .* Could its file be read"),
    ("masks/ann", "masks are 'masks/ann'; expected arrays uint8 .* takes a folder as it is"),
    (None, "masks are None; expected arrays uint8"),
  ):
    with pytest.raises(DataError, match=message):
      fgait_jax.normalise(wrong)


def test_frames_that_are_hardly_brighter_than_background_are_refused(model, walk):
  with pytest.raises(DataError, match=r"walk 0: the largest value of its frames is 15; expected 0 .background"):
    model.embed([walk // 17])


def test_what_belongs_to_no_walk_is_said(model, tmp_path):
  write(tmp_path / "ann/nm", masks())
  for name in ("bob/nm/1.tif", "eve/nm/1.webp", "ann/nm/gei.png", "notes.txt", ".hidden/1.tif"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"")
  with pytest.warns(UserWarning, match="4 files belong to no walk by their names and are left out: .*bob/nm/1.tif.*;"
                                       " nothing is read of bob, eve$"):
    assert model.embed(tmp_path).keys.tolist() == ["ann/nm/00"]


def test_folders_that_would_be_one_walk_are_refused(model, tmp_path):
  for folder in ("ann", "ann/00", "ann/00/00"):
    write(tmp_path / folder, masks())
  with pytest.raises(DataError, match="images of ann and ann/00 and ann/00/00 would be one walk, ann/00/00; rename"):
    model.embed(tmp_path)


def test_a_folder_may_be_called_like_a_video(model, tmp_path):
  write(tmp_path / "walk.mp4", masks())
  assert model.embed(tmp_path / "walk.mp4").subjects.tolist() == ["walk.mp4"]


def test_names_that_are_not_utf8_are_told(model, tmp_path):
  write(tmp_path / "ann", masks())
  os.rename(tmp_path / "ann/11.png", os.fsencode(tmp_path / "ann") + b"/\xff.png")
  (tmp_path / "ann/10.png").rename(tmp_path / "ann/kept.png")
  with open(os.fsencode(tmp_path / "ann") + b"/\xff.png", "wb") as file:
    file.write(cv2.imencode(".png", np.zeros((120, 160), np.uint8))[1].tobytes())
  with pytest.warns(UserWarning, match="ann: 1 of 12 frames left out, mostly: all black .as \ufffd.png"):
    model.embed(tmp_path)
  os.rename(tmp_path / "ann", os.fsencode(tmp_path) + b"/\xffann")
  with pytest.raises(DataError, match="the name '\ufffdann' is not UTF-8; rename it"):
    model.embed(tmp_path)


def test_a_folder_that_does_not_exist_is_no_weights(tmp_path):
  with pytest.raises(CheckpointError, match="there is no folder .*nowhere; give"):
    fgait_jax.load(tmp_path / "nowhere")


def test_the_quick_start_of_the_readme_runs(tmp_path, monkeypatch, capsys):
  """As it stands there, on the weights that the package carries."""
  block = next(block for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
               if "fgait_jax.load" in block)
  assert len(block.splitlines()) <= 14
  for name, width in (("ann", 20), ("bob", 44)):
    write(tmp_path / "masks" / "known" / name, masks(width))
    write(tmp_path / "masks" / "new" / f"new-{name}", masks(width, count=9))
  monkeypatch.chdir(tmp_path)
  exec(compile(block, "README.md", "exec"), {})
  said = capsys.readouterr().out
  assert "new-ann/00/00 is nearest to ann" in said
  assert "new-bob/00/00 is nearest to bob" in said


def test_published_weights_embed_like_the_run(model, network, tmp_path, walk):
  publish.write(network, tmp_path / "out", results=[])
  loaded = fgait_jax.load(tmp_path / "out", devices=jax.devices()[:1])
  np.testing.assert_array_equal(loaded.embed([walk]).embeddings, model.embed([walk]).embeddings)


def test_arrays_with_a_white_background_are_refused(model, walk):
  with pytest.raises(DataError, match="background looks white: invert the masks: walk 1, in 12 of 12 frames"):
    model.embed([walk, 255 - walk])


def test_a_key_file_turns_embeddings_and_keeps_their_distances(model, walk, tmp_path):
  other = fgait_jax.normalise(masks(width=44))
  for name in ("one", "two"):
    (tmp_path / name).write_bytes(name.encode() * 20)
  plain, one, two = (model.embed([walk, other], **given) for given in (
    {}, {"key_file": tmp_path / "one"}, {"key_file": tmp_path / "two"}))
  turned, whole = (np.square(model.distance(walks, walks)) for walks in (one, plain))  # a root makes 1e-7 of 0 3e-4
  np.testing.assert_allclose(turned, whole, atol=1e-6)
  assert model.distance(one, two)[0, 0] > model.distance(plain, plain)[0, 1]
  with pytest.raises(ConfigError, match="key_file=.*absent cannot be read"):
    model.embed([walk], key_file=tmp_path / "absent")
