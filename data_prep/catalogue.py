"""Tables of the data sets that can be built: one line each, or all that is known about one."""

from rich import box
from rich.table import Table

from data_prep import datasets, partitions
from data_prep.datasets.record import Record

_SHORT = {"real": "real", "real motion, rendered": "real motion", "synthetic": "synthetic"}


def table() -> Table:
  """One line a data set, at most 79 columns wide."""
  shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
  for column in ("name", "subjects train", "test", "walkers", "protocol", "--raw"):
    right = column in ("subjects train", "test")
    shown.add_column(column, no_wrap=True, justify="right" if right else "left")
  for record in datasets.RECORDS.values():
    counts = (f"{count:,}" if count is not None else "-" for count in subjects(record))
    raw = "needed" if record.needs_raw else "none"
    shown.add_row(record.name, *counts, _SHORT[record.kind], record.protocol, raw)
  return shown


def subjects(record: Record) -> tuple[int | None, int | None]:
  """Numbers of training and test subjects as the partition lists them; None where the recordings decide."""
  if record.partition is None:
    return record.subjects
  listed = partitions.load(record.partition)
  return len(listed.get("train", ())), len(listed.get("test", ()))


def about(record: Record) -> Table:
  """All that is known about one data set, one fact per line."""
  train, test = subjects(record)
  facts = {
    "name": record.name,
    "what": record.title,
    "walkers": record.kind,
    "subjects": "as many as the recordings hold" if train is None else f"{train:,} to train, {test:,} to test",
    "homepage": record.homepage or "none known",
    "how to obtain": record.obtain,
    "terms": record.licence,
    "raw layout": record.layout,
    "conditions": "\n".join(f"{name}: {meaning}" for name, meaning in record.conditions.items()) or "not recorded",
    "frame rate": _frame_rate(record),
    "partition": record.partition or "made by the source",
    "protocol": record.protocol,
    "people": "its own" if record.population == record.name else f"those of {record.population}",
    "citation": record.citation or "not recorded",
    "build it": f"python -m data_prep.build {record.name}{' --raw DIR' if record.needs_raw else ''} --out built",
  }
  shown = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
  shown.add_column(no_wrap=True, style="bold")
  shown.add_column(overflow="fold")
  for name, fact in facts.items():
    shown.add_row(name, fact)
  return shown


def _frame_rate(record: Record) -> str:
  match record.frame_rate:
    case None:
      return "not recorded"
    case (low, high):
      return f"between {low:g} and {high:g} frames a second, each walk its own"
    case rate:
      return f"{rate:g} frames a second"
