"""Meshes over eight fake devices."""

import jax
import numpy as np
import pytest

from fgait_jax.errors import ConfigError
from fgait_jax.parallel.mesh import batch_divisor, batch_sharding, make_mesh, replicated


@pytest.mark.parametrize(
  "asked, sizes",
  [
    ({}, (8, 1, 1)),
    ({"fsdp": 2, "tensor": 2}, (2, 2, 2)),
    ({"data": 1, "fsdp": -1}, (1, 8, 1)),
    ({"data": 2, "fsdp": 1, "tensor": 4}, (2, 1, 4)),
  ],
)
def test_sizes(asked, sizes):
  mesh = make_mesh(**asked)
  assert tuple(mesh.shape[name] for name in ("data", "fsdp", "tensor")) == sizes
  assert batch_divisor(mesh) == sizes[0] * sizes[1]


def test_neighbours_share_the_axis_that_talks_most():
  """`tensor` exchanges activations in every layer, `fsdp` weights, `data` gradients once a step."""
  ids = np.vectorize(lambda device: device.id)(make_mesh(fsdp=2, tensor=2).devices)
  np.testing.assert_array_equal(ids, np.arange(8).reshape(2, 2, 2))


def test_some_devices():
  assert make_mesh(devices=jax.devices()[:2]).size == 2


@pytest.mark.parametrize(
  "asked, message",
  [
    ({"fsdp": 3}, r"config.mesh.fsdp=3.*multiple of 3 devices.*there are 8"),
    ({"data": 4, "fsdp": 4}, r"config.mesh.data=4, config.mesh.fsdp=4.*need 16 devices.*there are 8"),
    ({"data": 2}, r"need 2 devices, but there are 8"),
    ({"data": -1, "fsdp": -1}, r"at most one may be -1"),
    ({"tensor": 0}, r"config.mesh.tensor=0.*from 1"),
  ],
)
def test_sizes_that_do_not_fit_are_refused(asked, message):
  with pytest.raises(ConfigError, match=message):
    make_mesh(**asked)


def test_batch_is_cut_over_data_and_fsdp_only():
  mesh = make_mesh(fsdp=2, tensor=2)
  x = jax.device_put(np.arange(8), batch_sharding(mesh))
  assert {tuple(shard.data.tolist()) for shard in x.addressable_shards} == {(0, 1), (2, 3), (4, 5), (6, 7)}
  assert jax.device_put(np.arange(8), replicated(mesh)).addressable_shards[3].data.shape == (8,)
