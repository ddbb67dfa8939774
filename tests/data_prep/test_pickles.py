"""Pickled arrays are read; anything else is refused by name and never runs."""

import os
import pickle

import numpy as np
import pytest

from data_prep.sources.base import Dropped
from data_prep.sources.pickles import load_array

FRAMES = np.arange(2 * 64 * 44, dtype=np.uint8).reshape(2, 64, 44)


class Malicious:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", [FRAMES, FRAMES.transpose(2, 1, 0), FRAMES[:, ::2], FRAMES.astype(">i4")])
def test_arrays_of_any_protocol_and_order_are_read(array, protocol):
  data = pickle.dumps(array, protocol)
  read = load_array(data, "x.pkl")
  np.testing.assert_array_equal(read, array)
  assert read.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


def test_arrays_of_numpy_1_and_2_are_read():
  written = pickle.dumps(FRAMES, 2)
  new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
  for data in (written.replace(new, old), written.replace(old, new)):
    np.testing.assert_array_equal(load_array(data, "x.pkl"), FRAMES)


def test_code_in_a_pickle_does_not_run_and_is_named(tmp_path):
  target = tmp_path / "made by the pickle"
  data = pickle.dumps(Malicious(target))
  with pytest.raises(Dropped, match=r"more than numpy arrays: 01/nm/x.pkl: .*mkdir, refused and not run"):
    load_array(data, "01/nm/x.pkl")
  assert not target.exists()
  pickle.loads(data)  # what any other reader does
  assert target.is_dir()


def test_code_beside_an_array_does_not_run(tmp_path):
  target = tmp_path / "made by the pickle"
  for data in (pickle.dumps([FRAMES, Malicious(target)]), pickle.dumps((FRAMES, Malicious(target)))):
    with pytest.raises(Dropped, match="more than numpy arrays|pickle without an array: x.pkl: holds a list"):
      load_array(data, "x.pkl")
  assert not target.exists()


@pytest.mark.parametrize(
  "name", ["builtins.eval", "numpy.load", "numpy.ndarray.tofile", "numpy._core.multiarray.fromfile", "os.system"]
)
def test_no_other_name_is_looked_up(name):
  module, _, attribute = name.rpartition(".")
  with pytest.raises(Dropped, match=f"more than numpy arrays: x.pkl: {name}"):
    load_array(f"c{module}\n{attribute}\n.".encode(), "x.pkl")


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "empty file: x.pkl"),
    (b"not a pickle", "unreadable pickle: x.pkl"),
    (pickle.dumps(FRAMES)[:-40], "unreadable pickle: x.pkl"),
    (pickle.dumps([1, 2]), "pickle without an array: x.pkl: holds a list, expected one numpy array"),
    (pickle.dumps(np.array([{}], object)), "unreadable pickle: x.pkl: .*dtype 'O8'"),
    (b"cnumpy\nndarray\n(I1000000000000\ntR.", "unreadable pickle: x.pkl"),
    (pickle.dumps({"frames": FRAMES}), "pickle without an array: x.pkl: holds a dict"),
    (pickle.dumps(7), "pickle without an array: x.pkl: holds int"),
  ],
  ids=["empty", "text", "cut", "list", "objects", "huge", "dict", "int"],
)
def test_damaged_and_other_pickles_are_dropped_by_reason(data, reason):
  with pytest.raises(Dropped, match=reason):
    load_array(data, "x.pkl")
