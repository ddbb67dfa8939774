"""Anybody's own walks in folders of id/type/view: masks, cut silhouettes, or pickles of either.

All walks are for testing, except those of the subjects that the command line chooses for training.
"""

import codecs
import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from data_prep.datasets.record import NAME, NAMED, Record, chosen
from data_prep.sources import rates
from data_prep.sources.base import Source, Walk, by_split, some
from data_prep.sources.modalities import ModalitySource, is_silhouette
from data_prep.sources.opengait import OpenGaitSource
from data_prep.sources.recordings import holds_pickles, recordings
from data_prep.sources.trees import open_tree
from fgait_jax.data import schema
from fgait_jax.errors import DataError
from fgait_jax.paths import local_path

SEED = 0  # of drawing training subjects by a share
ON_ALL = "To pretrain on everybody, leave it out and name their split: --config.data.sets=NAME::sequence:test"

# Usual names of folders that hold pictures; such a name is not a view.
_PICTURES = re.compile(r"(sil|silhouette|mask|seg|frame|image|img|picture|png|jpg)s?([_-]aligned)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class OwnSource:
  """The walks of `source`; all are "test" but those of the subjects that `train_subjects` chooses (see `partition`).

  `frame_rate`, in frames a second, is for recordings that do not state theirs; 0 if unknown. See `sources/rates.py`.
  """

  source: Source
  where: pathlib.Path
  train_subjects: str | None
  frame_rate: float = 0.0

  def splits(self) -> dict[str, list[Walk]]:
    """Walks by split; raises `DataError` where folders lie too deep or the choice of subjects cannot be met."""
    walks = [walk for each in self.source.splits().values() for walk in each]
    _check_depth(walks, where=self.where)
    walks = [rates.at_usual_rate(walk, walk.rate or self.frame_rate) for walk in walks]
    if self.train_subjects is None:
      return {"test": walks}
    subjects = {walk.subject for walk in walks}
    return by_split(walks, partition(self.train_subjects, subjects, where=self.where), where=f"{self.where}")

  def unread(self) -> list[str]:
    """Files that belong to no walk."""
    return self.source.unread()

  def fingerprint(self) -> str:
    """The source's fingerprint and the frame rate; the builder adds every walk's split."""
    return self.source.fingerprint() + (f" {self.frame_rate:g}" if self.frame_rate else "")


def partition(chosen: str, subjects: set[str], *, where: pathlib.Path) -> dict[str, list[str]]:
  """Splits `subjects` into "train" and "test". `chosen` is the share that trains, or a text file of them, one a line.

  The same share of the same names draws the same subjects. Raises `DataError` naming --train-subjects and `where`.
  """
  names = sorted(subjects)
  if (share := _share(chosen)) is None:
    train = _listed(local_path(chosen, "--train-subjects"), names, where=where)
  else:
    drawn = np.random.default_rng(SEED).permutation(len(names))[: round(share * len(names))]
    train = {names[i] for i in drawn}
  sides = {"train": [n for n in names if n in train], "test": [n for n in names if n not in train]}
  for split, side in sides.items():
    if not side:
      raise DataError(
        f"--train-subjects {chosen}: of the {len(names)} subjects of {where} none is left to {split}; at least one must"
        f" train and one be tested. {ON_ALL}"
      )
  return sides


def _share(chosen: str) -> float | None:
  """`chosen` as a number, None where it is a file's name."""
  try:
    share = float(chosen)
  except ValueError:
    return None
  if not 0 < share < 1:
    raise DataError(f"--train-subjects {chosen}: expected a share between 0 and 1 (0.7 trains on 70 %), or a file."
                    f" {ON_ALL}")
  return share


def _listed(file: pathlib.Path, names: Sequence[str], *, where: pathlib.Path) -> set[str]:
  try:
    content = file.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as Windows' editor may save it
    listed = {line.strip() for line in content.decode("utf-16" if utf16 else "utf-8-sig").splitlines()} - {""}
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(
      f"--train-subjects {file}: neither a share such as 0.7 nor a readable text file of subjects, one a line ({error})"
    ) from error
  if unknown := sorted(listed - set(names)):
    raise DataError(f"{file}: {len(unknown)} subjects are not in {where}: {some(unknown)}; there are {some(names)}")
  return listed


def _check_depth(walks: Sequence[Walk], *, where: pathlib.Path) -> None:
  """Raises `DataError` where all walks have the same view and it is named like a folder of pictures: the files seem to
  lie one folder too deep. Such a layout is accepted where `where` is the folder of the subjects itself."""
  views = {walk.view for walk in walks}
  if not walks or len(views) > 1 or not _PICTURES.fullmatch(walks[0].view):
    return
  walk, (view,) = walks[0], views
  root = walk.file.rpartition(f"{walk.key}/")[0]
  if root:
    raise DataError(
      f"{where}: {walk.file} seems to lie one folder too deep: it reads as subject {walk.subject}, type"
      f" {walk.condition}, view {view}. Expected <id>/<type>/<view>/*: move the files out of the folders {view}, or if"
      f" they are read rightly let --raw name {where / root}"
    )


def _source(
  raw: pathlib.Path, modalities: Sequence[str] = (), train_subjects: str | None = None, frame_rate: float = 0.0
) -> Source:
  return OwnSource(_recordings(raw, modalities), raw, train_subjects, frame_rate)


def _recordings(raw: pathlib.Path, modalities: Sequence[str]) -> Source:
  if not modalities:
    return recordings(raw, partition=None, frames="own")
  tree = open_tree(raw)
  if holds_pickles(tree):
    return OpenGaitSource(root=raw, partition=None, pickles=tuple(f"*{name}*.pkl" for name in modalities), tree=tree)
  return ModalitySource(raw, modalities=modalities, tree=tree)


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


def named(
  name: str = RECORD.name, *, modalities: str = "", train_subjects: str | None = None, population: str = "",
  frame_rate: float = 0.0,
) -> Record:
  """The record of own walks with the name `name`.

  `modalities` names the folders, or parts of pickles' names, that become channels, separated by commas.
  `train_subjects` chooses the training subjects (see `partition`). `population` names a data set that holds the same
  people (see `Record`), "" if none does. `frame_rate` is for recordings that do not state theirs, 0 if unknown.
  Raises `DataError` naming the flag.
  """
  check_names(name, population)
  kinds = tuple(name.strip() for name in modalities.split(",")) if modalities else ()
  if "" in kinds or len(set(kinds)) < len(kinds):
    raise DataError(f"--modalities {modalities}: expected names of folders, none empty and none twice")
  source = functools.partial(_source, modalities=kinds, train_subjects=train_subjects, frame_rate=frame_rate)
  choices = choice_of(train_subjects) | chosen(frame_rate=frame_rate or None)
  pixels = schema.SILHOUETTES if all(is_silhouette(kind) for kind in kinds) else schema.MAPS
  return dataclasses.replace(RECORD, name=name, source=source, choices=choices, population=population or name,
                             pixels=pixels)


def check_names(name: str, population: str) -> None:
  """Raises `DataError` for a `name` or `population` that cannot name a data set; the latter may be ""."""
  for flag, word in (("--name", name), ("--population", population or name)):
    if not NAME.fullmatch(word):
      raise DataError(f"{flag} {word!r}: expected {NAMED}")
  if schema.rendered_people(name):
    raise DataError(f"--name {name}: a crowd that is rendered while it is read is called so; choose another name")


def choice_of(train_subjects: str | None) -> dict[str, str | int]:
  """How the training subjects were chosen, for the manifest."""
  if train_subjects is None:
    return {}
  if _share(train_subjects) is not None:
    return {"train_subjects": train_subjects, "seed": SEED}
  return {"train_subjects": pathlib.Path(train_subjects).name}
