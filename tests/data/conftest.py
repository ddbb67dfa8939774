"""Data sets in memory with the interface of `fgait_jax.data.source.Split`."""

import dataclasses
import os

import numpy as np
import pytest


@dataclasses.dataclass
class MemorySplit:
  """Frame t of row i is filled with t everywhere but pixel (0, middle), which holds i, so that tests can read both."""

  name: str
  lengths: tuple[int, ...]
  width: int = 64
  channels: int = 1
  broken: int = -1  # row whose reading fails
  log: str = ""  # file that gets a byte of every reading, in whatever process
  held: str = ""  # pipe that gets a byte and then is held open by the process that reads

  def __post_init__(self):
    rows = range(len(self.lengths))
    self.num_frames = np.array(self.lengths, np.int32)
    self.subjects = np.array([f"{i // 2:03d}" for i in rows])
    self.conditions = np.array(["nm"] * len(rows))
    self.views = np.array(["090"] * len(rows))
    self.keys = np.array([f"{s}/nm/{i}" for i, s in zip(rows, self.subjects, strict=True)])
    self.attributes = {}
    self.manifest = {"name": self.name}

  def __len__(self) -> int:
    return len(self.lengths)

  def frames(self, i: int, indices: np.ndarray | None = None) -> np.ndarray:
    if self.log:
      with open(self.log, "ab", buffering=0) as file:
        file.write(b".")
    if self.held and "pipe" not in self.__dict__:
      self.pipe = os.open(self.held, os.O_WRONLY)
      os.write(self.pipe, b".")
    if i == self.broken:
      raise OSError("bad sector")
    indices = np.arange(self.lengths[i]) if indices is None else np.asarray(indices)
    assert indices.min() >= 0
    assert indices.max() < self.lengths[i]
    frames = np.empty((len(indices), 64, self.width, self.channels), np.uint8)
    frames[:] = indices[:, None, None, None]
    frames[:, 0, self.width // 2] = i
    return frames


@pytest.fixture
def memory_split():
  """Makes data sets in memory: memory_split(name, lengths, width=, channels=, broken=, log=, held=)."""
  return MemorySplit
