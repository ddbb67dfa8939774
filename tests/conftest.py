"""Tests run on eight fake CPU devices."""

import os
import pathlib

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """Real walkers' recordings beside the checkout; tests of them skip where they are absent."""
  if not SHARED.is_dir():
    pytest.skip(f"no recordings beside the checkout ({SHARED.name} of the sibling folder)")
  return SHARED


@pytest.fixture(scope="module")
def quick_compilation():
  """Most of XLA's optimisations off, where compiling takes most of the time."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
