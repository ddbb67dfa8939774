"""Horizontal strips of a batch, moved to the batch axis and back; and which tokens of each strip are seen.

The part-aware student (FoundationGait A2): the first samples of a group are cut into P aligned strips of rows, the
others into P + 1 strips shifted by half a strip, whose rows beyond the body are padding. With P = 1 nothing is cut.
"""

import dataclasses

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Bool, Float, Int, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Strips:
  """How one group is cut: `parts` strips, `aligned` samples not shifted, rows on axis 2 of whatever is cut."""

  parts: int
  aligned: int

  def check(self, rows: int) -> None:
    if self.parts > 1 and rows % (2 * self.parts):
      raise ValueError(f"{self.parts} strips, half of them shifted by half a strip, do not divide {rows} rows")

  def fold(self, x: Array) -> Array:
    """[b s rows ...] -> [strips s rows/parts ...]: aligned samples' strips first, each sample's from top to bottom."""
    if self.parts == 1:
      return x
    self.check(x.shape[2])
    height = x.shape[2] // self.parts
    edge = [(0, 0)] * x.ndim
    edge[2] = (height // 2, height // 2)
    return jnp.concatenate([_cut(x[: self.aligned], height), _cut(jnp.pad(x[self.aligned :], edge), height)])

  def unfold(self, x: Array) -> Array:
    """The inverse of `fold`; padding rows are dropped."""
    if self.parts == 1:
      return x
    height, cut = x.shape[2], self.aligned * self.parts
    shifted = _stitch(x[cut:], self.parts + 1)[:, :, height // 2 : -(height // 2)]
    return jnp.concatenate([_stitch(x[:cut], self.parts), shifted])

  def fold_rows(self, table: Float[Array, "r d"], *, batch: int) -> Float[Array, "strips r d"]:
    """The rows of a table as the strips of `batch` samples see them."""
    return self.fold(jnp.broadcast_to(table, (batch, 1, *table.shape)))[:, 0]


def _cut(x: Array, height: int) -> Array:
  b, s, rows, *rest = x.shape
  x = x.reshape(b, s, rows // height, height, *rest)
  return jnp.moveaxis(x, 2, 1).reshape(b * (rows // height), s, height, *rest)


def _stitch(x: Array, strips: int) -> Array:
  b, s, height, *rest = x.shape
  x = x.reshape(b // strips, strips, s, height, *rest)
  return jnp.moveaxis(x, 1, 2).reshape(b // strips, s, strips * height, *rest)


def kept(tokens: int, *, masked_fraction: float) -> int:
  """How many of so many tokens are seen: the masked share is rounded down, so at least one token is."""
  return tokens - min(int(masked_fraction * tokens + 1e-6), tokens - 1) if tokens else 0


def choose_visible(
  key: PRNGKeyArray, valid: Bool[Array, "b s r q"], *, strips: Strips, masked_fraction: float
) -> Bool[Array, "b s r q"]:
  """Draws the tokens the encoder sees: of every strip, `kept` of its valid tokens, the same share everywhere.

  One random slot of every (row, column) position is chosen first, as far as the number allows, so that temporal
  pooling finds each position somewhere; the rest are drawn evenly. Padding is never chosen.
  """
  noise = jax.random.uniform(key, valid.shape)
  first = valid & (noise == jnp.min(jnp.where(valid, noise, 2.0), axis=1, keepdims=True))
  here = strips.fold(valid)
  score = jnp.where(here, strips.fold(noise + ~first), jnp.inf)
  folded, here, score = score.shape, here.reshape(len(here), -1), score.reshape(len(here), -1)
  rank = jnp.argsort(jnp.argsort(score, axis=1), axis=1)
  budgets = jnp.array([kept(n, masked_fraction=masked_fraction) for n in range(here.shape[1] + 1)])
  chosen = here & (rank < budgets[jnp.sum(here, axis=1)][:, None])
  return strips.unfold(chosen.reshape(folded))


def visible_first(visible: Bool[Array, "b n"]) -> tuple[Int[Array, "b n"], Int[Array, "b n"]]:
  """A stable order that puts visible tokens first, and each token's place in it."""
  order = jnp.argsort(~visible, axis=1, stable=True)
  return order, jnp.argsort(order, axis=1)


def gather(x: Float[Array, "b n d"], order: Int[Array, "b n"], place: Int[Array, "b n"], count: int) -> Array:
  """The first `count` tokens in `order`."""
  return _gather(x, order[:, :count], place)


def scatter(x: Float[Array, "b k d"], order: Int[Array, "b n"], place: Int[Array, "b n"]) -> Array:
  """The inverse of `gather`, zero for tokens that were not taken. Its transpose, too: each is the other's gradient,
  so that neither direction runs a scatter, which is slow on every platform."""
  return _scatter(x, order[:, : x.shape[1]], place)


def _take(x, order):
  return jnp.take_along_axis(x, order[:, :, None], axis=1)


def _put(x, place):
  """x[place], and zero where place is beyond x."""
  count = x.shape[1]
  return jnp.where((place < count)[:, :, None], _take(x, jnp.minimum(place, count - 1)), 0)


@jax.custom_vjp
def _gather(x, order, place):
  return _take(x, order)


_gather.defvjp(lambda x, order, place: (_take(x, order), place), lambda place, g: (_put(g, place), None, None))


@jax.custom_vjp
def _scatter(x, order, place):
  return _put(x, place)


_scatter.defvjp(lambda x, order, place: (_put(x, place), order), lambda order, g: (_take(g, order), None, None))
