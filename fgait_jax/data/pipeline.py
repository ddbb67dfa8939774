"""Batches of clips from built data sets: read and sampled on the host, as uint8. Never augments, never uses JAX.

Batch n is a pure function of the arguments and n, whatever the number of reader threads, worker processes and hosts and
whatever the first step. So a run resumes by asking for the batches it has not seen; no iterator state is saved.
"""

import collections
import dataclasses
import itertools
import signal
import sys
import zlib
from collections.abc import Iterator, Sequence

import grain
import numpy as np
from absl import flags

from fgait_jax.data import clips as clip_rules
from fgait_jax.data import schema
from fgait_jax.data.mixture import Mixture
from fgait_jax.data.source import Split
from fgait_jax.data.workers import end_with_parent
from fgait_jax.errors import ConfigError, DataError, FgaitError

POSITIVES = ("sequence", "walk", "subject")
_HELD = 4  # batches a worker holds beyond those its threads read: one to be sent, one in the queue, two received
_WORDS = 4  # 64-bit numbers that Philox gives per step of its counter


def batches(
  splits: Sequence[Split],
  *,
  seed: int,
  batch_size: int,
  clips: int,
  clip_frames: int,
  window_frames: int,
  factors: Sequence[float],
  exponent: float,
  mix: str,
  start: int,
  stop: int,
  process_index: int = 0,
  process_count: int = 1,
  threads: int,
  workers: int,
  prefetch: int,
  per_subject: int = 0,
  positives: Sequence[str] = (),
  contrasts: bool = True,
  key: str = "config.data",
) -> Iterator[dict[str, np.ndarray]]:
  """Batches number `start` to `stop` - 1 of this host, in order; `Mixture` says which sequences they hold.

  `batch_size` sequences make the global batch. Each host gets an equal, consecutive part of it, so that the hosts'
  batches one after the other are the batch of a single host; b = batch_size / process_count. Each batch is a dict of
    frames   uint8 [b, clips, clip_frames, 64, 64, c]; a 44-wide source lies in columns 10..53
    valid    bool [b, clips, clip_frames]; all True, since short sequences are tiled
    subject  int32 [b]; numbered through all splits, equal only for one person
    dataset  int32 [b]; position in `splits`
    index    int64 [b]; row in that split of the first clip's sequence
    positive int64 [b]; row in that split of the other clips' sequence
    group    int32 [b]; equal only for sequences that may be each other's positive
  `positives` says, for each split, from which sequences the other clips come: "sequence", the same one (no label is
  used); "walk", any of the same subject and condition (another camera's view of the same walk); "subject", any of the
  same subject. Empty means "sequence" for all splits. The other clips come from the same split, but data sets of one
  population (schema.population_of) share numbers: the same person in two of them is one `subject`, and two splits with
  the same value of `positives` have one `group` for the same subject, the same walk, or the same recording (equal key).
  `per_subject` is the number of sequences per subject in a batch of mix "per_subject"; other mixes ignore it.
  At most `prefetch` batches are read ahead of the one returned last, finished or not. `threads` batches are read at a
  time, in this process or in each of `workers` processes (0: none). Of its share of `prefetch`, a worker needs four
  batches for sending; its threads read the rest.
  Worker processes start by importing the program's main module: guard it with `if __name__ == "__main__"`.

  If `clips` > 1, prints a warning for data sets of the same people with different `positives`, and where the sequences
  of a batch are contrasted with each other (`contrasts`) for a data set smaller than its part of a batch.
  Threads and processes end when the iterator is exhausted, closed (`contextlib.closing`) or collected. Raises
  `ConfigError` at once for arguments that cannot work, named as in the section `key` of the configuration, and
  `DataError` naming data set and key while iterating.
  """
  _check(clips=clips, clip_frames=clip_frames, window_frames=window_frames, batch_size=batch_size, key=key)
  _check_reading(threads=threads, workers=workers, prefetch=prefetch, key=key)
  if batch_size % process_count:
    raise ConfigError(
      f"{key}.batch_size is {batch_size}, not divisible by the {process_count} processes that share it;"
      f" choose a multiple of {process_count}"
    )
  if not 0 <= process_index < process_count:
    raise ConfigError(f"process_index is {process_index} of {process_count} processes; expected 0..{process_count - 1}")
  if not 0 <= start <= stop:
    raise ConfigError(f"batches {start} to {stop} asked for; expected 0 <= start <= stop")
  subjects = _number_subjects(splits)
  positives = positives or ["sequence"] * len(splits)
  groups = _group(splits, positives)
  mixture = Mixture(
    [len(split) for split in splits],
    seed=seed,
    batch_size=batch_size,
    factors=factors,
    exponent=exponent,
    mix=mix,
    subjects=subjects,
    per_subject=per_subject,
  )
  if clips > 1 and process_index == 0:  # with a single clip nothing is contrasted
    if contrasts:
      _warn_of_copies(splits, mixture.copies(), batch_size=batch_size)
    _warn_of_different_positives(splits, positives)
  local = batch_size // process_count
  read = ReadBatch(
    splits=tuple(splits),
    subjects=subjects,
    groups=groups,
    mixture=mixture,
    places=range(process_index * local, (process_index + 1) * local),
    seed=seed,
    clips=clips,
    clip_frames=clip_frames,
    window_frames=window_frames,
  )
  # The range starts at the first step: grain's own iterator state cannot be restored with another number of workers.
  dataset = grain.MapDataset.range(start, stop).map(read)
  ahead = prefetch // workers - _HELD if workers else prefetch
  dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead))
  if workers:
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
    dataset = dataset.mp_prefetch(options, worker_init_fn=_start_worker)
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # grain refuses to start processes in a program that has no flags
  return _closing(dataset)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadBatch:
  """Batch number -> the host's batch. It is pickled and sent to worker processes."""

  splits: tuple[Split, ...]
  subjects: tuple[np.ndarray, ...]  # of each split, int32 by row
  groups: tuple["Groups", ...]  # of each split
  mixture: Mixture
  places: range  # of the global batch
  seed: int
  clips: int
  clip_frames: int
  window_frames: int

  def __call__(self, number: int) -> dict[str, np.ndarray]:
    dataset, index = self.mixture.batch(int(number), self.places)
    positive = self._positive_rows(int(number), dataset, index)
    first, others = [list(zip(dataset.tolist(), rows.tolist(), strict=True)) for rows in (index, positive)]
    lengths = [[self.splits[d].num_frames[i] for d, i in rows] for rows in (first, others)]
    num_frames = np.array([lengths[0], *lengths[1:] * (self.clips - 1)], np.int64).T
    chosen = self._choose(int(number), num_frames)
    return {
      "frames": self._read(first, others, chosen),
      "valid": np.ones(chosen.shape, bool),
      "subject": np.array([self.subjects[d][i] for d, i in first], np.int32),
      "dataset": dataset,
      "index": index,
      "positive": positive,
      "group": np.array([self.groups[d].number(i) for d, i in first], np.int32),
    }

  def _positive_rows(self, number: int, dataset: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The row of each place's positive, drawn by a random number of (seed, batch, place)."""
    rng = np.random.default_rng((self.seed, zlib.crc32(b"positives"), number))
    draws = rng.random(self.places.stop)[self.places.start :]  # earlier places belong to other hosts
    rows = zip(dataset.tolist(), index.tolist(), draws.tolist(), strict=True)
    return np.array([self.groups[d].member(i, draw) for d, i, draw in rows], np.int64)

  def _choose(self, number: int, num_frames: np.ndarray) -> np.ndarray:
    """Frame numbers [b, clips, clip_frames] of sequences of `num_frames` [b, clips], drawn by random numbers of (seed,
    batch, place)."""
    needed = self.clips * clip_rules.draws_per_clip(self.window_frames)
    steps = -(-needed // _WORDS)
    key = np.random.SeedSequence((self.seed, zlib.crc32(b"clips"), number)).generate_state(2, np.uint64)
    # Philox is counter-based: place p of the global batch starts at count p * steps, whichever host reads it.
    generator = np.random.Generator(np.random.Philox(key=key).advance(self.places.start * steps))
    noise = generator.random((len(num_frames), steps * _WORDS))[:, :needed]
    noise = noise.reshape(len(num_frames), self.clips, -1)
    return clip_rules.sample_clips(noise, num_frames, clip_frames=self.clip_frames)

  def _read(self, first: list[tuple[int, int]], others: list[tuple[int, int]], chosen: np.ndarray) -> np.ndarray:
    """uint8 [b, clips, clip_frames, 64, 64, c]."""
    batch = None
    for place, (one, other) in enumerate(zip(first, others, strict=True)):
      frames = self._clips(one, other, chosen[place])
      split = self.splits[one[0]]
      if batch is None:
        batch = np.empty((len(first), chosen[0].size, schema.HEIGHT, schema.WIDTHS[0], frames.shape[-1]), np.uint8)
      elif frames.shape[-1] != batch.shape[-1]:
        raise DataError(
          f"{split.name}: sequence {split.keys[one[1]]} has {frames.shape[-1]} channels, others of its"
          f" batch {batch.shape[-1]}; data sets of one run must have the channels of config.model.channels"
        )
      margin = (batch.shape[3] - frames.shape[2]) // 2  # a 44-wide source goes to the middle of the canvas
      end = margin + frames.shape[2]
      batch[place, :, :, :margin] = batch[place, :, :, end:] = 0
      batch[place, :, :, margin:end] = frames
    return batch.reshape(*chosen.shape, *batch.shape[2:])

  def _clips(self, one: tuple[int, int], other: tuple[int, int], chosen: np.ndarray) -> np.ndarray:
    """The frames of all clips of a place, [clips * clip_frames, ...]; each sequence is read once."""
    split = self.splits[one[0]]
    if one == other:
      return _frames(split, one[1], chosen.reshape(-1))
    return np.concatenate([_frames(split, one[1], chosen[0]), _frames(split, other[1], chosen[1:].reshape(-1))])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
  """The rows of a split that may be each other's positives."""

  numbers: Sequence[int] | np.ndarray  # by which batches know the split's groups
  of_row: np.ndarray | None  # group of each row; None where every row is a group of its own
  rows: np.ndarray | None = None  # sorted by group
  ends: np.ndarray | None = None  # of each group in `rows`

  def number(self, row: int) -> int:
    return int(self.numbers[row if self.of_row is None else self.of_row[row]])

  def member(self, row: int, draw: float) -> int:
    """The member of the row's group that `draw`, uniform in [0, 1), selects."""
    if self.of_row is None:
      return row
    group = self.of_row[row]
    start = self.ends[group - 1] if group else 0
    return int(self.rows[start + int(draw * (self.ends[group] - start))])


def _group(splits: Sequence[Split], positives: Sequence[str]) -> tuple[Groups, ...]:
  if len(positives) != len(splits):
    raise ConfigError(f"positives {tuple(positives)} for {len(splits)} data sets; give one for each")
  for kind in positives:
    if kind not in POSITIVES:
      raise ConfigError(f"positives has {kind!r}; known: {', '.join(POSITIVES)}")
  spaces = [(schema.population_of(split.manifest), kind) for split, kind in zip(splits, positives, strict=True)]
  groups, first, known = [], 0, collections.defaultdict(dict)
  for split, space in zip(splits, spaces, strict=True):
    alone, kind = spaces.count(space) == 1, space[1]
    if kind == "sequence":
      names, members = (None if alone else np.asarray(split.keys, np.str_)), {"of_row": None}
    else:
      names = np.asarray(split.subjects, np.str_)
      if kind == "walk":
        names = np.char.add(np.char.add(names, "/"), np.asarray(split.conditions, np.str_))
      names, of_row = np.unique(names, return_inverse=True)
      ends = np.cumsum(np.bincount(of_row))
      members = {"of_row": of_row, "rows": np.argsort(of_row, kind="stable"), "ends": ends}
    numbers = range(first, first + len(split)) if alone else _number(names, first, known[space])
    groups.append(Groups(numbers=numbers, **members))
    first += len(split)
  return tuple(groups)


def _number(names: np.ndarray, first: int, known: dict[str, int]) -> np.ndarray:
  """The number of each of `names`, all different: the one in `known`, or else `first` plus its place, kept there."""
  return np.array([known.setdefault(name, first + place) for place, name in enumerate(names.tolist())], np.int32)


def _frames(split: Split, row: int, indices: np.ndarray) -> np.ndarray:
  try:
    return split.frames(row, indices)
  except FgaitError:
    raise
  except Exception as error:
    raise DataError(f"{split.name}: sequence {split.keys[row]} cannot be read: {error!r}") from error


def _number_subjects(splits: Sequence[Split]) -> tuple[np.ndarray, ...]:
  """Numbers int32 of each split's subjects by row; two data sets use the same number only for the same person."""
  populations = [schema.population_of(split.manifest) for split in splits]
  numbered, first, known = [], 0, collections.defaultdict(dict)
  for split, population in zip(splits, populations, strict=True):
    names, own = np.unique(split.subjects, return_inverse=True)
    alone = populations.count(population) == 1
    numbered.append((own + first).astype(np.int32) if alone else _number(names, first, known[population])[own])
    first += len(names)
  return tuple(numbered)


def _closing(dataset: grain.IterDataset) -> Iterator[dict[str, np.ndarray]]:
  iterator = iter(dataset)
  try:
    yield from iterator
  finally:
    iterator.close()


def _start_worker(worker: int, workers: int) -> None:
  """Ctrl-C, a scheduler and a time limit signal every process of a program, which may need further batches to finish.

  Closing the iterator ends a worker by other means, and so does the end of the program.
  """
  del worker, workers
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
  end_with_parent()


def _warn_of_copies(splits: Sequence[Split], copies: Sequence[float], *, batch_size: int) -> None:
  for split, times in zip(splits, copies, strict=True):
    if times > 1:
      print(
        f"warning: {split.name} has {len(split):,} sequences, fewer than its part of a batch of {batch_size:,}, which"
        f" repeats each {times:.1f} times on average and so has fewer negatives; choose a smaller"
        " config.data.batch_size, or record more walks",
        file=sys.stderr,
      )


def _warn_of_different_positives(splits: Sequence[Split], positives: Sequence[str]) -> None:
  for (one, kind), (other, others) in itertools.combinations(zip(splits, positives, strict=True), 2):
    if kind == others or schema.population_of(one.manifest) != schema.population_of(other.manifest):
      continue
    if people := len(np.intersect1d(one.subjects, other.subjects)):
      print(
        f"warning: {one.name} and {other.name} hold {people:,} of the same people, but their positives are {kind!r} and"
        f" {others!r}: in a batch or queue of both, these people are negatives of themselves; give both data sets the"
        " same positives",
        file=sys.stderr,
      )


def _check(*, clips: int, clip_frames: int, window_frames: int, batch_size: int, key: str) -> None:
  for name, value in (("clips", clips), ("clip_frames", clip_frames), ("batch_size", batch_size)):
    if value < 1:
      raise ConfigError(f"{key}.{name} is {value}; it must be positive")
  if clip_frames > window_frames:
    raise ConfigError(
      f"{key}.clip_frames is {clip_frames}, more than {key}.window_frames, {window_frames}:"
      " a clip's frames are drawn from its window without replacement"
    )


def _check_reading(*, threads: int, workers: int, prefetch: int, key: str) -> None:
  for name, value, least in (("threads", threads, 0), ("workers", workers, 0), ("prefetch", prefetch, 1)):
    if value < least:
      raise ConfigError(f"{key}.{name} is {value}; it must be at least {least}")
  if prefetch < _HELD * workers:
    raise ConfigError(
      f"{key}.prefetch is {prefetch}, but {workers} {key}.workers read {_HELD * workers} batches ahead at least,"
      f" {_HELD} each; take that many, or fewer workers"
    )
