"""Result files: one JSON file per evaluation with its figures and everything needed to know what they are figures of.

The dataclasses here are the layout, field by field; `read` and `write` are the only ways in and out, and check it.
Tables, reports and comparisons rest on such files only. What the keys mean is in docs/results.md.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
from typing import Any

import jax

from fgait_jax.errors import DataError
from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.metrics.pairing import BySubject
from fgait_jax.evaluation.plain import REST, decoded, encoded, number, plain
from fgait_jax.training import folders

FORMAT = 2
MODEL, CHANCE = "model", "chance"  # names of rows
KINDS = {  # of data, as a manifest names them, in words
  "synthetic": "synthetic walkers, no real people",
  "real": "recordings of real people",
  "real motion, rendered": "silhouettes rendered from recorded motion of real people",
  "embeddings": "embeddings from a file",
  "given": "masks or a video, of whom it is not known",
}
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "scikit-learn")


def _optional(kind):
  return dataclasses.field(default_factory=kind)


def _rest():
  return dataclasses.field(default_factory=dict, metadata=REST)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """What was evaluated; `kind` is a key of `KINDS`; `one_frame` counts walks of a single frame; walks of
  `mirrored_views`, patterns, were flipped left to right first."""

  name: str
  split: str
  kind: str
  walks: int
  subjects: int
  content_hash: str
  one_frame: int = 0
  mirrored_views: list[str] = _optional(list)

  @property
  def kind_title(self) -> str:
    return KINDS.get(self.kind, self.kind)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
  """The network; `identity` names its weights exactly."""

  path: str
  step: int
  identity: str
  model: str
  network: str
  embedding: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
  """What the network had seen, as far as it is recorded, and whether that holds what is evaluated (provenance.py)."""

  datasets: list[str] = _optional(list)
  label_use: str = "labels not known"
  content_hashes: dict[str, str] = _optional(dict)
  steps: int | None = None
  evaluated_data_among_them: bool = False
  evaluated_split_among_them: bool = False
  evaluated_people_among_them: int | None = None  # None: not recorded


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
  """By what rule, whose rule it is, and by which distance."""

  name: str
  title: str
  source: str
  metric: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
  """A section of the table."""

  name: str
  title: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confusion:
  """How often walks of each class (rows) were given each (columns)."""

  classes: list[str]
  true_by_predicted: list[list[int]]

  def __post_init__(self):
    _check_size(self.true_by_predicted, len(self.classes), len(self.classes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewByView:
  """Rank-1 in per cent of each probe view in each gallery view."""

  probe_views: list[str]
  gallery_views: list[str]
  rank1: list[list[float | None]]

  def __post_init__(self):
    _check_size(self.rank1, len(self.probe_views), len(self.gallery_views))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
  """What a row holds of one condition: `values`, figures by the keys of columns (None: there is none) and further
  facts; `ci`, 95 % intervals."""

  ci: dict[str, list[float | None]] = _optional(dict)
  by_subject: BySubject | None = None
  confusion: Confusion | None = None
  identical_probes: list[str] = _optional(list)
  values: dict[str, Any] = _rest()

  def __post_init__(self):
    if wrong := [key for key, ends in self.ci.items() if len(ends) != 2]:
      raise ValueError(f"ci.{wrong[0]}: expected [low, high]")

  def number(self, key: str) -> float | None:
    """The figure of that key, None unless it is a finite number."""
    return number(self.values.get(key))

  def interval(self, key: str) -> list[float] | None:
    """[low, high] of the figure, None where it has no interval."""
    ends = self.ci.get(key)
    return None if ends is None or None in ends else ends


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A method: `figures` by condition; `cmc`, per cent found within rank 1, 2, ..., and `per_view` by condition;
  `robustness`, rank-1 at each severity, by type of corruption. `centred` as `config.centre_by`."""

  name: str
  title: str
  centred: str = "none"
  figures: dict[str, Figures]
  cmc: dict[str, list[float | None]] = _optional(dict)
  per_view: dict[str, ViewByView] = _optional(dict)
  robustness: dict[str, list[float | None]] = _optional(dict)
  details: dict[str, Any] = _rest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
  """A gallery subject and the distance of its nearest walk."""

  subject: str
  distance: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
  """A probe of task "identify": who it is said to be, and the nearest subjects."""

  probe: str
  label: str
  type: str
  view: str
  answer: str
  candidates: list[Candidate]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
  """A learning rate of a fine-tuning, and what was measured on the way."""

  factor: float
  best_step: int
  score: float | None = None
  curve: list[dict[str, float | None]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuning:
  """How the network was fine-tuned; `measure` is the figure by which rate and length were chosen."""

  method: str
  measure: str
  tried: list[Tried]
  details: dict[str, Any] = _rest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """An evaluation. `notes`: sentences for the caption; `conditions` and `columns`: sections and columns of the table,
  in order; `pictures`: files beside it; `details`: what only one task writes. `date`, `versions`: `write` adds them."""

  format: int = FORMAT
  task: str
  title: str
  date: str = ""
  notes: list[str]
  data: Data
  checkpoint: Checkpoint | None = None
  pretraining: Pretraining
  protocol: Protocol | None = None
  conditions: list[Condition]
  columns: list[Column]
  rows: list[Row]
  severities: list[int] = _optional(list)
  fine_tuning: FineTuning | None = None
  matches: list[Match] = _optional(list)
  details: dict[str, Any] = _rest()
  pictures: list[str] = _optional(list)
  config: dict[str, Any]
  versions: dict[str, str] = _optional(dict)

  def __post_init__(self):
    counts = {len(values) for row in self.rows for values in row.robustness.values()}
    if counts - {len(self.severities)}:
      raise ValueError(f"rows hold robustness at {sorted(counts)} severities, {len(self.severities)} are named")


def figures_of(by_condition: dict[str, dict]) -> dict[str, Figures]:
  """The figures of a row, from what a protocol says of each condition."""
  return decoded(dict[str, Figures], plain(by_condition), "figures")


def write(path: str | os.PathLike, result: Result) -> pathlib.Path:
  """Writes `result` with date and versions added. Raises `ValueError` where it is not of the layout, and `RunError`
  where it cannot be written."""
  path = pathlib.Path(path)
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  whole = encoded(dataclasses.replace(result, date=now, versions=versions()))
  decoded(Result, whole, "result")
  folders.write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
  return path


def read(path: str | os.PathLike) -> Result:
  """A result as `write` left it; raises `DataError`, which names the file and the place in it, unless it is one."""
  try:
    content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:  # the last of lists in lists in lists
    raise DataError(f"{path}: not a readable result file ({error})") from error
  return parsed(content, origin=str(path))


def parsed(content, *, origin: str) -> Result:
  """The content of a result file, checked; raises `DataError` as `read` does."""
  found = content.get("format") if isinstance(content, dict) else type(content).__name__
  if found != FORMAT:
    raise DataError(f"{origin}: not a result file of format {FORMAT} (found {found!r}); run the evaluation again")
  try:
    return decoded(Result, content, "result")
  except (ValueError, RecursionError) as error:
    raise DataError(f"{origin}: a damaged or foreign result file: {error}; run the evaluation again") from error


def seen_of(identity: dict, *, origin: str) -> Pretraining:
  """What the network behind an .npz file had seen, from the file's `identity`; raises `DataError` that names `origin`
  where that is not as task "embed" writes it."""
  try:
    return decoded(Pretraining, identity.get("pretraining", {}), "identity.pretraining")
  except ValueError as error:
    raise DataError(f"{origin}: {error}; embed the walks again") from error


def versions() -> dict[str, str]:
  """Of Python, the code and the libraries that compute, and the devices they ran on."""
  found = {"python": platform.python_version(), "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}
  for name in ("fgait_jax", *_LIBRARIES):
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "not installed as a package"
  return found


def _check_size(table: list[list], rows: int, columns: int) -> None:
  if [len(line) for line in table] != [columns] * rows:
    raise ValueError(f"a table that is not {rows} x {columns}")
