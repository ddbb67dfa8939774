"""Per-part heads: one linear layer a part, with batch normalisation over (part, channel) pairs.

The projector and predictor of the reference (`FC-BN-ReLU-FC-BN` and `FC-BN-ReLU-FC`), shared by all encoders.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.models.batchnorm import BatchNorm
from fgait_jax.typing import Array, Float


class PartLinear(nnx.Module):
  """One bias-free linear layer per part (SeparateFCs of OpenGait).

  The reference draws weights with the bound sqrt(6 / (in*out + parts*out)), torch's xavier_uniform_ on a 3-D tensor,
  about sixteen times smaller than a per-part xavier. Kept on purpose: batch normalisation follows every such layer.
  """

  def __init__(self, parts: int, features_in: int, features_out: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
    bound = math.sqrt(6 / (features_in * features_out + parts * features_out))
    shape = (parts, features_in, features_out)
    self.kernel = nnx.Param(jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound))
    self.dtype = dtype

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p e"]:
    return jnp.einsum("bpd,pde->bpe", x.astype(self.dtype), self.kernel[...].astype(self.dtype))


class PartNorm(nnx.Module):
  """Batch normalisation of every (part, channel) pair by itself (ParallelBN1d of OpenGait)."""

  def __init__(self, parts: int, features: int, *, rngs: nnx.Rngs):
    self.norm = BatchNorm(parts * features, scale_std=0.02, rngs=rngs)

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p d"]:
    return self.norm(x.reshape(x.shape[0], -1)).reshape(x.shape)


class PartMLP(nnx.Module):
  """FC, normalisation, ReLU, FC; `final_norm` adds a last normalisation (projector) or leaves it off (predictor)."""

  def __init__(
    self, parts: int, features_in: int, hidden: int, features_out: int, *, final_norm: bool, dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.fc1 = PartLinear(parts, features_in, hidden, dtype=dtype, rngs=rngs)
    self.norm1 = PartNorm(parts, hidden, rngs=rngs)
    self.fc2 = PartLinear(parts, hidden, features_out, dtype=dtype, rngs=rngs)
    self.norm2 = PartNorm(parts, features_out, rngs=rngs) if final_norm else None

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p e"]:
    x = self.fc2(jax.nn.relu(self.norm1(self.fc1(x))))
    return x if self.norm2 is None else self.norm2(x)
