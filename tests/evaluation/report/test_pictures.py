"""Pictures: right size, right content, right colours, for a split of made-up walks."""

import json

import cv2
import numpy as np
import pytest

from fgait_jax.evaluation import pictures, protocols
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.report import neighbours, reconstructions, strips


def read(path):
  return cv2.imread(str(path))[:, :, ::-1].astype(int)


def count(image, colour, *, within=12):
  return int((np.abs(image - np.array(colour)).max(axis=-1) <= within).sum())


def colour_of(text):
  return [int(text[i : i + 2], 16) for i in (1, 3, 5)]


class Walks:
  """Two walks in each of nm-01 (gallery) and cl-01 of each subject; subject k is a bar of height 8 k."""

  manifest = {"kind": "synthetic"}

  def __init__(self, subjects=4):
    rows = [(s, t, v) for s in range(subjects) for t in ("nm-01", "cl-01") for v in ("000", "090")]
    self.subjects = np.array([f"{s:03d}" for s, *_ in rows])
    self.conditions = np.array([t for _, t, _ in rows])
    self.views = np.array([v for *_, v in rows])
    self.keys = np.arange(len(rows)).astype(str)
    self.num_frames = np.full(len(rows), 20)

  def frames(self, i, indices=None):
    walk = np.zeros((20, 64, 64, 1), np.uint8)
    walk[:, 64 - 8 * (1 + int(self.subjects[i])) :, 24:40] = 255
    return walk[indices]

  def features(self, *, wrong=()):
    """Embeddings in which each subject has a place of its own, except that `wrong` lie at the next subject's."""
    places = np.array([int(s) for s in self.subjects], np.float32)
    places[list(wrong)] += 1
    return Features(embeddings=places[:, None, None], subjects=self.subjects, conditions=self.conditions,
                    views=self.views, keys=self.keys)


SETTINGS = {"protocol": protocols.get("walkers"), "metric": "euclidean", "count": 4, "seed": 0, "mirror": (),
            "subtitle": "made up"}


def test_right_neighbours_are_framed_green_and_wrong_ones_red(tmp_path):
  split = Walks()
  image = read(pictures.nearest(tmp_path / "n.png", split=split, found=split.features(), **SETTINGS))
  green, red = count(image, colour_of(neighbours.RIGHT)), count(image, colour_of(neighbours.WRONG))
  # Of the gallery in the other view (one walk a subject), the nearest is right and the other three are not.
  assert green > 4 * 500
  assert 2 < red / green < 4
  assert image.shape[1] == 1760
  assert count(image, [255, 255, 255]) < image[..., 0].size * 0.9
  played = strips.check(json.loads((tmp_path / "n.json").read_text()), origin="n.json")  # the same walks, to be played
  assert [[n["right"] for n in probe["neighbours"]] for probe in played["probes"]] == [[True, False, False, False]] * 4


def test_a_probe_is_never_shown_walks_of_its_own_view_where_the_protocol_leaves_them_out(tmp_path, monkeypatch):
  seen = {}
  monkeypatch.setattr(neighbours, "draw", lambda path, *, probes, subtitle: seen.update(probes=probes))
  split = Walks()
  pictures.nearest(tmp_path / "n.png", split=split, found=split.features(), **SETTINGS)
  for probe in seen["probes"]:
    subject, condition, view = probe["text"].split(", ")
    assert condition == "cl-01"
    assert [n["text"].split(", ")[2] != view for n in probe["neighbours"]] == [True] * 4
    assert [n["right"] for n in probe["neighbours"]] == [True, False, False, False]
    assert probe["neighbours"][0]["text"].startswith(subject)
    assert probe["neighbours"][0]["distance"] == pytest.approx(0, abs=1e-3)
  assert len({probe["text"].split(", ")[0] for probe in seen["probes"]}) == 4  # other subjects first


def test_probes_are_drawn_from_each_condition_in_turn():
  subjects = np.repeat(np.arange(10), 6).astype(str)
  conditions = np.tile(["a", "b", "c"], 20)
  rows = pictures.choose(subjects, conditions, count=6, seed=3)
  assert sorted(conditions[rows]) == ["a", "a", "b", "b", "c", "c"]
  assert len(set(subjects[rows])) == 6
  np.testing.assert_array_equal(rows, pictures.choose(subjects, conditions, count=6, seed=3))
  assert len(pictures.choose(subjects[:2], conditions[:2], count=6, seed=0)) == 2


def test_shown_frames_are_from_the_middle_of_a_walk():
  walk = np.zeros((100, 64, 64, 1), np.uint8)
  walk += np.arange(100, dtype=np.uint8)[:, None, None, None]
  shown = neighbours.frames_of(walk)
  assert shown.shape == (4, 64, 44)
  np.testing.assert_allclose(shown[:, 0, 0] * 255, [44, 48, 52, 56], rtol=1e-5)
  assert neighbours.frames_of(walk[:2]).shape == (4, 64, 44)
  second = np.concatenate([np.zeros_like(walk), walk], axis=-1)  # a body in the second channel alone
  np.testing.assert_array_equal(neighbours.frames_of(second), shown)


def test_hidden_pixels_are_coloured_and_then_completed(tmp_path):
  frames = np.zeros((3, 16, 64, 44), np.float32)
  frames[:, :, 20:, 15:30] = 1
  visible = np.zeros(frames.shape, bool)
  visible[:, :, ::2] = True
  predicted = np.full(frames.shape, 0.5, np.float32)
  path = reconstructions.draw(tmp_path / "r.png", frames=frames, visible=visible, predicted=predicted,
                              names=["a", "b", "c"], subtitle="made up")
  image = read(path)
  assert image.shape[1] == 1628
  hidden, grey = count(image, np.array(reconstructions.HIDDEN) * 255), count(image, [128, 128, 128], within=4)
  area = 3 * 8 * 64 * 44
  assert 0.5 < hidden / grey < 2  # every second row of the middle strip hidden, of the last strip predicted
  assert hidden > area * 0.3


def test_a_strip_sets_frames_side_by_side():
  frames = np.zeros((2, 4, 3), np.float32)
  frames[1] = 0.5
  image = reconstructions.strip(frames, hidden=np.zeros((2, 4, 3), bool), gap=2)
  assert image.shape == (4, 8, 3)
  np.testing.assert_array_equal(image[0, :, 0], [0, 0, 0, 1, 1, 0.5, 0.5, 0.5])
