"""The command line of the programs: a configuration file, and single keys of it set by --config.KEY=VALUE."""

import difflib
import itertools
import json
import os
import re
import sys

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from fgait_jax import defaults
from fgait_jax.config_files import load
from fgait_jax.errors import ConfigError, FgaitError
from fgait_jax.training.configuration import flat

# Mappings of named entries, and what makes one from the short form that the command line may give in its place.
MAPPINGS = {
  "data.sets": defaults.data_sets, "discriminant.sets": defaults.discriminant_sets, "evals": defaults.evals,
}
EMPTY = {"step_at": int, "severities": int}  # elements of lists that are empty by default; of others they are text


def parse_flags(argv: list[str]) -> list[str]:
  """`flags_parser` of `absl.app.run`: refuses unknown keys, wrong values and stray words in one line, and ends with
  status 1. A value's leading ~ is the user's folder: no shell expands it after "--out=". --config.data.sets=... and
  the other `MAPPINGS` may be given in short form, which replaces the mapping before single fields are set."""
  try:
    words, short = _short_forms([_expanded(word) for word in argv[1:]])
    given = [word.partition("=")[2] for word in words if word.startswith(("--config=", "-config="))]
    given += [after for word, after in itertools.pairwise(words) if word in ("--config", "-config")]
    if given:
      before = flat(_with(load(given[-1]), short))
      flags.FLAGS["config"].parser = _ConfigFile(short)
      for word in words:
        if re.match("--?(no)?config\\.", word):
          _check_key(word.split("config.", 1)[1].partition("=")[0], list(before))
      words = [_listed(word, before) for word in words]
    rest = flags.FLAGS([argv[0], *words])
    if given:
      _check_elements(before, flat(flags.FLAGS["config"].value))
    if rest[1:]:
      meant = f"; did you mean --{rest[1]}?" if "=" in rest[1] else ""
      raise ConfigError(f"{' '.join(rest[1:])}: every word must begin with --{meant}")
    return rest
  except (flags.Error, FgaitError, AttributeError, KeyError, TypeError) as error:  # the latter three: of ConfigDict
    sys.exit(f"error: {error}")


class _ConfigFile(ConfigFileFlagParser):
  """Loads the file of --config, with mappings that the command line gives in short form in the place of its own."""

  def __init__(self, short: dict[str, str]):
    super().__init__("config")
    self._short = short

  def parse(self, path):
    return _with(load(path), self._short)


def _with(config: ConfigDict, short: dict[str, str]) -> ConfigDict:
  """`config` with the mappings of `short`, {a name of `MAPPINGS`: its short form}, in the place of its own."""
  for key, text in short.items():
    known = list(flat(config))
    if not any(f"{name}.".startswith(f"{key}.") for name in known):
      _check_key(key, known)
    try:
      config.update_from_flattened_dict({key: MAPPINGS[key](text)})
    except ValueError as error:
      raise ConfigError(f"--config.{key}={text}: {error}") from None
  return config


def _short_forms(words: list[str]) -> tuple[list[str], dict[str, str]]:
  """(the other words, {a name of `MAPPINGS`: its short form}) of a command line; the last of a name counts."""
  rest, short, words = [], {}, iter(words)
  for word in words:
    name, equals, value = word.partition("=")
    key = name.lstrip("-").removeprefix("config.")
    if key in MAPPINGS and name in (f"-config.{key}", f"--config.{key}"):
      short[key] = value if equals else next(words, None)
      if short[key] is None:
        raise ConfigError(f"{word} has no value; write {name}=NAME,NAME,...")
    else:
      rest.append(word)
  return rest, short


def _expanded(word: str) -> str:
  name, equals, value = word.partition("=")
  return f"{name}={os.path.expanduser(value)}" if equals and name.startswith("-") and value.startswith("~") else word


def _listed(word: str, before: dict[str, object]) -> str:
  """A list of text written with commas, a,b, as a tuple: ml-collections takes it apart only where it holds numbers."""
  name, _, value = word.partition("=")
  usual = before.get(re.sub("^--?config\\.", "", name))
  text = isinstance(usual, list) and not (usual and not isinstance(usual[0], str))
  if text and name.rpartition(".")[2] not in EMPTY and "," in value and not set("()[]'\"") & set(value):
    return f"{name}={tuple(value.split(','))!r}"
  return word


def _check_elements(before: dict[str, object], after: dict[str, object]) -> None:
  """Raises `ConfigError` for lists whose elements are of another kind than those of the file, which ml-collections
  lets pass."""
  for key, value in after.items():
    usual = before.get(key)
    if not isinstance(usual, list) or json.dumps(value) == json.dumps(usual):  # 2.0 is no 2
      continue
    kind = type(usual[0]) if usual else EMPTY.get(key.rpartition(".")[2], str)
    kinds = (int, float) if kind is float else (kind,)
    if wrong := [element for element in value if not isinstance(element, kinds) or isinstance(element, bool)]:
      names = {str: "text", int: "whole numbers", float: "numbers", list: "tuples"}
      raise ConfigError(f"--config.{key}: {wrong[0]!r} among {tuple(value)}; expected {names[kind]}")


def _check_key(name: str, known: list[str]) -> None:
  if name in known:
    return
  for mapping in MAPPINGS:
    there = list(dict.fromkeys(key.removeprefix(f"{mapping}.").partition(".")[0] for key in known
                               if key.startswith(f"{mapping}.")))
    if name.startswith(f"{mapping}.") and name.removeprefix(f"{mapping}.").partition(".")[0] not in there:
      raise ConfigError(f"--config.{name}: config.{mapping} has {', '.join(there) or 'no entries'}; --config.{mapping}="
                        "NAME,NAME,... names others in their place")
  if inside := [key for key in known if key.startswith(f"{name}.")]:
    raise ConfigError(f"config.{name} is a section, whose values are set one by one, such as --config.{inside[0]}=...")
  within = {mapping: mapping.rpartition(".")[0] or mapping for mapping in MAPPINGS}  # it may have no entry
  mappings = [mapping for mapping in MAPPINGS if any(key.startswith(f"{within[mapping]}.") for key in known)]
  last = [key for key in [*known, *mappings] if key.rpartition(".")[2] == name.rpartition(".")[2]]
  nearest = difflib.get_close_matches(name, last or [*known, *mappings], n=1, cutoff=0)
  raise ConfigError(f"unknown key config.{name}; did you mean config.{nearest[0]}? All keys are in"
                    " fgait_jax/defaults.")
