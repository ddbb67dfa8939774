"""Errors that a user can correct. Each says what was found, what was expected, and which file or key to change.

The programs print these as one message and exit 1; anything else is a bug and keeps its traceback.
"""

from collections.abc import Iterable


class FgaitError(Exception):
  """Base of all errors whose message tells the user what to do."""


class ConfigError(FgaitError):
  """A configuration key or value that cannot work; names the key."""


class DataError(FgaitError):
  """A file, sequence or data set that cannot be used; names the path or key."""


class CheckpointError(FgaitError):
  """A checkpoint that is missing, incomplete or of another model; names the folder."""


class DamagedCheckpoint(CheckpointError):
  """A checkpoint whose files are not what was written; names the file."""


class RunError(FgaitError):
  """A run's folder that is in use or cannot be written; names the folder or file."""


class ReaderHangs(DataError):
  """The data came no more; what reads them cannot be ended."""


class BadBatch(FgaitError):
  """Training met a loss that is not a number, or far above those before; names the step and the sequences."""


def first_line(error: Exception) -> str:
  """What another library's error says, in one line; some say much, and some nothing at all."""
  return (str(error).strip() or repr(error)).splitlines()[0]


def require(needs: Iterable[tuple[bool, str]]) -> None:
  """Raises `ConfigError` with the message of the first of `needs`, (whether it holds, message), that does not hold."""
  for holds, message in needs:
    if not holds:
      raise ConfigError(message)
