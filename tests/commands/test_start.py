"""What ends a program from below reaches the user in one line; bugs keep their traceback."""

import sys

import jax.numpy as jnp
import pytest

from fgait_jax import commands


@pytest.fixture
def start(monkeypatch):
  """`commands.start` of a program without flags of its own."""
  monkeypatch.setattr(commands.app, "run", lambda main, flags_parser: main([]))
  monkeypatch.setattr(sys.modules["__main__"], "__doc__", None)
  return lambda main: commands.start(main, __name__)


def test_a_device_without_memory_ends_in_one_line(start):
  def main(argv):
    jnp.zeros((1 << 50,), jnp.uint8).block_until_ready()  # a petabyte

  with pytest.raises(SystemExit) as ended:
    start(main)
  text = str(ended.value)
  assert text.startswith("error: the device has no memory left (RESOURCE_EXHAUSTED")
  assert "config.data.batch_size" in text
  assert "config.batch_frames" in text
  assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in text
  assert "\n" not in text


@pytest.mark.parametrize("error", [
  RuntimeError("RESOURCE_EXHAUSTED: of somebody else"), RuntimeError("RESOURCE_EXHAUSTED: memory, of somebody else"),
  ValueError("a bug"),
])
def test_other_errors_pass(error, start):
  def main(argv):
    raise error

  with pytest.raises(type(error)) as raised:
    start(main)
  assert raised.value is error
