"""Low-rank updates (LoRA, Hu et al., arXiv 2106.09685) on trees of parameters: kernel + scale A B. Models are unaware.

Parameters are flat here: {"encoder/blocks/mlp/up/kernel": array, ...}. The update of a kernel is two more entries,
"lora/<kernel>/a" and "lora/<kernel>/b". B starts at zero, so the network starts unchanged.
"""

import math
import re
import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from fgait_jax.errors import ConfigError
from fgait_jax.typing import Array, PRNGKeyArray

PREFIX = "lora/"

SHARDING = ((rf"{PREFIX}.*/(a|b)", ()),)


def create(
  key: PRNGKeyArray, params: Mapping[str, Array], *, rank: int, table: tuple[tuple[str, int], ...]
) -> dict[str, Array]:
  """Updates of every parameter that `table` names: A normal with variance 1 / inputs, B zero; `params` may be shapes.

  A row of `table` is (pattern over the parameter's path, number of window axes of a convolution, else 0). A kernel is
  [stack .., window .., in, out]; its update has one product of rank `rank` per stacked layer, from all inputs of the
  window.

  Raises `ConfigError` for a rank below 1, a parameter that two rows match, or no parameter to update.
  """
  if rank < 1:
    raise ConfigError(f"config.fine_tune.rank={rank} must be at least 1")
  created = {}
  for name, value in sorted(params.items()):
    if (window := _window(name, table)) is None:
      continue
    *lead, features_in, features_out = value.shape
    stack, slid = lead[: len(lead) - window], lead[len(lead) - window :]
    inputs = math.prod(slid) * features_in
    own = jax.random.fold_in(key, zlib.crc32(name.encode()))
    a = jax.random.normal(own, (*lead, features_in, rank), jnp.float32) * inputs**-0.5
    created[f"{PREFIX}{name}/a"] = a
    created[f"{PREFIX}{name}/b"] = jnp.zeros((*stack, *(1 for _ in slid), rank, features_out), jnp.float32)
  if not created:
    raise ConfigError("no parameter of this network matches a row of the low-rank table: nothing to adapt")
  return created


def merge(params: Mapping[str, Array], *, scale: float) -> dict[str, Array]:
  """Adds the updates in `params` to their kernels and drops them: the result is the tree of the network itself."""
  merged = {name: value for name, value in params.items() if not name.startswith(PREFIX)}
  for name in [name for name in params if name.startswith(PREFIX) and name.endswith("/a")]:
    kernel = name.removeprefix(PREFIX).removesuffix("/a")
    merged[kernel] = merged[kernel] + scale * (params[name] @ params[f"{PREFIX}{kernel}/b"])
  return merged


def _window(name: str, table) -> int | None:
  found = [window for pattern, window in table if re.fullmatch(pattern, name)]
  if len(found) > 1:
    raise ConfigError(f"parameter {name} matches {len(found)} rows of the low-rank table; one is allowed")
  return found[0] if found else None
