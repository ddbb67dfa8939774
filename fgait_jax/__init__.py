"""Pretrains one gait foundation model on silhouette sequences and evaluates it on every public gait task.

  import fgait_jax

  model = fgait_jax.load("walkers-tiny")
  found = model.embed("masks")
"""

import typing

if typing.TYPE_CHECKING:
  import os
  from collections.abc import Iterable, Sequence

  import jax
  import numpy as np

  from fgait_jax.interop.embedder import Embedder

__version__ = "0.2.0.dev0"


def load(name: "str | os.PathLike", *, devices: "Sequence[jax.Device] | None" = None) -> "Embedder":
  """A network that embeds walks, on `devices` (default: all of this process).

  `name` is a folder of weights, a run's folder or one of its checkpoints; the name of weights that come with the
  package, such as "walkers-tiny"; or "owner/name" of weights on the Hugging Face hub, which are fetched once. Compiled
  programs are kept in ~/.cache/fgait_jax unless JAX_COMPILATION_CACHE_DIR names another folder. Raises
  `fgait_jax.errors.CheckpointError` that says what is there instead.
  """
  from fgait_jax.interop import embedder  # importing jax takes seconds, and `import fgait_jax` should not

  return embedder.load(name, devices=devices)


def normalise(masks: "Iterable[np.ndarray]") -> "np.ndarray":
  """The walk uint8 [t, 64, 64] that `embed` takes, of masks uint8 [height, width], 0 background and 255 body, one body
  in each, as `embed` makes it of a folder of such masks: pixels from 128 upwards are body. Masks without a usable body
  are left out; raises `fgait_jax.errors.DataError` where all are, or where they are inverted."""
  from fgait_jax.evaluation.features import walks

  return walks.normalised(masks)
