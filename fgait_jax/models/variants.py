"""Named sizes of every model. `tests/golden/parameters.txt` lists their parameter counts, part by part.

Transformer: test, tiny (two CPU cores), small, base (0.13 B with heads), large (0.3 B), huge (0.6 B), giant (1.1 B).
P3D: as the reference names them, 0.03b and 0.13b by the backbone alone; the others by blocks per stage; test is small.
"""

import jax.numpy as jnp
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models import p3d
from fgait_jax.models.decoder import Decoder
from fgait_jax.models.network import GaitNetwork
from fgait_jax.models.parts import TEMPORAL
from fgait_jax.models.transformer import GaitTransformer

_WIDE = {"patch_time": 2, "merge_columns": 2, "stem_channels": (64, 128)}

# encoder: of GaitTransformer; embed: channels of a part's embedding; decoder: of Decoder.
TRANSFORMER = {
  "test": {
    "encoder": {"width": 16, "layers": 1, "heads": 2, "patch_time": 2, "merge_columns": 3, "stem_channels": (4, 8)},
    "embed": 8, "decoder": {"width": 8, "layers": 1, "heads": 2},
  },
  "tiny": {
    "encoder": {"width": 128, "layers": 2, "heads": 4, "patch_time": 4, "merge_columns": 3, "stem_channels": (32, 64)},
    "embed": 128, "decoder": {"width": 64, "layers": 1, "heads": 2},
  },
  "small": {
    "encoder": {"width": 384, "layers": 8, "heads": 6, "patch_time": 4, "merge_columns": 2, "stem_channels": (32, 64)},
    "embed": 256, "decoder": {"width": 128, "layers": 2, "heads": 4},
  },
  "base": {
    "encoder": {"width": 768, "layers": 12, "heads": 12, **_WIDE},
    "embed": 512, "decoder": {"width": 256, "layers": 2, "heads": 4},
  },
  "large": {
    "encoder": {"width": 1024, "layers": 20, "heads": 16, **_WIDE},
    "embed": 512, "decoder": {"width": 256, "layers": 2, "heads": 4},
  },
  "huge": {
    "encoder": {"width": 1280, "layers": 28, "heads": 20, **_WIDE},
    "embed": 512, "decoder": {"width": 384, "layers": 2, "heads": 4},
  },
  "giant": {
    "encoder": {"width": 1792, "layers": 28, "heads": 28, **_WIDE},
    "embed": 512, "decoder": {"width": 512, "layers": 2, "heads": 8},
  },
}  # fmt: skip

def _transformer(
  size: dict, *, channels: int, dtype, remat: str, stem: str, temporal: str, body_heads: int, discriminant: int,
  rngs: nnx.Rngs,
) -> GaitNetwork:
  encoder = GaitTransformer(
    **size["encoder"], in_channels=channels, dtype=dtype, remat=remat, stem=stem, rngs=rngs
  )
  decoder = Decoder(
    features=encoder.features, pixels=encoder.pixels, window_slots=encoder.window_slots,
    patch_time=encoder.patch_time, patch_columns=encoder.patch_columns, dtype=dtype, remat=remat, rngs=rngs,
    **size["decoder"],
  )
  return GaitNetwork(
    encoder, embed_features=size["embed"], decoder=decoder, heads="identity", temporal=temporal, body_heads=body_heads,
    discriminant=discriminant, dtype=dtype, rngs=rngs,
  )


def _p3d(
  size: dict, *, channels: int, dtype, remat: str, stem: str, temporal: str, body_heads: int, discriminant: int,
  rngs: nnx.Rngs,
) -> GaitNetwork:
  del stem  # the reference has one stem
  encoder = p3d.P3D(**size, in_channels=channels, dtype=dtype, remat=remat, rngs=rngs)
  return GaitNetwork(
    encoder, embed_features=encoder.features, temporal=temporal, body_heads=body_heads, discriminant=discriminant,
    dtype=dtype, rngs=rngs,
  )


# model -> (its sizes, its builder)
MODELS = {"transformer": (TRANSFORMER, _transformer), "p3d": (p3d.SIZES, _p3d)}
REMAT = ("none", "dots", "full")
DTYPES = ("float32", "bfloat16")


def create_network(
  *, name: str, variant: str, channels: int = 1, dtype="float32", remat: str = "none", stem: str = "conv",
  temporal_pooling: str = "max", body_heads: int = 0, discriminant: int = 0, rngs: nnx.Rngs,
) -> GaitNetwork:
  """The network `variant` of model `name`; arguments as the keys of `fgait_jax/defaults.py: model`.

  Raises `ConfigError` naming the known values for an unknown one.
  """
  sizes, build = MODELS[_known(name, MODELS, "name")]
  if name == "p3d":
    size = dict(zip(("layers", "channels"), p3d.sizes(variant), strict=True))
  else:
    size = sizes[_known(variant, sizes, "variant")]
  dtype = _known(jnp.dtype(dtype).name if not isinstance(dtype, str) else dtype, DTYPES, "dtype")
  return build(
    size, channels=channels, dtype=jnp.dtype(dtype), remat=_known(remat, REMAT, "remat"),
    stem=_known(stem, ("conv", "tubelet"), "stem"), temporal=_known(temporal_pooling, TEMPORAL, "temporal_pooling"),
    body_heads=body_heads, discriminant=discriminant, rngs=rngs,
  )


def frames_per_token(name: str, variant: str) -> int:
  """Frames that make one slot of a network's grid; 1 where frames stay frames. Raises `ConfigError`."""
  if name == "p3d":
    return 1
  sizes, _ = MODELS[_known(name, MODELS, "name")]
  return sizes[_known(variant, sizes, "variant")]["encoder"]["patch_time"]


def _known(value: str, known, key: str) -> str:
  if value not in known:
    raise ConfigError(f"model.{key}={value!r} is not known; known: {', '.join(known)}")
  return value
