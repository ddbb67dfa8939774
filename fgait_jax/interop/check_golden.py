"""Compares our networks, and their training, with recorded arrays of the official modules.

  python -m fgait_jax.interop.check_golden FILE.npz

The file describes its network in `meta`; arrays are in torch layout. Every recorded array is recomputed with the code
that trains (network, loss, optimizer, moving average) and gives one line; the exit status is 1 if any error is beyond
its tolerance. Here are records of FoundationGait's pretraining step; those whose `meta` names a `network` are read by
`check_networks`.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from fgait_jax.errors import DataError, FgaitError
from fgait_jax.interop import check_networks, names, recorded
from fgait_jax.interop.recorded import Line, relative_error, to_torch
from fgait_jax.models import parts
from fgait_jax.models.network import GaitNetwork
from fgait_jax.models.p3d import BACKBONE, P3D
from fgait_jax.objectives.contrastive import part_info_nce
from fgait_jax.paths import local_path
from fgait_jax.training import preflight
from fgait_jax.training.optimizers import make_optimizer
from fgait_jax.training.state import Graph, stats_of
from fgait_jax.training.step import ema_rate

# Largest error by prefix of the name, relative to the array's largest magnitude. The first prefix that fits counts.
TOLERANCES = {"eval/": 1e-4, "train/loss": 1e-5, "train/": 1e-4, "grad/": 1e-3, "student": 1e-5, "teacher": 1e-5}
OWN = "end to end: "
NAMES = names.FOUNDATION_GAIT
_META = ("layers", "channels", "bins", "crops", "lr", "weight_decay", "momentum", "logit_scale", "label_smoothing",
         "teacher_mode", "ema")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Golden:
  """A recorded file. `weights` is the initial state dict of teacher and student; views are [b t h w c]."""

  meta: dict
  weights: dict[str, np.ndarray]
  teacher_view: np.ndarray
  student_view: np.ndarray
  recorded: dict[str, np.ndarray]


def load(path: pathlib.Path, meta: dict, arrays: dict[str, np.ndarray]) -> Golden:
  """The content of a recorded file `path`; raises `DataError` naming what it lacks."""
  if lacking := [k for k in ("input/view_teacher", "input/view_student") if k not in arrays]:
    raise DataError(f"{path} lacks {', '.join(lacking)}; it is no record of the reference network")
  if lacking := [k for k in _META if k not in meta]:
    raise DataError(f"{path}: meta lacks {', '.join(lacking)}")
  if tuple(meta["bins"]) != parts.BINS:
    raise DataError(f"{path}: meta.bins is {meta['bins']}; the network pools into {list(parts.BINS)}")
  weights = {k.removeprefix("weights/"): v for k, v in arrays.items() if k.startswith("weights/")}
  def view(name):
    return np.moveaxis(arrays[f"input/{name}"], 1, -1)
  recorded = {k: v for k, v in arrays.items() if not k.startswith(("weights/", "input/"))}
  return Golden(meta, weights, view("view_teacher"), view("view_student"), recorded)


def build(golden: Golden) -> tuple[Graph, dict, dict]:
  """(graph, parameters, statistics) of the recorded network; raises `DataError` listing keys that do not fit."""
  meta = golden.meta
  channels = golden.teacher_view.shape[-1]

  def create() -> GaitNetwork:
    rngs = nnx.Rngs(0)
    encoder = P3D(layers=meta["layers"], channels=meta["channels"], in_channels=channels, rngs=rngs)
    return GaitNetwork(encoder, embed_features=meta["channels"][-1], rngs=rngs)

  graph = Graph(*nnx.split(nnx.eval_shape(create), nnx.Param, nnx.BatchStat), BACKBONE)
  params = NAMES.import_tree(golden.weights, nnx.to_pure_dict(graph.params))
  stats = NAMES.import_tree(golden.weights, nnx.to_pure_dict(graph.stats))
  unknown = [k for k in golden.weights if k not in params.used | stats.used and not k.endswith("num_batches_tracked")]
  wrong = [f"missing {k}" for k in params.missing + stats.missing]
  wrong += [f"misshapen {k}" for k in params.misshapen + stats.misshapen] + [f"unknown {k}" for k in unknown]
  if wrong:
    raise DataError("weights do not fit the network of meta: " + "; ".join(wrong))
  return graph, params.values, stats.values


def _encode_parts(encoder: P3D, frames: jax.Array, crop_list: tuple[int, ...]) -> parts.FeatureMap:
  """`P3D.encode_parts` in the official order: groups are consecutive samples, and the first half of each is aligned."""
  order = recorded.group_order(len(frames), len(crop_list))
  found = encoder.encode_parts(frames[order], jnp.ones(frames.shape[:2], bool), crop_list=crop_list)
  return jax.tree.map(lambda x: x[np.argsort(order)], found)


def evaluation(golden: Golden, graph: Graph, params: dict, stats: dict) -> Iterator[tuple[str, np.ndarray]]:
  """(name, array) of each stage of the forward pass in evaluation mode, and of crops of the first and last sequence."""
  @jax.jit
  def run(params, stats, frames):
    network = graph.merge(params, stats)
    network.eval()
    valid = jnp.ones(frames.shape[:2], bool)
    stages = [x[:1] for x in network.encoder.stages(frames, valid)]
    pooled, present = parts.temporal_max(network.encoder.encode(frames, valid))
    embedding = network.embed(frames, valid)
    unit = embedding.prediction / jnp.linalg.norm(embedding.prediction, axis=-1, keepdims=True)
    crops = {p: _encode_parts(network.encoder, frames, (p,)).features for p in golden.meta["crops"]}
    return stages, {
      "temporal_pool": pooled, "part_features": embedding.pooled, "projector": embedding.projection,
      "predictor": embedding.prediction, "embedding": unit,
      **{f"crop{p}_last2": jnp.stack([x[0], x[-1]]) for p, x in crops.items() if p > 1},
    }

  stages, others = run(params, stats, golden.teacher_view)
  for i, x in enumerate(stages):
    yield f"eval/stage{i}_first_sequence", to_torch(x)
  for name, x in others.items():
    yield f"eval/{name}", to_torch(x)


def _updates_per_crop(golden: Golden) -> int:
  """How often the recording updated student statistics per crop: 2 if it recomputed activations in backward."""
  name = "layer0.forward_block.1.num_batches_tracked"
  after = golden.recorded.get(f"student_after_step/{name}")
  if after is None or name not in golden.weights:
    return 1
  return round(float(after - golden.weights[name]) / len(golden.meta["crops"]))


def training(golden: Golden, graph: Graph, params: dict, stats: dict) -> Iterator[tuple[str, np.ndarray]]:
  """(name, array) of one step from equal teacher and student: values, loss, gradients, and the state after it.

  Parameters after the step are computed twice: from the recorded gradients, to check optimizer and moving average to
  their own tolerance, and (prefix `OWN`) from our gradients, within the tolerance of gradients.
  """
  meta = golden.meta
  crops = tuple(meta["crops"])

  def student_loss(params, stats, target, frames):
    student = graph.merge(params, stats)
    features = _encode_parts(student.encoder, frames, crops)
    pooled = parts.part_pool(*parts.temporal_max(features))
    prediction = student.predictor(student.projector(pooled))
    loss, _ = part_info_nce(
      prediction, target, temperature=1 / meta["logit_scale"], label_smoothing=meta["label_smoothing"]
    )
    for _ in range(_updates_per_crop(golden) - 1):  # backward recomputes the crops last to first
      for x, p in reversed(list(zip(jnp.split(frames, len(crops)), crops, strict=True))):
        _encode_parts(student.encoder, x, (p,))
    return loss, (pooled, prediction, stats_of(student))

  @jax.jit
  def step(params, stats, teacher_view, student_view):
    teacher = graph.merge(params, stats)
    if meta["teacher_mode"] == "eval":
      teacher.eval()
    target = teacher.embed(teacher_view, jnp.ones(teacher_view.shape[:2], bool)).projection
    (loss, (pooled, prediction, student_stats)), gradients = jax.value_and_grad(student_loss, has_aux=True)(
      params, stats, target, student_view
    )
    values = {"part_features": pooled, "predictor": prediction, "teacher_projector": target}
    return values, loss, gradients, {"student": student_stats, "teacher": stats_of(teacher)}

  values, loss, gradients, after = step(params, stats, golden.teacher_view, golden.student_view)
  for name, x in values.items():
    yield f"train/{name}", to_torch(x)
  unit = {k: x / np.linalg.norm(x, axis=-1, keepdims=True) for k, x in jax.tree.map(np.asarray, values).items()}
  yield "train/logits", np.einsum("npe,mpe->nmp", unit["predictor"], unit["teacher_projector"])
  yield "train/loss", np.asarray(loss)
  yield from ((f"grad/{k}", x) for k, x in NAMES.export_tree(gradients).items())
  for who, tree in after.items():
    yield from ((f"{who}_after_step/{k}", x) for k, x in NAMES.export_tree(tree).items())
  recorded = {k.removeprefix("grad/"): v for k, v in golden.recorded.items() if k.startswith("grad/")}
  read = NAMES.import_tree(recorded, params)
  yield from _updated(golden, params, gradients if read.missing or read.misshapen else read.values, "")
  yield from _updated(golden, params, gradients, OWN)


def _updated(golden: Golden, params: dict, gradients: dict, mark: str) -> Iterator[tuple[str, np.ndarray]]:
  """Student and teacher parameters after one step with these gradients; `mark` is put before their names."""
  meta = golden.meta
  optimizer = make_optimizer(
    params, name="sgd", rate=optax.constant_schedule(meta["lr"]), momentum=meta["momentum"], beta1=0.0, beta2=0.0,
    weight_decay=meta["weight_decay"], clip_norm=0, rules=((".*", 1.0, 1.0),),
  )
  updates, _ = optimizer.update(gradients, optimizer.init(params), params, number=0)
  student = optax.apply_updates(params, updates)
  rate = ema_rate(jnp.int32(0), start=meta["ema"], steps=10**9)  # the first step of a long run
  teacher = jax.tree.map(lambda old, new: old + rate * (new - old), params, student)
  for who, tree in (("student", student), ("teacher", teacher)):
    yield from ((f"{mark}{who}_after_step/{k}", x) for k, x in NAMES.export_tree(tree).items())


def check(path: pathlib.Path) -> list[Line]:
  """One line for every array of the file, in its order; an array that is not recomputed has an infinite error."""
  meta, arrays = recorded.read(path)
  with jax.default_matmul_precision("highest"):  # GPU and TPU round the factors of float32 products by default
    return check_networks.check(meta, arrays) if "network" in meta else check_step(load(path, meta, arrays))


def check_step(golden: Golden) -> list[Line]:
  """`check` of a record of FoundationGait's pretraining."""
  graph, params, stats = build(golden)
  computed = dict(evaluation(golden, graph, params, stats)) | dict(training(golden, graph, params, stats))
  # A bias that batch normalisation cancels has a gradient of zero, recorded as rounding noise: 1e-8 where others are 1.
  # So any gradient may differ by float32's resolution of the largest gradient.
  gradients = [np.max(np.abs(v), initial=0.0) for k, v in golden.recorded.items() if k.startswith("grad/")]
  noise = np.finfo(np.float32).eps * max(gradients, default=0.0) / TOLERANCES["grad/"]
  lines = []
  for name, expected in golden.recorded.items():
    if name.endswith("num_batches_tracked"):
      continue  # a count of calls, which we do not store; see `_updates_per_crop`
    tolerance = next((t for prefix, t in TOLERANCES.items() if name.startswith(prefix)), 0.0)
    floor = noise if name.startswith("grad/") else 0.0
    lines.append(Line(name, relative_error(computed.get(name), expected, floor), tolerance))
  own = {k: x for k, x in computed.items() if k.startswith(OWN) and k.removeprefix(OWN) in golden.recorded}
  return lines + [_end_to_end(golden, name, x) for name, x in own.items()]


def _end_to_end(golden: Golden, name: str, ours: np.ndarray) -> Line:
  """A parameter after a step with our gradient. Its tolerance is the usual one plus the effect on the step of an error
  in the gradient of the size allowed there."""
  who, parameter = name.removeprefix(OWN).split("_after_step/")
  expected = golden.recorded[f"{who}_after_step/{parameter}"]
  gradient = golden.recorded.get(f"grad/{parameter}", ours)
  size = lambda x: max(float(np.max(np.abs(x), initial=0.0)), 1e-30)  # noqa: E731
  moved = golden.meta["lr"] * (1.0 if who == "student" else 1 - golden.meta["ema"])
  tolerance = TOLERANCES[who] + moved * TOLERANCES["grad/"] * size(gradient) / size(expected)
  return Line(name, relative_error(ours, expected), tolerance)


def main(arguments: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description="Compares a network with recorded arrays of the official module.")
  parser.add_argument("file", metavar="FILE.npz")
  given = parser.parse_args(arguments).file
  try:
    preflight.configure_jax()
    lines = check(local_path(given, "the file"))
  except FgaitError as error:
    print(error, file=sys.stderr)
    return 1
  print("\n".join(map(str, lines)))
  failed = [line for line in lines if not line.passed]
  print(f"{len(lines)} entries, {len(failed)} beyond tolerance")
  return 1 if failed or not lines else 0


if __name__ == "__main__":
  sys.exit(main())
