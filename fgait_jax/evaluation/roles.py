"""Which walks a retrieval protocol takes as gallery and which as probes: for the linear probe, pictures and subsets."""

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.protocols.base import Protocol, check
from fgait_jax.evaluation.protocols.ccpg import Ccpg
from fgait_jax.evaluation.protocols.crossview import CrossView
from fgait_jax.evaluation.protocols.pooled import Pooled


def roles(protocol: Protocol, subjects: np.ndarray, conditions: np.ndarray,
          views: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Bool rows [N] of the gallery and of each condition's probes; conditions without probes are left out.

  Raises `ConfigError` where the protocol is not one of retrieval or finds no gallery or no probes.
  """
  walks = check(np.arange(len(subjects), dtype=np.float32)[:, None, None], subjects, conditions, views, origin="data")
  if isinstance(protocol, Pooled):
    gallery, probes = protocol._split(walks)
  elif isinstance(protocol, Ccpg):  # each pair of clothes has its own gallery; here they are one
    gallery = np.any([walks.matching(pattern) for _, pattern in protocol.pairs.values()], axis=0)
    probes = {name: walks.matching(pattern) for name, (pattern, _) in protocol.pairs.items()}
  elif isinstance(protocol, CrossView):
    gallery = walks.matching(protocol.gallery)
    probes = {name: walks.matching(pattern) for name, pattern in protocol.conditions.items()}
  else:
    raise ConfigError(f"config.protocol={protocol.name} scores classes and has no gallery; name a retrieval protocol")
  probes = {name: rows for name, rows in probes.items() if rows.any()}
  if not gallery.any() or not probes:
    raise ConfigError(f"config.protocol={protocol.name} wants {protocol.wants}; came: types"
                      f" {np.unique(conditions).tolist()}, so there is no {'probe' if gallery.any() else 'gallery'}")
  return gallery, probes
