"""Embeds walks from Python, in a few lines: `fgait_jax.load(name).embed(walks)`.

Embeddings are those of task "embed". Batches have few shapes, so that few programs are compiled however many lengths
come. Never trains, and writes nothing but compiled programs (`load`).
"""

import dataclasses
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from absl import logging

from fgait_jax.data.schema import MANIFEST
from fgait_jax.data.source import Split, open_split
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.features import extraction, salt, walks
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.interop import hub
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import pixels, preflight, weights
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.pretrained import Pretrained

Given = Sequence[np.ndarray] | str | os.PathLike | Split


@dataclasses.dataclass(frozen=True, eq=False)
class Embedder:
  """A network that embeds walks and compares them. `network` is all that is known of it (training/pretrained.py)."""

  network: Pretrained

  def __repr__(self) -> str:
    network, model = self.network, self.network.config.model
    return (f"Embedder({model.name} {model.variant}, {network.step} steps, {network.embedding},"
            f" {network.identity!r})")  # not its arrays

  def embed(self, given: Given, *, split: str = "test", max_frames: int = 720, batch_frames: int = 512,
            mirror: Iterable[str] = (), key_file: str | os.PathLike | None = None) -> Features:
    """Embeddings of walks, float32 `embeddings` [n, channels, parts] with the `subjects`, `conditions`, `views` and
    `keys` of the same walks.

    Args:
      given: a list of walks uint8 [t, 64, 64 or 44] or [t, 64, 64 or 44, channel], t as it comes: silhouettes, 0
        background and 255 body, normalised (`fgait_jax.normalise` makes them of masks), or where the network was taught
        them, maps of any values; or the path of a folder (or archive) of masks of
        any size, <person>/<type>/<view>/*.png; of a video of one walker, from a camera that stands still; of a built
        data set; or a split of one, as `fgait_jax.data.source.open_split` gives it.
      split: of a built data set.
      max_frames: first frames of a walk that are embedded.
      batch_frames: frames that are embedded at a time on each device.
      mirror: patterns of views whose walks are flipped left to right first, such as "*-l".
      key_file: at least 32 random bytes, by which embeddings are turned: distances stay, and they match only those of
        the same key (evaluation/features/salt.py).

    Raises `DataError` that names the walk or file which is not as expected.
    """
    if not all(isinstance(count, int | np.integer) and count > 0 for count in (max_frames, batch_frames)):
      raise ConfigError(f"max_frames={max_frames} and batch_frames={batch_frames} must be whole numbers from 1")
    if isinstance(mirror, str):  # would be patterns of one character each
      raise ConfigError(f"mirror={mirror!r}: expected a list of patterns, such as [{mirror!r}]")
    found = self._opened(given, split)
    for note in getattr(found, "notes", ()):
      warnings.warn(note, stacklevel=2)
    if misfit := pixels.misfit(found, self.network.config.model):
      raise DataError(f"{found.name}: {misfit} ({self.network.identity})")
    salted = salt.load(key_file, "key_file") if key_file is not None else None
    embedded = extraction.extract_by(
      self.network, found, embedding=self.network.embedding, max_frames=max_frames, batch_frames=batch_frames,
      mirror=mirror, few_shapes=isinstance(found, walks.Walks))
    return salted.apply(embedded) if salted else embedded

  def distance(self, one: Features | np.ndarray, other: Features | np.ndarray, *,
               metric: str = "euclidean") -> np.ndarray:
    """Distances float32 [n, m] of embeddings of n and of m walks, a mean over parts, as evaluation ranks by;
    `metric` is "euclidean" or "cosine". Raises `DataError` where they are not of the same network's shape."""
    arrays = [found.embeddings if isinstance(found, Features) else np.asarray(found) for found in (one, other)]
    return pairwise(*arrays, metric=metric)

  def _opened(self, given: Given, split: str) -> Split | walks.Walks:
    if not isinstance(given, str | os.PathLike):
      found = self.network.config.model.pixels
      return given if hasattr(given, "num_frames") else walks.from_arrays(given, pixels=found)
    path = pathlib.Path(given).expanduser()
    return open_split(path.parent, path.name, split) if any(path.glob(f"*/{MANIFEST}")) else walks.from_path(given)


def load(name: str | os.PathLike, *, devices: Sequence[jax.Device] | None = None) -> Embedder:
  """See `fgait_jax.load`."""
  if not isinstance(name, str | os.PathLike):
    raise ConfigError(f"load({name!r}): expected a run's folder, a folder of weights, a name such as"
                      f" {weights.packaged()[0]!r}, or \"owner/name\" on the hub")
  preflight.use_compilation_cache("~/.cache/fgait_jax")
  if not weights.located(name).exists() and re.fullmatch(hub.NAME, os.fspath(name)):
    name = hub.pull(os.fspath(name))
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)  # Orbax warns that it only reads
  try:
    return Embedder(load_network(name, mesh=make_mesh(devices=devices or jax.local_devices())))
  finally:
    logging.set_verbosity(verbosity)
