"""One process here; two in tests/test_run_pretrain.py."""

import socket

import jax
import numpy as np
import pytest

from fgait_jax.errors import ConfigError
from fgait_jax.parallel import hosts
from fgait_jax.parallel.mesh import batch_sharding, make_mesh


def test_one_process_needs_no_joining():
  hosts.initialize()
  assert hosts.is_first()
  assert hosts.any_process(True)
  assert not hosts.any_process(False)
  assert bool(hosts.any_process_later(True))
  assert not bool(hosts.any_process_later(False))
  assert hosts.agree("name") == "name"
  assert hosts.of_first({"mean": 1.0}) == {"mean": 1.0}


@pytest.mark.parametrize(
  "given", [{"coordinator": "a:1"}, {"processes": 2}, {"coordinator": "a:1", "processes": 2, "process": 2}]
)
def test_half_a_description_of_the_processes_is_refused(given):
  with pytest.raises(ConfigError, match="--coordinator=host:port, --processes=N and --process=0..N-1 go together"):
    hosts.initialize(**given)


@pytest.mark.parametrize("error", [ValueError("coordinator_address should be defined."), KeyError("SLURM_PROCID")])
def test_a_launcher_that_says_half_of_it_is_answered_in_one_line(monkeypatch, error):
  def join(*_):
    raise error

  monkeypatch.setattr(jax.distributed, "initialize", join)
  monkeypatch.setenv("SLURM_JOB_ID", "77")
  with pytest.raises(ConfigError, match="^--distributed: .* variables of SLURM are.*--coordinator=host:port") as raised:
    hosts.initialize(distributed=True)
  assert "\n" not in str(raised.value)


def test_a_coordinator_that_does_not_answer_is_named(capsys):
  with pytest.raises(ConfigError, match="--coordinator=here: expected host:port of process 0"):
    hosts.initialize(coordinator="here", processes=2, process=1)
  with socket.socket() as taken:  # bound, but listening to nobody
    taken.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ConfigError, match=f"--coordinator={address}: nothing answers there .*start --process=0"):
      hosts._wait_for(address, seconds=0.0, pause=0.0)
    with pytest.raises(ConfigError):
      hosts._wait_for(address, seconds=0.05, pause=0.01)
  assert capsys.readouterr().err.count(f"waiting for --process=0 to answer at --coordinator={address}") == 1


def test_what_one_process_says_is_said():
  assert hosts.first_message("walk 3 is torn") == "walk 3 is torn"
  assert hosts.first_message("") == ""


def test_rows_of_a_process_are_those_on_its_devices():
  np.testing.assert_array_equal(hosts.own_rows(8, make_mesh(fsdp=2, tensor=2)), np.arange(8))  # one process has all
  rows = np.arange(16).reshape(8, 2)
  cut = hosts.cut_rows(rows, batch_sharding(make_mesh(fsdp=4)))
  np.testing.assert_array_equal(cut, rows)
  assert cut.addressable_shards[0].data.shape == (1, 2)


def test_global_batch_holds_the_rows_in_order():
  rows = np.arange(16).reshape(8, 2)
  batch = hosts.to_global({"rows": rows}, make_mesh(fsdp=4))
  np.testing.assert_array_equal(batch["rows"], rows)
  assert batch["rows"].addressable_shards[0].data.shape == (1, 2)


def test_batch_that_does_not_divide_names_the_keys():
  hosts.check_batch_size(16, make_mesh())
  with pytest.raises(ConfigError, match=r"config.data.batch_size=12 .*config.mesh.data x config.mesh.fsdp = 8 x 1"):
    hosts.check_batch_size(12, make_mesh())
