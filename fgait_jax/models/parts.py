"""Horizontal part pooling: a feature map becomes part descriptors, by default 31, from fine strips to the whole."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.kernels.maximum import maximum
from fgait_jax.typing import Array, Bool, Float

BINS = (16, 8, 4, 2, 1)


@dataclasses.dataclass(frozen=True)
class Cut:
  """How a grid becomes parts: into so many horizontal strips as each of `bins` says, the finest first. A grid of
  several `maps`, one above the other, is cut map by map."""

  bins: tuple[int, ...] = BINS
  maps: int = 1

  @property
  def count(self) -> int:
    return self.maps * sum(self.bins)

  @property
  def balance(self) -> np.ndarray:
    """A factor for each part, with which every scale has the same share in the squared length of all parts together,
    however many strips it has."""
    return np.tile(np.concatenate([np.full(n, (max(self.bins) / n) ** 0.5) for n in self.bins]), self.maps)


BODY = Cut()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FeatureMap:
  """What an encoder returns. `present` is False where a position was masked out or its frames are padding."""

  features: Float[Array, "b s r q d"]
  present: Bool[Array, "b s r q"]


def temporal_max(feature_map: FeatureMap) -> tuple[Float[Array, "b r q d"], Bool[Array, "b r q"]]:
  """Maximum over the present slots of each position; zero, and not present, where there is none."""
  present = jnp.any(feature_map.present, axis=1)
  lowest = jnp.finfo(feature_map.features.dtype).min
  highest = maximum(jnp.where(feature_map.present[..., None], feature_map.features, lowest), 1)
  return jnp.where(present[..., None], highest, 0), present


def temporal_mean(feature_map: FeatureMap) -> tuple[Float[Array, "b r q d"], Bool[Array, "b r q"]]:
  """Mean over the present slots of each position; zero, and not present, where there is none. One bad frame matters
  less than in the maximum."""
  count = jnp.sum(feature_map.present, axis=1)
  total = jnp.sum(jnp.where(feature_map.present[..., None], feature_map.features, 0), axis=1, dtype=jnp.float32)
  return (total / jnp.maximum(count, 1)[..., None]).astype(feature_map.features.dtype), count > 0


def temporal_mean_max(feature_map: FeatureMap) -> tuple[Float[Array, "b r q d"], Bool[Array, "b r q"]]:
  """The sum of mean and maximum over time, as `part_pool` takes over space."""
  mean, present = temporal_mean(feature_map)
  return mean + temporal_max(feature_map)[0], present


def part_pool(
  features: Float[Array, "b r q d"], present: Bool[Array, "b r q"], *, cut: Cut = BODY
) -> Float[Array, "b p d"]:
  """Mean plus max over each strip of `cut`, by default 16, 8, 4, 2 and 1, top to bottom, fine to coarse (HPP of
  OpenGait).

  The rows of the grid must divide by the finest strips, so that a strip is whole rows. Positions not present take no
  part; an empty strip is zero.
  """
  b, r, _, d = features.shape
  if r % (cut.maps * cut.bins[0]):
    raise ValueError(f"part pooling needs a grid whose rows divide by {cut.maps * cut.bins[0]}; got {r} rows")
  lowest = jnp.finfo(features.dtype).min
  pooled = []
  for bins in cut.bins:
    strip = features.reshape(b * cut.maps, bins, -1, d)
    here = present.reshape(b * cut.maps, bins, -1, 1)
    count = jnp.sum(here, axis=2)
    mean = jnp.sum(strip * here, axis=2) / jnp.maximum(count, 1)
    top = maximum(jnp.where(here, strip, lowest), 2)
    pooled.append(jnp.where(count > 0, mean + top, 0))
  return jnp.concatenate(pooled, axis=1).reshape(b, cut.count, d).astype(features.dtype)


TEMPORAL = {"max": temporal_max, "mean": temporal_mean, "mean_max": temporal_mean_max}


def pool(feature_map: FeatureMap, *, temporal: str, cut: Cut) -> Float[Array, "b p d"]:
  """The part descriptors of a feature map: pooled over time by a name of `TEMPORAL`, then by `part_pool`."""
  return part_pool(*TEMPORAL[temporal](feature_map), cut=cut)
