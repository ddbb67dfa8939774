"""Distances between part embeddings, computed on the device in blocks of bounded size.

Never builds the probe x gallery x part tensor: parts are summed one after another into one probe x gallery block.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fgait_jax.errors import ConfigError, DataError

METRICS = ("euclidean", "cosine")
BUDGET = 1 << 30  # bytes a ranking may take on the device beside its inputs on the host, when nothing else is said
MAX_BLOCK = 1024  # a block of 1024 x 1024 float32 still lies in a CPU's caches; larger ones gain nothing anywhere
_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
  """How a ranking is cut: `probes` rows see the whole gallery at once, which passes by `gallery` rows at a time.

  `bytes` is the estimate of what then lies on the device; `transfers` counts the passes of the gallery to the device.
  """

  probes: int
  gallery: int
  bytes: int
  transfers: int


def plan_blocks(
  num_probes: int, num_gallery: int, *, channels: int, parts: int, budget_bytes: int = BUDGET
) -> Blocks:
  """Block sizes for `num_probes` against `num_gallery` embeddings within `budget_bytes` of device memory.

  On the device lie: a row of distances per probe of the block (twice, while it is being written), the probe block,
  and two gallery blocks (one in use, one on its way). Raises ConfigError where not even one probe fits.
  """
  item = channels * parts * _BYTES
  gallery = min(num_gallery, MAX_BLOCK)
  while gallery > 16 and 2 * gallery * item > budget_bytes // 2:
    gallery //= 2
  columns = -(-num_gallery // gallery) * gallery
  per_probe = 2 * columns * _BYTES + item + gallery * _BYTES * 2
  probes = (budget_bytes - 2 * gallery * item) // per_probe
  if probes < 1:
    needed = 2 * gallery * item + per_probe
    raise ConfigError(
      f"a gallery of {num_gallery} embeddings [{channels}, {parts}] needs at least {needed} bytes on the device for "
      f"one probe, the budget is {budget_bytes}; raise the budget"
    )
  probes = int(min(probes, num_probes, MAX_BLOCK))
  used = 2 * gallery * item + probes * per_probe
  return Blocks(probes=probes, gallery=gallery, bytes=int(used), transfers=-(-num_probes // probes))


def check_metric(metric: str) -> str:
  """`metric` itself; raises ConfigError on an unknown one."""
  if metric not in METRICS:
    raise ConfigError(f"unknown metric {metric!r}; config.metric is one of {', '.join(METRICS)}")
  return metric


def part_major(embeddings: np.ndarray, *, metric: str) -> np.ndarray:
  """Rows as the blocks take them: [N, C, P] to [P, N, C] (euclidean) or [1, N, P * C] of unit parts (cosine).

  Cosine over parts is one inner product of the parts scaled to length 1, so it needs one matrix product, not P.
  """
  if embeddings.ndim != 3:
    raise DataError(f"embeddings have shape {embeddings.shape}; wanted [sequences, channels, parts]")
  rows = np.ascontiguousarray(embeddings.transpose(2, 0, 1), dtype=np.float32)
  if check_metric(metric) == "cosine":
    rows = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    rows = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(1, rows.shape[1], -1)
  return rows


@functools.partial(jax.jit, static_argnames=("metric", "parts"))
def block_distances(probe: jax.Array, gallery: jax.Array, *, metric: str, parts: int) -> jax.Array:
  """Distances [b, g] of rows laid out by `part_major`: [P, b, C] against [P, g, C].

  euclidean: mean over parts of sqrt(relu(|x|^2 + |y|^2 - 2 x.y)); cosine: 1 - mean over parts of the cosine. Products
  are full float32 (on accelerators too: the default there rounds inputs to fewer bits, which reorders near neighbours).
  """
  if metric == "cosine":
    products = jnp.matmul(probe[0], gallery[0].T, precision=jax.lax.Precision.HIGHEST)
    return 1 - products / parts

  def add(total, rows):
    x, y = rows
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(x * x, axis=-1)[:, None] + jnp.sum(y * y, axis=-1)[None, :]
    return total + jnp.sqrt(jnp.maximum(squares - 2 * products, 0)), None

  zero = jnp.zeros((probe.shape[1], gallery.shape[1]), jnp.float32)
  total, _ = jax.lax.scan(add, zero, (probe, gallery))
  return total / parts


def pairwise(
  probe: np.ndarray, gallery: np.ndarray, *, metric: str = "euclidean", budget_bytes: int = BUDGET
) -> np.ndarray:
  """Distances [N, M] of embeddings [N, C, P] and [M, C, P] on the host, computed block by block."""
  plan = plan_blocks(len(probe), len(gallery), channels=probe.shape[1], parts=probe.shape[2], budget_bytes=budget_bytes)
  x, y, parts = part_major(probe, metric=metric), part_major(gallery, metric=metric), probe.shape[2]
  out = np.empty((len(probe), len(gallery)), np.float32)
  for start in range(0, len(probe), plan.probes):
    rows = jnp.asarray(x[:, start : start + plan.probes])
    for left in range(0, len(gallery), plan.gallery):
      block = block_distances(rows, jnp.asarray(y[:, left : left + plan.gallery]), metric=metric, parts=parts)
      out[start : start + plan.probes, left : left + plan.gallery] = block
  return out


def centre(embeddings: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Embeddings [N, C, P] less the mean of their group (camera, condition or view); nothing is rescaled.

  Uses unlabelled probes of the test set, so a figure after centring is named so and stands beside the plain one.
  """
  groups = np.asarray(groups)
  if groups.shape != embeddings.shape[:1]:
    raise DataError(f"{groups.shape} groups for {len(embeddings)} embeddings; centring wants one group per sequence")
  names, group = np.unique(groups, return_inverse=True)
  centred = embeddings.astype(np.float32, copy=True)
  for index in range(len(names)):
    centred[group == index] -= embeddings[group == index].mean(axis=0, dtype=np.float64).astype(np.float32)
  return centred
