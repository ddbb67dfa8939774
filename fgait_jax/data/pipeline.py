"""Batches of clips from built data sets: read and sampled on the host, as uint8. Never augments, never uses JAX.

Batch n is a pure function of the arguments and n: the same for any number of reader threads, worker processes and
hosts and from any first step, so a run resumes by asking for the batches it has not seen and no iterator is saved.
"""

import dataclasses
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
from fgait_jax.errors import ConfigError, DataError, FgaitError

POSITIVES = ("sequence", "walk", "subject")
_HELD = 4  # batches of a worker beside those its threads read: in its hand, in the queue, and two received
_WORDS = 4  # 64-bit numbers Philox gives for one step of its counter


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
) -> Iterator[dict[str, np.ndarray]]:
  """Batches number `start` to `stop` - 1 of this host, in order; `Mixture` says which sequences they hold.

  `batch_size` sequences make the global batch; a host gets an equal run of its places, so that the hosts' batches one
  after the other are the batch of a single host (here b = batch_size / process_count). Each batch is a dict of
    frames   uint8 [b, clips, clip_frames, 64, 64, c]; a 44-wide source lies in columns 10..53
    valid    bool [b, clips, clip_frames]; all True, since short sequences are tiled
    subject  int32 [b]; numbered through all splits, equal only for one subject of one data set
    dataset  int32 [b]; position in `splits`
    index    int64 [b]; row in that split of the sequence that the first clip is of
    positive int64 [b]; row of the sequence that all other clips are of
    group    int32 [b]; equal only for sequences that may be each other's positive
  `positives` says, for each split, where the other clips come from: "sequence", the same one (nothing but the recording
  is known); "walk", any of its subject and condition (another camera's view of the same walk); "subject", any of its
  subject (identities are known, as they are of synthetic people). Without it, the same sequence everywhere.
  `per_subject` sequences of each subject make a batch of mix "per_subject"; no other mix looks at it.
  `prefetch` batches at most are read ahead of the one given last, whether done, being read or on their way; of them,
  `threads` are read at a time in this process, or in each of `workers` processes (0: none). Sending a
  worker's batches takes four of them; only what its share of `prefetch` leaves beyond is read in its threads.
  Worker processes start by importing the program's main module: guard it with `if __name__ == "__main__"`.

  A data set smaller than its part of a batch is warned of, where there are clips to be compared.
  Threads and processes end when the iterator is exhausted, closed (`contextlib.closing`) or collected. Raises
  `ConfigError` at once for arguments that cannot work, and `DataError` naming data set and key while iterating.
  """
  _check(clips=clips, clip_frames=clip_frames, window_frames=window_frames, batch_size=batch_size)
  _check_reading(threads=threads, workers=workers, prefetch=prefetch)
  if batch_size % process_count:
    raise ConfigError(
      f"data.batch_size is {batch_size}, not divisible by the {process_count} processes that share it;"
      f" choose a multiple of {process_count}"
    )
  if not 0 <= process_index < process_count:
    raise ConfigError(f"process_index is {process_index} of {process_count} processes; expected 0..{process_count - 1}")
  if not 0 <= start <= stop:
    raise ConfigError(f"batches {start} to {stop} asked for; expected 0 <= start <= stop")
  subjects = _number_subjects(splits)
  groups = _group(splits, positives or ["sequence"] * len(splits))
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
  if clips > 1 and process_index == 0:  # a single clip has nothing to be told from
    _warn_of_copies(splits, mixture.copies(), batch_size=batch_size)
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
  # The range begins at the step before anything is prefetched: grain's own iterator state is of no use across
  # numbers of workers.
  dataset = grain.MapDataset.range(start, stop).map(read)
  ahead = prefetch // workers - _HELD if workers else prefetch
  dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead))
  if workers:
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
    dataset = dataset.mp_prefetch(options, worker_init_fn=_leave_signals_to_the_program)
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # grain refuses to start processes in a program that has no flags
  return _closing(dataset)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadBatch:
  """Batch number -> the host's batch. What travels to worker processes."""

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
    positive = self._partners(int(number), dataset, index)
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
      "group": np.array([self.groups[d].first + self.groups[d].number(i) for d, i in first], np.int32),
    }

  def _partners(self, number: int, dataset: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The row of each place's positive, from a random number that belongs to (seed, batch, place)."""
    rng = np.random.default_rng((self.seed, zlib.crc32(b"positives"), number))
    draws = rng.random(self.places.stop)[self.places.start :]  # earlier places are other hosts'
    rows = zip(dataset.tolist(), index.tolist(), draws.tolist(), strict=True)
    return np.array([self.groups[d].member(i, draw) for d, i, draw in rows], np.int64)

  def _choose(self, number: int, num_frames: np.ndarray) -> np.ndarray:
    """Frame numbers [b, clips, clip_frames] of sequences of `num_frames` [b, clips]: random numbers that belong to
    (seed, batch, place) choose them."""
    needed = self.clips * clip_rules.draws_per_clip(self.window_frames)
    steps = -(-needed // _WORDS)
    key = np.random.SeedSequence((self.seed, zlib.crc32(b"clips"), number)).generate_state(2, np.uint64)
    # Philox counts: place p of the global batch owns steps p * steps and on, whichever host reads it.
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
          f" batch {batch.shape[-1]}; data sets of one run must have the channels of model.channels"
        )
      margin = (batch.shape[3] - frames.shape[2]) // 2  # a 44-wide source goes to the middle of the canvas
      end = margin + frames.shape[2]
      batch[place, :, :, :margin] = batch[place, :, :, end:] = 0
      batch[place, :, :, margin:end] = frames
    return batch.reshape(*chosen.shape, *batch.shape[2:])

  def _clips(self, one: tuple[int, int], other: tuple[int, int], chosen: np.ndarray) -> np.ndarray:
    """All clips of a place one after the other; a sequence is read once, however many clips it gives."""
    split = self.splits[one[0]]
    if one == other:
      return _frames(split, one[1], chosen.reshape(-1))
    return np.concatenate([_frames(split, one[1], chosen[0]), _frames(split, other[1], chosen[1:].reshape(-1))])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
  """The rows of a split that may be each other's positives. `first` keeps numbers of different splits apart."""

  first: int
  of_row: np.ndarray | None  # group of each row; None where every row is its own
  rows: np.ndarray | None = None  # by group
  ends: np.ndarray | None = None

  def number(self, row: int) -> int:
    return row if self.of_row is None else int(self.of_row[row])

  def member(self, row: int, draw: float) -> int:
    """The member of the row's group that `draw` in [0, 1) stands for."""
    if self.of_row is None:
      return row
    group = self.of_row[row]
    start = self.ends[group - 1] if group else 0
    return int(self.rows[start + int(draw * (self.ends[group] - start))])


def _group(splits: Sequence[Split], positives: Sequence[str]) -> tuple[Groups, ...]:
  if len(positives) != len(splits):
    raise ConfigError(f"positives {tuple(positives)} for {len(splits)} data sets; give one for each")
  groups, first = [], 0
  for split, kind in zip(splits, positives, strict=True):
    if kind not in POSITIVES:
      raise ConfigError(f"positives has {kind!r}; known: {', '.join(POSITIVES)}")
    if kind == "sequence":
      groups.append(Groups(first=first, of_row=None))
    else:
      names = np.asarray(split.subjects, np.str_)
      if kind == "walk":
        names = np.char.add(np.char.add(names, "/"), np.asarray(split.conditions, np.str_))
      of_row = np.unique(names, return_inverse=True)[1]
      ends = np.cumsum(np.bincount(of_row))
      groups.append(Groups(first=first, of_row=of_row, rows=np.argsort(of_row, kind="stable"), ends=ends))
    first += len(split)
  return tuple(groups)


def _frames(split: Split, row: int, indices: np.ndarray) -> np.ndarray:
  try:
    return split.frames(row, indices)
  except FgaitError:
    raise
  except Exception as error:
    raise DataError(f"{split.name}: sequence {split.keys[row]} cannot be read: {error!r}") from error


def _number_subjects(splits: Sequence[Split]) -> tuple[np.ndarray, ...]:
  """Numbers int32 of each split's subjects by row; no number is used by two data sets."""
  numbered, first = [], 0
  for split in splits:
    names, own = np.unique(split.subjects, return_inverse=True)
    numbered.append((own + first).astype(np.int32))
    first += len(names)
  return tuple(numbered)


def _closing(dataset: grain.IterDataset) -> Iterator[dict[str, np.ndarray]]:
  iterator = iter(dataset)
  try:
    yield from iterator
  finally:
    iterator.close()


def _leave_signals_to_the_program(worker: int, workers: int) -> None:
  """Ctrl-C, a scheduler and a time limit signal every process of a program: it may still want batches to end well.

  Closing the iterator ends a worker by other means.
  """
  del worker, workers
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)


def _warn_of_copies(splits: Sequence[Split], copies: Sequence[float], *, batch_size: int) -> None:
  for split, times in zip(splits, copies, strict=True):
    if times > 1:
      print(
        f"warning: {split.name} has {len(split):,} sequences, fewer than its part of a batch of {batch_size:,}, which"
        f" holds each {times:.1f} times on average and so has fewer different ones to tell apart; choose a smaller"
        " config.data.batch_size, or record more walks",
        file=sys.stderr,
      )


def _check(*, clips: int, clip_frames: int, window_frames: int, batch_size: int) -> None:
  for key, value in (("clips", clips), ("clip_frames", clip_frames), ("batch_size", batch_size)):
    if value < 1:
      raise ConfigError(f"data.{key} is {value}; it must be positive")
  if clip_frames > window_frames:
    raise ConfigError(
      f"data.clip_frames is {clip_frames}, more than data.window_frames, {window_frames}:"
      " a clip's frames are drawn from its window without replacement"
    )


def _check_reading(*, threads: int, workers: int, prefetch: int) -> None:
  for key, value, least in (("threads", threads, 0), ("workers", workers, 0), ("prefetch", prefetch, 1)):
    if value < least:
      raise ConfigError(f"data.{key} is {value}; it must be at least {least}")
  if prefetch < _HELD * workers:
    raise ConfigError(
      f"data.prefetch is {prefetch}, but {workers} data.workers read {_HELD * workers} batches ahead at least,"
      f" {_HELD} each; take that many, or fewer workers"
    )
