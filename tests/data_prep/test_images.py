"""Image folders: labels read off names in every layout, frames normalised, and every bad image named."""

import pickle
import re

import cv2
import numpy as np
import pytest

from data_prep.sources.base import Dropped
from data_prep.sources.images import LAYOUTS, ImageSource
from data_prep.sources.masks import check_background, looks_inverted
from data_prep.sources.walkers import WalkersSource
from fgait_jax.errors import DataError


def png(mask: np.ndarray) -> bytes:
  return cv2.imencode(".png", mask)[1].tobytes()


def body(width: int = 30, size=(120, 100)) -> np.ndarray:
  mask = np.zeros(size, np.uint8)
  mask[10:110, 50 - width // 2 : 50 + width // 2] = 255
  return mask


def write(root, name: str, content: bytes):
  file = root / name
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_bytes(content)


@pytest.mark.parametrize(
  ("layout", "name", "labels"),
  [
    ("id/type/view", "GaitDatasetB-silh/001/nm-01/090/001-nm-01-090-001.png", ("001", "nm-01", "090")),
    ("id/type/view", "2D_Silhouettes/0002/camid0_videoid2/seq0/0001.png", ("0002", "camid0_videoid2", "seq0")),
    ("oumvlp", "Silhouette_090-01/00003/0001.png", ("00003", "01", "090")),
    ("grew", "train/00001/4XPn5Z28/00001.png", ("00001train", "00", "4XPn5Z28")),
    ("grew", "test/probe/etaGVnWf/00001.png", ("probe", "03", "etaGVnWf")),
    ("casia_e", "forTrain/001/H/scene1/bg/000/1/a.jpg", ("001", "H-scene1-bg-1", "000")),
    ("sustech1k", "0000/00-nm/000/Sils_aligned/a.png", ("0000", "00-nm", "000")),
  ],
)
def test_layouts_read_the_labels_off_the_names(layout, name, labels, tmp_path):
  write(tmp_path, name, png(body()))
  (walk,) = ImageSource(tmp_path, layout=layout).splits()["test"]
  assert (walk.subject, walk.condition, walk.view) == labels
  assert walk.key == "/".join(labels)


def test_every_layout_gives_an_example_of_itself():
  for layouts in LAYOUTS.values():
    for layout in layouts:
      assert re.fullmatch(layout.pattern, layout.example.replace("*", "a"))


def test_the_gallery_of_grew_is_numbered_by_name(tmp_path):
  for name in ("zz", "aa"):
    write(tmp_path, f"test/gallery/00007/{name}/1.png", png(body()))
  walks = ImageSource(tmp_path, layout="grew").splits()["test"]
  assert [(walk.condition, walk.view) for walk in walks] == [("01", "aa"), ("02", "zz")]


def test_frames_come_in_name_order_normalised_and_from_a_worker(tmp_path):
  for number, width in enumerate((20, 40, 60)):
    write(tmp_path, f"001/nm 01/0ü0/{number:03d}.png", png(body(width)))
  (walk,) = ImageSource(tmp_path).splits()["test"]
  frames = pickle.loads(pickle.dumps(walk)).read().frames
  assert frames.shape == (3, 64, 64)
  widths = (frames > 128).any(axis=1).sum(axis=1)
  assert list(widths) == sorted(widths)


def test_a_partition_splits_by_subject(tmp_path):
  for subject in ("001", "002", "003"):
    write(tmp_path, f"{subject}/nm-01/090/1.png", png(body()))
  splits = ImageSource(tmp_path, partition={"train": ["001", "003"], "test": ["002"]}).splits()
  assert {split: [walk.subject for walk in walks] for split, walks in splits.items()} == {
    "train": ["001", "003"], "test": ["002"],
  }  # fmt: skip


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (b"not an image", "unreadable image"),
    (b"", "unreadable image"),
    (png(np.zeros((120, 100), np.uint8)), "all black"),
    (png(np.full((120, 100), 60_000, np.uint16)), "16-bit image"),
  ],
)
def test_a_walk_of_bad_images_is_dropped_by_name(content, reason, tmp_path):
  write(tmp_path, "001/nm-01/090/bad.png", content)
  (walk,) = ImageSource(tmp_path).splits()["test"]
  with pytest.raises(Dropped, match=rf"001/nm-01/090: all 1 frames refused, mostly: {reason} \(as .*bad\.png\)"):
    walk.read()
  write(tmp_path, "001/nm-01/090/good.png", png(body()))
  (walk,) = ImageSource(tmp_path).splits()["test"]
  reading = walk.read()
  assert len(reading.frames) == 1
  assert reading.refused == {reason: ["bad.png"]}


def test_a_picture_beside_its_mask_is_no_further_frame(tmp_path):
  write(tmp_path, "001/nm-01/090/001.png", png(body()))
  write(tmp_path, "001/nm-01/090/001.jpg", png(body()))
  with pytest.raises(DataError, match=r"001\.jpg and 001/nm-01/090/001\.png would be two frames of one walk"):
    ImageSource(tmp_path).splits()


def test_files_that_fit_no_layout_are_told(tmp_path):
  write(tmp_path, "001/nm-01/090/001.png", png(body()))
  write(tmp_path, "001/nm-01/001.png", png(body()))
  write(tmp_path, "readme.txt", b"")
  assert ImageSource(tmp_path).unread() == ["001/nm-01/001.png", "readme.txt"]


@pytest.mark.parametrize(
  ("image", "reason"),
  [
    (body() // 255, "values of 0 and 1 in place of 0 and 255: multiply by 255"),
    (body() // 3, "dark picture, not a mask of 0 and 255"),
    (np.full((60, 40), 255, np.uint8), "picture without background"),
    (np.tile(np.arange(256, dtype=np.uint8), (60, 1)), "grey picture"),
    (np.dstack([np.zeros((*body().shape, 3), np.uint8), body()]), "picture with transparency"),
  ],
  ids=["0 and 1", "dark", "white", "photograph", "alpha"],
)
def test_what_is_no_mask_is_refused(tmp_path, image, reason):
  write(tmp_path, "001/nm-01/090/1.png", png(image))
  write(tmp_path, "001/nm-01/090/2.png", png(body()))
  (walk,) = ImageSource(tmp_path, frames="own").splits()["test"]
  reading = walk.read()
  assert len(reading.frames) == 1
  ((told, names),) = reading.refused.items()
  assert told.startswith(reason)
  assert names == ["1.png"]


@pytest.mark.parametrize(
  ("layout", "names"),
  [
    ("id/type/view", ("alice/nm-01/090/cam1/1.png", "bob/nm-02/090/cam1/1.png")),  # one folder too deep
    ("id/type/view", ("copy1/001/nm-01/090/1.png", "copy2/001/nm-01/090/2.png")),
    ("id/type/view", ("001/nm-01/090/1.png", "old/001/nm-01/090/2.png")),
    ("grew", ("flow/train/00001/aa/1.png", "pose/train/00001/aa/1.png")),
  ],
)
def test_walks_of_two_trees_are_never_mixed(tmp_path, layout, names):
  for name in names:
    write(tmp_path, name, png(body()))
  with pytest.raises(DataError, match=f"{names[0]} and {names[1]} lie in two trees, .*--raw must name the one folder"):
    ImageSource(tmp_path, layout=layout).splits()


def test_hid_is_read_as_it_is_handed_out(tmp_path):
  for name in ("train/0001/002/1.png", "HID2022_test_gallery/0500/001/1.png", "HID2022_test_probe/0007/1.png"):
    write(tmp_path, name, png(body()))
  partition = {"train": ["0001"], "test": ["0500", "probe"]}
  splits = ImageSource(tmp_path, layout="hid", frames="resize", partition=partition).splits()
  assert [walk.key for walk in splits["train"]] == ["0001/00/002"]
  assert [walk.key for walk in splits["test"]] == ["0500/00/001", "probe/00/0007"]


def test_frames_are_ordered_by_the_value_of_their_numbers(tmp_path):
  for number in (1, 2, 10, 9, 100):
    mask = np.zeros((64, 44), np.uint8)
    mask[:, : number % 40 + 1] = 255
    write(tmp_path, f"001/nm-01/090/{number}.png", png(mask))
  (walk,) = ImageSource(tmp_path, frames="own").splits()["test"]
  assert [int((frame[0] > 0).sum()) for frame in walk.read().frames] == [2, 3, 10, 11, 21]


def test_cut_frames_of_different_sizes_are_dropped_by_name(tmp_path):
  for name, width in (("1", 64), ("2", 44)):
    mask = np.zeros((64, width), np.uint8)
    mask[:, :20] = 255
    write(tmp_path, f"train/00001/aa/{name}.png", png(mask))
  (walk,) = ImageSource(tmp_path, layout="grew", frames="cut").splits()["test"]
  with pytest.raises(Dropped, match="frames of different sizes"):
    walk.read()


def test_colour_masks_are_read_as_grey(tmp_path):
  write(tmp_path, "001/nm-01/090/1.png", png(cv2.cvtColor(body(), cv2.COLOR_GRAY2BGR)))
  (walk,) = ImageSource(tmp_path).splits()["test"]
  assert walk.read().frames.max() == 255


def test_a_foreign_layout_says_what_was_expected_and_found(tmp_path):
  write(tmp_path, "walks/one.png", png(body()))
  with pytest.raises(DataError, match=r"no images in the layout 'oumvlp' \(such as Silhouette.*found walks/one\.png"):
    ImageSource(tmp_path, layout="oumvlp").splits()


@pytest.mark.parametrize("frames", ["own", "official", "cut"])
def test_masks_with_a_white_background_are_dropped_by_name(frames, tmp_path):
  for number in (1, 2):
    write(tmp_path, f"001/nm-01/090/{number}.png", png(255 - body()))
  (walk,) = ImageSource(tmp_path, frames=frames).splits()["test"]
  reason = "background looks white: invert the masks: 001/nm-01/090, in 2 of 2 frames; 0 is background, 255 the body"
  with pytest.raises(Dropped, match=reason):
    walk.read()


def test_bodies_at_and_beyond_the_border_are_kept(tmp_path):
  mask = body(size=(110, 100))  # feet at the lower border
  for number, picture in enumerate((mask[10:], mask[12:, 36:], mask[20:70, 33:63], mask[:, 37:63])):
    write(tmp_path, f"001/nm-01/{number}/1.png", png(picture))
  for walk in ImageSource(tmp_path).splits()["test"]:
    assert len(walk.read().frames) == 1


def test_no_walk_of_real_people_looks_inverted(shared_data):
  files = sorted((shared_data / "kth" / "opengait").glob("*/*/*/*.pkl"))
  assert len(files) == 237
  for file in files:
    walk = pickle.loads(file.read_bytes())
    assert not looks_inverted(walk).any(), file
    assert not looks_inverted(walk[..., 10:54]).any(), file
    assert looks_inverted(255 - walk).all(), file
  folders = sorted((shared_data / "kth" / "masks").glob("*/*/*"))
  for folder in folders:
    masks = np.stack([cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in folder.glob("*.png")])
    assert not looks_inverted(masks).any(), folder
    assert looks_inverted(255 - masks)[masks.any(axis=(1, 2))].all(), folder


@pytest.mark.parametrize("zoom", [0.9, 0.7, 0.5, 0.3])
def test_no_walk_of_real_people_cut_on_all_sides_looks_inverted(zoom, shared_data):
  for file in sorted((shared_data / "kth" / "opengait").glob("*/d2/*/*.pkl")):
    for part in range(3):  # upper, middle and lower part of the body
      flags = [looks_inverted(_zoomed(mask, zoom, part)) for mask in pickle.loads(file.read_bytes())]
      check_background(flags, file.name)


def _zoomed(mask: np.ndarray, zoom: float, part: int) -> np.ndarray:
  rows, columns = (np.flatnonzero((mask > 127).any(axis=axis)) for axis in (1, 0))
  tight = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
  height, width = (max(2, int(zoom * size)) for size in tight.shape)
  top, left = (tight.shape[0] - height) * part // 2, (tight.shape[1] - width) // 2
  return tight[top : top + height, left : left + width]


def test_no_walker_looks_inverted():
  source = WalkersSource(subjects=2, test_subjects=0, normal=1, bag=1, coat=1, frames=(3, 3))
  for walk in source.splits()["train"]:
    frames = walk.read().frames
    assert not looks_inverted(frames).any()
    assert looks_inverted(255 - frames).all()


def test_only_ones_own_masks_have_a_film_beside_them(tmp_path):
  write(tmp_path, "001/nm-01/090/1.png", png(body()))
  write(tmp_path, "001/nm-01/090/video.json", b'{"frame_rate": 120}')
  rates = {frames: ImageSource(tmp_path, frames=frames).splits()["test"][0].rate for frames in ("own", "official")}
  assert rates == {"own": 120.0, "official": 0.0}
