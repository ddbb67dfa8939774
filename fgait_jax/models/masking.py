"""Masked encoding: draws the visible tokens of each strip, gathers them, and scatters their features back."""

import jax
import jax.numpy as jnp

from fgait_jax.typing import Array, Bool, Float, Int, PRNGKeyArray


def num_visible(tokens: int, *, masked_fraction: float) -> int:
  """How many of `tokens` tokens are visible: the masked share is rounded down, and at least one token is visible."""
  return tokens - min(int(masked_fraction * tokens + 1e-6), tokens - 1) if tokens else 0


def choose_visible(
  key: PRNGKeyArray, valid: Bool[Array, "b s r q"], *, masked_fraction: float
) -> Bool[Array, "b s r q"]:
  """Draws the tokens that the encoder sees: `num_visible` of the valid tokens of each of b strips.

  First one random slot of every (row, column) position, as far as the number allows, so that temporal pooling finds
  most positions; the rest uniformly. Padding is never chosen.
  """
  noise = jax.random.uniform(key, valid.shape)
  first = valid & (noise == jnp.min(jnp.where(valid, noise, 2.0), axis=1, keepdims=True))
  score = jnp.where(valid, noise + ~first, jnp.inf).reshape(len(valid), -1)
  here = valid.reshape(score.shape)
  rank = jnp.argsort(jnp.argsort(score, axis=1), axis=1)
  budgets = jnp.array([num_visible(n, masked_fraction=masked_fraction) for n in range(here.shape[1] + 1)])
  chosen = here & (rank < budgets[jnp.sum(here, axis=1)][:, None])
  return chosen.reshape(valid.shape)


def visible_first(visible: Bool[Array, "b n"]) -> tuple[Int[Array, "b n"], Int[Array, "b n"]]:
  """A stable order that puts visible tokens first, and each token's place in it."""
  order = jnp.argsort(~visible, axis=1, stable=True)
  return order, jnp.argsort(order, axis=1)


def gather(x: Float[Array, "b n d"], order: Int[Array, "b n"], place: Int[Array, "b n"], count: int) -> Array:
  """The first `count` tokens in `order`."""
  return _gather(x, order[:, :count], place)


def scatter(x: Float[Array, "b k d"], order: Int[Array, "b n"], place: Int[Array, "b n"]) -> Array:
  """The inverse of `gather`, zero for tokens that were not taken. Each is the other's transpose and so its gradient:
  no direction runs XLA's scatter, which is slow on every platform."""
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
