"""Writes the files beside the shards: manifest, one index per split, TFDS's metadata. Same data, same bytes.

The manifest says what was stored and what was left out and why, and holds the hash by which runs identify their data.
"""

import collections
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from data_prep.datasets.record import Record
from data_prep.shards import EXAMPLES, TEXTS, Job, add_frames, features
from fgait_jax.data import schema

TFDS_FILES = ("dataset_info.json", "features.json")  # TFDS opens nothing without them


def count_dropped(reports: Sequence[Mapping]) -> dict[str, dict]:
  """Reason -> {count, examples}, most frequent first."""
  by_reason = collections.defaultdict(list)
  for report in reports:
    for reason, detail in report["dropped"]:
      by_reason[reason].append(detail)
  ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
  return {reason: {"count": len(details), "examples": details[:EXAMPLES]} for reason, details in ordered}


def count_frames(reports: Sequence[Mapping], what: str) -> dict[str, dict]:
  """Reason -> {count, examples} of frames "refused" from, or "altered" in, stored walks, most frequent first."""
  total = {}
  for report in reports:
    for reason, found in report[what].items():
      add_frames(total, reason, found["count"], found["examples"])
  return dict(sorted(total.items(), key=lambda item: (-item[1]["count"], item[0])))


def content_hash(digests: Mapping[str, Sequence[str]]) -> str:
  """SHA-256 over splits, keys, labels and frames in stored order, from the walks' digests; independent of packing."""
  content = hashlib.sha256()
  for split in sorted(digests):
    content.update(f"{split}\n".encode())
    for digest in digests[split]:
      content.update(f"{digest}\n".encode())
  return content.hexdigest()


def write_index(folder: pathlib.Path, split: str, jobs: Sequence[Job], reports: Sequence[Mapping]) -> None:
  """Writes index-<split>.npz, one row per walk in stored order: TEXTS, `num_frames`, `shard` (the number of the shard
  that holds it) and `attribute.<name>`."""
  rows = [row for report in reports for row in report["rows"]]
  names = jobs[0].attributes
  columns = {name: np.array([row[i] for row in rows], np.str_) for i, name in enumerate(TEXTS)}
  columns["num_frames"] = np.array([row[4] for row in rows], np.int32)
  columns["shard"] = np.repeat(np.arange(len(jobs), dtype=np.int32), [len(report["rows"]) for report in reports])
  for i, name in enumerate(names):
    columns[f"attribute.{name}"] = np.array([row[5][i] for row in rows], np.float32)
  np.savez_compressed(folder / schema.index_name(split), **columns)


def write(
  folder: pathlib.Path,
  *,
  record: Record,
  fingerprint: str,
  absent: Mapping[str, Sequence[str]],
  unlisted: Sequence[str],
  unread: Sequence[str],
  jobs: Mapping[str, Sequence[Job]],
  reports: Mapping[str, Sequence[Mapping]],
  recorded_rates: Mapping[str, int],
) -> dict:
  """Writes everything but the shards into `folder`, the manifest last, and returns the manifest."""
  rows = {split: [row for report in reports[split] for row in report["rows"]] for split in jobs}
  for split in jobs:
    write_index(folder, split, jobs[split], reports[split])
  _write_tfds(folder, record=record, jobs=jobs, reports=reports)
  each = [(job, report) for split in jobs for job, report in zip(jobs[split], reports[split], strict=True)]
  manifest = {
    "name": record.name,
    "version": schema.BUILDER_VERSION,
    "builder_version": schema.BUILDER_VERSION,
    "kind": record.kind,
    "pixels": _pixels(record, reports),
    "population": record.population,
    "choices": dict(record.choices),
    "recorded_frame_rates": dict(recorded_rates),
    "splits": {
      split: {"sequences": len(r), "subjects": len({row[0] for row in r}), "frames": sum(row[4] for row in r)}
      for split, r in rows.items()
    },
    "dropped": count_dropped([report for _, report in each]),
    "refused_frames": count_frames([report for _, report in each], "refused"),
    "altered_frames": count_frames([report for _, report in each], "altered"),
    "absent_subjects": {split: list(names) for split, names in absent.items()},
    "subjects_outside_partition": list(unlisted),
    "unread_files": {"count": len(unread), "examples": list(unread[:EXAMPLES])},
    "content_hash": content_hash({split: [row[-1] for row in r] for split, r in rows.items()}),
    "source_fingerprint": fingerprint,
    "licence": record.licence,
    "citation": record.citation,
    "homepage": record.homepage,
    "shards": {
      job.path.name: {
        "split": job.split, "sequences": len(report["rows"]), "bytes": report["bytes"], "sha256": report["sha256"],
      }
      for job, report in each
    },  # fmt: skip
    "indices": {schema.index_name(split): file_facts(folder / schema.index_name(split)) for split in jobs},
    "metadata": {name: file_facts(folder / name) for name in TFDS_FILES},
  }
  (folder / schema.MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
  return manifest


def _pixels(record: Record, reports: Mapping[str, Sequence[Mapping]]) -> str:
  """What the pixels are, one of `schema.PIXELS`: frames of several channels are no silhouettes, whatever they hold."""
  channels = {count for each in reports.values() for report in each for count in report["channels"]}
  return record.pixels if channels <= {"1"} else schema.MAPS


def file_facts(path: pathlib.Path) -> dict:
  """Size and hash of a file, as the manifest lists it."""
  data = path.read_bytes()
  return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write_tfds(folder: pathlib.Path, *, record: Record, jobs: Mapping, reports: Mapping) -> None:
  template = tfds.core.ShardedFileTemplate(data_dir=folder, dataset_name=record.name, filetype_suffix="array_record")
  infos = [
    tfds.core.SplitInfo(
      name=split,
      shard_lengths=[len(report["rows"]) for report in reports[split]],
      num_bytes=sum(report["bytes"] for report in reports[split]),
      filename_template=template.replace(split=split),
    )
    for split in jobs
  ]
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=features(next(iter(jobs.values()))[0].attributes),
    split_infos=infos,
    version=schema.BUILDER_VERSION,
    check_data=False,
    description=record.title,
    homepage=record.homepage,
    citation=record.citation,
    license=record.licence,
  )
