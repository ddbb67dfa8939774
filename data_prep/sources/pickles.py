"""Reads a numpy array from a pickle without running the pickle.

A pickle is a program. Python's machine for it and numpy's builders trust it: a short one can call any function, write
beyond an array's memory, or ask for more memory than there is. So the machine here is our own. It knows the
instructions by which numpy (1 and 2, protocols 2 to 5) writes one array of numbers, and checks the types of values; the
array is made at the end, from bytes that are in the file. Everything else is refused by name.
"""

import dataclasses
import math
import pickletools
import re
from collections.abc import Callable

import numpy as np

from data_prep.sources.base import Dropped
from data_prep.sources.limits import told

INSTRUCTIONS = 1000  # an array takes about forty
_DTYPE = re.compile(r"[<>|=]?[biufc]\d{1,2}|\?")
_RAW = bytes | bytearray
_MARK = object()
_CONTAINERS = {"LIST": "a list", "DICT": "a dict", "SET": "a set", "FROZENSET": "a set"}


class _Refused(Exception):
  """What is wrong with a pickle."""


class _Foreign(_Refused):
  """A pickle that names anything but numpy's array builders."""


class _Contains(_Refused):
  """A pickle of something else than an array."""


@dataclasses.dataclass(frozen=True)
class _Name:
  """One of the functions and classes that a pickle may name; it stands for itself and is never looked up."""

  name: str


class _Dtype:
  """A dtype in the making: its `code`, and the byte order that the pickle sets next."""

  def __init__(self, code):
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
      raise _Refused(f"dtype {_shown(code)}, expected a number type")
    self._code, self._order = code, ""

  def set_state(self, state) -> None:
    # (version, byte order, subdtype, names, fields, itemsize, alignment, flags)
    if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(
      part is not None for part in state[2:5]
    ):
      raise _Refused("a dtype that is not that of plain numbers")
    self._order = "" if state[1] == "|" else state[1]

  def made(self) -> np.dtype:
    made = np.dtype(self._code)
    return made.newbyteorder(self._order) if self._order else made


class _Array:
  """An array in the making; the pickle sets shape, dtype, order and data in one tuple."""

  def __init__(self, data=None, dtype=None, shape=None, order=None):
    self._parts = data, dtype, shape, order

  def set_state(self, state) -> None:
    if not isinstance(state, tuple) or len(state) != 5:
      raise _Refused("an array without version, shape, dtype, order and data")
    _, shape, dtype, fortran, data = state
    self._parts = data, dtype, shape, "F" if fortran is True or fortran == 1 else "C"

  def made(self) -> np.ndarray:
    data, dtype, shape, order = self._parts
    whole = isinstance(shape, tuple) and all(type(length) is int and 0 <= length < 1 << 63 for length in shape)
    if not isinstance(data, _RAW) or not isinstance(dtype, _Dtype) or not whole or order not in ("C", "F"):
      kinds = ", ".join(type(part).__name__ for part in (data, dtype, shape))
      raise _Refused(f"an array whose data, dtype and shape are {kinds}")
    dtype = dtype.made()
    if math.prod(shape) * dtype.itemsize != len(data):
      raise _Refused(f"an array of shape {told(shape)} and type {dtype} in {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _reconstruct(kind, shape, code) -> _Array:
  if kind != _Name("numpy.ndarray"):
    raise _Refused(f"array of kind {_shown(kind)}")
  return _Array()


def _frombuffer(data, dtype, shape, order, *axes) -> _Array:
  if axes and axes[0] is not None:
    raise _Refused("array with permuted axes")
  return _Array(data, dtype, shape, order)


def _encode(text, encoding) -> bytes:  # how protocol 2 writes bytes
  if not isinstance(text, str):
    raise _Refused(f"bytes from {_shown(text)}")
  return text.encode("latin1")


_BUILDERS: dict[str, Callable | None] = {
  "numpy.ndarray": None,  # named as a kind, never called
  "numpy.dtype": lambda code, *_: _Dtype(code),
  "_codecs.encode": _encode,
  "__builtin__.bytes": lambda: b"",  # how protocol 2 writes none
  **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
  **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
}


def _shown(value) -> str:
  """A value in a message. Only texts are repeated: the repr of nested tuples grows beyond all bounds."""
  return repr(value[:20]) if isinstance(value, str) else type(value).__name__


class _Machine:
  """Executes a pickle's instructions; `run` returns what lies on the stack at the end."""

  def __init__(self):
    self._stack, self._memo = [], {}

  def run(self, data: bytes):
    for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
      if count >= INSTRUCTIONS:
        raise _Refused(f"more than {INSTRUCTIONS} instructions, an array takes about forty")
      if instruction.name == "STOP":
        break
      self._execute(instruction.name, argument)
    return self._pop()

  def _pop(self):
    if not self._stack:
      raise _Refused("an instruction without what it works on")
    return self._stack.pop()

  def _pop_to_mark(self) -> tuple:
    values = []
    while (value := self._pop()) is not _MARK:
      values.append(value)
    return tuple(reversed(values))

  def _push_name(self, name: str) -> None:
    if name not in _BUILDERS:
      raise _Foreign(f"{told(name)}, refused and not run")
    self._stack.append(_Name(name))

  def _execute(self, name: str, argument) -> None:
    stack = self._stack
    match name:
      case "PROTO" | "FRAME":
        pass
      case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4":
        stack.append(argument)
      case "UNICODE" | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
        stack.append(argument)
      case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
        stack.append(argument)
      case "NONE" | "NEWTRUE" | "NEWFALSE":
        stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
      case "MARK":
        stack.append(_MARK)
      case "EMPTY_TUPLE":
        stack.append(())
      case "TUPLE":
        stack.append(self._pop_to_mark())
      case "TUPLE1" | "TUPLE2" | "TUPLE3":
        stack.append(tuple(reversed([self._pop() for _ in range(int(name[-1]))])))
      case "MEMOIZE":
        self._memo[len(self._memo)] = self._top()
      case "PUT" | "BINPUT" | "LONG_BINPUT":
        self._memo[argument] = self._top()
      case "GET" | "BINGET" | "LONG_BINGET":
        if argument not in self._memo:
          raise _Refused("a value that was not stored")
        stack.append(self._memo[argument])
      case "GLOBAL":
        self._push_name(argument.replace(" ", ".", 1))
      case "STACK_GLOBAL":
        attribute, module = self._pop(), self._pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
          raise _Refused("a name that is no text")
        self._push_name(f"{module}.{attribute}")
      case "REDUCE":
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple) or not _BUILDERS[function.name]:
          raise _Refused("a call of something else than an array builder")
        stack.append(_BUILDERS[function.name](*arguments))
      case "BUILD":
        state, target = self._pop(), self._top()
        if not isinstance(target, (_Array, _Dtype)):
          raise _Refused(f"a state for {_shown(target)}")
        target.set_state(state)
      case _:
        kind = next((words for part, words in _CONTAINERS.items() if name.endswith(part)), f"more ({name})")
        raise _Contains(f"holds {kind}, expected one numpy array")

  def _top(self):
    value = self._pop()
    self._stack.append(value)
    return value


def load_array(data: bytes, where: str) -> np.ndarray:
  """The array that pickle `data` holds; raises `Dropped`, naming `where`, for anything else. Runs no foreign code, and
  takes no more time and memory than a small multiple of `data`."""
  if not data:
    raise Dropped("empty file", where)
  try:
    found = _Machine().run(data)
    if not isinstance(found, _Array):
      raise _Contains(f"holds {type(found).__name__.strip('_')}")
    return found.made()
  except _Foreign as error:
    raise Dropped("pickle names more than numpy arrays", f"{where}: {error}") from error
  except _Contains as error:
    raise Dropped("pickle without an array", f"{where}: {error}") from error
  except MemoryError:
    raise
  except Exception as error:  # a damaged pickle can fail in any way
    raise Dropped("unreadable pickle", f"{where}: {type(error).__name__.strip('_')}: {told(error)}") from error
