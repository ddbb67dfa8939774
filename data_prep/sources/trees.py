"""Raw recordings as one tree of named files, whether they lie in a folder, a zip, a tar, or archives inside a folder.

Nothing is unpacked to disk. Names are relative, with forward slashes; a name that climbs out of its archive is refused.
What a file or a member takes in memory is held against `limits` before it is read; readers raise `Dropped`.
Hidden files are ignored: a part of their name begins with a dot, or is a system folder such as __MACOSX or @eaDir.
"""

import functools
import gzip
import hashlib
import os
import pathlib
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from data_prep.sources import limits
from data_prep.sources.base import Dropped
from data_prep.sources.limits import told
from fgait_jax.errors import DataError

Tree = dict[str, Callable[[], bytes]]  # name of a file -> reader of its bytes
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_SYSTEM = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"}


_CLOCK = 10  # digits of the seconds of a clock, since 1970
_PACKING = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # Python unpacks other kinds whole, however much it is
_TAR_HEADER = 1 << 16  # bytes; of a long name or of a file's attributes


@functools.lru_cache(maxsize=4)
def _zip(path: str) -> zipfile.ZipFile:
  try:
    return zipfile.ZipFile(path)
  except Exception as error:  # a damaged archive can fail in any way
    raise DataError(f"{path}: not a readable zip archive ({told(error)}); download it again") from error


@functools.lru_cache(maxsize=1)
def _tar_bytes(path: str) -> bytes:
  """A compressed tar has no random access: each worker keeps one archive decompressed while it reads its walks."""
  with gzip.open(path) as file:  # `_tar_members` has checked how much it is
    return file.read(limits.current().bytes + 1)


def check_size(size: int, where: str) -> None:
  """Raises `Dropped` for a file or member of more bytes than the limit."""
  if size > (most := limits.current().bytes):
    raise Dropped("larger than --limit-bytes", f"{where}: {size:,} bytes, the limit is {most:,}")


def read_file(path: str | pathlib.Path) -> bytes:
  """The bytes of a file; raises `Dropped` where they are more than the limit."""
  check_size(os.stat(path).st_size, os.fspath(path))
  return pathlib.Path(path).read_bytes()


def _read_zip(path: str, name: str) -> bytes:
  archive = _zip(path)
  info, where = archive.getinfo(name), f"{path}: {told(name)}"
  check_size(info.file_size, where)
  if info.compress_type not in _PACKING:
    raise Dropped("unreadable member of an archive", f"{where}: packed by another method than deflate; unpack the zip")
  if info.flag_bits & 1:
    raise Dropped("unreadable member of an archive", f"{where}: encrypted; unpack it with its password first")
  try:
    with archive.open(info) as member:  # `read` by pieces: in one, it would unpack more than the member declares
      return b"".join(iter(lambda: member.read(1 << 20), b""))
  except MemoryError:
    raise
  except Exception as error:  # a damaged archive can fail in any way
    raise Dropped("unreadable member of an archive", f"{where}: {told(error)}; download the archive again") from error


@functools.cache
def _is_gzip(path: str) -> bool:
  """Decided by content: the names of archives are not reliable."""
  with open(path, "rb") as file:
    return file.read(2) == b"\x1f\x8b"


def _read_tar(path: str, offset: int, size: int) -> bytes:
  check_size(size, f"{path}, at byte {offset}")
  if _is_gzip(path):
    return _tar_bytes(path)[offset : offset + size]
  with open(path, "rb") as file:
    file.seek(offset)
    return file.read(size)


def _zip_members(path: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
  for name in _zip(path).namelist():
    yield name, functools.partial(_read_zip, path, name)


class _Headers:
  """A tar's bytes for `tarfile`, which reads its headers, and what they say is a header, whole: here a short piece at
  most, and never backwards, where a damaged header would lead it round and round."""

  def __init__(self, file):
    self._file = file
    self.tell = file.tell

  def read(self, size: int) -> bytes:
    if not 0 <= size <= _TAR_HEADER:
      raise tarfile.ReadError(f"a header of {size:,} bytes")
    return self._file.read(size)

  def seek(self, place: int) -> None:
    if place < self._file.tell():
      raise tarfile.ReadError(f"a header that leads back to byte {place:,}")
    self._file.seek(place)


def _tar_members(path: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
  places, most = {}, limits.current().bytes
  opened = gzip.open if (packed := _is_gzip(path)) else open
  try:
    with opened(path, "rb") as file, tarfile.open(fileobj=_Headers(file), mode="r:") as archive:
      for info in archive:
        if packed and info.offset_data + info.size > most:
          raise DataError(
            f"{path}: more than {most:,} bytes once unpacked, all of which a compressed tar keeps in memory; unpack it,"
            " or raise --limit-bytes"
          )
        if info.issparse():  # its few bytes may declare any size
          yield info.name, functools.partial(_refuse, path, info.name, "a sparse file")
          continue
        if info.islnk() and info.linkname in places:  # tar's way to store a file that has two names
          places[info.name] = places[info.linkname]
        elif info.isfile():
          places[info.name] = info.offset_data, info.size
        elif info.issym() or info.islnk():
          yield info.name, functools.partial(_refuse, path, info.name, "a symbolic link")
          continue
        else:
          continue
        yield info.name, functools.partial(_read_tar, path, *places[info.name])
      # tarfile takes a damaged header for the end. A true end is a block of zeros; reading on checks gzip's checksum.
      file.seek(archive.offset)
      if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{path}: damaged or cut short at byte {archive.offset}; download it again")
      read = archive.offset
      while piece := file.read(1 << 20):
        if packed and (read := read + len(piece)) > most:
          raise DataError(f"{path}: more than {most:,} bytes once unpacked; unpack it, or raise --limit-bytes")
  except DataError:
    raise
  except Exception as error:  # a damaged archive can fail in any way
    raise DataError(f"{path}: not a readable tar archive ({told(error)}); download it again") from error


def _refuse(path: str, name: str, kind: str) -> bytes:
  raise Dropped("unreadable member of an archive", f"{path}: {told(name)} is {kind}; unpack the archive")


def _is_archive(path: pathlib.Path) -> bool:
  return path.name.lower().endswith(ARCHIVES)


def _archive_members(path: pathlib.Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
  members = _zip_members if path.suffix.lower() == ".zip" else _tar_members
  for name, read in members(str(path)):
    name = name.replace("\\", "/")  # as some zips of Windows separate folders
    parts = pathlib.PurePosixPath(name).parts
    if name.endswith("/"):  # a folder
      continue
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:/", name):
      raise DataError(f"{path}: member {told(name)} climbs out of the archive; this archive is not to be trusted")
    yield "/".join(parts), read


def files_below(path: pathlib.Path) -> list[pathlib.Path]:
  """Every file below the folder `path`, also behind links to folders, in sorted order; hidden ones are left out.

  Raises `DataError` for a folder that cannot be listed and a link that leads nowhere.
  """
  def refuse(error: OSError):
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror})") from error

  found = []
  for folder, folders, names in os.walk(path, followlinks=True, onerror=refuse):
    real = pathlib.Path(os.path.realpath(folder))
    up = pathlib.Path(os.path.realpath(os.path.dirname(folder)))
    if folder != os.fspath(path) and (real == up or real in up.parents):
      folders.clear()  # a link back to a folder above
      continue
    folders[:] = [name for name in folders if not _is_hidden(name)]
    for file in (pathlib.Path(folder, name) for name in names if not _is_hidden(name)):
      if not file.is_file():
        if file.is_symlink():
          raise DataError(f"{file} is a link that leads nowhere; repair or remove it")
        continue
      found.append(file)
  return sorted(found)


def _is_hidden(name: str) -> bool:
  return any(part.startswith(".") or part in _SYSTEM for part in name.split("/"))


def natural(name: str) -> list[str | tuple]:
  """A key by which "2.png" comes before "10.png"; names padded with zeros keep their order. Seconds of a clock, ten
  digits, are followed by their fraction, with a point or without: "1700000000.16.png" comes before "1700000000.2.png".
  """
  parts = re.split("([0-9]+)", name)
  key: list[str | tuple] = []
  for place, part in enumerate(parts):
    if place % 2 == 0:
      key.append(part)
    elif place > 1 and parts[place - 1] == "." and len(parts[place - 2]) == _CLOCK:
      key.append((0, part))
    else:
      digits = part.lstrip("0")
      key.append((min(len(digits), _CLOCK), digits[:_CLOCK], digits[_CLOCK:]))
  return key


def packed(tree: Tree) -> str:
  """A hint where the files of `tree` are archives themselves: "" where they are not."""
  inner = next((name for name in tree if _is_archive(pathlib.Path(name))), "")
  return f"; {told(inner)} is an archive in an archive: unpack the outermost" if inner else ""


def open_tree(path: str | pathlib.Path) -> Tree:
  """Every file below `path` (a folder or an archive), name -> reader of its bytes, in sorted order.

  The members of an archive appear in the folder that holds it: `raw/001.tar.gz` with member `001/nm-01/...` gives
  `001/nm-01/...`. Readers pickle, so that worker processes can call them. Raises `DataError` for two files of the same
  name and for archives that cannot be read.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise DataError(f"{path}: no such folder or archive; --raw must name the downloaded recordings")
  found: Tree = {}
  origin: dict[str, pathlib.Path] = {}
  for file in [path] if path.is_file() else files_below(path):
    if _is_archive(file):
      folder = "" if path.is_file() else file.parent.relative_to(path).as_posix()
      members = ((name if folder in ("", ".") else f"{folder}/{name}", read) for name, read in _archive_members(file))
    elif path.is_file():
      raise DataError(f"{path}: neither a folder nor one of {', '.join(ARCHIVES)}")
    else:
      members = [(file.relative_to(path).as_posix(), functools.partial(read_file, str(file)))]
    for name, read in members:
      if _is_hidden(name):
        continue
      if name in found:
        raise DataError(f"{name} is found twice, in {origin[name]} and in {file}; remove one")
      found[name], origin[name] = read, file
  return dict(sorted(found.items()))


def dates(path: str | pathlib.Path) -> str:
  """Changes whenever a file below `path` is written again, be its size the same."""
  path = pathlib.Path(path)
  files = [path] if path.is_file() else files_below(path)
  lines = (f"{file.relative_to(path).as_posix()} {file.stat().st_mtime_ns}" for file in files)
  return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def fingerprint(path: str | pathlib.Path, *choices: str) -> str:
  """Changes with any file's name or size below `path`, and with `choices`; not with dates or the folder's place."""
  path = pathlib.Path(path)
  files = [path] if path.is_file() else files_below(path)
  lines = [*choices, *(f"{file.relative_to(path).as_posix()} {file.stat().st_size}" for file in files)]
  return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
