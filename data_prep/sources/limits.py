"""What one file of recordings may cost: limits that are held against what a file declares, before it is decoded.

A file of a few bytes can declare, or unpack to, more than any machine holds. The program `data_prep.build` sets the
limits by --limit-bytes and --limit-pixels; they hold for everything that is read inside `using`.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

TOLD = 200  # characters of a stranger's text that a message repeats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """`bytes` are those of a file, of an archive's member once unpacked, and of all that a compressed tar holds. `pixels`
  are those of an image, or of a frame of a video."""

  bytes: int = 1 << 29  # 131,072 silhouettes of 64 x 64 pixels: 87 minutes at 25 frames a second
  pixels: int = 1 << 26  # twice a frame of an 8K video


DEFAULT = Limits()
_limits = contextvars.ContextVar("limits", default=DEFAULT)


def current() -> Limits:
  """The limits that hold now."""
  return _limits.get()


@contextlib.contextmanager
def using(limits: Limits) -> Iterator[None]:
  """`limits` hold inside."""
  token = _limits.set(limits)
  try:
    yield
  finally:
    _limits.reset(token)


def told(text: object) -> str:
  """The beginning of a stranger's text, as it can be printed."""
  text = str(text)
  shown = repr(text[:TOLD])[1:-1]
  return shown if len(text) <= TOLD else f"{shown}..."
