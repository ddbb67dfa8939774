"""Raw recordings as one tree of named files, whether they lie in a folder, a zip, a tar, or archives inside a folder.

Nothing is unpacked to disk. Names are relative, with forward slashes; a name that climbs out of its archive is refused.
"""

import functools
import gzip
import hashlib
import pathlib
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from fgait_jax.errors import DataError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@functools.lru_cache(maxsize=4)
def _zip(path: str) -> zipfile.ZipFile:
  try:
    return zipfile.ZipFile(path)
  except (zipfile.BadZipFile, OSError) as error:
    raise DataError(f"{path}: not a readable zip archive ({error}); download it again") from error


@functools.lru_cache(maxsize=1)
def _tar_bytes(path: str) -> bytes:
  """A compressed tar has no random access: it is held decompressed while its walks are read, one archive a worker."""
  return gzip.decompress(pathlib.Path(path).read_bytes())


def _read_file(path: str) -> bytes:
  return pathlib.Path(path).read_bytes()


def _read_zip(path: str, name: str) -> bytes:
  try:
    return _zip(path).read(name)
  except RuntimeError as error:  # what zipfile raises where a password is needed
    raise DataError(f"{path}: {name} cannot be read ({error}); unpack with the data set's password first") from error


def _read_tar(path: str, offset: int, size: int) -> bytes:
  if path.endswith("gz"):
    return _tar_bytes(path)[offset : offset + size]
  with open(path, "rb") as file:
    file.seek(offset)
    return file.read(size)


def _zip_members(path: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
  for info in _zip(path).infolist():
    if not info.is_dir():
      yield info.filename, functools.partial(_read_zip, path, info.filename)


def _tar_members(path: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
  try:
    with tarfile.open(path) as archive:
      for info in archive:
        if info.isfile():
          yield info.name, functools.partial(_read_tar, path, info.offset_data, info.size)
  except (tarfile.TarError, EOFError, OSError) as error:
    raise DataError(f"{path}: not a readable tar archive ({error}); download it again") from error


def _is_archive(path: pathlib.Path) -> bool:
  return path.name.lower().endswith(ARCHIVES)


def _archive_members(path: pathlib.Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
  members = _zip_members if path.suffix.lower() == ".zip" else _tar_members
  for name, read in members(str(path)):
    parts = pathlib.PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name:
      raise DataError(f"{path}: member {name!r} climbs out of the archive; this archive is not to be trusted")
    yield "/".join(parts), read


def open_tree(path: str | pathlib.Path) -> dict[str, Callable[[], bytes]]:
  """Every file below `path` (a folder or an archive), name -> reader of its bytes, in sorted order.

  An archive inside a folder stands for the folder that holds it: `raw/001.tar.gz` with member `001/nm-01/...` gives
  `001/nm-01/...`. Readers pickle, so that worker processes can call them. Two files of one name are an error.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise DataError(f"{path}: no such folder or archive; --raw must name the downloaded recordings")
  found: dict[str, Callable[[], bytes]] = {}
  origin: dict[str, pathlib.Path] = {}
  files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
  for file in files:
    if _is_archive(file):
      folder = "" if path.is_file() else file.parent.relative_to(path).as_posix()
      members = ((name if folder in ("", ".") else f"{folder}/{name}", read) for name, read in _archive_members(file))
    elif path.is_file():
      raise DataError(f"{path}: neither a folder nor one of {', '.join(ARCHIVES)}")
    else:
      members = [(file.relative_to(path).as_posix(), functools.partial(_read_file, str(file)))]
    for name, read in members:
      if name in found:
        raise DataError(f"{name} is found twice, in {origin[name]} and in {file}; remove one")
      found[name], origin[name] = read, file
  return dict(sorted(found.items()))


def fingerprint(path: str | pathlib.Path, *choices: str) -> str:
  """Changes with any file's name or size below `path`, and with `choices`; not with dates or the folder's place."""
  path = pathlib.Path(path)
  files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
  lines = [*choices, *(f"{file.relative_to(path).as_posix()} {file.stat().st_size}" for file in files)]
  return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
