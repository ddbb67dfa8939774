"""The records of published networks, one a file: evaluation and one training pass of each, recomputed with our modules.

A record holds a state dict under the official names, which is read as `import_opengait` reads a checkpoint.
"""

from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgait_jax import objectives
from fgait_jax.errors import DataError
from fgait_jax.evaluation.metrics.distances import pairwise
from fgait_jax.interop import import_opengait, names, networks
from fgait_jax.interop.recorded import Line, group_order, relative_error, to_torch
from fgait_jax.kernels.convolution import plainly
from fgait_jax.kernels.unit import unit
from fgait_jax.models import backbones, parts
from fgait_jax.models.network import GaitNetwork, head_input
from fgait_jax.models.recognition import Recognizer
from fgait_jax.objectives.contrastive import part_info_nce
from fgait_jax.training.state import Graph, stats_of
from fgait_jax.typing import Array

# Largest error by prefix of the name, relative to the array's largest magnitude. The first prefix that fits counts.
# "train/" and "grad/" are recorded in float64; gradients may be twice as far from them as the official ones in float32
# are, which `meta` states, because our rounding is another.
TOLERANCES = {
  "eval/embed": 1e-5, "eval_b/embed": 1e-5, "eval/max_embed": 1e-5, "eval_b/max_embed": 1e-5,
  "eval/pooled_part_embed": 1e-5, "eval_b/pooled_part_embed": 1e-5, "eval": 1e-4,
  "packed/": 1e-5, "short/": 1e-5, "wide/": 1e-5, "distance/euc": 2e-5, "distance/cos": 5e-5,
  # Half of the official triplets have the anchor as its own positive, at a distance that is rounding and not 0.
  "train/loss_softmax": 1e-5, "train/loss": 1e-4, "train/": 1e-4, "after_forward/": 1e-5,
}  # fmt: skip
_GIVEN = ("packed/sils", "packed/lengths", "short/sils", "wide/sils64", "train/sils", "train/labels",
          "train/loss_in_float32")
# A cosine distance is 1 less a cosine, and float32 resolves cosines: 5e-5 of 0.02 is eight times that resolution.
_NEAR = 0.02
# Zero in theory, since no loss sees a shift of all rows, so that all is rounding: relative to the largest gradient.
_ZERO, _ROUNDING = "grad/transformer.norm.bias", 1e-6
_UNUSED = "after_forward/predictor."  # which runs in the official forward pass, and feeds nothing
_PASSES, _NUDGE = 32, 1e-7
Network = GaitNetwork | Recognizer


def check(meta: dict, arrays: dict[str, np.ndarray]) -> list[Line]:
  """One line for every array of the record, gradients last; an array that is not recomputed has an infinite error."""
  taught = "train/sils" in arrays
  lacking = [k for k in ("input/sils", "input/sils_b", *(("train/labels",) if taught else ())) if k not in arrays]
  lacking += [f"meta.{k}" for k in (("training", "config") if taught else ()) if k not in meta]
  if lacking:
    raise DataError(f"the record of {meta['network']} lacks {', '.join(lacking)}")
  state = {k.removeprefix("state/"): v for k, v in arrays.items() if k.startswith("state/")}
  which, state, _ = import_opengait.choose(state, None)
  recorded = {k.replace(f"{which}_backbone.", ""): v for k, v in arrays.items()
              if not k.startswith(("state/", "input/")) and k not in _GIVEN}
  found = networks.recognise(state)
  recorded = _without_spare({k: v for k, v in recorded.items() if not k.startswith(_UNUSED)}, found.network.names)
  graph, params, stats = build(found, state)
  computed = dict(evaluation(found, graph, params, stats, arrays))
  gradients: list[Line] = []
  if taught:
    allowed = 2 * meta["training"]["relative_deviation_of_float32_gradients"]["value"]
    passes = training(found, graph, params, stats, arrays, meta)
    values, gradients = _nearest(passes, {k: v for k, v in recorded.items() if k.startswith("grad/")}, allowed)
    computed |= values
  lines = []
  for name, expected in recorded.items():
    if name.startswith("grad/") or name.endswith("num_batches_tracked"):
      continue  # the latter is a count of calls, which we do not store
    tolerance = next((t for prefix, t in TOLERANCES.items() if name.startswith(prefix)), 0.0)
    floor = _NEAR if name.startswith("distance/cos") else 0.0
    lines.append(Line(name, relative_error(computed.get(name), expected, floor), tolerance))
  return lines + gradients


def _without_spare(recorded: dict, published: names.Names) -> dict:
  """What is recorded, without the parts that nobody compares: zeros in their place where `published` writes them."""
  if not published.spare:
    return recorded
  found = {k: v[..., : -published.spare] if k.endswith("/fcs_16_parts") else v for k, v in recorded.items()}
  norm = "after_forward/BNNecks.bn1d."
  for k in recorded:
    if k.startswith(norm) and np.ndim(recorded[k]):
      path = "head/neck/norm/norm/mean"
      found[k] = published.to_torch(published.to_ours(recorded[k], path), path)
  return found


def _nearest(passes: Iterable[dict], recorded: dict, allowed: float) -> tuple[dict, list[Line]]:
  """(the first of `passes` whose gradients are all within what is `allowed`, or the nearest, a line for each gradient).
  """
  largest, best = max(np.max(np.abs(x), initial=0.0) for x in recorded.values()), None
  for one in passes:
    lines = [
      Line(k, relative_error(one.get(k), x, largest), _ROUNDING) if k == _ZERO
      else Line(k, relative_error(one.get(k), x, 1e-5 * largest), allowed)
      for k, x in recorded.items()
    ]
    worst = max(line.error / line.tolerance for line in lines)
    if best is None or worst < best[0]:
      best = worst, one, lines
    if worst <= 1:
      break
  return best[1], best[2]


def build(found: networks.Found, state: dict[str, np.ndarray]) -> tuple[Graph, dict, dict]:
  """(graph, parameters, statistics) of the network as it trains: a `Recognizer`, or the network itself where the record
  has no labels. Where it has no neck, one of ones is put, of whose outputs none is recorded. Raises
  `CheckpointError` for names that do not fit."""
  import_opengait.convert(found)
  classes = state["BNNecks.fc_bin"].shape[-1] if "BNNecks.fc_bin" in state else 1
  features = found.added.get("recognition_features", 0)

  def create():
    network = import_opengait.create(found)
    if not features or "token_features" in found.added:  # of which nothing trains with labels
      return network
    return Recognizer(network, head="identity", classes=classes, features=features, rngs=nnx.Rngs(0))

  backbone = backbones.find(found.model["name"])
  graph = Graph(*nnx.split(nnx.eval_shape(create), nnx.Param, nnx.BatchStat), backbone)
  published, trees = found.network.names, []
  for tree in (nnx.to_pure_dict(graph.params), nnx.to_pure_dict(graph.stats)):
    ones = published.export_tree(jax.tree.map(lambda x: np.ones(x.shape, np.float32), tree))
    read = published.import_tree(ones | state, tree)
    if read.misshapen:
      raise DataError(f"the record's neck does not fit: {'; '.join(read.misshapen)}")
    trees.append(read.values)
  return graph, *trees


def evaluation(found: networks.Found, graph: Graph, params, stats, arrays) -> Iterator[tuple[str, np.ndarray]]:
  """(name, array) of both inputs in evaluation mode, of sequences packed into one row, and of distances."""
  run = jax.jit(lambda params, stats, frames, valid: _stages(_merged(graph, params, stats), frames, valid))
  embeddings = []
  for place, given in (("eval", "input/sils"), ("eval_b", "input/sils_b")):
    frames = _frames(arrays[given])
    stages, values = run(params, stats, frames, jnp.ones(frames.shape[:2], bool))
    for name, x in zip(found.network.stages, stages, strict=True):
      x = to_torch(x)
      yield f"{place}/{name}_seq0_frames01", x[:1, :, :2]
      yield f"{place}/{name}_seq0", x[:1]
      yield f"{place}/{name}", x[:, :, 0]  # what was pooled over time
    for name, x in values.items():
      yield f"{place}/{name}", to_torch(x)
    maps = np.split(to_torch(values["pooled"]), graph.backbone.cut.maps, axis=2)
    yield from ((f"{place}/part_features" + (f"_{i + 1}" if i else ""), x) for i, x in enumerate(maps))
    embeddings.append(to_torch(values["embedding"]))
    if "tokens" in values:
      yield from _of_jepa(place, embeddings[-1], np.asarray(values["tokens"]), arrays)
  for name, metric in (("euc", "euclidean"), ("cos", "cosine")):
    yield f"distance/{name}_a_b", np.asarray(pairwise(*embeddings, metric=metric))
  for place, given in (("short", "short/sils"), ("wide", "wide/sils64")):
    if given in arrays:
      frames = _frames(arrays[given])
      yield f"{place}/embedding", to_torch(run(params, stats, frames, jnp.ones(frames.shape[:2], bool))[1]["embedding"])
  if "packed/sils" in arrays:
    yield from _packed(graph, params, stats, _frames(arrays["packed/sils"]), arrays["packed/lengths"])


def _of_jepa(place: str, each: np.ndarray, tokens: np.ndarray, arrays) -> Iterator[tuple[str, np.ndarray]]:
  """What GaitJEPA's records call otherwise: `each` part's embedding [n c p], and tokens [n t p c] as they are."""
  yield f"{place}/pooled_part_embedding", each
  for name, x in (("embedding", each.mean(axis=2)), ("max_embedding", each.max(axis=2))):
    yield f"{place}/{name}", x / np.linalg.norm(x, axis=1, keepdims=True)
  yield f"{place}/tokens", tokens
  if place == "eval" and "input/visible_mask" in arrays:
    yield f"{place}/masked_tokens", tokens * arrays["input/visible_mask"][:, :, None, None]


def _stages(network: Network, frames: Array, valid: Array) -> tuple[list[Array], dict[str, Array]]:
  """(outputs of the encoder's stages, what follows)."""
  in_time, present = parts.temporal_max(network.encoder.encode(frames, valid))
  pooled = parts.part_pool(in_time, present, cut=network.cut)
  values = {"temporal_pool": in_time, "pooled": pooled, **_heads(network, pooled)}
  if isinstance(network, GaitNetwork) and network.tokens is not None:
    values["tokens"] = network.frame_tokens(frames, valid)
  return list(network.encoder.stages(frames, valid)), values


def _heads(network: Network, pooled: Array) -> dict[str, Array]:
  """What follows the pooled parts, by its names in records."""
  values = {}
  if network.projector is not None:
    values["projector"] = network.projector(pooled)
  if isinstance(network, GaitNetwork) and network.recognition is not None:
    return values | {"embedding": network.recognition(head_input(pooled, values.get("projector")))}
  if isinstance(network, GaitNetwork):
    values["predictor"] = network.predictor(values["projector"])
    return values | {"embedding": unit(values["predictor"])}
  found = network.head(network.read(pooled))
  values |= dict.fromkeys(("embedding", "embedding_head", "embed_1", "fcs_16_parts"), found.embedding)
  return values | {"logits": found.logits, "embed_2": unit(network.head.neck.norm(found.embedding))}


def _packed(graph: Graph, params, stats, row: Array, lengths: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
  """Sequences that lie in one row [1, t, ...] one after the other: each by itself, padded to the longest; and as
  OpenGait takes them, convolved as one sequence and then pooled each by itself."""
  places = np.cumsum([0, *lengths])
  alone = jnp.stack([jnp.pad(row[0, a:b], ((0, max(lengths) - (b - a)), (0, 0), (0, 0), (0, 0)))
                     for a, b in zip(places, places[1:], strict=False)])
  valid = jnp.arange(max(lengths)) < jnp.asarray(lengths)[:, None]

  @jax.jit
  def run(params, stats, row, alone, valid):
    network = _merged(graph, params, stats)
    whole = parts.pool(network.encoder.encode(alone, valid), temporal="max", cut=network.cut)
    each = _heads(network, whole)["embedding"]
    found = network.encoder.encode(row, jnp.ones(row.shape[:2], bool))
    if found.features.shape[1] != row.shape[1]:  # it has pooled over time, and convolved within frames
      return each, each
    inside = (jnp.arange(row.shape[1]) >= places[:-1, None]) & (jnp.arange(row.shape[1]) < places[1:, None])
    features = jnp.broadcast_to(found.features, (len(lengths), *found.features.shape[1:]))
    present = jnp.broadcast_to(inside[:, :, None, None], features.shape[:-1])
    pooled = parts.pool(parts.FeatureMap(features, present), temporal="max", cut=network.cut)
    return each, _heads(network, pooled)["embedding"]

  each, together = run(params, stats, row, alone, valid)
  yield "packed/embedding_each_alone", to_torch(each)
  yield "packed/embedding", to_torch(together)


def training(found: networks.Found, graph: Graph, params, stats, arrays, meta) -> Iterator[dict[str, np.ndarray]]:
  """By name, losses, what they are of, gradients and running statistics of one forward and backward pass; then the same
  from weights that differ by rounding.

  Rounding decides some ReLUs, maxima and hinges, and gradients jump there. So the recorded ones must be near to those
  of one pass among passes that float32 cannot tell apart. The fast convolutions of CPU round most, and are left out.
  """
  losses, crop_list = meta["training"]["losses"], tuple(meta["config"].get("crop_list", ()))
  order = group_order(len(arrays["train/sils"]), len(crop_list)) if crop_list else np.arange(len(arrays["train/sils"]))
  frames, label = _frames(arrays["train/sils"])[order], jnp.asarray(arrays["train/labels"], jnp.int32)[order]
  known = ("triplet", "softmax") if "recognition_features" in found.added else ("softmax1", "softmax2")
  if unknown := losses.keys() - set(known):
    raise DataError(f"meta.training.losses has {', '.join(sorted(unknown))}; known: {', '.join(known)}")

  @jax.jit
  def run(params, stats, frames):
    def total(params):
      network = graph.merge(params, stats)
      if isinstance(network, GaitNetwork):
        each, out = _two_views(network, frames, losses)
      else:
        each, out = _labelled(network, frames, label, losses, crop_list)
      loss = sum(c["loss_term_weight"] * each[name] for name, c in losses.items())
      return loss, (each, out, stats_of(network))

    return jax.value_and_grad(total, has_aux=True)(params)

  published, rng = found.network.names, np.random.default_rng(0)
  for number in range(_PASSES):
    near = jax.tree.map(lambda x: x * (1 + _NUDGE * rng.uniform(-1, 1, x.shape)).astype(np.float32), params)
    with plainly():
      (loss, (each, out, after)), gradients = run(near if number else params, stats, frames)
    yield {
      "train/loss": np.asarray(loss), **{f"train/loss_{name}": np.asarray(x) for name, x in each.items()},
      **{f"train/{name}": to_torch(x)[np.argsort(order)] for name, x in out.items()},
      **{f"grad/{name}": x for name, x in published.export_tree(gradients).items()},
      **{f"after_forward/{name}": x for name, x in published.export_tree(after).items()},
    }


def _labelled(network: Recognizer, frames: Array, label: Array, losses: dict, crop_list: tuple[int, ...]):
  """({name: loss}, {name: what it is of}) of `losses` over identities."""
  valid = jnp.ones(frames.shape[:2], bool)
  out = network(frames, valid, crop_list=crop_list)
  for i in reversed(range(len(crop_list))):  # its backward pass runs the crops again, and moves statistics again
    group = slice(i, None, len(crop_list))
    network.encoder.encode_parts(frames[group], valid[group], crop_list=crop_list[i : i + 1])
  each = {}
  for name, c in losses.items():
    if name == "triplet":
      objective = objectives.Triplet(margin=c["margin"])
    else:
      objective = objectives.CrossEntropy(scale=c["scale"], label_smoothing=c["eps"])
    each[name], *_ = objective(out, None, {"label": label}, {})
  return each, {"triplet_embeddings": out.embedding, "softmax_logits": out.logits}


def _two_views(network: GaitNetwork, frames: Array, losses: dict):
  """As `_labelled`, of GaitSSB's pretraining: frames beside themselves mirrored, of which the last one comes first."""
  valid = jnp.ones(frames.shape[:2], bool)
  q, k = (network.embed(view, valid) for view in (frames, jnp.roll(frames[:, :, :, ::-1], 1, axis=1)))
  each, logits = {}, {}
  for name, one, other in (("softmax1", q, k), ("softmax2", k, q)):
    target, c = jax.lax.stop_gradient(other.projection), losses[name]
    each[name], _ = part_info_nce(one.prediction, target, temperature=1 / c["scale"], label_smoothing=c["eps"])
    logits[f"{name}_logits"] = jnp.einsum("npe,mpe->npm", unit(one.prediction), unit(target))
  return each, logits


def _merged(graph: Graph, params, stats) -> Network:
  network = graph.merge(params, stats)
  network.eval()
  return network


def _frames(sils: np.ndarray) -> Array:
  """uint8 [n t h w] as the network sees them, [n t h w 1] in 0..1."""
  return jnp.asarray(sils[..., None], jnp.float32) / 255
