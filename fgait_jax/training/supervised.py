"""The supervised step: one clip a sequence in, one update of the trainable parameters out. No teacher, no masking.

What trains follows from the method and the optimizer's rules: a parameter of a frozen module, or of rate factor 0, is
in no gradient and in no optimizer. Parameters are flat here, {"encoder/stage4/first/conv1/kernel": array, ...}.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fgait_jax import objectives, rng
from fgait_jax.data.augment import prepare
from fgait_jax.errors import ConfigError
from fgait_jax.models import adapters, backbones
from fgait_jax.models.encoder import Backbone
from fgait_jax.models.recognition import Recognition, Recognizer
from fgait_jax.parallel import rules
from fgait_jax.parallel.hosts import cut_rows
from fgait_jax.parallel.mesh import batch_divisor, batch_sharding, replicated
from fgait_jax.training import optimizers
from fgait_jax.training import state as states
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.state import Graph, stats_of
from fgait_jax.training.step import augmented, draw_with, make_step
from fgait_jax.typing import Array

# method -> parameters that stay as they are
FROZEN = {
  "full": r"(?!)", "lora": r"(encoder|projector|border)/.*", "prompt": r"(encoder/(?!prompt_tokens)|projector/).*",
  "head": r"(encoder|projector|border)/.*",
}
STATISTICS = ("frozen", "batch")
READS = ("projection", "pooled", "discriminant")
OPTIM = "config.fine_tune.optim"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Learner:
  """A pretrained network under a new head, cut into what trains and what stays; nothing in it ever changes.

  `trainable` and `frozen` are flat parameters, `stats` nested running statistics; all lie on `mesh`. `config` is that
  of pretraining, with the network's prompts and without the projector that is not read (`training.state.added`).
  """

  graph: Graph
  trainable: dict[str, Array]
  frozen: dict[str, Array]
  stats: dict
  statistics: str
  lora_scale: float
  config: ConfigDict
  mesh: Mesh

  def params(self, trainable) -> dict:
    """The nested parameters of the network, low-rank updates added."""
    flat = adapters.merge(self.frozen | dict(trainable), scale=self.lora_scale)
    return traverse_util.unflatten_dict(flat, sep="/")

  def network(self, params, stats, *, training: bool) -> Recognizer:
    """The module; in training the head sees batch statistics, and the rest as `statistics` says."""
    network = self.graph.merge(params, stats)
    network.eval()
    if training:
      (network if self.statistics == "batch" else network.head).train()
    return network


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Tuned:
  """A learner's network after some steps: what validation and tests look at."""

  learner: Learner
  trainable: dict[str, Array]
  stats: dict

  def recognise(self, frames, valid, *, output: str) -> Recognition:
    """Whole bodies in evaluation mode; "embedding" or "logits" alone is made."""
    mesh = self.learner.mesh
    where = batch_sharding(mesh) if len(frames) % batch_divisor(mesh) == 0 else replicated(mesh)
    frames, valid = (cut_rows(np.asarray(x), where) for x in (frames, valid))
    return _recognise(self.trainable, self.learner.frozen, self.stats, frames, valid, self.learner, output)


@functools.partial(jax.jit, static_argnames=("learner", "output"))
def _recognise(trainable, frozen, stats, frames, valid, learner: Learner, output: str) -> Recognition:
  params = _unsharded(learner, trainable, frozen)
  found = learner.network(params, stats, training=False)(prepare(frames, width=learner.config.augment.width), valid)
  other = {"embedding": "logits", "logits": "embedding"}[output]
  return jax.lax.with_sharding_constraint(dataclasses.replace(found, **{other: None}), replicated(learner.mesh))


def _unsharded(learner: Learner, trainable, frozen) -> dict:
  """`learner.params`, inside a jitted program to which `frozen` is an argument."""
  trainable, frozen = (
    rules.unsharded(flat, learner.mesh, table=learner.graph.table) for flat in (trainable, frozen)
  )
  return dataclasses.replace(learner, frozen=frozen).params(trainable)


def create(
  pretrained: Pretrained, *, head: str, reads: str, classes: int, features: int, method: str, statistics: str,
  rank: int, lora_scale: float, prompt_tokens: int, prompt_pixels: int, rules_of_rates: Sequence, seed: int,
  begins: Mapping[str, dict[str, np.ndarray]] | None = None,
) -> Learner:
  """`pretrained`'s encoder, and the projector where the head `reads` the "projection" and not the "pooled" parts, under
  a new head, its weights copied. A head that reads by a "discriminant" `begins` as `training.discriminant.head` says:
  flat {"params", "stats"}.

  Raises `ConfigError` for an unknown method, statistics or `reads`, a projection that the network does not make, or a
  parameter that the rules do not name exactly once.
  """
  choices = (("method", method, FROZEN), ("statistics", statistics, STATISTICS), ("reads", reads, READS))
  for key, value, known in choices:
    if value not in known:
      raise ConfigError(f"config.fine_tune.{key} is {value!r}; known: {', '.join(known)}")
  if reads == "projection" and "projector" not in pretrained.params:
    raise ConfigError("config.fine_tune.reads=projection, but the network of config.checkpoint has no projector (it"
                      " lost it, or was published without heads); set it to pooled, or name the run it was made of")
  config, mesh = pretrained.config, pretrained.mesh
  counts = states.added(config) | {"no_projector": int(reads != "projection")}
  config = states.with_added(config, **counts)
  if method == "prompt":
    config = _with_prompts(config, {"prompt_tokens": prompt_tokens, "prompt_pixels": prompt_pixels})

  def build():
    network = states.new_network(config, rng.key(seed, "fine_tune"))
    head_rngs = nnx.Rngs(rng.key(seed, "fine_tune.head"))
    return Recognizer(network, head=head, classes=classes, features=features, rngs=head_rngs)

  graph = Graph(*nnx.split(nnx.eval_shape(build), nnx.Param, nnx.BatchStat), pretrained.graph.backbone)
  given = {name: flat(tree) for name, tree in (("params", pretrained.params), ("stats", pretrained.stats))}

  def fresh():  # only what is new: the compiler drops the rest
    _, params, stats = nnx.split(build(), nnx.Param, nnx.BatchStat)
    made = {"params": flat(nnx.to_pure_dict(params)), "stats": flat(nnx.to_pure_dict(stats))}
    if method == "lora":
      table = backbones.low_rank(graph.backbone)
      made["params"] |= adapters.create(rng.key(seed, "fine_tune.lora"), made["params"], rank=rank, table=table)
    made = {kind: values | (begins or {}).get(kind, {}) for kind, values in made.items()}
    return {kind: {k: v for k, v in values.items() if k not in given[kind]} for kind, values in made.items()}

  shapes = jax.eval_shape(fresh)
  where = {
    "params": rules.shardings(shapes["params"], mesh, table=graph.table),
    "stats": jax.tree.map(lambda _: replicated(mesh), shapes["stats"]),
  }
  new = jax.jit(fresh, out_shardings=where)()
  params = _of_graph(graph.params, given["params"]) | new["params"]
  _, rate_factors = optimizers.factors(params, rules_of_rates, key=OPTIM)
  trains = {k: bool(rate_factors[k]) and not re.fullmatch(FROZEN[method], k) for k in params}
  stats = traverse_util.unflatten_dict(_of_graph(graph.stats, given["stats"]) | new["stats"], sep="/")
  return Learner(
    graph=graph, trainable={k: v for k, v in params.items() if trains[k]},
    frozen={k: v for k, v in params.items() if not trains[k]}, stats=stats, statistics=statistics,
    lora_scale=lora_scale, config=config, mesh=mesh,
  )


def _with_prompts(config: ConfigDict, wanted: dict[str, int]) -> ConfigDict:
  """`config` with the prompts `wanted`; those of an earlier fine-tuning must be the same, and are learned further."""
  if not any(wanted.values()):
    raise ConfigError("config.fine_tune.method=prompt needs config.fine_tune.prompt_tokens or prompt_pixels above 0")
  found = {key: states.added(config)[key] for key in wanted}
  if any(found.values()) and found != wanted:
    raise ConfigError("config.checkpoint has " + " and ".join(f"{key}={n}" for key, n in found.items()) + " already;"
                      " set the same in config.fine_tune to learn them further, or start from another checkpoint")
  return states.with_added(config, **states.added(config) | wanted)


def flat(tree) -> dict[str, Array]:
  """A nested dict as {"a/b/c": leaf}."""
  return traverse_util.flatten_dict(tree, sep="/")


def _of_graph(state: nnx.State, values: dict[str, Array]) -> dict[str, Array]:
  """Of `values` those that the graph has: a recognizer has no predictor and no decoder."""
  return {name: values[name] for name in flat(nnx.to_pure_dict(state)) if name in values}


def optimizer_of(
  trainable, *, backbone: Backbone, rules_of_rates: Sequence, layer_decay: float, schedule: optax.Schedule,
  options: dict,
) -> optax.GradientTransformation:
  """`training.optimizers.make_optimizer`, with every layer of `backbone` slowed by `layer_decay` for each above it."""
  optimizer = optimizers.make_optimizer(trainable, rate=schedule, rules=rules_of_rates, key=OPTIM, **options)
  slow = optimizers.scale_by_depth(trainable, depth=backbones.depth(backbone), decay=layer_decay)
  return optimizer if layer_decay == 1 else optax.chain(optimizer, slow)


def abstract(learner: Learner, optimizer: optax.GradientTransformation, active: objectives.Weighted):
  """(function that makes the state at step 0, its shapes, its shardings): `step`, `params` (those that train, copied),
  `stats`, `opt`, and `objectives` and `guard` as in `training.state`."""

  def start(trainable, frozen, stats):
    copy = jax.tree.map(jnp.copy, {"params": trainable, "stats": stats})
    own = {name: objective.init(_output(learner, trainable, frozen)) for name, (_, objective) in active.items()}
    return {"step": jnp.int32(0), **copy, "opt": optimizer.init(copy["params"]), "objectives": own,
            "guard": states.new_guard()}

  given = learner.trainable, learner.frozen, learner.stats
  shapes = jax.eval_shape(start, *given)
  params, whole = jax.tree.map(lambda x: x.sharding, learner.trainable), replicated(learner.mesh)
  where = {
    "step": whole, "params": params, "stats": jax.tree.map(lambda _: whole, learner.stats),
    "opt": rules.optimizer_shardings(shapes["opt"], learner.trainable, params, learner.mesh),
    "objectives": {
      name: objective.shardings(shapes["objectives"][name], learner.mesh) for name, (_, objective) in active.items()
    },
    "guard": states.guard_shardings(learner.mesh),
  }
  make = jax.jit(start, out_shardings=where)
  return lambda: make(*given), states.placed(shapes, where), where


def _output(learner: Learner, trainable, frozen):
  """What the network gives for one walk, as shapes."""
  frame = (64, learner.config.augment.width, learner.config.model.channels)
  clip = jax.ShapeDtypeStruct((1, 16, *frame), jnp.float32), jax.ShapeDtypeStruct((1, 16), bool)

  def recognise(trainable, frozen, stats, frames, valid):
    params = dataclasses.replace(learner, frozen=frozen).params(trainable)
    return learner.network(params, stats, training=False)(frames, valid)

  return jax.eval_shape(recognise, trainable, frozen, learner.stats, *clip)


def supervised_step(
  learner: Learner, optimizer: optax.GradientTransformation, active: objectives.Weighted, *, settings, seed: int,
  schedule: optax.Schedule, shardings,
):
  """`training.step.make_step` for states of `abstract`, `frozen` being the learner's; `settings` is
  `config.fine_tune`. `batch` holds, besides, `frames` uint8 [b, 1, t, 64, 64, c], `valid` bool [b, 1, t] and `label`
  int32 [b], cut over (data, fsdp)."""
  crop_list = tuple(settings.crop_list) if max(settings.crop_list, default=1) > 1 else ()

  def loss_of(trainable, state, batch, number, frozen):
    images = augmented(
      batch["frames"][:, 0], "fine_tune", number, seed=seed, settings=settings.augment, mesh=learner.mesh
    )
    network = learner.network(_unsharded(learner, trainable, frozen), state["stats"], training=True)
    draw_with(network.encoder, rng.key(seed, "fine_tune.depth", number))
    found = network(images, batch["valid"][:, 0], crop_list=crop_list)
    loss, metrics, own = objectives.total(active, found, None, batch, state["objectives"])
    return loss, (metrics, {"stats": stats_of(network), "objectives": own})

  return make_step(
    loss_of, optimizer, schedule=schedule, mesh=learner.mesh, shardings=shardings, mishaps=settings
  )
