"""Anybody's own walks in folders of id/type/view: masks, cut silhouettes, or pickles of either. All are for testing."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence

from data_prep.datasets.record import Record
from data_prep.sources.base import Source
from data_prep.sources.modalities import ModalitySource
from data_prep.sources.opengait import OpenGaitSource
from data_prep.sources.recordings import holds_pickles, recordings
from data_prep.sources.trees import open_tree
from fgait_jax.errors import DataError


def _source(raw: pathlib.Path, modalities: Sequence[str] = ()) -> Source:
  if not modalities:
    return recordings(raw, partition=None, frames="own")
  tree = open_tree(raw)
  if holds_pickles(tree):
    return OpenGaitSource(root=raw, partition=None, pickles=tuple(f"*{name}*.pkl" for name in modalities), tree=tree)
  return ModalitySource(raw, modalities=modalities)


RECORD = Record(
  name="own",
  title="Your own walks: a folder of masks or pickles; --name gives them a name",
  homepage="",
  obtain="bring your own; python -m data_prep.video makes masks of your videos",
  licence="yours to say; keep to what the people in it agreed to",
  citation="",
  kind="real",
  source=_source,
  layout="<id>/<type>/<view>/*.png (any size, 0 is background), or <id>/<type>/<view>/*.pkl",
  partition=None,
  conditions={},
  frame_rate=None,
  protocol="own",
)


def named(name: str, *, modalities: Sequence[str] = ()) -> Record:
  """The record of own walks that are to be called `name`, with the channels of `modalities` (folders, or pickles)."""
  if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
    raise DataError(f"--name {name!r}: expected small letters, digits and underscores, beginning with a letter")
  if "" in modalities or len(set(modalities)) < len(modalities):
    raise DataError(f"--modalities {','.join(modalities)}: expected names of folders, none empty and none twice")
  return dataclasses.replace(RECORD, name=name, source=functools.partial(_source, modalities=tuple(modalities)))
