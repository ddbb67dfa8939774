"""Embeds every sequence of a split once, over all devices.

Whole sequences, in order, without augmentation. Sequences of like length share a batch and pad to one of a few
lengths, so that few programs are compiled; the order of the split is kept. Never trains, never changes the network.
"""

import concurrent.futures
import contextlib
import fnmatch
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import fgait_jax
from fgait_jax.data.clips import spaced
from fgait_jax.data.schema import mirrored, to_canvas
from fgait_jax.errors import DataError
from fgait_jax.evaluation.labels import Features, Labels
from fgait_jax.parallel.hosts import first_message, own_rows
from fgait_jax.parallel.mesh import batch_divisor, make_mesh
from fgait_jax.training.pretrained import Pretrained

EMBEDDINGS = ("prediction", "projection", "pooled", "recognition", "discriminant")
_FIRST_LENGTH = 16  # frames; the shortest length a batch is padded to


def with_embeddings(labels: Labels, embeddings: np.ndarray) -> Features:
  """`labels` with the embeddings of the same walks."""
  return Features(**vars(labels), embeddings=embeddings)


def read_walk(split, row: int, *, max_frames: int, mirror: Iterable[str] = (), stride: int = 1) -> np.ndarray:
  """The first `max_frames` frames of a sequence on the 64-wide canvas, uint8 [t, 64, 64, c], those `stride` apart next
  to each other (`clips.spaced`); mirrored where its view matches one of the patterns of `mirror` ("*-l").
  """
  frames = to_canvas(np.asarray(split.frames(row, np.arange(min(int(split.num_frames[row]), max_frames)))))
  frames = frames[spaced(len(frames), stride=stride)]
  flip = any(fnmatch.fnmatchcase(str(split.views[row]), pattern) for pattern in mirror)
  return mirrored(frames) if flip else frames


def extract(embed: Callable, split, *, max_frames: int, batch_frames: int, mesh: Mesh | None = None,
            embedding: str = "prediction", mirror: Iterable[str] = (), rows: np.ndarray | None = None,
            progress: str = "", normalise: bool = True, stride: int = 1,
            few_shapes: bool = False, between: Callable[[], None] = lambda: None) -> Features:
  """Embeddings of `rows` (default all) of `split`, L2-normalised per part unless told not to, in the order of `rows`.

  `embed(frames uint8 [b, t, 64, 64, c], valid bool [b, t])` returns something whose attribute of the name `embedding`
  is [b, p, d]. `batch_frames` frames are embedded at a time on each device of the `mesh` (default: all devices) over
  which `embed` cuts a batch, in batches of `few_shapes` (`plan_batches`). Frames `stride` apart come next to each other
  (`clips.spaced`). `progress` heads a progress bar; "" shows none. `between` is called before every batch, and may
  raise. The default, the teacher's predictor on the whole walk, is the inference of FoundationGait (A2).

  Of several processes each reads only what its devices embed, and all get the whole result. What one of them cannot
  read is raised by all, after the last batch, as `DataError`: none is left waiting for it.
  """
  rows = np.arange(len(split)) if rows is None else np.asarray(rows)
  if not len(rows):
    raise DataError(f"split {split.name!r} holds no sequences to embed; choose another config.split")
  lengths = np.minimum(np.asarray(split.num_frames)[rows], max_frames)
  result: list[np.ndarray | None] = [None] * len(rows)

  def collect(places: np.ndarray, output) -> None:
    values = np.asarray(getattr(output, embedding), np.float32)[:len(places)]
    norm = np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12) if normalise else 1
    for place, value in zip(places, np.swapaxes(values / norm, 1, 2), strict=True):
      result[place] = value

  mesh = mesh or make_mesh()
  plan = plan_batches(lengths, batch_frames=batch_frames, divisor=batch_divisor(mesh), few_shapes=few_shapes)
  reader = _Reader(split, rows, max_frames=max_frames, mirror=tuple(mirror), stride=stride)

  def load(job: tuple) -> tuple:
    places, length, size = job
    return places, *pad_batch(reader.read(places, own_rows(size, mesh)), length=length, size=size)

  waiting = None  # the device computes one batch while the host reads the next
  with progress_bar(progress, len(rows)) as advance:
    for places, frames, valid in _ahead(load, plan):
      between()
      output = embed(frames, valid)
      if waiting:
        collect(*waiting)
        advance(len(waiting[0]))
      waiting = places, output
    collect(*waiting)
    advance(len(waiting[0]))
  reader.check()
  return with_embeddings(Labels.of(split, rows), np.stack(result))


def extract_by(network: Pretrained, split, *, embedding: str, stride: int = 0, **options) -> Features:
  """`extract` as `network` was taught: by its own stride where `stride` is 0, each part at unit length unless lengths
  were learnt."""
  return extract(network.embed, split, mesh=network.mesh, embedding=embedding, stride=stride or network.stride,
                 normalise=embedding != "recognition", **options)


def plan_batches(lengths: np.ndarray, *, batch_frames: int, divisor: int, few_shapes: bool = False) -> list[tuple]:
  """Batches (places, padded length, rows) over sequences of the given lengths, longest first.

  Lengths are sorted into steps 16, 24, 32, 48, 64, 96, ... and a step is padded to its longest sequence (rounded up to
  4 frames). A step with fewer sequences than one batch joins the next longer one, which costs one batch of padding
  instead of a compilation. `rows` is a multiple of `divisor`.

  With `few_shapes` a step is padded to its own length, and a batch is full or of one sequence for each device: calls
  with other sequences then share programs, at most two a step (21 for sequences of up to 768 frames, at 512
  frames a batch).
  """
  ladder = [_FIRST_LENGTH]
  while ladder[-1] < lengths.max():
    ladder.append(ladder[-1] * 3 // 2 if len(ladder) % 2 else ladder[-2] * 2)
  step = np.searchsorted(ladder, lengths)
  jobs, left = [], np.array([], int)
  last = step.max()
  for number in np.unique(step):
    places = np.concatenate([left, np.flatnonzero(step == number)])
    length = ladder[number] if few_shapes else -(-int(lengths[places].max()) // 4) * 4
    size = max(1, batch_frames // length) * divisor
    if len(places) < size and number != last:
      left = places
      continue
    left = np.array([], int)
    if not few_shapes:
      size = min(size, -(-len(places) // divisor) * divisor)
    elif len(places) <= divisor:
      size = divisor
    jobs.extend((places[i:i + size], length, size) for i in range(0, len(places), size))
  return jobs[::-1]


class _Reader:
  """Reads walks of a batch for `extract`. Of several processes one that cannot read goes on with a blank walk, so that
  no other waits for it; `check` then raises on all."""

  def __init__(self, split, rows: np.ndarray, **options):
    self.split, self.rows, self.options, self.error = split, rows, options, ""
    self.alone = jax.process_count() == 1
    if not self.alone:
      self.blank = self._read(0)[:1] * 0
      self.check()

  def read(self, places: np.ndarray, own: np.ndarray) -> list[np.ndarray | None]:
    """The walks at `places`, None where no row `own` of a batch that begins with them, and repeats the last, holds
    it."""
    walks: list[np.ndarray | None] = [None] * len(places)
    for i in np.unique(np.minimum(own, len(places) - 1)):
      walks[i] = self._read(places[i])
    return walks

  def _read(self, place: int) -> np.ndarray:
    try:
      return read_walk(self.split, self.rows[place], **self.options)
    except Exception as error:
      if self.alone:
        raise
      self.error = self.error or str(error) or repr(error)
      return getattr(self, "blank", np.zeros((1, 64, 64, 1), np.uint8))

  def check(self) -> None:
    """Raises `DataError` where a process could not read something; all must call it together."""
    if error := first_message(self.error):
      raise DataError(f"{self.split.name}: walks cannot be read: {error}")


def pad_batch(walks: list[np.ndarray | None], *, length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
  """`walks` as frames [size, length, 64, 64, c] and valid [size, length]. Missing rows repeat the last walk: a row
  without one valid frame has no embedding. Walks that are None are left blank, for other processes to fill."""
  shape = next(walk.shape[1:] for walk in walks if walk is not None)
  frames = np.zeros((size, length, *shape), np.uint8)
  valid = np.zeros((size, length), bool)
  for i in range(size):
    if (walk := walks[min(i, len(walks) - 1)]) is not None:
      frames[i, :len(walk)], valid[i, :len(walk)] = walk, True
  return frames, valid


@functools.cache
def code() -> str:
  """SHA-256 of the source that makes an embedding of frames and weights: what evaluation stands on, and this folder.

  Not the commit: a change that is not committed counts, and one of tables or protocols does not.
  """
  root = pathlib.Path(fgait_jax.__file__).parent
  parts = ("data", "kernels", "models", "parallel", "training")
  files = sorted(path for part in parts for path in (root / part).rglob("*.py"))
  digest = hashlib.sha256(fgait_jax.__version__.encode())
  for path in (*files, *sorted(pathlib.Path(__file__).parent.glob("*.py"))):
    digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
  return digest.hexdigest()[:16]


def _ahead(load: Callable, jobs: list) -> Iterator:
  """`load` of each job in order, the next one read in a thread meanwhile."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    following = pool.submit(load, jobs[0])
    for job in jobs[1:]:
      ready, following = following, pool.submit(load, job)
      yield ready.result()
    yield following.result()


@contextlib.contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
  """A progress bar of `total` walks as a context that gives `advance(count)`; an empty title shows none. Where nobody
  watches a terminal, one line says what is being done."""
  columns = BarColumn(), MofNCompleteColumn(), TextColumn("walks"), TimeRemainingColumn()
  console = Console()
  if title and not console.is_terminal:
    print(f"{title}: {total:,} walks", flush=True)
  shown = title and console.is_terminal
  with Progress(TextColumn("{task.description}"), *columns, console=console, disable=not shown, transient=True) as bar:
    task = bar.add_task(title, total=total)
    yield lambda count: bar.advance(task, count)
