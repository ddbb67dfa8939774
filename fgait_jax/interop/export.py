"""Exports weights and networks for use without this code base.

  python -m fgait_jax.interop.export CHECKPOINT --out DIR --format opengait   weights under published names
  python -m fgait_jax.interop.export CHECKPOINT --out DIR --format jax        frames -> embedding, weights inside

Weights under our own names are what `fgait_jax.interop.publish` writes. The last form needs only jax and flatbuffers to
run (`load.py` is written beside it). It takes any number of sequences and frames, on any of the chosen platforms.
"""

import argparse
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from absl import logging

from fgait_jax.data import schema
from fgait_jax.data.augment import prepare
from fgait_jax.errors import CheckpointError, ConfigError, FgaitError
from fgait_jax.interop.names import GAITJEPA
from fgait_jax.interop.networks import names_of
from fgait_jax.models.swingait import PLACES
from fgait_jax.training import folders, preflight
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.state import added

PLATFORMS = ("cpu", "cuda", "tpu")
_LOADER = '''"""Embeds silhouette sequences with the network in `network.jaxexport`; needs jax and flatbuffers only.

  python load.py frames.npy          uint8 [b, t, 64, 64, c], EXPECTED -> frames.embedding.npy [b, p, e]
"""

import pathlib
import sys

import jax
import numpy as np

_NETWORK = jax.export.deserialize(bytearray((pathlib.Path(__file__).parent / "network.jaxexport").read_bytes()))


def embed(frames, valid=None):
  """Embeddings float32 [b, p, e]; `valid` bool [b, t] is False for frames that pad a shorter sequence."""
  frames = np.asarray(frames)
  if frames.ndim != 5 or frames.dtype != np.uint8 or frames.max(initial=0) < LEAST:
    raise ValueError(f"frames are {frames.dtype} {list(frames.shape)} up to {frames.max(initial=0)}; expected uint8"
                     " [b, t, 64, 64, c], EXPECTED")
  valid = np.ones(frames.shape[:2], bool) if valid is None else np.asarray(valid, bool)
  return _NETWORK.call(frames, valid)


if __name__ == "__main__":
  if len(sys.argv) != 2:
    sys.exit("usage: python load.py frames.npy    uint8 [sequence, time, 64, 64, channel], EXPECTED")
  path = pathlib.Path(sys.argv[1])
  np.save(path.with_suffix(".embedding.npy"), embed(np.load(path)))
'''


def embedding_function(pretrained: Pretrained):
  """The function (frames uint8 [b t 64 64 c], valid bool [b t]) -> float32 [b p e] with the weights inside.

  It returns the embedding that evaluation compares, `Pretrained.embedding`, in evaluation mode: each part at unit
  length, except for `recognition`. Frames come in their own order, and the network sees them as in evaluation,
  neighbours as far apart as in training (`clips.spaced`).
  """
  params, stats = jax.tree.map(np.asarray, (pretrained.params, pretrained.stats))
  embedding = pretrained.embedding

  def embed(frames, valid):
    network = pretrained.graph.merge(params, stats)
    network.eval()
    frames, valid = _spaced(frames, valid, stride=pretrained.stride)
    found = network.embed(prepare(frames, width=pretrained.config.augment.width), valid)
    values = getattr(found, embedding).astype(jnp.float32)
    if embedding == "recognition":
      return values
    return values / jnp.maximum(jnp.linalg.norm(values, axis=-1, keepdims=True), 1e-12)

  return embed


def _loader(pretrained: Pretrained) -> str:
  """The program beside an exported network; it refuses what are no silhouettes unless the network takes maps."""
  masks = pretrained.config.model.pixels == schema.SILHOUETTES
  expected = "0 background and 255 body" if masks else "maps as it was trained on"
  return _LOADER.replace("EXPECTED", expected).replace("LEAST", "128" if masks else "1")


def _spaced(frames: jax.Array, valid: jax.Array, *, stride: int) -> tuple[jax.Array, jax.Array]:
  """The valid frames of each sequence as `clips.spaced` orders them, then the others; for any, symbolic, length."""
  if stride == 1:
    return frames, valid
  place = jnp.cumsum(valid, axis=1) - 1
  order = jnp.lexsort((place // stride, place % stride, ~valid), axis=1)
  return jnp.take_along_axis(frames, order[..., None, None, None], axis=1), jnp.take_along_axis(valid, order, axis=1)


def export_network(pretrained: Pretrained, *, platforms: tuple[str, ...] = PLATFORMS) -> jax.export.Exported:
  """The embedding as StableHLO with symbolic batch `b` and time `t`."""
  b, t = jax.export.symbolic_shape("b, t")
  frames = jax.ShapeDtypeStruct((b, t, 64, 64, pretrained.config.model.channels), jnp.uint8)
  valid = jax.ShapeDtypeStruct((b, t), jnp.bool_)
  return jax.export.export(jax.jit(embedding_function(pretrained)), platforms=platforms)(frames, valid)


def opengait_state(pretrained: Pretrained) -> dict[str, np.ndarray]:
  """The state dict of the published module, the P3D network of FoundationGait under the prefix `teacher_backbone.`."""
  model, params, stats = pretrained.config.model, pretrained.params, pretrained.stats
  published = GAITJEPA if "tokens" in params else names_of(model.name, model.variant)
  if added(pretrained.config)["without_heads"] and "recognition" not in params:
    raise CheckpointError(f"the weights {pretrained.identity} were published without the heads that the published names"
                          " are of")
  if "body" in params.get("projector", {}):
    raise CheckpointError("the published names have none for heads that see the whole body (config.model.body_heads)")
  if model.facing:
    raise CheckpointError("the published modules do not turn walks to face one way first, as this network does"
                          " (config.model.facing), and would embed them otherwise")
  if "discriminant" in stats:
    raise CheckpointError("the published names have none for a closing discriminant (config.model.discriminant)")
  if "border" in params:
    raise CheckpointError("the published names have none for a border of prompts, which this network needs")
  if "projector" in params and "projector/fc1" not in published.modules:
    raise CheckpointError(f"{published.title} was published without projector and predictor, which this network has;"
                          " fine-tune it with config.fine_tune.reads=pooled")
  state = published.export_tree(params) | published.export_tree(stats)
  state |= {f"{k.removesuffix('bias_table')}index": PLACES for k in state if k.endswith("position_bias_table")}
  norms = [k.removesuffix(".running_var") for k in state if k.endswith(".running_var")]
  state |= {f"{k}.num_batches_tracked": np.array(pretrained.step, np.int64) for k in norms}
  prefix = "teacher_backbone." if model.name == "p3d" else ""
  return {k if k.startswith("FCs.") else prefix + k: np.ascontiguousarray(v) for k, v in state.items()}


def run(
  checkpoint: str | pathlib.Path, *, out: pathlib.Path, form: str, platforms=PLATFORMS, which="teacher"
) -> list[str]:
  """Writes the chosen form into `out`; returns the paths written."""
  pretrained = load_network(checkpoint, which=which)
  about = {
    "identity": pretrained.identity, "step": str(pretrained.step), "width": str(pretrained.config.augment.width),
    "model": json.dumps(pretrained.config.model.to_dict(), sort_keys=True),
  }
  if form == "jax":
    files = {
      "network.jaxexport": bytes(export_network(pretrained, platforms=platforms).serialize()),
      "load.py": _loader(pretrained).encode(),
      "network.json": json.dumps(about | {"platforms": platforms, "input": "uint8 [b, t, 64, 64, c], bool [b, t]",
                                          "output": "float32 [b, parts, channels]"}).encode(),
    }
  else:
    files = {"opengait.safetensors": safetensors.numpy.save(opengait_state(pretrained), metadata=about)}
  for name, content in files.items():
    with folders.whole(out / name) as half:
      half.write_bytes(content)
  return [str(out / name) for name in files]


def main(arguments: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description="Writes weights or a self-contained network of one of our checkpoints.")
  parser.add_argument("checkpoint", help="a run's folder, one step's, or a folder of weights")
  parser.add_argument("--out", required=True, help="folder that receives the files")
  parser.add_argument("--format", choices=("opengait", "jax"), required=True)
  parser.add_argument("--platforms", default=",".join(PLATFORMS), help="of --format jax (default: %(default)s)")
  parser.add_argument("--network", choices=("teacher", "student"), default="teacher")
  options = parser.parse_args(arguments)
  logging.set_verbosity(logging.ERROR)  # Orbax logs every file it opens
  try:
    preflight.configure_jax()
    out = preflight.writable(options.out, flag="--out")
    platforms = tuple(options.platforms.split(","))
    if unknown := set(platforms) - set(PLATFORMS):
      raise ConfigError(f"--platforms {', '.join(sorted(unknown))}: known: {', '.join(PLATFORMS)}")
    written = run(options.checkpoint, out=out, form=options.format, platforms=platforms, which=options.network)
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print("\n".join(written))
  return 0


if __name__ == "__main__":
  sys.exit(main())
