"""Protocols of retrieval: each probe ranks a gallery. Who is compared are its trials (trials.py)."""

import abc
import dataclasses
import itertools
import re

import numpy as np

from fgait_jax.evaluation.labels import NAMED, Features, Labels
from fgait_jax.evaluation.metrics import retrieval, verification
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.evaluation.protocols import lists
from fgait_jax.evaluation.protocols.base import Protocol, Settings, Walks, matching
from fgait_jax.evaluation.protocols.figures import figures, mean_of
from fgait_jax.evaluation.protocols.trials import Meeting, Trial

_SAMPLE = 200_000  # pairs that bins of verification are drawn from, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Averaging:
  """How outcomes become one figure. `over`:

  "cells": each gallery camera is ranked apart; mean over probe cameras of the mean over gallery cameras that they meet;
  "cameras": one ranking, mean over probe cameras of the mean over probes; "probes": one ranking, mean over probes.
  reading: what becomes of probes without a mate, one of figures.READINGS.
  """

  over: str
  reading: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked(Protocol):
  """known, known_views: patterns that all types and views must match; summary: the condition that stands for all, or ""
  for their mean."""

  meeting: Meeting
  averaging: Averaging
  known: str = ".*"
  known_views: str = ".*"
  summary: str = ""

  def trials(self, walks: Labels) -> list[Trial]:
    known = (walks.conditions, self.known, "types"), (walks.views, self.known_views, "views")
    for column, pattern, what in known:
      if strange := [name for name in np.unique(column) if not re.fullmatch(pattern, name)]:
        raise self.refuse(walks, f"unknown {what}: {', '.join(strange[:10])}")
    cameras = self.cameras(walks.views)
    return [Trial(name=name, probes=probes, gallery=gallery, cameras=cameras, meeting=self.meeting)
            for name, (probes, gallery) in self._sides(walks).items()]

  @abc.abstractmethod
  def _sides(self, walks: Labels) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Condition -> bool rows of its probes and of its gallery."""

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    trials = self._present(walks, self.trials(walks))
    result = score_trials(walks, trials, self.averaging, settings)
    conditions = result["conditions"]
    absent = [name for name in self._sides(walks) if name not in conditions]
    summary = conditions[self.summary] if self.summary in conditions else mean_of(conditions)
    return result | {"absent": absent, "summary": summary}

  def _present(self, walks: Walks, trials: list[Trial]) -> list[Trial]:
    """Trials that have probes; raises `DataError` where there are none, or no gallery for one of them."""
    present = [trial for trial in trials if trial.probes.any()]
    for trial in present or trials[:1]:
      if not trial.gallery.any():
        raise self.refuse(walks, "the gallery is empty" if len(trials) == 1 or not _apart(trials) else
                          f"pair {trial.name}: the gallery is empty")
    if not present:
      raise self.refuse(walks, "there are no probes")
    return present


def _apart(trials: list[Trial]) -> bool:
  """Whether galleries differ from trial to trial."""
  return any((trial.gallery != trials[0].gallery).any() for trial in trials[1:])


def score_trials(walks: Walks, trials: list[Trial], averaging: Averaging, settings: Settings) -> dict:
  """`conditions`, `cmc` and, where cameras are told apart, `per_view`, by the names of the trials."""
  found, curves, per_view = {}, {}, {}
  galleries: dict[bytes, list[Trial]] = {}
  for trial in trials:
    galleries.setdefault(trial.gallery.tobytes(), []).append(trial)
  for together in galleries.values():  # one ranking for all that are sought in one gallery
    first = together[0]
    asked = np.flatnonzero(np.any([trial.probes for trial in together], axis=0))
    held = np.flatnonzero(first.gallery)
    views, camera = np.unique(np.concatenate([first.cameras[asked], first.cameras[held]]), return_inverse=True)
    allowed = _allowed(first.meeting, averaging.over, len(views))
    rows = camera[: len(asked)] if averaging.over != "probes" else np.zeros(len(asked), np.int64)
    twins = _identical(walks, first, asked, held)
    ranking = _rank(walks, first, asked, held, views, allowed, rows, averaging, settings)
    for trial in together:
      mine = trial.probes[asked]
      probes = walks.take(asked[mine])
      figure = figures(
        ranking.take(mine), subjects=probes.subjects, names=probes.names(), rows=rows[mine],
        gallery_subjects=walks.subjects[held], allowed=allowed, reading=averaging.reading, settings=settings)
      twin = twins[mine]
      same = zip(probes.take(twin >= 0).names(), walks.take(twin[twin >= 0]).names(), strict=True)
      figure["identical"] = int((twin >= 0).sum())
      figure["identical_probes"] = [f"{a} = {b}" for a, b in itertools.islice(same, NAMED)]
      cells, curves[trial.name] = figure.pop("cells"), figure.pop("cmc")
      found[trial.name] = figure
      if averaging.over != "probes":
        apart = averaging.over == "cells"
        per_view[trial.name] = {"probe_views": views, "gallery_views": views if apart else ["all"], "rank1": cells}
  names = [trial.name for trial in trials]
  result = {"conditions": {name: found[name] for name in names}, "cmc": {name: curves[name] for name in names}}
  return result | ({"per_view": per_view} if per_view else {})


def _allowed(meeting: Meeting, over: str, cameras: int) -> np.ndarray:
  """Bool [rows of probes, groups of the gallery]: cells that count."""
  if over == "cells":
    return meeting.allows(np.zeros(1, bool), np.eye(cameras, dtype=bool))
  return np.ones((cameras if over == "cameras" else 1, 1), bool)


def _rank(walks, trial, asked, held, views, allowed, rows, averaging, settings) -> retrieval.Ranking:
  probe, gallery = walks.embeddings[asked], walks.in_gallery(held)
  options = {"metric": settings.metric, "budget_bytes": settings.budget_bytes}
  bins = _bins(walks, trial, asked, held, settings)
  labels = {"probe_labels": walks.subjects[asked], "gallery_labels": walks.subjects[held]}
  if averaging.over == "cells":
    present = np.unique(trial.cameras[held])  # cameras without a gallery stay columns of their own, empty
    columns = np.searchsorted(views, present)
    ranking = retrieval.rank(probe, gallery, **labels, gallery_groups=np.searchsorted(present, trial.cameras[held]),
                             bins=bins, counted=allowed[rows][:, columns], **options)
    return ranking.spread(columns, len(views))
  return retrieval.rank(probe, gallery, **labels, **_left_out(trial, asked, held), bins=bins, **options)


def rank_together(walks: Features, trial: Trial, *, metric: str) -> retrieval.Ranking:
  """The probes of `trial`, each ranked once in the whole of its gallery, less what it may not meet there."""
  asked, held = np.flatnonzero(trial.probes), np.flatnonzero(trial.gallery)
  return retrieval.rank(walks.embeddings[asked], walks.embeddings[held], probe_labels=walks.subjects[asked],
                        gallery_labels=walks.subjects[held], **_left_out(trial, asked, held), metric=metric)


def _left_out(trial: Trial, asked: np.ndarray, held: np.ndarray) -> dict:
  """The trial's rule of meeting as `retrieval.rank` takes it."""
  if trial.meeting is Meeting.OTHER_CAMERA:
    raise ValueError(f"{trial.name}: walks of one camera are kept apart camera by camera only, averaged over cells")
  if trial.meeting is Meeting.ANY:
    return {}
  return {"probe_cameras": trial.cameras[asked], "gallery_cameras": trial.cameras[held]}


def _identical(walks: Walks, trial: Trial, asked: np.ndarray, held: np.ndarray) -> np.ndarray:
  """Of each probe the row of a gallery walk that it may meet and whose embedding is the very same, int [n], or -1."""
  by_value: dict[int, list[int]] = {}
  for row in held:
    by_value.setdefault(hash(walks.in_gallery(row).tobytes()), []).append(row)
  found = np.full(len(asked), -1)
  for place, row in enumerate(asked):
    near = np.array(by_value.get(hash(walks.embeddings[row].tobytes()), ()), int)
    if len(near):
      met = near[trial.may_meet(walks.subjects, row[None], near)[0]]
      found[place] = next((other for other in met if (walks.in_gallery(other) == walks.embeddings[row]).all()), -1)
  return found


def _bins(walks, trial, asked, held, settings: Settings) -> np.ndarray:
  """Bins of distances from the pairs of some subjects, drawn and seeded: as many as keep within `_SAMPLE`, two at
  least."""
  names, place = np.unique(np.concatenate([walks.subjects[asked], walks.subjects[held]]), return_inverse=True)
  order = np.random.default_rng((settings.seed, 2)).permutation(len(names))
  counts = [np.bincount(side, minlength=len(names))[order] for side in (place[: len(asked)], place[len(asked) :])]
  number = max(2, int(np.searchsorted(np.cumsum(counts[0]) * np.cumsum(counts[1]), _SAMPLE, side="right")))
  drawn = names[order[:number]]
  asked, held = (rows[np.isin(walks.subjects[rows], drawn)] for rows in (asked, held))
  if not len(asked) or not len(held):
    return verification.bins_of(np.zeros(0, np.float32), np.zeros(0, bool))
  distances = pairwise(walks.embeddings[asked], walks.in_gallery(held), metric=settings.metric,
                       budget_bytes=settings.budget_bytes)
  met = trial.may_meet(walks.subjects, asked, held)
  return verification.bins_of(distances[met], (walks.subjects[asked][:, None] == walks.subjects[held])[met])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Typed(Ranked):
  """gallery: pattern of types; conditions: name -> pattern of probe types; drop_views: views left out on both sides.

  by_view: where True, these patterns are of `type/view`.
  """

  gallery: str
  conditions: dict[str, str]
  drop_views: tuple[str, ...] = ()
  by_view: bool = False

  def _sides(self, walks):
    kept = ~np.isin(walks.views, self.drop_views)
    names = np.char.add(np.char.add(walks.conditions, "/"), walks.views) if self.by_view else walks.conditions
    gallery = kept & matching(names, self.gallery)
    return {name: (kept & matching(names, pattern), gallery) for name, pattern in self.conditions.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossView(Typed):
  """Rank in each gallery view apart; mean over probe views of the mean over other gallery views."""

  meeting: Meeting = Meeting.OTHER_CAMERA
  averaging: Averaging = Averaging(over="cells", reading="error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossViewGallery(Typed):
  """One gallery of all views, without the probe's own subject in the probe's own view; mean over probe views."""

  meeting: Meeting = Meeting.NOT_OWN_CAMERA
  averaging: Averaging = Averaging(over="cameras", reading="error, excluded from mAP")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooled(Typed):
  """Each probe ranks the whole gallery; conditions differ in their probes only."""

  meeting: Meeting = Meeting.ANY
  averaging: Averaging = Averaging(over="probes", reading="error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed(Ranked):
  """Probes or gallery stand in an official list of `label-type-view` keys; the rest is the other side."""

  role: str  # "probe" or "gallery": what the list names
  names: str  # the list, of those in lists.json
  meeting: Meeting = Meeting.ANY
  averaging: Averaging = Averaging(over="probes", reading="excluded")

  def _sides(self, walks):
    listed = np.isin(walks.names(), lists.load(self.names))
    if not listed.any():
      raise self.refuse(walks, f"none of its sequences is on the official list of the {self.role}")
    gallery = listed if self.role == "gallery" else ~listed
    return {"all": (~gallery, gallery)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Ranked):
  """Any data: types "gallery" and "probe" where one of them is met, else each subject's first row is gallery."""

  meeting: Meeting = Meeting.ANY
  averaging: Averaging = Averaging(over="probes", reading="excluded")

  def _sides(self, walks):
    types = set(np.unique(walks.conditions).tolist())
    if {name.strip().lower() for name in types} & {"gallery", "probe"}:
      if types != {"gallery", "probe"}:  # a slip of the pen must not turn into another split of the data
        raise self.refuse(walks, 'types are not exactly "gallery" and "probe"')
      gallery = walks.conditions == "gallery"
    else:
      gallery = np.zeros(len(walks), bool)
      gallery[np.unique(walks.subjects, return_index=True)[1]] = True
    return {"all": (~gallery, gallery)}
