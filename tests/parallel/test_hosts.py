"""One process here; two in tests/test_run_pretrain.py."""

import socket

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from fgait_jax.errors import ConfigError, DataError, FgaitError
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


@pytest.fixture
def two(monkeypatch):
  """This process beside a second one, which says what `said` holds whenever both speak."""
  said = []
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(multihost_utils, "process_allgather", lambda mine: np.stack([mine, encoded(said.pop(0))]))
  return said


def encoded(text):
  row = np.zeros(2000, np.uint8)
  row[: len(text)] = np.frombuffer(text.encode(), np.uint8)
  return row


def test_of_several_the_first_that_says_something_is_heard(two):
  two += ["other", "other", ""]
  assert hosts.first_message("mine") == "mine"
  assert hosts.first_message("") == "other"
  assert hosts.first_message("") == ""


def test_what_fails_on_one_process_ends_all(two):
  def fail():
    raise DataError("no data set walkers in /here")

  two += ["", "no data set walkers in /nowhere", ""]
  assert hosts.together(lambda: 3) == 3
  with pytest.raises(FgaitError, match="walkers in /nowhere"):
    hosts.together(lambda: 3)
  with pytest.raises(DataError, match="walkers in /here"):
    hosts.together(fail)


def test_rows_that_a_mesh_would_give_to_others_are_refused(two, monkeypatch):
  """Eight devices of two processes: `tensor` groups that reach beyond one, and devices that do not come in order."""
  owner = {device: number // 4 for number, device in enumerate(jax.devices())}
  mixed = {device: number % 2 for number, device in enumerate(jax.devices())}

  class Sharding:
    def __init__(self, mesh, owner):
      self.map = batch_sharding(mesh).devices_indices_map
      self.owner = owner

    def devices_indices_map(self, shape):
      return {Device(self.owner[device]): index for device, index in self.map(shape).items()}

  class Device:
    def __init__(self, number):
      self.process_index = number

  def check(mesh, owner, own):
    monkeypatch.setattr(hosts, "batch_sharding", lambda mesh: Sharding(mesh, owner))
    monkeypatch.setattr(jax, "local_device_count", lambda: own)
    hosts.check_batch_size(8, mesh)

  check(make_mesh(tensor=4), owner, 4)
  with pytest.raises(ConfigError, match=r"mesh.tensor=8 .* must divide the devices of a process \(4"):
    check(make_mesh(tensor=8), owner, 4)
  with pytest.raises(ConfigError, match="rows, so the devices must come in the order of their processes"):
    check(make_mesh(tensor=2), mixed, 4)
