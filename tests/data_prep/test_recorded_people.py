"""What the synthetic people look like is recorded: their pictures are data that figures were measured on.

A walk's mean silhouette shows body, clothes, bag, motion, camera and segmenter together. UPDATE_GOLDEN=1 rewrites.
"""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from data_prep.sources import crowd, walkers

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "people.npz"
CONDITIONS = ("nm-01", "bg-01", "cl-01", "bg-02")


def lab() -> list[np.ndarray]:
  return [
    walkers.render_walk(seed=0, subject=f"{n + 1:04d}", condition=CONDITIONS[n % 4], view=walkers.VIEWS[n % 6],
                        frames=(20, 28)).frames
    for n in range(24)
  ]


def outside() -> list[np.ndarray]:
  return [
    crowd.render_walk(seed=0, subject=f"c{n + 1:05d}", number=1 + n % 8, frames=(20, 28),
                      ingredients=crowd.Ingredients()).frames
    for n in range(36)
  ]


def plainer() -> list[np.ndarray]:
  """Each ingredient of the crowd left out."""
  return [
    crowd.render_walk(seed=0, subject=subject, number=3, frames=(20, 28),
                      ingredients=dataclasses.replace(crowd.Ingredients(), **{field.name: False}))
    .frames for field in dataclasses.fields(crowd.Ingredients) for subject in ("c00001", "c00002")
  ]


@pytest.mark.parametrize("make", [lab, outside, plainer])
def test_people_look_as_recorded(make):
  walks = make()
  found = {"means": np.stack([np.round(w.mean(0)).astype(np.uint8) for w in walks]),
           "lengths": np.array([len(w) for w in walks])}
  recorded = dict(np.load(GOLDEN)) if GOLDEN.is_file() else {}
  if os.environ.get("UPDATE_GOLDEN"):
    np.savez_compressed(GOLDEN, **recorded | {f"{make.__name__}_{name}": values for name, values in found.items()})
    return
  told = f"{GOLDEN} differs: data sets of another look; if meant, run with UPDATE_GOLDEN=1 and say why in the commit"
  assert (found["lengths"] == recorded[f"{make.__name__}_lengths"]).all(), told
  # Rounding may move a pixel of an edge in a frame, and none more.
  away = np.abs(found["means"].astype(int) - recorded[f"{make.__name__}_means"])
  assert (away > 1).mean() < 0.0005, told
