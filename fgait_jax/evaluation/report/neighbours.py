"""Picture: probes and the gallery walks that lie nearest, right or wrong marked. Drawn at random, nothing picked
out."""

import pathlib
import textwrap
from collections.abc import Iterable

import matplotlib.figure
import numpy as np

from fgait_jax.evaluation.features.extraction import Features, read_walk
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.evaluation.protocols.base import Protocol
from fgait_jax.evaluation.protocols.trials import trials_of
from fgait_jax.evaluation.report import strips
from fgait_jax.evaluation.report.reconstructions import strip

FRAMES = 4  # shown of each walk
NEAREST = 5
_SEEN = 120  # first frames of a walk that shown ones are taken from
RIGHT, WRONG, PROBE = "#1a9641", "#d7191c", "#3b4252"


def of_features(path: pathlib.Path, *, split, found: Features, protocol: Protocol, metric: str, count: int, seed: int,
                mirror: Iterable[str], subtitle: str) -> pathlib.Path:
  """Draws `count` probes of `protocol` with their nearest gallery walks by `metric`; `found` embeds all of `split`.

  The same walks go to `path` with ending .json, to be played in the report. Each probe is shown with the gallery of its
  own comparison, less what it may not meet there: the neighbours are those that the figures rest on.
  """
  trials = trials_of(protocol, found.subjects, found.conditions, found.views)
  asked = np.flatnonzero(np.any([trial.probes for trial in trials], axis=0))
  rows = asked[choose(found.subjects[asked], found.conditions[asked], count=count, seed=seed)]

  def walk(row: int) -> dict:
    whole = read_walk(split, int(row), max_frames=_SEEN, mirror=mirror)
    text = f"{found.subjects[row]}, {found.conditions[row]}, {found.views[row]}"
    return {"frames": frames_of(whole), "played": strips.sheet(whole), "text": text}

  drawn = []
  for row in rows:
    trial = next(trial for trial in trials if trial.probes[row])
    held = np.flatnonzero(trial.gallery)
    met = trial.may_meet(found.subjects, row[None], held)
    distance = np.where(met, pairwise(found.embeddings[row][None], found.embeddings[held], metric=metric), np.inf)[0]
    nearest = [n for n in np.argsort(distance, kind="stable")[:NEAREST] if np.isfinite(distance[n])]
    drawn.append(walk(row) | {"neighbours": [walk(held[n]) | {
      "distance": float(distance[n]), "right": bool(found.subjects[held[n]] == found.subjects[row])} for n in nearest]})
  strips.write(path.with_suffix(".json"), probes=drawn, title=subtitle)
  return draw(path, probes=drawn, subtitle=subtitle)


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


def draw(path: pathlib.Path, *, probes: list[dict], subtitle: str) -> pathlib.Path:
  """Draws a line per probe: its walk, then its nearest gallery walks, each framed green (same person) or red.

  A probe is {"frames" [t, h, w] in 0..1, "text", "neighbours": [{"frames", "text", "distance", "right"}]}.
  """
  figure = matplotlib.figure.Figure(figsize=(16, 1.7 + 1.24 * len(probes)), dpi=110, facecolor="white")
  high = figure.get_figheight()
  figure.suptitle("Who walks most like this? Each walk and its five nearest in the gallery", x=0.012, y=1 - 0.16 / high,
                  ha="left", va="top", fontsize=17, fontweight="bold")
  figure.text(0.012, 1 - 0.55 / high, textwrap.fill(subtitle, 165), ha="left", va="top", fontsize=11, color="0.3")
  axes = figure.subplots(len(probes), 1 + NEAREST, squeeze=False, gridspec_kw={
    "left": 0.012, "right": 0.994, "bottom": 0.32 / high, "top": 1 - 1.35 / high, "wspace": 0.07, "hspace": 0.42})
  for line, probe in zip(axes, probes, strict=True):
    walks = [probe | {"colour": PROBE}]
    walks += [n | {"colour": RIGHT if n["right"] else WRONG} for n in probe["neighbours"]]
    for axis, walk in zip(line, walks, strict=False):
      _draw_walk(axis, walk)
    for axis in line[len(walks):]:
      axis.set_axis_off()
  heads = ("probe", "nearest", "second", "third", "fourth", "fifth")
  for axis, head in zip(axes[0], heads, strict=True):
    axis.set_title(head, fontsize=12, color="0.25", pad=6)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path)
  return path


def _draw_walk(axis, walk: dict) -> None:
  image = strip(walk["frames"], gap=1)
  axis.imshow(np.clip(image, 0, 1), interpolation="nearest")
  axis.set_xticks([])
  axis.set_yticks([])
  for side in axis.spines.values():
    side.set_color(walk["colour"])
    side.set_linewidth(4 if walk["colour"] != PROBE else 2)
  text = walk["text"]
  if "right" in walk:
    text = f"{'✓' if walk['right'] else '✗'} {text}   {walk['distance']:.3f}"
  axis.set_xlabel(text, fontsize=11, color=walk["colour"], labelpad=4)


def frames_of(walk: np.ndarray, *, count: int = FRAMES) -> np.ndarray:
  """`count` frames [count, 64, 44] in 0..1 from the middle second or so of a walk uint8 [t, 64, 64, c], 4 apart."""
  gap = max(1, min(4, len(walk) // count))
  start = max(0, (len(walk) - gap * (count - 1)) // 2)
  rows = np.minimum(start + gap * np.arange(count), len(walk) - 1)
  return walk[rows, :, 10:54].max(axis=-1) / np.float32(255)
