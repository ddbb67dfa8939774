"""Embeddings in .npz files: the public format, and the cache of what was embedded before.

An .npz keeps OpenGait's names: `embeddings` [N, C, P], `labels`, `types`, `views` [N], and by us `keys` and `identity`,
JSON that says what made them.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping

import numpy as np

from fgait_jax import npz
from fgait_jax.errors import DataError, RunError
from fgait_jax.evaluation.labels import Features, features_of
from fgait_jax.training import folders, preflight

_ARRAYS = ("embeddings", "labels", "types", "views")


def save(path: str | os.PathLike, found: Features, *, identity: Mapping | None = None) -> None:
  """Writes `found` to `path`, an .npz; raises `RunError` where it cannot be written."""
  with folders.whole(pathlib.Path(path)) as half:
    np.savez(half, embeddings=found.embeddings, labels=found.subjects, types=found.conditions, views=found.views,
             keys=found.keys, identity=json.dumps(identity or {}, sort_keys=True))


def load(path: str | os.PathLike) -> tuple[Features, dict]:
  """`save`'s file, or one made by another tool, whose `keys` may be absent: checked features, and the identity they
  were saved under ({} where another tool made the file).

  Raises `DataError`, which names the file, unless it holds embeddings that can be compared (`Features.check`).
  """
  arrays = _read(path)
  found = features_of(*(arrays[name] for name in _ARRAYS), origin=str(path))
  found.check()
  keys = arrays.get("keys", np.arange(len(found)))
  if keys.shape != (len(found),):
    raise DataError(f"{path}: keys have shape {keys.shape}; wanted one for each of {len(found)} rows, or none at all")
  return dataclasses.replace(found, keys=keys.astype(np.str_)), _identity(arrays.get("identity"))


def cached(folder: str | os.PathLike | None, identity: Mapping,
           compute: Callable[[], Features]) -> tuple[Features, bool]:
  """Features under `identity` (checkpoint, code, data, options: JSON values), and whether they were read rather than
  computed.

  A damaged or foreign file is computed again. `folder` None keeps nothing. Raises `ConfigError`, before anything is
  computed, where nothing can be written to it; what then cannot be kept is noted, and returned all the same.
  """
  if folder is None:
    return compute(), False
  text = json.dumps(identity, sort_keys=True)
  path = preflight.writable(folder, flag="config.cache") / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.npz"
  if path.is_file():
    with contextlib.suppress(DataError):
      found, stored = load(path)
      if json.dumps(stored, sort_keys=True) == text:
        return found, True
  features = compute()
  try:
    save(path, features, identity=identity)
  except RunError as error:
    print(f"note: embeddings are not kept for the next time: {error}", file=sys.stderr)
  return features, False


def _read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of an .npz file; raises `DataError` unless those of embeddings are among them."""
  arrays = npz.read(path)
  if objects := [name for name in (*_ARRAYS, "keys") if name in arrays and arrays[name] is None]:
    raise DataError(f"{path}: {', '.join(objects)} hold Python objects, which are pickles and never loaded; save text"
                    " as numpy.asarray(labels, str), and embeddings as floats")
  if missing := [name for name in _ARRAYS if name not in arrays]:
    raise DataError(f"{path}: has no array {', '.join(missing)}; expected embeddings [N, C, P], labels, types and"
                    f" views, found {', '.join(arrays) or 'none'}")
  return arrays


def _identity(stored: np.ndarray | None) -> dict:
  """What `save` wrote of the origin; {} of an array of that name that is not its."""
  try:
    found = json.loads(str(stored))
  except (ValueError, RecursionError):
    return {}
  return found if isinstance(found, dict) else {}
