"""The facts that are recorded about each data set that can be built."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping

from data_prep.sources.base import Source
from fgait_jax.data import schema

NAME = re.compile(r"[a-z][a-z0-9_]*")  # of a data set, and of its folder and files
NAMED = "small letters, digits and underscores, beginning with a letter"
KINDS = ("real", "real motion, rendered", "synthetic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """One data set: where it comes from, under which terms, how it is laid out and split.

  `source(raw)` opens the recordings in folder `raw`; `raw` is None where `needs_raw` is False.
  """

  name: str
  title: str
  homepage: str
  obtain: str  # what a person must do to get it
  licence: str  # and terms of consent
  citation: str
  kind: str  # one of KINDS; reports state it beside every result
  source: Callable[[pathlib.Path | None], Source]
  layout: str  # of the raw folder
  partition: str | None  # name in data_prep.partitions; None where the source makes its own splits
  conditions: Mapping[str, str]  # condition -> what it means
  frame_rate: float | tuple[float, float] | None  # frames a second, or the range they are drawn from, where known
  protocol: str  # of retrieval; see fgait_jax/evaluation/protocols
  needs_raw: bool = True
  subjects: tuple[int, int] | tuple[None, None] = (None, None)  # train, test; where no partition lists them
  choices: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)  # of this build, for its manifest
  pixels: str = schema.SILHOUETTES  # of frames of one channel, one of schema.PIXELS
  population: str = ""  # data sets of one population hold the same people under the same identities; "": its name

  def __post_init__(self):
    if not self.population:
      object.__setattr__(self, "population", self.name)  # the data class is frozen
    if wrong := [name for name in (self.name, self.population) if not NAME.fullmatch(name)]:
      raise ValueError(f"{wrong[0]!r} is no name of a data set: expected {NAMED}")
    if self.kind not in KINDS:
      raise ValueError(f"{self.name}: kind {self.kind!r}, expected one of {KINDS}")


def chosen(**choices: str | int | float | None) -> dict[str, str | int | float]:
  """`choices` without those that were not made (None), for a record's `choices`."""
  return {name: value for name, value in choices.items() if value is not None}
