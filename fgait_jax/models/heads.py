"""Per-part heads: one linear layer per part, with batch normalisation over (part, channel) pairs.

The projector and predictor of the reference (`FC-BN-ReLU-FC-BN` and `FC-BN-ReLU-FC`), shared by all encoders.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fgait_jax.kernels import products
from fgait_jax.kernels.unit import unit
from fgait_jax.models.batchnorm import BatchNorm
from fgait_jax.typing import Array, Float

# Rows of `PartMLP`, beside biases and scales. A kernel of `PartLinear` is [part, in, out].
PART_KERNEL = ("whole", "embed", "hidden")
SHARDING = ((r"(fc\d|body/(reduce|mix))/kernel", PART_KERNEL),)
LOW_RANK = ((r"(fc\d|body/(reduce|mix))/kernel", 0),)


class PartLinear(nnx.Module):
  """One bias-free linear layer per part (SeparateFCs of OpenGait).

  `fans` chooses the Xavier bound. "part": each part is a layer of its own, sqrt(6 / (in + out)). "tensor": that of the
  reference, whose torch call treats the stack of parts as one convolution, sqrt(6 / (in*out + parts*out)), about
  sixteen times smaller. Batch normalisation hides that from the forward pass but not from Adam, whose steps do not
  shrink with the weights. "zero": zeros.

  `cosine` takes the columns of each part at unit length: of inputs at unit length, cosines come out.
  """

  def __init__(
    self, parts: int, features_in: int, features_out: int, *, fans: str = "tensor", cosine: bool = False,
    dtype=jnp.float32, rngs: nnx.Rngs
  ):
    sums = {
      "part": features_in + features_out, "tensor": features_in * features_out + parts * features_out, "zero": math.inf
    }  # fmt: skip
    bound = math.sqrt(6 / sums[fans])
    shape = (parts, features_in, features_out)
    self.kernel = nnx.Param(jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound))
    self.cosine = cosine
    self.dtype = dtype

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p e"]:
    kernel = unit(self.kernel[...], axis=1) if self.cosine else self.kernel[...]
    return products.einsum("bpd,pde->bpe", x.astype(self.dtype), kernel)


class PartNorm(nnx.Module):
  """Batch normalisation of every (part, channel) pair separately (ParallelBN1d of OpenGait)."""

  def __init__(self, parts: int, features: int, *, rngs: nnx.Rngs):
    self.norm = BatchNorm(parts * features, scale_std=0.02, rngs=rngs)

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p d"]:
    return self.norm(x.reshape(x.shape[0], -1)).reshape(x.shape)


class BodyHeads(nnx.Module):
  """Projections of the whole body: reduces every part, normalises all parts as one vector, and maps it to each head.

  A part's own layers cannot weight it against the others. These heads can, and learn several times faster in short runs
  (docs/experiments.md). Not in the reference.
  """

  def __init__(
    self, parts: int, features_in: int, heads: int, features_out: int, *, reduced: int = 32, dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.reduce = PartLinear(parts, features_in, reduced, fans="part", dtype=dtype, rngs=rngs)
    self.norm1 = BatchNorm(parts * reduced, rngs=rngs)
    self.mix = PartLinear(1, parts * reduced, heads * features_out, fans="part", dtype=dtype, rngs=rngs)
    self.norm2 = PartNorm(heads, features_out, rngs=rngs)
    self.heads = heads

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b h e"]:
    x = self.norm1(self.reduce(x).reshape(x.shape[0], -1))
    return self.norm2(self.mix(x[:, None]).reshape(x.shape[0], self.heads, -1))


class PartMLP(nnx.Module):
  """FC, normalisation, ReLU, FC; `final_norm` adds a last normalisation (projector) or leaves it off (predictor).

  `body_heads` outputs of `BodyHeads` follow the parts; the attribute `parts` counts all outputs.

  `start` is the initialisation: "reference" as in the published heads; "part" with Xavier weights for every part;
  "identity": the output is the input plus a branch that starts at zero (not in the reference; needs as many features
  out as in).
  """

  def __init__(
    self, parts: int, features_in: int, hidden: int, features_out: int, *, final_norm: bool, start: str = "reference",
    body_heads: int = 0, dtype=jnp.float32, rngs: nnx.Rngs,
  ):
    first, second = {"reference": ("tensor", "tensor"), "part": ("part", "part"), "identity": ("part", "zero")}[start]
    self.fc1 = PartLinear(parts, features_in, hidden, fans=first, dtype=dtype, rngs=rngs)
    self.norm1 = PartNorm(parts, hidden, rngs=rngs)
    self.fc2 = PartLinear(parts, hidden, features_out, fans=second, dtype=dtype, rngs=rngs)
    self.norm2 = PartNorm(parts, features_out, rngs=rngs) if final_norm else None
    self.adds = start == "identity"
    self.parts = parts + body_heads
    body = BodyHeads(parts, features_in, body_heads, features_out, dtype=dtype, rngs=rngs) if body_heads else None
    self.body = nnx.data(body)

  def __call__(self, x: Float[Array, "b p d"]) -> Float[Array, "b p+h e"]:
    y = self.fc2(jax.nn.relu(self.norm1(self.fc1(x))))
    y = x + y if self.adds else y
    y = y if self.norm2 is None else self.norm2(y)
    return y if self.body is None else jnp.concatenate([y, self.body(x)], axis=1)
