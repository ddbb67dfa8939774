"""The programs, as the scripts of a checkout and the commands of an installation both start them."""

import signal
import sys
from collections.abc import Callable

from absl import app, flags

from fgait_jax.commands.arguments import parse_flags
from fgait_jax.errors import first_line

NO_MEMORY = (
  "the device has no memory left ({}). A step takes less with a smaller config.data.batch_size, "
  "config.model.dtype=bfloat16, config.model.remat=dots or full, or more devices; fine-tuning with a smaller "
  "config.fine_tune.subjects or per_subject; an evaluation with a smaller config.batch_frames. Where several programs "
  "share a device, limit each: XLA_PYTHON_CLIENT_MEM_FRACTION=0.1"
)


def start(main: Callable[[list[str]], None], module: str) -> None:
  """Runs `main` of `module`, by its name, as the program: --help prints that module's text and flags."""
  sys.modules["__main__"].__doc__ = sys.modules[module].__doc__
  for flag in flags.FLAGS.get_key_flags_for_module(module):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
  app.run(lambda argv: tell_of_memory(main, argv), flags_parser=parse_flags)


def stopped_status(name: str) -> int:
  """The exit status of a program that saved and ended before all was done because signal `name` came: that of one which
  the signal ended, 143 for SIGTERM, so that neither `make` nor a cluster takes it for done. Also 143 where another
  process was signalled, or the watchdog stops."""
  return 128 + getattr(signal, name, signal.SIGTERM)


def tell_of_memory(main: Callable[[list[str]], None], argv: list[str]) -> None:
  """Runs `main`; where a device's memory ran out, the program ends in one line that says what takes less."""
  try:
    main(argv)
  except RuntimeError as error:  # jax.errors.JaxRuntimeError, which has no kinds of its own
    of_jax, said = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"), str(error)
    if not of_jax or "RESOURCE_EXHAUSTED" not in said or "memory" not in said:
      raise
    sys.exit("error: " + NO_MEMORY.format(first_line(error)))
