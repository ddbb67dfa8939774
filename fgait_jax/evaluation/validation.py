"""Rank-1 among training people kept back, by which fine-tuning and linear maps choose. Test walks take no part."""

import numpy as np

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation.labels import Features, Labels
from fgait_jax.evaluation.protocols.base import Protocol
from fgait_jax.evaluation.protocols.ranked import rank_together
from fgait_jax.evaluation.protocols.trials import Meeting, Trial, trials_of

ACROSS = ("view", "condition", "protocol")


def check(split, rows: np.ndarray, *, across: str, protocol: Protocol, section: str) -> None:
  """Raises `ConfigError` or `DataError`, before anything is learnt, unless `rank1` can be asked of these rows (none:
  nobody is kept back); `section` of the configuration is what errors name."""
  if across not in ACROSS:
    raise ConfigError(f"config.{section}.validate_across is {across!r}; known: {', '.join(ACROSS)}")
  if across == "protocol" and len(rows):
    trials_of(protocol, Labels.of(split, rows, origin=f"{split.name} (config.{section}.validate_across=protocol)"))


def rank1(found: Features, *, across: str, metric: str, protocol: Protocol, section: str) -> float:
  """Rank-1 in per cent among validation people, each walk sought `across` one of `ACROSS` (which `check` looked at).

  "protocol": what `protocol` says of these walks, in its galleries. "view", "condition": each walk is sought among all
  others, less those of the same person in the same view (as the protocol tells cameras apart) or condition; walks
  without a mate left are not counted, and `DataError` is raised where none has one.
  """
  if across == "protocol":
    if (mean := protocol.score(found, metric=metric, bootstrap=0)["summary"]["rank1"]) is None:
      raise DataError(f"protocol {protocol.name} has no mean rank-1 among the validation identities: a condition has no"
                      f" probe with a mate; change config.{section}.validate_across")
    return mean
  cameras = protocol.cameras(found.views) if across == "view" else found.conditions
  everyone = np.ones(len(found), bool)
  ranking = rank_together(found, Trial(name=across, probes=everyone, gallery=everyone, cameras=cameras,
                                       meeting=Meeting.NOT_OWN_CAMERA), metric=metric)
  counted = ranking.mates[:, 0] > 0
  if not counted.any():
    raise DataError(f"no walk of the validation identities has a mate in another {across}; change"
                    f" config.{section}.validate_across")
  return 100 * float(ranking.hits(1)[counted, 0].mean())
