"""One process here; two in tests/test_run_pretrain.py."""

import numpy as np
import pytest

from fgait_jax.errors import ConfigError
from fgait_jax.parallel import hosts
from fgait_jax.parallel.mesh import make_mesh


def test_one_process_needs_no_joining():
  hosts.initialize()
  assert hosts.is_first()
  assert hosts.any_process(True)
  assert not hosts.any_process(False)
  assert bool(hosts.any_process_later(True))
  assert not bool(hosts.any_process_later(False))
  assert hosts.agree("name") == "name"


@pytest.mark.parametrize(
  "given", [{"coordinator": "a:1"}, {"processes": 2}, {"coordinator": "a:1", "processes": 2, "process": 2}]
)
def test_half_a_description_of_the_processes_is_refused(given):
  with pytest.raises(ConfigError, match="--coordinator=host:port, --processes=N and --process=0..N-1 go together"):
    hosts.initialize(**given)


def test_global_batch_holds_the_rows_in_order():
  rows = np.arange(16).reshape(8, 2)
  batch = hosts.to_global({"rows": rows}, make_mesh(fsdp=4))
  np.testing.assert_array_equal(batch["rows"], rows)
  assert batch["rows"].addressable_shards[0].data.shape == (1, 2)


def test_batch_that_does_not_divide_names_the_keys():
  hosts.check_batch_size(16, make_mesh())
  with pytest.raises(ConfigError, match=r"config.data.batch_size=12 .*config.mesh.data x config.mesh.fsdp = 8 x 1"):
    hosts.check_batch_size(12, make_mesh())
