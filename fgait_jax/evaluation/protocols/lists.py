"""Official lists of probe or gallery sequences, as data: `lists.json` holds label -> "type-view type-view ..."."""

import functools
import importlib.resources
import json


@functools.cache
def load(name: str) -> tuple[str, ...]:
  """The `label-type-view` keys of list `name`, e.g. "gait3d"."""
  text = importlib.resources.files(__package__).joinpath("lists.json").read_text()
  return tuple(f"{label}-{rest}" for label, row in json.loads(text)[name].items() for rest in row.split())
