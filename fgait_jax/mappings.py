"""Mappings by name: of records, and of entries in a configuration, from the short form that the command line takes."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from ml_collections import ConfigDict

Named = TypeVar("Named")


def by_name(records: Iterable[Named]) -> dict[str, Named]:
  """`records` by their attribute `name`; raises `ValueError` where two have the same one."""
  found: dict[str, Named] = {}
  for record in records:
    if record.name in found:
      raise ValueError(f"two records are called {record.name}: {found[record.name]!r:.200} and {record!r:.200}")
    found[record.name] = record
  return found


def entries(text: str, new: Callable[[str], ConfigDict], fields: tuple[str, ...]) -> ConfigDict:
  """Parses "name:field:field,..." to a mapping: each name gets the entry `new(name)` with the given `fields` set; an
  empty field keeps its default. Raises `ValueError` saying what is wrong."""
  form = "name" + "".join(f"[:{field}" for field in fields) + "]" * len(fields)
  mapping = ConfigDict()
  for item in text.split(",") if text.strip() else ():
    name, *values = (part.strip() for part in item.split(":", len(fields)))
    if not name.isidentifier():
      raise ValueError(f"{item!r}: {name!r} is not a name of letters, digits and _; the form is {form},...")
    if name in mapping:
      raise ValueError(f"{text!r} names {name} twice")
    mapping[name] = new(name)
    for field, value in zip(fields, values, strict=False):
      kind = type(mapping[name][field])
      try:
        mapping[name][field] = kind(value) if value else mapping[name][field]
      except ValueError:
        raise ValueError(f"{item!r}: {field} {value!r} is not a number ({kind.__name__}); the form is {form},..."
                         ) from None
  return mapping.lock()
