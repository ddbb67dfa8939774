"""Played walks: frames come back from the file, and a file that is not one is refused by name."""

import base64
import json

import cv2
import numpy as np
import pytest

from fgait_jax.errors import DataError
from fgait_jax.evaluation.report import strips


def test_a_sheet_holds_the_middle_frames_side_by_side():
  walk = np.zeros((40, 64, 64, 2), np.uint8)
  for n in range(40):
    walk[n, :, 10 + n, n % 2] = 255  # one column, in either channel, that moves by one a frame
  made = strips.sheet(walk, count=8)
  image = cv2.imdecode(np.frombuffer(base64.b64decode(made["sheet"]), np.uint8), cv2.IMREAD_GRAYSCALE)
  assert made["frames"] == 8
  assert image.shape == (64, 8 * 44)
  shown = image.reshape(64, 8, 44).transpose(1, 0, 2)
  np.testing.assert_array_equal(shown.argmax(axis=2)[:, 0], np.arange(16, 24))
  assert strips.sheet(walk[:3])["frames"] == 3


def test_written_walks_pass_the_check(results_folder):
  path = results_folder / "neighbours-walkers.json"
  found = strips.check(json.loads(path.read_text()), origin=path.name)
  (probe,) = found["probes"]
  assert probe["text"] == "003, cl-01, 090"
  assert [n["right"] for n in probe["neighbours"]] == [False, False, False, True, False]
  assert (probe["width"], probe["height"], probe["frames"]) == (44, 64, 10)
  assert path.stat().st_size < 20_000


@pytest.mark.parametrize("change,reason", [
  ({"sheet": "<script>"}, "Error"),
  ({"sheet": base64.b64encode(b"GIF89a").decode()}, "not a PNG"),
  ({"frames": 7}, "440 x 64 pixels for 7 frames"),
  ({"neighbours": [{"text": "x"}]}, "frames"),
])
def test_walks_that_are_none_are_refused(results_folder, change, reason):
  content = json.loads((results_folder / "neighbours-walkers.json").read_text())
  content["probes"][0] |= change
  with pytest.raises(DataError, match=rf"n\.json: not a file of played walks .*{reason}"):
    strips.check(content, origin="n.json")
