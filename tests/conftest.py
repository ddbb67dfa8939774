"""Tests run on eight fake CPU devices, with programs compiled in the quickest way there is."""

import os
import pathlib

os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # of processes that tests start, too

import jax  # noqa: E402
import pytest  # noqa: E402

FLAGS = ["--xla_force_host_platform_device_count=8"]
if jax.__version_info__ < (0, 11):  # later ones have these emitters alone, which take twice to three times as long
  FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])  # read where a device is first asked for
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """Real walkers' recordings beside the checkout; tests of them skip where they are absent."""
  if not SHARED.is_dir():
    pytest.skip(f"no recordings beside the checkout ({SHARED.name} of the sibling folder)")
  return SHARED
