"""Pre-norm transformer blocks over flat token sequences, stacked and scanned. Knows nothing of grids or positions.

Parameters are float32; matrix products run in `dtype`; layer norms in float32.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.kernels import products
from fgait_jax.typing import Array, Bool, Float

# Rows of a block's parameters, beside biases and scales (models/encoder.py: Backbone).
SHARDING = (
  (r"attention/(query|key|value)/kernel", ("embed", "heads")),
  (r"attention/out/kernel", ("heads", "embed")),
  (r"mlp/up/kernel", ("embed", "hidden")),
  (r"mlp/down/kernel", ("hidden", "embed")),
)
LOW_RANK = ((r"(attention/(query|key|value|out)|mlp/(up|down))/kernel", 0),)

UNROLLED = 2  # stacks of up to so many layers are unrolled: a scan copies what its gradient saves, a fifth of its time
POLICIES = {
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # saves products with weights
  "full": jax.checkpoint_policies.nothing_saveable,  # saves the inputs of blocks only
}


class Linear(nnx.Module):
  """x @ kernel + bias over the last axis; xavier-uniform kernel times `gain`, zero bias."""

  def __init__(self, features_in: int, features_out: int, *, gain: float = 1.0, dtype=jnp.float32, rngs: nnx.Rngs):
    draw = nnx.initializers.xavier_uniform()
    self.kernel = nnx.Param(gain * draw(rngs.params(), (features_in, features_out), jnp.float32))
    self.bias = nnx.Param(jnp.zeros(features_out))
    self.dtype = dtype

  def __call__(self, x: Float[Array, "*lead d"]) -> Array:
    # As one matrix: XLA on CPU takes twice as long for the gradient of a kernel over several axes at once.
    y = products.einsum("nd,de->ne", x.reshape(-1, x.shape[-1]).astype(self.dtype), self.kernel[...])
    return products.add(y, self.bias[...]).reshape(*x.shape[:-1], -1)


class LayerNorm(nnx.Module):
  """Layer norm over the last axis; positions, frames and samples do not affect each other."""

  def __init__(self, features: int, *, epsilon: float = 1e-5):
    self.scale = nnx.Param(jnp.ones(features))
    self.bias = nnx.Param(jnp.zeros(features))
    self.epsilon = epsilon

  def __call__(self, x: Float[Array, "*lead d"]) -> Float[Array, "*lead d"]:
    return _layer_norm(x, self.scale[...], self.bias[...], self.epsilon)


@functools.partial(jax.checkpoint, static_argnums=3)  # saves `x` in its dtype, not float32 intermediates
def _layer_norm(x, scale, bias, epsilon: float):
  y = x.astype(jnp.float32)
  y = y - jnp.mean(y, axis=-1, keepdims=True)
  y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + epsilon)
  return (y * scale + bias).astype(x.dtype)


class Attention(nnx.Module):
  """Multi-head self-attention in which keys that are not present have no weight."""

  def __init__(self, width: int, *, heads: int, gain: float, dtype, rngs: nnx.Rngs):
    if width % heads:
      raise ValueError(f"a width of {width} does not divide into {heads} heads")
    linear = functools.partial(Linear, width, width, dtype=dtype, rngs=rngs)
    self.query, self.key, self.value, self.out = linear(), linear(), linear(), linear(gain=gain)
    self.heads = heads

  def __call__(self, x: Float[Array, "b n d"], present: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
    b, n, d = x.shape
    query, key, value = (f(x).reshape(b, n, self.heads, -1) for f in (self.query, self.key, self.value))
    # A row without any key present attends evenly (the masked logits are finite): its result is never used.
    y = jax.nn.dot_product_attention(query, key, value, mask=present[:, None, None, :])
    return self.out(y.reshape(b, n, d))


class MLP(nnx.Module):
  """Linear, GELU (its usual approximation by tanh unless `exact`), linear."""

  def __init__(self, width: int, hidden: int, *, gain: float, exact: bool = False, dtype, rngs: nnx.Rngs):
    self.up = Linear(width, hidden, dtype=dtype, rngs=rngs)
    self.down = Linear(hidden, width, gain=gain, dtype=dtype, rngs=rngs)
    self.exact = exact

  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    return self.down(jax.nn.gelu(self.up(x), approximate=not self.exact))


class Block(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x))."""

  def __init__(self, width: int, *, heads: int, hidden: int, gain: float, dtype, rngs: nnx.Rngs):
    self.norm1 = LayerNorm(width)
    self.attention = Attention(width, heads=heads, gain=gain, dtype=dtype, rngs=rngs)
    self.norm2 = LayerNorm(width)
    self.mlp = MLP(width, hidden, gain=gain, dtype=dtype, rngs=rngs)

  def __call__(self, x: Float[Array, "b n d"], present: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
    x = x + self.attention(self.norm1(x), present)
    return x + self.mlp(self.norm2(x))


def create_blocks(
  width: int, *, layers: int, heads: int, hidden: int | None = None, dtype=jnp.float32, rngs: nnx.Rngs
) -> Block:
  """`layers` blocks as one module whose parameters have a leading axis of layers; `hidden` defaults to 4 x width.

  The last kernel of each residual branch is drawn smaller, by 1 / sqrt(2 layers) (GPT-2), so that an untrained network
  passes on the output of its stem.
  """
  gain = (2 * layers) ** -0.5
  create = nnx.vmap(
    lambda key: Block(width, heads=heads, hidden=hidden or 4 * width, gain=gain, dtype=dtype, rngs=nnx.Rngs(key))
  )
  return create(jax.random.split(rngs.params(), layers))


def run_blocks(
  blocks: Block, x: Float[Array, "b n d"], present: Bool[Array, "b n"], *, remat: str = "none"
) -> Float[Array, "b n d"]:
  """Runs stacked blocks by a scan, so that compile time does not grow with depth; very short stacks are unrolled."""
  def run(block, x, present):
    return block(x, present)

  if remat != "none":
    run = nnx.remat(run, policy=POLICIES[remat])
  layers = blocks.norm1.scale.shape[0]
  unroll = layers if layers <= UNROLLED else 1
  return nnx.scan(run, in_axes=(0, nnx.Carry, None), out_axes=nnx.Carry, unroll=unroll)(blocks, x, present)
