"""The crowd: the same bytes anywhere, people who stay themselves, and walks that share nothing else."""

import dataclasses
import importlib.resources
import json
import pathlib
import pickle

import numpy as np
import pytest

from data_prep import build, datasets
from data_prep.sources.crowd import CrowdSource, Ingredients, draw_manner, place_of
from data_prep.sources.walkers import WalkersSource
from data_prep.walkers.measured import SPEED, draw_body, draw_measures, draw_tempo, step_length
from data_prep.walkers.randomness import generator
from fgait_jax.data.schema import check_frames
from fgait_jax.data.source import open_split
from fgait_jax.errors import DataError


@pytest.fixture(scope="module")
def source() -> CrowdSource:
  return CrowdSource(subjects=3, walks=4, frames=(12, 16), seed=5)


def frames_of(source: CrowdSource) -> dict[str, np.ndarray]:
  return {walk.key: walk.read().frames for walk in source.splits()["train"]}


def test_a_walk_is_a_function_of_seed_person_and_number(source):
  walks = source.splits()["train"]
  copies = [pickle.loads(pickle.dumps(walk.read)) for walk in reversed(walks)]
  for walk, read in zip(walks, reversed(copies), strict=True):
    np.testing.assert_array_equal(walk.read().frames, read().frames)
  larger = frames_of(CrowdSource(subjects=5, walks=4, frames=(12, 16), seed=5))
  for key, frames in frames_of(source).items():
    np.testing.assert_array_equal(frames, larger[key])


def test_walks_are_whole_named_and_all_to_train_on(source):
  splits = source.splits()
  assert list(splits) == ["train"]
  walks = splits["train"]
  assert len({walk.key for walk in walks}) == 12
  for walk in walks:
    frames = walk.read().frames
    check_frames(frames, walk.key)
    assert 1 <= len(frames) <= 16
    assert 0 <= int(walk.view) < 360
    assert walk.condition[:3] in ("nm-", "bg-", "cl-")
    assert walk.key == f"{walk.subject}/{walk.condition}/{walk.view}"
  assert source.fingerprint() != dataclasses.replace(source, seed=6).fingerprint()


@pytest.mark.parametrize(
  ("made", "code"),
  [
    (CrowdSource(), ("sources/crowd.py", "walkers/body.py", "walkers/ansur.json", "data/normalise.py")),
    (WalkersSource(), ("sources/walkers.py", "walkers/body.py", "data/normalise.py")),
  ],
)
def test_people_made_by_other_code_are_another_data_set(made, code, monkeypatch):
  prints, read = [made.fingerprint()], pathlib.Path.read_bytes
  for name in code:
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path, name=name: read(path) + path.match(name) * b"#")
    prints.append(made.fingerprint())
  assert len(set(prints)) == 1 + len(code)


def test_cameras_clothes_and_segmenters_change_from_walk_to_walk_and_can_be_left_out(source):
  views = {place_of(seed=0, subject="c00001", number=n, cameras=True)[1] for n in range(1, 60)}
  fixed = {place_of(seed=0, subject="c00001", number=n, cameras=False)[1] for n in range(1, 60)}
  assert len(views) > 30
  assert fixed == {"000", "030", "060", "090", "120", "150"}
  everything = frames_of(source)
  for field in dataclasses.fields(Ingredients):
    without = dataclasses.replace(source, ingredients=dataclasses.replace(Ingredients(), **{field.name: False}))
    found = list(frames_of(without).values())
    pairs = zip(found, everything.values(), strict=True)
    assert any(a.shape != b.shape or (a != b).any() for a, b in pairs), field.name


def test_bodies_vary_together_as_measured():
  rng = np.random.default_rng(0)
  drawn = [draw_measures(rng, 1) for _ in range(2000)]
  stature = np.array([m["stature"] for m in drawn])
  assert abs(stature.mean() - 1.7562) < 0.006  # ANSUR II, men
  assert abs(stature.std() - 0.0686) < 0.006
  stored = json.loads(importlib.resources.files("data_prep.walkers").joinpath("ansur.json").read_text())
  lower, names = stored["male"]["log_covariance"], stored["measures"]
  for name in ("trochanterionheight", "waistcircumference", "headlength"):
    row = names.index(name)
    measured = lower[row][0] / np.sqrt(lower[row][row] * lower[0][0])
    assert np.corrcoef(np.log(stature), np.log([m[name] for m in drawn]))[0, 1] == pytest.approx(measured, abs=0.06)
  people = [draw_body(f"c{i:05d}", seed=0) for i in range(300)]
  assert 0.4 < np.mean([p.sex for p in people]) < 0.6
  for p in people:
    standing = p.ankle_height + p.shank + p.thigh + p.trunk + p.neck + p.skull
    assert abs(standing - p.height) < 1e-9
    assert min(*p.thigh_radii, *p.shank_radii, *p.arm_radii, *p.foot_radii, *p.widths, *p.depths) > 0.01


def test_steps_follow_the_fit_and_lengthen_with_speed():
  man = next(p for p in (draw_body(f"c{i:05d}", seed=0) for i in range(20)) if p.sex == 1)
  assert step_length(man, 1.0, 0.0) == pytest.approx(man.height * np.exp(-1.1167))
  assert step_length(man, 2.0, 0.0) / step_length(man, 1.0, 0.0) == pytest.approx(2**0.5128)
  assert step_length(man, SPEED, 0.1) / step_length(man, SPEED, 0.0) == pytest.approx(np.exp(0.1))
  tempo = np.array([draw_tempo(generator(0, "t", str(i))) for i in range(2000)])
  speed = tempo.prod(axis=1)
  assert abs(np.log(speed).std() - 0.1) < 0.01
  assert np.corrcoef(np.log(tempo[:, 1]), np.log(speed))[0, 1] > 0.5


def test_steps_and_cadence_make_the_comfortable_speed():
  people = [draw_body(f"c{i:05d}", seed=0) for i in range(100)]
  speeds = []
  for person in people:
    gait = draw_manner(person, person.name, seed=0, measured=True)
    swing = 2 * (person.thigh + person.shank) * np.abs(gait.curves["hip"][:, 1]).mean()  # metres of a step
    speeds.append(2 * gait.cadence * swing)
  assert np.median(speeds) == pytest.approx(SPEED, rel=0.05)
  assert np.log(speeds).std() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"walks": 100}, {"frames": (9, 8)}])
def test_a_crowd_that_cannot_be_is_refused(wrong):
  with pytest.raises(DataError, match="expected"):
    CrowdSource(**wrong)


def test_the_record_says_that_nobody_is_behind_it():
  record = datasets.get("crowd")
  assert (record.kind, record.needs_raw) == ("synthetic", False)
  assert "no person behind it" in record.licence


def test_a_crowd_of_any_size_can_be_named():
  record = datasets.choose("crowd", {"people": 3, "name": "few"})
  assert (record.name, record.population, record.subjects, record.choices) == ("few", "crowd", (3, 0), {"people": 3})
  walks = record.source(None).splits()["train"]
  assert {walk.subject for walk in walks} == {"c00001", "c00002", "c00003"}
  assert len(walks) == 3 * 8
  pairs = datasets.get("crowd_pairs")
  assert (pairs.population, pairs.subjects, pairs.choices) == ("crowd", (960, 0), {"walks": 2})
  walks = datasets.choose("crowd", {"people": 3, "walks": 2, "name": "few"}).source(None).splits()["train"]
  eight = [walk.key for walk in datasets.get("crowd").source(None).splits()["train"]]
  assert [walk.key for walk in walks] == [eight[i] for i in (0, 1, 8, 9, 16, 17)]
  large = datasets.get("crowd4800")
  assert (large.population, large.subjects) == ("crowd", (4800, 0))
  with pytest.raises(DataError, match="--people belongs to the data sets crowd, not to walkers"):
    datasets.choose("walkers", {"people": 3})
  with pytest.raises(DataError, match="--name '../few': expected small letters, digits and underscores"):
    datasets.choose("crowd", {"name": "../few"})


def test_walks_and_people_are_chosen_on_the_command_line(tmp_path, capsys):
  argv = ["crowd", "--people", "3", "--walks", "2", "--name", "few", "--out", str(tmp_path), "--workers", "1"]
  assert build.main(argv) == 0
  split = open_split(tmp_path, "few", "train")
  assert sorted(split.subjects) == [f"c0000{i}" for i in (1, 1, 2, 2, 3, 3)]
  assert build.main([*argv[:4], "100", *argv[5:-3], str(tmp_path / "other"), *argv[-2:]]) == 1
  assert "expected 1 or more, 1 to 99" in capsys.readouterr().err


def test_the_crowd_is_filmed_from_all_around():
  views = [int(CrowdSource(subjects=50).walk(row).view) for row in range(400)]
  assert np.histogram(views, bins=8, range=(0, 360))[0].min() > 20
