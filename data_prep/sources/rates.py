"""Frame rates of own recordings: walks recorded at high rates are brought to the rate of the public data sets.

To a network trained at 25 frames a second, a walk at 120 looks like that of another, slower person. Frames are picked,
never interpolated: a recording at a low rate is stored as it is, with a warning.
"""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from data_prep.sources.base import Dropped, Reading, Walk
from data_prep.sources.limits import told
from fgait_jax.errors import DataError

FACTS = "video.json"  # beside masks: facts about their video, written by data_prep.video
HIGHEST = 10_000.0  # frames a second of any recording
RATE = 25.0  # frames a second, to which faster recordings are brought
USUAL = (20.0, 32.0)  # frames a second that are left as they are; public data sets have 25 to 30


def read_facts(read: Callable[[], bytes], where: str) -> float:
  """The rate in a FACTS file, frames a second, 0 if unknown; raises `DataError` naming `where`."""
  try:
    if 0 <= (rate := float(json.loads(read())["frame_rate"])) <= HIGHEST:
      return rate
    raise ValueError(f"{rate:g} frames a second")
  except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError, Dropped) as error:
    message = f"{where}: not as data_prep.video writes it ({told(repr(error))}); remove it or make the masks again"
    raise DataError(message) from error


def picked(count: int, rate: float) -> np.ndarray:
  """Numbers, int [n], of those of `count` frames at `rate` that give `RATE` frames a second; all where `rate` is
  unknown (0) or not above USUAL."""
  if rate <= USUAL[1]:
    return np.arange(count)
  return np.unique(np.round(np.arange(0, count, rate / RATE)).astype(int).clip(0, count - 1))


def at_usual_rate(walk: Walk, rate: float) -> Walk:
  """`walk`, recorded at `rate` frames a second (0: unknown), with the frames that `picked` takes."""
  read = functools.partial(_read, walk.read, rate) if rate > USUAL[1] else walk.read
  return dataclasses.replace(walk, rate=rate, read=read)


def _read(read: Callable[[], np.ndarray | Reading], rate: float) -> Reading:
  reading = read()
  return thinned(reading if isinstance(reading, Reading) else Reading(np.asarray(reading)), rate)


def thinned(reading: Reading, rate: float) -> Reading:
  """What `picked` takes of the recording of a walk at `rate`, and what is told of these frames: of a frame that was
  refused the nearest one in its place, if that is nearer to it than to any other."""
  numbers = np.asarray(reading.numbers if len(reading.numbers) else range(len(reading.frames)))
  wanted = picked(int(numbers[-1]) + 1, rate)
  nearest = np.abs(wanted[:, None] - numbers).argmin(axis=1)
  chosen = np.unique(nearest[2 * np.abs(numbers[nearest] - wanted) < max(rate / RATE, 1)])
  place = {int(before): now for now, before in enumerate(chosen)}
  altered = {change: {place[n]: name for n, name in names.items() if n in place}
             for change, names in reading.altered.items()}
  altered = {change: names for change, names in altered.items() if names}
  return dataclasses.replace(reading, frames=reading.frames[chosen], altered=altered, numbers=numbers[chosen].tolist())


def summary(walks: Sequence[Walk]) -> dict[str, int]:
  """Recorded rate, as text -> number of walks; walks of unknown rate are left out."""
  return {f"{rate:g}": count for rate, count in sorted(Counter(walk.rate for walk in walks if walk.rate).items())}


def seems(rate: float) -> str:
  """How a walk stored at `rate` looks to who knows the usual ones; "" where it is no slower, or unknown (0)."""
  if not 0 < rate < USUAL[0]:
    return ""
  return f"public data sets have {RATE:g} to 30, the same walk seems {RATE / rate:.1f} times as fast"


def warnings(walks: Sequence[Walk]) -> list[str]:
  """Warnings about walks at unusual rates, one line per rate."""
  lines = []
  for rate, count in sorted(Counter(walk.rate for walk in walks if walk.rate).items()):
    example = next(walk.key for walk in walks if walk.rate == rate)
    if rate > USUAL[1]:
      lines.append(f"{count} walks recorded at {rate:g} frames a second are stored at {RATE:g}, such as {example}")
    elif slow := seems(rate):
      lines.append(
        f"{count} walks recorded at {rate:g} frames a second are stored as they are, such as {example}: {slow}")
  return lines
