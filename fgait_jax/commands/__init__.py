"""The programs, as the scripts of a checkout and the commands of an installation both start them."""

import sys
from collections.abc import Callable

from absl import app, flags

from fgait_jax.commands.arguments import parse_flags


def start(main: Callable[[list[str]], None], module: str) -> None:
  """Runs `main` of `module`, by its name, as the program: --help prints that module's text and flags."""
  sys.modules["__main__"].__doc__ = sys.modules[module].__doc__
  for flag in flags.FLAGS.get_key_flags_for_module(module):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
  app.run(main, flags_parser=parse_flags)
