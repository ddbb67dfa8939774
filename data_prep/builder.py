"""From a source to a finished data set: plan shards, write them in parallel, then index, metadata and manifest.

Everything is written into a work folder beside the target, which is renamed at the end: a folder with the version's
name is always complete. After a killed build, the next one keeps the finished shards and gives the same bytes with any
number of workers. Shards are TFDS's array_record files; TFDS's own builders would write them in one process only.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from data_prep import manifest as manifests
from data_prep import partitions
from data_prep.datasets.record import Record
from data_prep.shards import Job, num_shards, write_shard
from data_prep.sources import limits, rates
from data_prep.sources.base import Source, Walk, printable, some
from data_prep.sources.trees import dates
from fgait_jax.data import normalise, schema
from fgait_jax.data.workers import end_with_parent
from fgait_jax.errors import DataError

Writer = Callable[[Sequence[Job]], None]  # writes all these shards; those it leaves unfinished are an error
Progress = Callable[[int, int], None]  # (walks done, walks in all), called a few times a second
_MANY_LOST = 0.1  # of the frames: beyond it a warning is given


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
  """A data set on disk. `fresh` is False where a matching one was found; `read_as` and `warnings` are to be printed."""

  folder: pathlib.Path
  manifest: dict
  fresh: bool
  seconds: float
  read_as: str  # the labels of one walk and the file they were read from, "" where there are no files
  warnings: tuple[str, ...] = ()


def build(
  record: Record,
  *,
  raw: pathlib.Path | None,
  out: pathlib.Path,
  workers: int,
  limit_dropped: float,
  overwrite: bool = False,
  writer: Writer | None = None,
  progress: Progress = lambda done, total: None,
  limit: limits.Limits = limits.DEFAULT,
) -> Built:
  """Builds `record` from `raw` into <out>/<name>/<version>, or finds it there; `overwrite` builds in any case.

  `limit` holds for the files that are read: what is beyond it is not stored.
  Shards are written by `workers` processes of this machine, or by `writer` (see `data_prep/beam.py`).
  Raises `DataError` where the recordings are missing or wrong, where more than the share `limit_dropped` of walks
  cannot be stored, or where another build of the same name stands there and `overwrite` is False.
  """
  started = time.monotonic()
  folder = out / record.name / schema.BUILDER_VERSION
  with limits.using(limit):
    source = _open(record, raw, folder)
    splits = {split: walks for split, walks in source.splits().items() if walks}
  check_splits(splits, where=f"{record.name} from {raw}" if raw else record.name)
  fingerprint = _fingerprint(source, splits, limit)
  absent, unlisted = _compare_with_partition(record, source, splits)
  unread = [printable(name) for name in source.unread()] if hasattr(source, "unread") else []
  walks = [walk for each in splits.values() for walk in each]
  warnings = (*_warnings(absent, unlisted, unread), *rates.warnings(walks))
  notes = {"read_as": _read_as(splits), "warnings": warnings}
  if not overwrite and (found := _matching(folder, fingerprint, record)):
    return Built(folder=folder, manifest=found, fresh=False, seconds=time.monotonic() - started, **notes)
  if folder.exists() and not overwrite:
    raise DataError(
      f"{folder} holds another build of {record.name}, from other recordings, choices or code, or it is damaged;"
      " --overwrite replaces it, or choose another --out"
    )
  with _work_folder(folder, fingerprint, raw) as work:
    jobs = plan(record.name, splits, work, limit)
    _run([job for shards in jobs.values() for job in shards], workers=workers, writer=writer, progress=progress)
    reports = {split: [_report(job) for job in shards] for split, shards in jobs.items()}
    _check_dropped(record.name, jobs, reports, limit=limit_dropped)
    _check_channels(record.name, reports)
    manifest = manifests.write(
      work, record=record, fingerprint=fingerprint, absent=absent, unlisted=unlisted, unread=unread, jobs=jobs,
      reports=reports, recorded_rates=rates.summary(walks),
    )
    notes["warnings"] += _lost(manifest)
    for leftover in (*work.glob("*.report.json"), *work.glob("*.unfinished"), *work.glob("*.job"), work / "plan.json"):
      leftover.unlink()
    old = _set_aside(folder)
    os.replace(work, folder)
    shutil.rmtree(old, ignore_errors=True)
  return Built(folder=folder, manifest=manifest, fresh=True, seconds=time.monotonic() - started, **notes)


def _set_aside(folder: pathlib.Path) -> pathlib.Path:
  """Moves an existing build aside and returns where to. If the process is killed now, both builds are still there."""
  old = folder.with_name(f".{folder.name}.old")
  shutil.rmtree(old, ignore_errors=True)
  if folder.exists():
    os.replace(folder, old)
  return old


def usable_cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open(record: Record, raw: pathlib.Path | None, folder: pathlib.Path) -> Source:
  if record.needs_raw and raw is None:
    raise DataError(f"{record.name} is made from recordings: name their folder with --raw ({record.obtain})")
  if not record.needs_raw and raw is not None:
    raise DataError(f"{record.name} is made without recordings: leave out --raw {raw}")
  if raw is not None and not raw.exists():
    raise DataError(f"--raw {raw}: no such folder or archive; it must hold {record.layout} ({record.obtain})")
  if raw is not None and raw.is_dir() and folder.resolve().is_relative_to(raw.resolve()):
    raise DataError(f"{folder}, which is to be built, lies in --raw {raw}, all of which is read; choose another --out")
  return record.source(raw)


def check_splits(splits: Mapping[str, Sequence[Walk]], *, where: str) -> None:
  """Raises `DataError` for no walks, a name that is not UTF-8, a key used twice, or a subject in two splits."""
  if not splits:
    raise DataError(f"{where}: no walks found")
  texts = {text for walks in splits.values() for w in walks for text in (w.key, w.subject, w.condition, w.view)}
  if strange := sorted(text for text in texts if printable(text) != text):
    raise DataError(f"{where}: names are not UTF-8: {some(map(printable, strange))}; rename those folders")
  split_of: dict[str, str] = {}
  shared = {}
  for split, walks in splits.items():
    for subject in {walk.subject for walk in walks}:
      if (other := split_of.setdefault(subject, split)) != split:
        shared[subject] = (other, split)
  if shared:
    named = some(f"{subject} in {a} and {b}" for subject, (a, b) in sorted(shared.items()))
    raise DataError(
      f"{where}: {len(shared)} subjects are in two splits ({named}); no person may be in both: correct the partition"
    )
  twice = [key for key, count in Counter(w.key for walks in splits.values() for w in walks).items() if count > 1]
  if twice:
    raise DataError(f"{where}: {len(twice)} keys are used by several walks ({some(twice)}); each must be unique")


def plan(
  name: str, splits: Mapping[str, Sequence[Walk]], folder: pathlib.Path, limit: limits.Limits = limits.DEFAULT
) -> dict[str, list[Job]]:
  """The shards of every split: consecutive walks, equally many in each. Depends on the walks alone."""
  attributes = tuple(sorted({a for walks in splits.values() for walk in walks for a in walk.attributes}))
  jobs = {}
  for split, walks in splits.items():
    count = num_shards(len(walks))
    ends = [len(walks) * i // count for i in range(count + 1)]
    jobs[split] = [
      Job(
        path=folder / f"{name}-{split}.array_record-{i:05d}-of-{count:05d}",
        dataset=name, split=split, attributes=attributes, walks=walks[ends[i] : ends[i + 1]], limit=limit,
      )
      for i in range(count)
    ]  # fmt: skip
  return jobs


def _fingerprint(
  source: Source, splits: Mapping[str, Sequence[Walk]], limit: limits.Limits = limits.DEFAULT
) -> str:
  """SHA-256 of what would be built: the source's fingerprint (else its `repr`), every walk's names and rate, in order,
  and other limits than the usual ones."""
  content = hashlib.sha256((source.fingerprint() if hasattr(source, "fingerprint") else repr(source)).encode())
  content.update(b"" if limit == limits.DEFAULT else repr(limit).encode())
  for split, walks in splits.items():
    for walk in walks:
      line = [split, walk.key, walk.subject, walk.condition, walk.view, sorted(walk.attributes.items())]
      line += [walk.rate] if walk.rate else []  # read from a file whose size may stay as it was
      content.update(json.dumps(line).encode())
  return content.hexdigest()


def _compare_with_partition(record: Record, source: Source, splits: Mapping) -> tuple[dict[str, list[str]], list[str]]:
  """Subjects of the official partition that were not found, by split; and subjects found that it does not list."""
  if record.partition is None:
    return {}, []
  present = {split: {walk.subject for walk in walks} for split, walks in splits.items()}
  partition = partitions.load_for(record.partition, set().union(*present.values()))
  absent = {s: [i for i in listed if i not in present.get(s, ())] for s, listed in partition.items()}
  listed = {identity for identities in partition.values() for identity in identities}
  found = source.subjects() if hasattr(source, "subjects") else set().union(*present.values())
  return {split: names for split, names in absent.items() if names}, sorted(found - listed)


def _read_as(splits: Mapping[str, Sequence[Walk]]) -> str:
  walk = next(iter(splits.values()))[0]
  labels = f"subject {walk.subject}, type {walk.condition}, view {walk.view}"
  return f"read as {labels}, from {printable(walk.file)}" if walk.file else ""


def _warnings(absent: Mapping[str, Sequence[str]], unlisted: Sequence[str], unread: Sequence[str]) -> tuple[str, ...]:
  lines = [f"{len(names)} subjects of the {s} partition are absent: {some(names)}" for s, names in absent.items()]
  if unlisted:
    lines.append(f"{len(unlisted)} subjects are in no split of the partition and are left out: {some(unlisted)}")
  if unread:
    lines.append(f"{len(unread)} files belong to no walk by their names and are left out: {some(unread)}")
  return tuple(lines)


def _lost(manifest: Mapping) -> tuple[str, ...]:
  """A line where many frames of the stored walks could not be read, which a damaged copy does and no data set."""
  refused = {reason: facts for reason, facts in manifest["refused_frames"].items() if reason != "all black"}
  lost = sum(facts["count"] for facts in refused.values())
  total = lost + sum(facts["frames"] for facts in manifest["splits"].values())
  if lost <= _MANY_LOST * total:
    return ()
  reason = max(refused, key=lambda reason: refused[reason]["count"])
  return (f"{lost:,} of {total:,} frames ({lost / total:.0%}) of the stored walks could not be used, mostly: {reason},"
          f" such as {refused[reason]['examples'][0]}. Is the copy of the recordings whole?",)


def _matching(folder: pathlib.Path, fingerprint: str, record: Record) -> dict | None:
  """The manifest in `folder`, if it is of the same recordings and people and every listed file has its listed size."""
  try:
    manifest = schema.parse_manifest((folder / schema.MANIFEST).read_bytes())
    same = (manifest["builder_version"], manifest["source_fingerprint"]) == (schema.BUILDER_VERSION, fingerprint)
    same &= schema.population_of(manifest) == record.population
    files = {**manifest["shards"], **manifest["indices"], **manifest["metadata"]}
    whole = all((folder / name).stat().st_size == facts["bytes"] for name, facts in files.items())
  except (OSError, ValueError):
    return None
  return manifest if same and whole else None


@contextlib.contextmanager
def _work_folder(folder: pathlib.Path, fingerprint: str, raw: pathlib.Path | None) -> Iterator[pathlib.Path]:
  """The folder in which to build, locked for this process; it stays when the build ends early."""
  work = folder.with_name(f".{folder.name}.building")
  work.parent.mkdir(parents=True, exist_ok=True)
  with open(folder.with_name(".lock"), "w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise DataError(f"{folder} is being built by another process; wait for it or choose another --out") from None
    except OSError as error:
      raise DataError(f"{lock.name} cannot be locked ({error.strerror}), as some file systems of networks cannot;"
                      " choose an --out on another") from None
    plan_file = work / "plan.json"
    # Recordings that were mended may have their old names and sizes: dates tell, which a finished build need not know.
    found = "" if raw is None else dates(raw)
    wanted = json.dumps({"source_fingerprint": fingerprint, "code": _code_hash(), "dates": found})
    # Left by a build of other recordings or code, or by one that was killed before it began.
    if not plan_file.is_file() or plan_file.read_text() != wanted:
      shutil.rmtree(work, ignore_errors=True)
      work.mkdir()
      plan_file.write_text(wanted)
    yield work


def _code_hash() -> str:
  """Hash of all code that decides what a shard holds: one data set must not mix shards of two versions."""
  here = pathlib.Path(__file__).parent
  files = sorted([*here.rglob("*.py"), *(pathlib.Path(module.__file__) for module in (normalise, schema))])
  return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _run(jobs: Sequence[Job], *, workers: int, writer: Writer | None, progress: Progress) -> None:
  """Writes the shards that are not finished yet."""
  total = sum(len(job.walks) for job in jobs)
  left = [job for job in jobs if not _is_written(job)]
  finished = total - sum(len(job.walks) for job in left)
  progress(finished, total)
  if writer is not None:
    writer(left)
    progress(total, total)
    return
  for leftover in left[0].path.parent.glob("*.unfinished") if left else ():  # of a build that was killed
    leftover.unlink()
  context = multiprocessing.get_context("spawn")  # fork would copy threads' locks
  counter = context.Value("q", finished)
  if workers == 1 or len(left) <= 1:
    for job in left:
      write_shard(job, lambda: progress(_count(counter), total))
    return
  pool = ProcessPoolExecutor(
    min(workers, len(left)), mp_context=context, initializer=_start_worker, initargs=(counter,)
  )
  try:
    futures = {pool.submit(_write_shard, job): job for job in left}
    pending = set(futures)
    while pending:
      done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
      progress(counter.value, total)
      for future in done:
        future.result()
  except BrokenProcessPool as error:
    raise DataError(
      "a worker process was killed from outside, most often because memory ran out; run the same command again to"
      " continue from the finished shards, with fewer --workers"
    ) from error
  finally:
    pool.shutdown(cancel_futures=True)


_counter = None  # of walks done, in worker processes


def _start_worker(counter) -> None:
  global _counter
  _counter = counter
  signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process; only the parent reports it
  end_with_parent()  # a killed build's workers would go on writing beside the next one


def _count(counter) -> int:
  with counter.get_lock():
    counter.value += 1
    return counter.value


def _write_shard(job: Job) -> None:
  write_shard(job, lambda: _count(_counter))


def _is_written(job: Job) -> bool:
  """Whether shard and report are whole; a machine that lost its power may have left either of them empty."""
  try:
    return job.path.stat().st_size == _report(job)["bytes"]
  except (OSError, ValueError, KeyError, TypeError):
    return False


def _report(job: Job) -> dict:
  return json.loads(job.report_path.read_text(encoding="utf-8"))


def _check_channels(name: str, reports: Mapping) -> None:
  """Raises `DataError` where frames of some walks have other channels than those of others."""
  found = {count: key for each in reports.values() for report in each for count, key in report["channels"].items()}
  if len(found) > 1:
    named = " and ".join(f"{count} of {key}" for count, key in sorted(found.items()))
    raise DataError(f"{name}: frames have different channels, {named}; all walks need the same: leave out the others,"
                    " or make their pictures all grey or all coloured")


def _check_dropped(name: str, jobs: Mapping, reports: Mapping, *, limit: float) -> None:
  """Raises `DataError` where more than the share `limit` of walks is dropped, or all walks of a split."""
  dropped = manifests.count_dropped([report for each in reports.values() for report in each])
  count = sum(facts["count"] for facts in dropped.values())
  total = sum(len(job.walks) for each in jobs.values() for job in each)
  reasons = "; ".join(f"{facts['count']} {reason}, such as {facts['examples'][0]}" for reason, facts in dropped.items())
  if count > limit * total + 1e-6:  # 0.29 * 100 is a little less than 29
    for split in jobs:  # the next build reads these shards again: the cause may have been temporary
      for job, report in zip(jobs[split], reports[split], strict=True):
        if report["dropped"]:
          job.report_path.unlink()
    allow = f", or allow it with --limit-dropped {-(-count * 1000 // total) / 1000}" if count < total else ""
    raise DataError(
      f"{name}: {count} of {total} walks ({count / total:.1%}) cannot be stored, more than the allowed {limit:.1%}:"
      f" {reasons}. Repair the recordings{allow}"
    )
  if empty := [split for split in jobs if not any(report["rows"] for report in reports[split])]:
    raise DataError(f"{name}: no walk of split {', '.join(empty)} can be stored: {reasons}")
