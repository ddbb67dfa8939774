"""Batches of clips from built data sets: read and sampled on the host, as uint8. Never augments, never uses JAX.

Batch n is a pure function of the arguments and n: the same for any number of reader threads, worker processes and
hosts and from any first step, so a run resumes by asking for the batches it has not seen and no iterator is saved.
"""

import dataclasses
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
) -> Iterator[dict[str, np.ndarray]]:
  """Batches number `start` to `stop` - 1 of this host, in order; `Mixture` says which sequences they hold.

  `batch_size` sequences make the global batch; a host gets an equal run of its places, so that the hosts' batches one
  after the other are the batch of a single host (here b = batch_size / process_count). Each batch is a dict of
    frames   uint8 [b, clips, clip_frames, 64, 64, c]; a 44-wide source lies in columns 10..53
    valid    bool [b, clips, clip_frames]; all True, since short sequences are tiled
    subject  int32 [b]; numbered through all splits, equal only for one subject of one data set
    dataset  int32 [b]; position in `splits`
    index    int64 [b]; row in that split
  `threads` read ahead in this process, or in each of `workers` processes (0: none); `prefetch` batches are held ready.
  Worker processes start by importing the program's main module: guard it with `if __name__ == "__main__"`.

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
  mixture = Mixture(
    [len(split) for split in splits],
    seed=seed,
    batch_size=batch_size,
    factors=factors,
    exponent=exponent,
    mix=mix,
  )
  local = batch_size // process_count
  read = ReadBatch(
    splits=tuple(splits),
    subjects=_number_subjects(splits),
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
  dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch))
  if workers:
    each = -(-prefetch // workers)
    dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=each))
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # grain refuses to start processes in a program that has no flags
  return _closing(dataset)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadBatch:
  """Batch number -> the host's batch. What travels to worker processes."""

  splits: tuple[Split, ...]
  subjects: tuple[np.ndarray, ...]  # of each split, int32 by row
  mixture: Mixture
  places: range  # of the global batch
  seed: int
  clips: int
  clip_frames: int
  window_frames: int

  def __call__(self, number: int) -> dict[str, np.ndarray]:
    dataset, index = self.mixture.batch(int(number), self.places)
    rows = list(zip(dataset.tolist(), index.tolist(), strict=True))
    num_frames = np.array([self.splits[d].num_frames[i] for d, i in rows], np.int64)
    chosen = self._choose(int(number), num_frames)
    return {
      "frames": self._read(rows, chosen),
      "valid": np.ones(chosen.shape, bool),
      "subject": np.array([self.subjects[d][i] for d, i in rows], np.int32),
      "dataset": dataset,
      "index": index,
    }

  def _choose(self, number: int, num_frames: np.ndarray) -> np.ndarray:
    """Frame numbers [b, clips, clip_frames], from random numbers that belong to (seed, batch, place)."""
    needed = self.clips * clip_rules.draws_per_clip(self.window_frames)
    steps = -(-needed // _WORDS)
    key = np.random.SeedSequence((self.seed, zlib.crc32(b"clips"), number)).generate_state(2, np.uint64)
    # Philox counts: place p of the global batch owns steps p * steps and on, whichever host reads it.
    generator = np.random.Generator(np.random.Philox(key=key).advance(self.places.start * steps))
    noise = generator.random((len(num_frames), steps * _WORDS))[:, :needed]
    noise = noise.reshape(len(num_frames), self.clips, -1)
    return clip_rules.sample_clips(noise, num_frames[:, None], clip_frames=self.clip_frames)

  def _read(self, rows: list[tuple[int, int]], chosen: np.ndarray) -> np.ndarray:
    """uint8 [b, clips, clip_frames, 64, 64, c]."""
    batch = None
    for place, (d, i) in enumerate(rows):
      frames = _frames(self.splits[d], i, chosen[place].reshape(-1))
      if batch is None:
        batch = np.zeros((len(rows), chosen[0].size, schema.HEIGHT, schema.WIDTHS[0], frames.shape[-1]), np.uint8)
      elif frames.shape[-1] != batch.shape[-1]:
        raise DataError(
          f"{self.splits[d].name}: sequence {self.splits[d].keys[i]} has {frames.shape[-1]} channels, others of its"
          f" batch {batch.shape[-1]}; data sets of one run must have the channels of model.channels"
        )
      margin = (batch.shape[3] - frames.shape[2]) // 2  # a 44-wide source goes to the middle of the canvas
      batch[place, :, :, margin : margin + frames.shape[2]] = frames
    return batch.reshape(*chosen.shape, *batch.shape[2:])


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
