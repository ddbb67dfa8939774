"""Splits a batch of frames into chunks whose intermediate results fit into a CPU's caches."""

from fgait_jax.typing import Array, Float


def split(x: Float[Array, "n h w c"], *, pixels: int) -> Float[Array, "k f h w c"]:
  """Equal chunks, as large as possible with at most `pixels` pixels each (but at least one frame)."""
  n, h, w, _ = x.shape
  frames = max(f for f in range(1, n + 1) if n % f == 0 and (f == 1 or f * h * w <= pixels))
  return x.reshape(n // frames, frames, *x.shape[1:])


def join(x: Float[Array, "k f h w c"]) -> Float[Array, "n h w c"]:
  """The inverse of `split`."""
  return x.reshape(-1, *x.shape[2:])
