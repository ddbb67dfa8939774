"""The reconstruction task: what masked modelling has learnt, in the overlap of hidden bodies, beside what fills them in
without learning.

The reference trains no masked modelling; its tokens are this project's, and so is this measure.
"""

import pathlib

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import pictures, results, scoring
from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.features import reconstruction
from fgait_jax.evaluation.metrics import statistics
from fgait_jax.evaluation.registry import task
from fgait_jax.evaluation.results import Condition, Row
from fgait_jax.evaluation.setup import Setup, prepare

COLUMNS = (Column(key="overlap", title="overlap %", interval=True), Column(key="right", title="pixels right %"))
_BATCH = 32  # clips


@task("reconstruction", writes="reconstruction-{config.dataset}.json", sections=("reconstruction",))
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `reconstruction-<dataset>.json`: the overlap of hidden bodies, for each share of tokens hidden."""
  _check(config.reconstruction)
  setup = prepare(config, out, untrained=False)
  setup.only_silhouettes("the overlap of hidden bodies is measured")
  path = setup.claim()
  network, settings = setup.trained, setup.trained.config
  hidden, weight = tuple(settings.student.masked_fractions), settings.objectives.reconstruction.weight
  masked = max(hidden)
  if not masked or not weight:
    raise ConfigError(f"the network of {config.checkpoint} has not learnt to fill in what is hidden (trained with"
                      f" student.masked_fractions={hidden}, objectives.reconstruction.weight={weight:g}); choose"
                      " another checkpoint")
  if "decoder" not in network.params:
    raise ConfigError(f"the network of {config.checkpoint} was published without its decoder, which fills in what is"
                      " hidden; choose the run it was made of, or weights with their heads")
  rows = np.random.default_rng(config.seed).permutation(len(setup.split))
  rows = np.sort(rows[: config.reconstruction.walks or None])
  titles = {"model": setup.title}
  if config.baselines:
    titles |= {"in_time": "mean of the pixel over time", "mean_silhouette": "mean silhouette"}
  counts = {name: {} for name in titles}
  for fraction in config.reconstruction.masked_fractions:
    found = _overlaps(setup, rows, fraction)
    if not found["model"][:, 3].any():
      raise ConfigError(f"config.reconstruction.masked_fractions: a share of {fraction:g} hides none of a clip's"
                        " tokens; choose larger ones")
    for name in titles:
      counts[name][f"{fraction:g}"] = found[name]
  subjects = np.asarray(setup.split.subjects)[rows]
  table = [Row(name=name, title=titles[name], figures=results.figures_of(
    {fraction: _figures(found, subjects, config) for fraction, found in by_fraction.items()}))
    for name, by_fraction in counts.items()]
  drawn = [] if not config.pictures else [pictures.filled_in(
    path.with_suffix(".png"), network=network, split=setup.split, count=config.pictures, seed=config.seed,
    mirror=config.mirror_views, subtitle=f"{setup.data_title}; {setup.title}")]
  return [results.write(path, setup.result(
    title=f"Hidden bodies filled in on {config.dataset}", rows=table, columns=list(COLUMNS),
    conditions=[Condition(name=f"{fraction:g}", title=f"{100 * fraction:g}% of the tokens hidden")
                for fraction in config.reconstruction.masked_fractions],
    notes=[f"Clips of {len(rows)} walks: {settings.data.clip_frames} frames, {network.stride} apart, as in training,"
           f" which hid {masked:.0%}.",
           "Overlap: intersection over union of the hidden pixels that are body, over all clips.",
           *scoring.interval_notes(config, "subjects")],
    pictures=[picture.name for picture in drawn]))]


def _check(settings) -> None:
  fractions = list(settings.masked_fractions)
  if not fractions or len({*fractions}) < len(fractions) or not all(0 < fraction < 1 for fraction in fractions):
    raise ConfigError(f"config.reconstruction.masked_fractions={tuple(fractions)}: expected different shares above 0"
                      " and below 1, such as (0.25,0.5)")
  if settings.walks < 0:
    raise ConfigError(f"config.reconstruction.walks={settings.walks} must be 0 or more")


def _overlaps(setup: Setup, rows: np.ndarray, fraction: float) -> dict[str, np.ndarray]:
  """Counts of `reconstruction.overlap` [walks, 4] of the model and of what fills in without learning."""
  parts = []
  for first in range(0, len(rows), _BATCH):
    batch = rows[first : first + _BATCH]
    full = np.pad(batch, (0, min(_BATCH, len(rows)) - len(batch)), mode="edge")  # one program for all batches
    frames = reconstruction.clips(setup.trained, setup.split, full, mirror=setup.config.mirror_views,
                                  max_frames=setup.config.max_frames)
    found = reconstruction.reconstruct(setup.trained, frames, masked_fraction=fraction, seed=setup.config.seed,
                                       batch=first // _BATCH)
    parts.append([pixels[: len(batch)] for pixels in found])
  given, visible, predicted = (np.concatenate(pixels) for pixels in zip(*parts, strict=True))
  filled = {"model": predicted} | reconstruction.without_learning(given, visible)
  return {name: reconstruction.overlap(pixels, given, ~visible) for name, pixels in filled.items()}


def _figures(counts: np.ndarray, subjects: np.ndarray, config) -> dict:
  """Overlap and right pixels in per cent, the overlap with the interval of resampled subjects."""
  both, either, right, hidden = counts.sum(axis=0)
  figures = {"overlap": 100 * both / max(either, 1), "right": 100 * right / max(hidden, 1)}
  names, number = np.unique(subjects, return_inverse=True)
  if config.bootstrap and len(names) > 1:
    sums = np.stack([np.bincount(number, weights=column) for column in counts[:, :2].T], axis=1)
    drawn = statistics.subject_weights(len(names), resamples=config.bootstrap, seed=config.seed) @ sums
    figures["ci"] = {"overlap": statistics.interval(100 * drawn[:, 0] / np.maximum(drawn[:, 1], 1))}
  return figures
