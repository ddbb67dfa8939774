"""Reads numpy arrays from pickles without running foreign code.

A pickle is a program. This reader lets it name only numpy's array builders (of numpy 1 and 2), and calls functions of
this module in their place: a downloaded file can make an array or is refused; it can do nothing else.
"""

import io
import pickle
import re

import numpy as np

from data_prep.sources.base import Dropped

_ARRAY = "numpy.ndarray"  # pickles only name the class, so its name replaces it
_DTYPE = re.compile(r"[<>|=]?[biufc]\d{1,2}|\?")


def _reconstruct(kind, shape, code) -> np.ndarray:
  if kind != _ARRAY:
    raise pickle.UnpicklingError(f"array of kind {kind!r}")
  return np.empty(0, np.int8)  # the pickle fills in shape, type and data afterwards


def _frombuffer(data, dtype, shape, order, *axes) -> np.ndarray:
  if axes and axes[0] is not None:
    raise pickle.UnpicklingError("array with permuted axes")
  return np.frombuffer(data, dtype).reshape(shape, order=order)


def _dtype(code, *_) -> np.dtype:
  if not isinstance(code, str) or not _DTYPE.fullmatch(code):
    raise pickle.UnpicklingError(f"dtype {code!r}, expected a number type")
  return np.dtype(code, False, True)  # a copy, because the pickle sets its byte order next


def _encode(text, encoding) -> bytes:  # how protocol 2 writes bytes
  return text.encode("latin1")


_BUILDERS = {
  "numpy.dtype": _dtype,
  "_codecs.encode": _encode,
  **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
  **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
}


class ForeignObject(pickle.UnpicklingError):
  """A pickle that names anything but numpy's array builders."""


class _Unpickler(pickle.Unpickler):
  def find_class(self, module: str, name: str):
    if (full := f"{module}.{name}") == _ARRAY:
      return _ARRAY
    if full not in _BUILDERS:
      raise ForeignObject(full)
    builder = _BUILDERS[full]
    return lambda *args: builder(*args)  # a new function each time: a pickle could set attributes on a shared one


def load_array(data: bytes, where: str) -> np.ndarray:
  """The array that pickle `data` holds; raises `Dropped`, naming `where`, for anything else. Runs no foreign code."""
  if not data:
    raise Dropped("empty file", where)
  try:
    array = _Unpickler(io.BytesIO(data)).load()
  except ForeignObject as error:
    raise Dropped("pickle names more than numpy arrays", f"{where}: {error}, refused and not run") from error
  except Exception as error:  # a damaged pickle can fail in any way
    raise Dropped("unreadable pickle", f"{where}: {type(error).__name__}: {error}") from error
  if not isinstance(array, np.ndarray):
    raise Dropped("pickle without an array", f"{where}: holds {type(array).__name__}")
  return array
