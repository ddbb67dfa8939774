"""Random generators named by their purpose, so that a further draw for one purpose changes no other."""

import zlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
  """The generator of `names` under `seed`: the same on every machine, in every process, in any order of calls."""
  return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def around_one(rng: np.random.Generator, spread: float, size: int | None = None) -> np.ndarray:
  """Log-normal factors about 1 with standard deviation about `spread`, cut at two and a half of them."""
  return np.exp(spread * np.clip(rng.standard_normal(size), -2.5, 2.5))
