"""What ends a program from below reaches the user in one line; bugs keep their traceback."""

import jax.numpy as jnp
import pytest

from fgait_jax import commands


def test_a_device_without_memory_ends_in_one_line():
  def main(argv):
    jnp.zeros((1 << 50,), jnp.uint8).block_until_ready()  # a petabyte

  with pytest.raises(SystemExit) as ended:
    commands.tell_of_memory(main, [])
  text = str(ended.value)
  assert text.startswith("error: the device has no memory left (RESOURCE_EXHAUSTED")
  assert "config.data.batch_size" in text
  assert "config.batch_frames" in text
  assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in text
  assert "\n" not in text


@pytest.mark.parametrize("error", [RuntimeError("RESOURCE_EXHAUSTED: of somebody else"), ValueError("a bug")])
def test_other_errors_pass(error):
  def main(argv):
    raise error

  with pytest.raises(type(error)) as raised:
    commands.tell_of_memory(main, [])
  assert raised.value is error
