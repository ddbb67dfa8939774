"""Official identity partitions, as data: which subjects of a public data set train and which test.

`official.json` writes each list in runs: "001-074" is 74 identities, "00001-10305/2" every second one, any other word
is one identity. The lists are those of the data sets' authors, as OpenGait distributes them; `kth` and `cmu_mocap` are
this project's own splits.
"""

import functools
import importlib.resources
import json
import re
from collections.abc import Collection

from fgait_jax.errors import DataError

# Test identities of later editions, written as runs too. HID has had other people since 2023, and none to train on.
_LATER = {"hid": "00000-00858 probe"}
_RUN = re.compile(r"(?P<prefix>\D*)(?P<first>\d+)(?P<suffix>\D*)-(?P=prefix)(?P<last>\d+)(?P=suffix)(/(?P<step>\d+))?")


def expand(runs: str) -> tuple[str, ...]:
  """The identities that `runs` stands for, in order."""
  identities = []
  for word in runs.split():
    match = _RUN.fullmatch(word)
    if match is None:
      identities.append(word)
      continue
    first, last, step = match["first"], match["last"], int(match["step"] or 1)
    for number in range(int(first), int(last) + 1, step):
      identities.append(f"{match['prefix']}{number:0{len(first)}d}{match['suffix']}")
  return tuple(identities)


@functools.cache
def _official() -> dict[str, dict[str, str]]:
  return json.loads(importlib.resources.files(__name__).joinpath("official.json").read_text())


def names() -> tuple[str, ...]:
  """Data sets whose partition is known."""
  return tuple(_official())


def load(name: str) -> dict[str, tuple[str, ...]]:
  """Split name -> identities of data set `name`; no identity is in two splits. Raises `DataError` for others."""
  if name not in _official():
    raise DataError(f"no partition is known for {name!r}; known: {', '.join(names())}")
  return {split: expand(runs) for split, runs in _official()[name].items()}


def load_for(name: str, found: Collection[str]) -> dict[str, tuple[str, ...]]:
  """The partition of the edition of data set `name` to which the identities `found` belong; of the only one if there
  is one.

  Raises `DataError` where people of two editions were found.
  """
  listed = load(name)
  later = expand(_LATER.get(name, ""))
  old = {identity for identities in listed.values() for identity in identities}
  of_old, of_later = sorted((old - set(later)) & set(found)), sorted((set(later) - old) & set(found))
  if of_old and of_later:
    raise DataError(
      f"people of two editions of {name} lie together, such as {of_old[0]} and {of_later[0]}; build each edition alone"
    )
  return {"test": later} if of_later else listed
