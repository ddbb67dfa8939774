"""What a model must beat: the mean silhouette, whole and in row bands, and guessing.

The gait energy image (GEI; Han and Bhanu, 2006) is the mean over time of the aligned silhouettes. No learning, no
normalisation. The untrained network is a baseline too, but a network: `load_network(..., trained=False)` embedded
like any other.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import numpy as np

from fgait_jax.data.schema import WIDTHS, identities
from fgait_jax.data.source import open_split
from fgait_jax.data.subset import rows_of_whole_subjects
from fgait_jax.errors import DataError
from fgait_jax.evaluation.features.extraction import progress_bar, read_walk, with_embeddings
from fgait_jax.evaluation.labels import Features, Labels
from fgait_jax.evaluation.metrics.distances import centre, check_centring
from fgait_jax.models.facing import face
from fgait_jax.training import linear_maps

_TURNED = 4096  # walks at a time: turning takes five times their bytes
BANDS = 16  # bands of 4 rows, the rows of the model's finest parts


def mean_silhouettes(split, *, max_frames: int, mirror: Iterable[str] = (), rows: np.ndarray | None = None,
                     progress: str = "") -> Features:
  """Raw GEI: the mean of the first `max_frames` frames in 0..1, columns 10..53 of 64, as one part of 64 * 44 * c
  channels.

  Under the Euclidean metric the distance of two walks is that of their mean images, pixel by pixel.
  """
  rows = np.arange(len(split)) if rows is None else np.asarray(rows)
  side = (WIDTHS[0] - WIDTHS[1]) // 2
  images = []
  with progress_bar(progress, len(rows)) as advance:
    for row in rows:
      frames = read_walk(split, int(row), max_frames=max_frames, mirror=mirror)[:, :, side:-side]
      images.append(frames.mean(axis=0, dtype=np.float32).ravel() / 255)
      advance(1)
  return with_embeddings(Labels.of(split, rows), np.stack(images)[..., None])


def in_row_bands(gei: Features, *, bands: int = BANDS) -> Features:
  """Row-band GEI from raw GEI: 16 bands of 4 rows, each a part of 4 * 44 * c channels, pixels as they are.

  The metric takes the Euclidean distance of each band and averages over the bands, so that a coat's many changed
  pixels in one band weigh less than in the raw GEI, where squares of all pixels add up under one root.
  """
  count, pixels, _ = gei.embeddings.shape
  parts = gei.embeddings.reshape(count, bands, pixels // bands).swapaxes(1, 2)
  return dataclasses.replace(gei, embeddings=np.ascontiguousarray(parts))


# What needs no learning: the name and the title of its row, and what it makes of raw GEIs.
UNLEARNT = (("row_bands", "row-band GEI", in_row_bands), ("raw_gei", "raw GEI", lambda gei: gei))


def faced(gei: Features) -> Features:
  """Raw GEIs centred and facing one way, as a network with `model.facing` sees walks."""
  turned = np.empty_like(gei.embeddings)
  for start in range(0, len(turned), _TURNED):
    part = gei.embeddings[start : start + _TURNED]
    images = part.reshape(len(part), 1, 64, WIDTHS[1], -1)
    turned[start : start + _TURNED] = np.asarray(face(images, np.ones(images.shape[:2], bool))).reshape(part.shape)
  return dataclasses.replace(gei, embeddings=turned)


def silhouette_discriminant(
  pretraining, *, data_dir: str, max_frames: int, seed: int
) -> Callable[[Features], Features] | None:
  """Fisher's discriminant of raw GEIs, learnt with the settings of a network's own discriminant (`pretraining` is the
  configuration of its run) from the people of the sets that it was told names of, and facing one way if that network's
  walks do, so that both stand on the same terms.

  None where the network has none, where it learnt without labels of subjects, and where the sets that taught it are not
  in `data_dir`.
  """
  closing = pretraining.discriminant
  taught, _ = named_sets(pretraining)
  if not pretraining.model.discriminant or not taught:
    return None
  seen = faced if pretraining.model.facing else lambda gei: gei
  learnt, people = [], []
  for name, part in taught.items():
    try:
      split = open_split(data_dir, name, part)
    except DataError:
      return None
    rows = rows_of_whole_subjects(split.subjects, closing.walks // len(taught))
    title = f"mean silhouettes of {split.name}"
    found = seen(mean_silhouettes(split, max_frames=max_frames, rows=rows, progress=title))
    learnt.append(found.embeddings)
    people.append(identities(split.manifest, found.subjects))
  basis = linear_maps.components(np.concatenate(learnt), most=closing.components, seed=seed)
  mapped = linear_maps.discriminant(basis, np.concatenate(people), shrinkage=closing.shrinkage)
  return lambda gei: mapped(seen(gei))


def named_sets(pretraining) -> tuple[dict[str, str], list[str]]:
  """The data sets of a network's own discriminant: the split of each whose labels of subjects it was told, and the
  names of the others."""
  sets = pretraining.discriminant.sets or pretraining.data.sets
  named = {name: taught.split for name, taught in sets.items() if taught.positives == "subject"}
  return named, [name for name in sets if name not in named]


def chance_level(score: Callable[[np.ndarray], dict], count: int, *, seed: int, draws: int = 20) -> dict:
  """Mean of `score(embeddings [count, 8, 1])` over random embeddings: guessing under exactly the same protocol.

  `score` returns nested dicts; numbers are averaged leaf by leaf, everything else is taken from the first draw.
  """
  generator = np.random.default_rng((seed, 0xC4A7CE))
  results = [score(generator.standard_normal((count, 8, 1)).astype(np.float32)) for _ in range(draws)]
  return functools.reduce(lambda a, b: _combine(a, b, 1 / draws), results[1:], _scale(results[0], 1 / draws))


def centred(features: Features, by: str) -> Features:
  """Each group's own mean subtracted from its embeddings ("camera-centred"), and parts at unit length again (`centre`);
  `by` is "condition", "view", "condition_view" (a group for each pair), or "none", which leaves them as they are.

  It uses which camera or scene every probe comes from, and the unlabelled probes together: never to be mixed with
  plain figures. Raises `DataError` where a group is a single walk.
  """
  if check_centring(by) == "none":
    return features
  columns = {"condition": features.conditions, "view": features.views}
  groups = functools.reduce(lambda a, b: np.char.add(np.char.add(a, "/"), b), [columns[n] for n in by.split("_")])
  names, walks = np.unique(groups, return_counts=True)
  if (alone := names[walks == 1]).size:
    raise DataError(f"{features.origin}: config.centre_by={by} takes off the mean of each {by.replace('_', ' and ')},"
                    f" but {len(alone)} of {len(names)} hold one walk, of which nothing would be left, such as"
                    f" {alone[0]}; centre by less, or leave these walks out")
  return dataclasses.replace(features, embeddings=centre(features.embeddings, groups))


def _scale(tree, factor: float):
  if isinstance(tree, dict):
    return {k: _scale(v, factor) for k, v in tree.items()}
  return tree * factor if isinstance(tree, float) else tree


def _combine(total, tree, factor: float):
  if isinstance(total, dict):
    return {k: _combine(total[k], tree[k], factor) for k in total}
  return total + tree * factor if isinstance(total, float) else total
