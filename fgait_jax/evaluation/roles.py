"""Which walks a retrieval protocol takes as gallery and which as probes: for the linear probe, pictures and subsets."""

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.protocols.base import Protocol, check


def roles(protocol: Protocol, subjects: np.ndarray, conditions: np.ndarray,
          views: np.ndarray, *, origin: str = "data") -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Bool rows [N] of the gallery and of each condition's probes; conditions without probes are left out.

  Raises `ConfigError` where the protocol is not one of retrieval or finds no gallery or no probes, and `DataError`,
  which names `origin`, where conditions or views are unknown to it.
  """
  walks = check(np.arange(len(subjects), dtype=np.float32)[:, None, None], subjects, conditions, views, origin=origin)
  gallery, probes = protocol.roles(walks)
  probes = {name: rows for name, rows in probes.items() if rows.any()}
  if not gallery.any() or not probes:
    raise ConfigError(f"config.protocol={protocol.name} wants {protocol.wants}; came: types"
                      f" {np.unique(conditions).tolist()}, so there is no {'probe' if gallery.any() else 'gallery'}")
  return gallery, probes

