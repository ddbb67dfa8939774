"""Folders that runs write into: one run at a time, and files and folders that are whole or not there.

What cannot be written is a `RunError` that names the file, not a traceback.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import socket
import sys
from collections.abc import Callable

from fgait_jax.errors import RunError
from fgait_jax.parallel import hosts

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextlib.contextmanager
def locked(folder: pathlib.Path, name: str = LOCK):
  """Keeps other runs out of `folder`, by its file `name`, while inside; all processes of a run enter together.

  The lock is the operating system's and ends with its process, however that ends. Raises `RunError` where another run
  has it. A file system without locks is said, and used without.
  """
  with contextlib.ExitStack() as held:

    def take() -> None:
      folder.mkdir(parents=True, exist_ok=True)
      _take(held.enter_context((folder / name).open("a+")), folder)

    by_first(folder / name, take)
    yield


def _take(file, folder: pathlib.Path) -> None:
  """Locks the open `file` of `folder`; raises `RunError` where another run has it."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.seek(0)
    raise RunError(f"{folder} is being written by another run ({file.read(200).strip() or 'unknown'}); wait for it or"
                   " stop it, or give another --workdir (of run_eval.py: --out)") from None
  except OSError as error:
    if error.errno not in _NO_LOCKS:
      raise
    print(f"note: {folder} lies on a file system without locks: nothing keeps a second run out of it", file=sys.stderr)
    return
  file.truncate(0)
  file.write(f"process {os.getpid()} on {socket.gethostname()}")
  file.flush()


@contextlib.contextmanager
def noted(path: pathlib.Path):
  """Makes an `OSError` of what is written inside a `RunError` that names `path`."""
  try:
    yield
  except OSError as error:
    raise RunError(f"cannot write {path}: {error.strerror or error}. Free some space or mend the file system; the same"
                   " command then goes on from the newest checkpoint, or from the embeddings that are kept") from error


def by_first(path: pathlib.Path, write: Callable[[], object]) -> None:
  """Calls `write` on the first process of a run, `noted` with `path`; returns when it is done. All processes call it
  together, and where it raises a `RunError` all raise it: none may wait for one that has ended."""
  def first() -> None:
    if hosts.is_first():
      with noted(path):
        write()

  hosts.together(first, kind=RunError)


@contextlib.contextmanager
def whole(path: pathlib.Path):
  """Gives a path beside `path`, of the same ending, and moves there what was written to it, so that a crash leaves the
  old file or the new one. Makes the folder. Raises `RunError` where it cannot be written, and leaves nothing."""
  half = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
  with noted(path):
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      yield half
      half.replace(path)
    finally:
      with contextlib.suppress(OSError):  # of a folder that is none; the first error says more
        half.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
  """`whole`, of text."""
  with whole(path) as half:
    half.write_text(text, encoding="utf-8")


def put(new: pathlib.Path, place: pathlib.Path) -> None:
  """Moves a folder that is whole to its `place`; what was there is removed only then, from beside `new`."""
  old = new.with_name("replaced")
  shutil.rmtree(old, ignore_errors=True)
  if place.exists():
    place.rename(old)
  new.rename(place)
  shutil.rmtree(old, ignore_errors=True)
