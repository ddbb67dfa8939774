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
CENTRINGS = ("none", "condition", "view", "condition_view")
BUDGET = 4 << 30  # bytes a ranking may take on the device, when nothing else is said
MAX_BLOCK = 1024  # a block of 1024 x 1024 float32 still lies in a CPU's caches; larger ones gain nothing anywhere
MIN_BLOCK = 64
_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
  """How a ranking is cut: `probes` rows see the whole gallery at once, which passes by `gallery` rows at a time.

  Sizes are round, so that few shapes are compiled, and even, so that the last block is not mostly padding.
  resident: the gallery stays on the device; otherwise it is sent again for each of `passes` blocks of probes.
  bytes: estimate of what lies on the device.
  """

  probes: int
  gallery: int
  resident: bool
  passes: int
  bytes: int


def plan_blocks(num_probes: int, num_gallery: int, *, channels: int, parts: int,
                budget_bytes: int = BUDGET) -> Blocks:
  """Block sizes for `num_probes` against `num_gallery` embeddings within `budget_bytes` of device memory.

  On the device lie: the gallery, or two blocks of it (one in use, one on its way), each also as it came; the block of
  probes, the same way; and its rows of distances, twice, while they are put together. Raises ConfigError where not even
  the smallest blocks fit.
  """
  item = channels * parts * _BYTES
  choices = [_blocks(num_probes, num_gallery, probes, gallery, resident, item) for resident in (True, False)
             for gallery in _sizes(num_gallery) for probes in _sizes(num_probes)]
  fitting = [plan for plan in choices if plan.bytes <= budget_bytes]
  if not fitting:
    needed = min(plan.bytes for plan in choices)
    raise ConfigError(f"a gallery of {num_gallery} embeddings [{channels}, {parts}] needs at least {needed} bytes on"
                      f" the device, the budget is {budget_bytes}; raise budget_bytes")
  return max(fitting, key=lambda plan: (min(plan.probes, 256), plan.resident, plan.probes, plan.gallery))


def _blocks(num_probes, num_gallery, probes, gallery, resident, item) -> Blocks:
  columns = -(-num_gallery // gallery) * gallery
  held = columns + gallery if resident else 3 * gallery
  used = held * item + 2 * probes * item + 2 * probes * columns * _BYTES
  return Blocks(probes=probes, gallery=gallery, resident=resident, passes=-(-num_probes // probes), bytes=used)


def _sizes(number: int) -> list[int]:
  """Sizes of blocks that cover `number` rows evenly, the largest first."""
  if number <= 4 * MIN_BLOCK:
    largest = max(MIN_BLOCK, 1 << max(0, number - 1).bit_length())
    return [largest >> k for k in range(largest.bit_length())]
  count, sizes = -(-number // MAX_BLOCK), []
  while not sizes or sizes[-1] > 1:
    even = -(-number // count)
    step = 16 if even > MIN_BLOCK else 1
    sizes.append(-(-even // step) * step)
    count *= 2
  return sizes


def check_centring(by: str) -> str:
  """Returns `by`; raises ConfigError unless it is one of `CENTRINGS`."""
  if by not in CENTRINGS:
    raise ConfigError(f"config.centre_by is {by!r}; known: {', '.join(CENTRINGS)}")
  return by


def check_metric(metric: str, key: str = "config.metric") -> str:
  """`metric` itself; raises ConfigError naming `key` on an unknown one."""
  if metric not in METRICS:
    raise ConfigError(f"unknown metric {metric!r}; {key} is one of {', '.join(METRICS)}")
  return metric


def check_shapes(probe: np.ndarray, gallery: np.ndarray) -> None:
  """Raises DataError unless both are [sequences, channels, parts] with the same channels and parts."""
  if probe.ndim != 3 or gallery.ndim != 3 or probe.shape[1:] != gallery.shape[1:]:
    raise DataError(f"embeddings have shapes {probe.shape} and {gallery.shape}; wanted [sequences, channels, parts]"
                    " twice, with the same channels and parts")


@functools.partial(jax.jit, static_argnames=("metric",))
def part_major(rows: jax.Array, origin: jax.Array, *, metric: str) -> jax.Array:
  """Rows [b, C, P] less `origin` [C, P] as the blocks take them: [P, b, C] (euclidean), or [1, b, C * P] of unit parts
  (cosine).

  Cosine over parts is one inner product of the parts scaled to length 1, so it needs one matrix product, not P.
  """
  rows = rows.astype(jnp.float32) - origin
  if metric == "euclidean":
    return jnp.transpose(rows, (2, 0, 1))
  norm = jnp.sqrt(jnp.sum(rows * rows, axis=1, keepdims=True))
  return (rows / jnp.maximum(norm, 1e-12)).reshape(1, len(rows), -1)


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


def origin_of(gallery: np.ndarray, *, metric: str) -> np.ndarray:
  """What is taken off both sides first, [C, P]: nothing, but of Euclidean distances the mean of some of the gallery
  where that is ten times as large as what differs, of which the products of `block_distances` would leave little."""
  some = gallery[:: max(1, len(gallery) // 256)].astype(np.float64)
  mean = some.mean(axis=0)
  far = metric == "euclidean" and np.sum(mean**2) > 100 * np.mean(np.sum((some - mean) ** 2, axis=(1, 2)))
  return (mean if far else np.zeros_like(mean)).astype(np.float32)


def send(embeddings: np.ndarray, rows: np.ndarray, *, origin: np.ndarray, length: int, metric: str) -> jax.Array:
  """Some rows of embeddings [N, C, P] less `origin` on the device, laid out by `part_major`; the first is repeated up
  to `length`."""
  rows = np.concatenate([rows, np.repeat(rows[:1], length - len(rows))])
  contiguous = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all()
  picked = embeddings[rows[0] : rows[-1] + 1] if contiguous else embeddings[rows]
  return part_major(jnp.asarray(picked), origin, metric=metric)


def pairwise(probe: np.ndarray, gallery: np.ndarray, *, metric: str = "euclidean",
             budget_bytes: int = BUDGET) -> np.ndarray:
  """Distances [N, M] of embeddings [N, C, P] and [M, C, P] on the host, computed block by block."""
  check_shapes(probe, gallery)
  check_metric(metric)
  plan = plan_blocks(len(probe), len(gallery), channels=probe.shape[1], parts=probe.shape[2], budget_bytes=budget_bytes)
  out, origin = np.empty((len(probe), len(gallery)), np.float32), origin_of(gallery, metric=metric)
  for left in range(0, len(gallery), plan.gallery):
    columns = np.arange(left, min(left + plan.gallery, len(gallery)))
    y = send(gallery, columns, origin=origin, length=plan.gallery, metric=metric)
    for start in range(0, len(probe), plan.probes):
      rows = np.arange(start, min(start + plan.probes, len(probe)))
      x = send(probe, rows, origin=origin, length=plan.probes, metric=metric)
      block = block_distances(x, y, metric=metric, parts=probe.shape[2])
      out[rows[0] : rows[-1] + 1, left : left + len(columns)] = np.asarray(block)[: len(rows), : len(columns)]
  return out


def centre(embeddings: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Embeddings [N, C, P] less the mean of their group (camera, condition or view), each part at unit length again.

  What is left of a walk that is much like the average of its group is short, and lies near all others; at unit length
  its direction alone counts (SimpleShot's CL2N, Wang et al. 2019, arXiv 1911.04623; docs/experiments.md). Uses
  unlabelled probes of the test set, so a figure after centring is named so and stands beside the plain one.
  """
  groups = np.asarray(groups)
  if groups.shape != embeddings.shape[:1]:
    raise DataError(f"{groups.shape} groups for {len(embeddings)} embeddings; centring wants one group per sequence")
  names, group = np.unique(groups, return_inverse=True)
  centred = embeddings.astype(np.float32, copy=True)
  for index in range(len(names)):
    centred[group == index] -= embeddings[group == index].mean(axis=0, dtype=np.float64).astype(np.float32)
  centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
  return centred
