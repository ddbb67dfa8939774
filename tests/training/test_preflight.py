"""What is refused, or settled with a note, before anything is computed."""

import pathlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from fgait_jax.errors import ConfigError
from fgait_jax.training import preflight

CACHE = "jax_compilation_cache_dir"


@pytest.fixture
def no_cache():
  before = {name: getattr(jax.config, name) for name in (CACHE, "jax_persistent_cache_min_compile_time_secs")}
  jax.config.update(CACHE, None)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_float64_is_turned_off_and_said(capsys):
  jax.config.update("jax_enable_x64", True)
  try:
    preflight.configure_jax()
    assert jnp.asarray(np.zeros(1)).dtype == jnp.float32
  finally:
    jax.config.update("jax_enable_x64", False)
  assert "note: JAX_ENABLE_X64 is set, but parameters and checkpoints are float32 here" in capsys.readouterr().err
  preflight.configure_jax()
  assert not capsys.readouterr().err


@pytest.mark.parametrize("error, reason", [(RuntimeError("Unable to start 'tpu'\nmore"), "Unable to start 'tpu'"),
                                           (AssertionError(), "AssertionError()")])
def test_devices_that_are_not_there_are_refused(monkeypatch, error, reason):
  def devices():
    raise error

  monkeypatch.setattr(jax, "devices", devices)
  monkeypatch.setenv("JAX_PLATFORMS", "tpu")
  with pytest.raises(ConfigError) as raised:
    preflight.configure_jax()
  assert f"JAX_PLATFORMS='tpu': jax finds no such device ({reason}). Unset it" in str(raised.value)
  assert "\n" not in str(raised.value)


def test_the_users_own_cache_of_programs_stays(no_cache, tmp_path):
  jax.config.update(CACHE, "/the/users")
  preflight.use_compilation_cache(str(tmp_path))
  assert getattr(jax.config, CACHE) == "/the/users"


def test_programs_are_cached_where_asked_or_nowhere(no_cache, tmp_path, monkeypatch, capsys):
  preflight.use_compilation_cache("")
  assert getattr(jax.config, CACHE) is None

  def no_home(path):
    raise RuntimeError("Could not determine home directory.")

  with monkeypatch.context() as patched:
    patched.setattr(pathlib.Path, "expanduser", no_home)
    preflight.use_compilation_cache("~/.cache")
  said = capsys.readouterr().err
  assert "not kept, since the folder for them cannot be written: compilation_cache=~/.cache: Could not determ" in said
  (tmp_path / "file").touch()
  preflight.use_compilation_cache(str(tmp_path / "file" / "cache"))
  assert "file is a file" in capsys.readouterr().err
  assert getattr(jax.config, CACHE) is None
  preflight.use_compilation_cache(str(tmp_path / "cache"))
  assert getattr(jax.config, CACHE) == str(tmp_path / "cache")
  assert [path.name for path in tmp_path.iterdir()] == ["file"]  # made once there is something to keep


def test_a_folder_is_watched_once(no_cache, tmp_path, monkeypatch):
  monkeypatch.setattr(warnings, "showwarning", show := lambda *_, **__: None)
  preflight.use_compilation_cache(str(tmp_path))
  assert warnings.showwarning is not show
  once = warnings.showwarning
  preflight.use_compilation_cache(str(tmp_path))  # as every `fgait_jax.load` does
  assert warnings.showwarning is once


def test_a_damaged_program_is_stored_anew(no_cache, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards
  preflight.use_compilation_cache(str(tmp_path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  compilation_cache.reset_cache()  # of the folder before

  def compiled():
    jax.clear_caches()
    assert float(jax.jit(lambda x: 3 * x + 1)(jnp.float32(2))) == 7
    return next(tmp_path.glob("jit__lambda*-cache"))

  try:
    sound = (path := compiled()).read_bytes()
    for damaged in (sound[:100], b"", sound[:200] + bytes(len(sound) - 200)):
      path.write_bytes(damaged)
      compiled()
      assert "held a damaged program, jit__lambda: it is compiled and stored anew" in capsys.readouterr().err
      assert len(path.read_bytes()) > 0.9 * len(sound)
      compiled()
      assert capsys.readouterr().err == ""
  finally:
    compilation_cache.reset_cache()


def test_folders_that_cannot_be_written_are_refused_by_flag(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert preflight.writable("~/runs/first", flag="--workdir") == tmp_path / "runs" / "first"
  assert list(tmp_path.iterdir()) == []
  (tmp_path / "file").touch()
  with pytest.raises(ConfigError, match=r"--workdir=.*file/run cannot be written \(.*file is a file\); give another"):
    preflight.writable(tmp_path / "file" / "run", flag="--workdir")

  def full(path, data):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_bytes", full)
  with pytest.raises(ConfigError, match="--workdir=.*No space left on device"):
    preflight.writable(tmp_path, flag="--workdir")
