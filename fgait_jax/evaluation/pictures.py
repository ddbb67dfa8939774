"""Which walks a result is illustrated with: probes and their nearest neighbours, and walks that the network fills in.
Drawn at random, nothing picked out. The pictures themselves are made by report/."""

import pathlib
from collections.abc import Iterable

import numpy as np

from fgait_jax.evaluation.features import reconstruction
from fgait_jax.evaluation.features.extraction import read_walk
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.evaluation.protocols.base import Protocol
from fgait_jax.evaluation.protocols.trials import trials_of
from fgait_jax.evaluation.report import neighbours, reconstructions, strips
from fgait_jax.training.pretrained import Pretrained

_SEEN = 120  # first frames of a walk that those of neighbours are taken from


def nearest(path: pathlib.Path, *, split, found: Features, protocol: Protocol, metric: str, count: int, seed: int,
            mirror: Iterable[str], subtitle: str) -> pathlib.Path:
  """Draws `count` probes of `protocol` with their nearest gallery walks by `metric`; `found` embeds all of `split`.

  The same walks go to `path` with ending .json, to be played in the report. Each probe is shown with the gallery of its
  own comparison, less what it may not meet there: the neighbours are those that the figures rest on.
  """
  trials = trials_of(protocol, found)
  asked = np.flatnonzero(np.any([trial.probes for trial in trials], axis=0))
  rows = asked[choose(found.subjects[asked], found.conditions[asked], count=count, seed=seed)]

  def walk(row: int) -> dict:
    whole = read_walk(split, int(row), max_frames=_SEEN, mirror=mirror)
    text = f"{found.subjects[row]}, {found.conditions[row]}, {found.views[row]}"
    return {"frames": neighbours.frames_of(whole), "played": strips.sheet(whole), "text": text}

  drawn = []
  for row in rows:
    trial = next(trial for trial in trials if trial.probes[row])
    held = np.flatnonzero(trial.gallery)
    met = trial.may_meet(found.subjects, row[None], held)
    distance = np.where(met, pairwise(found.embeddings[row][None], found.embeddings[held], metric=metric), np.inf)[0]
    close = [n for n in np.argsort(distance, kind="stable")[: neighbours.NEAREST] if np.isfinite(distance[n])]
    drawn.append(walk(row) | {"neighbours": [walk(held[n]) | {
      "distance": float(distance[n]), "right": bool(found.subjects[held[n]] == found.subjects[row])} for n in close]})
  strips.write(path.with_suffix(".json"), probes=drawn, title=subtitle)
  return neighbours.draw(path, probes=drawn, subtitle=subtitle)


def choose(subjects: np.ndarray, conditions: np.ndarray, *, count: int, seed: int) -> np.ndarray:
  """Rows of `count` probes drawn at random, conditions in turn, no subject twice while others are left."""
  order = np.random.default_rng(seed).permutation(len(subjects))
  queues = [order[conditions[order] == c].tolist() for c in np.unique(conditions)]
  chosen: list[int] = []
  while len(chosen) < min(count, len(subjects)):
    for queue in queues:
      if queue and len(chosen) < count:
        seen = [subjects[row] for row in chosen]
        row = min(queue, key=lambda r: seen.count(subjects[r]))
        queue.remove(row)
        chosen.append(row)
  return np.array(chosen, int)


def filled_in(path: pathlib.Path, *, network: Pretrained, split, count: int, seed: int, mirror: Iterable[str],
              subtitle: str) -> pathlib.Path:
  """Draws `count` walks of `split`, each of another subject where there are enough, masked as in pretraining."""
  order = np.random.default_rng(seed).permutation(len(split))
  first = np.unique(np.asarray(split.subjects)[order], return_index=True)[1]
  rows = order[np.sort(first)][:count]
  frames = reconstruction.clips(network, split, rows, mirror=mirror)
  fraction = max(network.config.student.masked_fractions)
  given, visible, predicted = reconstruction.reconstruct(network, frames, masked_fraction=fraction, seed=seed)
  both, either, right, hidden = reconstruction.overlap(predicted, given, ~visible).sum(axis=0)
  names = [f"{split.subjects[row]}, {split.conditions[row]}, {split.views[row]}" for row in rows]
  return reconstructions.draw(path, frames=given, visible=visible, predicted=predicted, names=names, subtitle=(
    f"{subtitle}. {fraction:.0%} of the tokens hidden (blue). Of the hidden pixels {right / max(hidden, 1):.1%} are"
    f" right; the hidden body overlaps by {both / max(either, 1):.1%} (intersection over union)."))
