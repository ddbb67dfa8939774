"""Walks embedded a second, from frames to embedding, of every network: 90 frames of 64 x 44 pixels each, float32.

  python benchmarks/embed.py                              on this machine's device
  python benchmarks/embed.py --networks transformer:tiny gaitset:32-64-128 --walks 4
  python benchmarks/embed.py --networks transformer:tiny --walks 11 --frames 44 --attention-frames 4
  taskset -c 0 python benchmarks/embed.py                 on one core

Weights and frames are random: speed does not depend on them. The first batch, with compilation, is not counted.
`embed_torch.py` embeds with the published networks in PyTorch's own layers.
"""

import argparse
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402
from fgait_jax.errors import FgaitError  # noqa: E402
from fgait_jax.models.backbones import create_network  # noqa: E402
from fgait_jax.models.heads import PartLinear  # noqa: E402

NETWORKS = ("transformer:tiny", "transformer:small", "gaitset:32-64-128", "gaitbase:resnet9", "deepgaitv2:p3d-1-1-1-1")


def network(text: str) -> tuple[str, str]:
  """(backbone, variant) of "backbone:variant"."""
  name, colon, variant = text.partition(":")
  if not (name and colon and variant):
    raise argparse.ArgumentTypeError(f"{text!r} is not backbone:variant, such as {NETWORKS[0]}")
  return name, variant


def embedding_function(name: str, variant: str, dtype: str, attention_frames: int):
  """(frames [b t 64 44 1], valid [b t]) -> the vectors that are compared, jitted, with random weights inside."""
  rngs, ours = nnx.Rngs(0), name == "transformer"
  projects = name in ("transformer", "p3d", "gaitssb")
  network = create_network(name=name, variant=variant, dtype=dtype, attention_frames=attention_frames,
                           temporal_pooling="mean" if ours else "max", projects=projects,
                           discriminant=256 if ours else 0, rngs=rngs)
  if not projects:  # the published head
    network.recognition = PartLinear(*network.head_input_shape, 256, rngs=rngs)
  network.eval()
  graph, state = nnx.split(network)

  def embed(state, frames, valid):
    found = nnx.merge(graph, state).embed(frames.astype(jnp.float32) / 255, valid)
    compared = (found.discriminant, found.recognition, found.prediction)
    return next(vectors for vectors in compared if vectors is not None)

  jitted = jax.jit(embed)
  return lambda frames, valid: jitted(state, frames, valid)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--networks", nargs="+", type=network, default=[network(text) for text in NETWORKS],
                      help="backbone:variant, as config.model's")
  parser.add_argument("--walks", type=whole(1), default=8, help="in a batch")
  parser.add_argument("--frames", type=whole(1), default=90)
  parser.add_argument("--attention-frames", type=whole(1), default=16, help="of the transformer's windows")
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
  parser.add_argument("--repeats", type=whole(1), default=5)
  options = parser.parse_args()
  shape = (options.walks, options.frames)
  frames = jnp.asarray(np.random.default_rng(0).integers(0, 2, (*shape, 64, 44, 1), np.uint8) * 255)
  valid = jnp.ones(shape, bool)
  device = jax.devices()[0].device_kind
  table = Table("network", "walks a second", "processor seconds a walk",
                title=f"{options.walks} x {options.frames} frames, {options.dtype}, {device}")
  for name, variant in options.networks:
    embed = embedding_function(name, variant, options.dtype, options.attention_frames)
    embed(frames, valid).block_until_ready()
    seconds, processor = [], []
    for _ in range(options.repeats):
      start, used = time.perf_counter(), time.process_time()
      embed(frames, valid).block_until_ready()
      seconds.append(time.perf_counter() - start)
      processor.append(time.process_time() - used)
    table.add_row(f"{name}:{variant}", f"{options.walks / np.median(seconds):.2f}",
                  f"{np.median(processor) / options.walks:.3f}")
  Console().print(table)


if __name__ == "__main__":
  try:
    main()
  except FgaitError as error:
    sys.exit(f"error: {error}")
