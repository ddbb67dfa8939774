"""The public protocols by name: `get("casia_b").evaluate(embeddings, labels, types, views)`."""

import difflib

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.protocols.base import Protocol
from fgait_jax.evaluation.protocols.records import RECORDS
from fgait_jax.mappings import by_name

_BY_NAME = by_name(RECORDS)


def names() -> tuple[str, ...]:
  """All protocols."""
  return tuple(_BY_NAME)


def get(name: str, key: str = "config.protocol") -> Protocol:
  """The protocol of that name; raises ConfigError that names `key`, and the nearest known ones first."""
  if name not in _BY_NAME:
    close = difflib.get_close_matches(name, _BY_NAME, n=3, cutoff=0.4)
    known = [*close, *sorted(set(_BY_NAME) - set(close))]
    raise ConfigError(f"unknown protocol {name!r}; {key} is one of {', '.join(known)}")
  return _BY_NAME[name]
