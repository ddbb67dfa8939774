"""Reads .npz files of plain arrays that may come from anywhere: no Python objects, and no more memory than is there.

NumPy makes an array of the size that a member declares before it reads any of it: 700 bytes may declare terabytes. Here
a member must declare what it holds, and what is packed must not be more than deflate can pack, nor all of it together
than `PACKED`.
"""

import math
import os
import zipfile
from collections.abc import Sequence

import numpy as np

from fgait_jax.errors import DataError

PACKED = 1 << 32  # bytes of all compressed members that are read; those stored as they are cannot exceed their file
_RATIO = 1032  # of deflate, at most


class Unreadable(DataError):
  """A file that is no .npz of plain arrays, or a damaged one."""


def read(path: str | os.PathLike, names: Sequence[str] | None = None) -> dict[str, np.ndarray | None]:
  """The arrays of an .npz file, or of it those called `names`; None stands for an array of Python objects, which are
  pickles and never loaded. Raises `Unreadable`, naming the file, where it is not whole or lacks one of `names`."""
  with _opened(path) as file:
    wanted = _names_in(file) if names is None else list(names)
    if missing := [name for name in wanted if f"{name}.npy" not in file.namelist()]:
      raise Unreadable(f"{path}: not a readable .npz of plain arrays (it has no {', '.join(missing)})")
    members = [file.getinfo(f"{name}.npy") for name in wanted]
    packed = sum(info.file_size for info in members if info.compress_type != zipfile.ZIP_STORED)
    if packed > PACKED:
      raise Unreadable(f"{path}: its arrays unpack to {packed:,} bytes, at most {PACKED:,} are read; save them with"
                       " numpy.savez, which packs nothing")
    try:
      return {name: _array(file, name) for name in wanted}
    except MemoryError as error:
      raise Unreadable(f"{path}: its arrays do not fit into memory") from error
    except Exception as error:  # a damaged file can fail in any way
      raise Unreadable(f"{path}: not a readable .npz of plain arrays ({f'{error}'[:300]})") from error


def names(path: str | os.PathLike) -> list[str]:
  """The names of a file's arrays, which are not read."""
  with _opened(path) as file:
    return _names_in(file)


def _names_in(file: zipfile.ZipFile) -> list[str]:
  return [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]


def _opened(path: str | os.PathLike) -> zipfile.ZipFile:
  try:
    return zipfile.ZipFile(path)
  except Exception as error:  # a damaged file can fail in any way
    raise Unreadable(f"{path}: not a readable .npz of plain arrays ({error}; numpy.savez writes one)") from error


def _array(file: zipfile.ZipFile, name: str) -> np.ndarray | None:
  info = file.getinfo(f"{name}.npy")
  if info.flag_bits & 1:
    raise ValueError(f"{name} is encrypted")
  if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise ValueError(f"{name} is packed by another method than numpy's")
  packed = info.compress_type == zipfile.ZIP_DEFLATED
  if info.file_size > (_RATIO * info.compress_size + _RATIO if packed else info.compress_size):
    raise ValueError(f"{name} declares {info.file_size:,} bytes, packed into {info.compress_size:,}")
  with file.open(info) as member:
    shape, dtype = _header(member, name)
    declared, held = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if dtype.hasobject:
      return None
    if declared != held or (not dtype.itemsize and math.prod(shape)):
      raise ValueError(f"{name} declares an array of {list(shape)} {dtype}, {declared:,} bytes, and holds {held:,}")
  with file.open(info) as member:
    return np.lib.format.read_array(member, allow_pickle=False)


def _header(member, name: str) -> tuple[tuple[int, ...], np.dtype]:
  readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
  if (version := np.lib.format.read_magic(member)) not in readers:
    raise ValueError(f"{name} is an .npy of version {version}, which plain arrays do not need")
  try:
    shape, _, dtype = readers[version](member)
  except (MemoryError, RecursionError) as error:  # NumPy parses it as Python, which may be of any depth
    raise ValueError(f"{name} has a damaged header") from error
  if any(length < 0 for length in shape):
    raise ValueError(f"{name} declares the shape {list(shape)}")
  return shape, dtype
