"""Values as JSON holds them, and dataclasses to and from them: protocols answer in such values, results are files of
them."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping

import numpy as np

REST = {"rest": True}  # metadata of the one field, a dict, that stands for all further keys of its object


def plain(value):
  """`value` with dataclasses as dicts (see `encoded`), arrays and tuples as lists, NumPy's numbers as Python's, and
  numbers that are not finite as None."""
  if dataclasses.is_dataclass(value):
    return encoded(value)
  if isinstance(value, Mapping):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, np.ndarray):
    return plain(value.tolist())
  if isinstance(value, (list, tuple)):
    return [plain(v) for v in value]
  if isinstance(value, np.generic):
    return plain(value.item())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def number(value) -> float | None:
  """A value of JSON as a float, None unless it is a finite number; JSON's whole numbers may be too large for one."""
  try:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
  except OverflowError:
    return None
  return float(value) if usable else None


def encoded(record) -> dict:
  """A dataclass as a plain dict: `REST` spread among its keys, optional fields that are empty left out."""
  found = {}
  for field in dataclasses.fields(record):
    value = plain(getattr(record, field.name))
    if field.metadata.get("rest"):
      found |= value
    elif value not in (None, {}, []) or _required(field):
      found[field.name] = value
  return found


def decoded(kind, value, where: str):
  """Plain `value` as what the type `kind` says: a dataclass, list, dict, `X | None`, or a number, text or bool.

  Raises `ValueError` that begins with the place, such as `rows[0].figures.NM`, and says what was expected there.
  """
  if kind is typing.Any:
    return value
  if dataclasses.is_dataclass(kind):
    return _record(kind, value, where)
  outer, inner = typing.get_origin(kind), typing.get_args(kind)
  if outer is types.UnionType:
    return None if value is None else decoded(inner[0], value, where)
  if outer is list and isinstance(value, list):
    return [decoded(inner[0], item, f"{where}[{n}]") for n, item in enumerate(value)]
  if outer is dict and isinstance(value, dict):
    return {key: decoded(inner[1], item, f"{where}.{key}") for key, item in value.items()}
  accepted = {float: (float, int)}.get(kind, kind) if outer is None else ()
  if isinstance(value, accepted) and (kind is bool or not isinstance(value, bool)):
    if kind is float and isinstance(value, int) and number(value) is None:
      raise ValueError(f"{where}: {_shown(value)} is too large for a float")
    return value
  raise ValueError(f"{where}: expected {getattr(outer or kind, '__name__', kind)}, found {_shown(value)}")


def _record(kind, value, where: str):
  if not isinstance(value, dict):
    raise ValueError(f"{where}: expected an object, found {_shown(value)}")
  fields, hints = {f.name: f for f in dataclasses.fields(kind)}, _hints(kind)
  rest = next((name for name, field in fields.items() if field.metadata.get("rest")), None)
  missing = [name for name, field in fields.items() if name not in value and name != rest and _required(field)]
  unknown = [] if rest else sorted(value.keys() - fields.keys())
  if missing or unknown:
    raise ValueError(f"{where}: {f'no {missing[0]!r}' if missing else f'unknown key {unknown[0]!r}'}")
  found = {name: decoded(hints[name], value[name], f"{where}.{name}") for name in fields.keys() & value.keys() - {rest}}
  if rest:
    found[rest] = {key: item for key, item in value.items() if key not in fields or key == rest}
  try:
    return kind(**found)
  except ValueError as error:  # of a dataclass that looks at its own values
    raise ValueError(f"{where}: {error}") from error


@functools.cache
def _hints(kind) -> dict:
  return typing.get_type_hints(kind)


def _required(field: dataclasses.Field) -> bool:
  return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _shown(value) -> str:
  return f"{value!r}"[:60]
