"""Random keys named by purpose and step, so that adding a consumer changes no other stream."""

import zlib

import jax

from fgait_jax.typing import PRNGKeyArray


def key(seed: int, purpose: str, step: int | jax.Array = 0) -> PRNGKeyArray:
  """The key of `purpose` at `step`; `step` may be traced."""
  root = jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
  return jax.random.fold_in(root, step)
