"""The supervised step: one clip a sequence in, one update of the trainable parameters out. No teacher, no masking.

What trains follows from the method and the optimizer's rules: a parameter of a frozen module, or of rate factor 0, is
in no gradient and in no optimizer. Parameters are flat here, {"encoder/stage4/first/conv1/kernel": array, ...}.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fgait_jax import rng
from fgait_jax.data.augment import augment, prepare
from fgait_jax.errors import ConfigError
from fgait_jax.models import adapters, backbones
from fgait_jax.models.encoder import Backbone
from fgait_jax.models.network import Embedding
from fgait_jax.models.recognition import Recognizer
from fgait_jax.objectives import supervised
from fgait_jax.parallel import rules
from fgait_jax.parallel.hosts import cut_rows
from fgait_jax.parallel.mesh import batch_divisor, batch_sharding, replicated
from fgait_jax.training import optimizers
from fgait_jax.training import state as states
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.state import Graph, stats_of
from fgait_jax.typing import Array

# method -> parameters that stay as they are
FROZEN = {
  "full": r"(?!)", "lora": r"(encoder|projector|border)/.*", "prompt": r"(encoder/(?!prompt_tokens)|projector/).*",
  "head": r"(encoder|projector|border)/.*",
}
STATISTICS = ("frozen", "batch")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Learner:
  """A pretrained network under a new head, cut into what trains and what stays; nothing in it ever changes.

  `trainable` and `frozen` are flat parameters, `stats` nested running statistics; all lie on `mesh`. `config` is that
  of pretraining, with the network's prompts (`training.state.added`).
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

  def embedder(self, trainable, stats, *, output: str):
    """`embed(frames, valid)` for `evaluation.features.extract`, whole bodies in evaluation mode; `prediction` is the
    head's `output`, "embedding" or "logits"."""

    def embed(frames, valid) -> Embedding:
      even = len(frames) % batch_divisor(self.mesh) == 0
      where = batch_sharding(self.mesh) if even else replicated(self.mesh)
      frames, valid = (cut_rows(np.asarray(x), where) for x in (frames, valid))
      return _embed(trainable, self.frozen, stats, frames, valid, self, output)

    return embed


@functools.partial(jax.jit, static_argnames=("learner", "output"))
def _embed(trainable, frozen, stats, frames, valid, learner: Learner, output: str) -> Embedding:
  params = _unsharded(learner, trainable, frozen)
  found = learner.network(params, stats, training=False)(prepare(frames, width=learner.config.augment.width), valid)
  value = jax.lax.with_sharding_constraint(getattr(found, output), replicated(learner.mesh))
  return Embedding(value, value, value, value)


def _unsharded(learner: Learner, trainable, frozen) -> dict:
  """`learner.params`, inside a jitted program to which `frozen` is an argument."""
  trainable, frozen = (
    rules.unsharded(flat, learner.mesh, table=learner.graph.table) for flat in (trainable, frozen)
  )
  return dataclasses.replace(learner, frozen=frozen).params(trainable)


def create(
  pretrained: Pretrained, *, head: str, classes: int, features: int, method: str, statistics: str, rank: int,
  lora_scale: float, prompt_tokens: int, prompt_pixels: int, rules_of_rates: Sequence, seed: int,
) -> Learner:
  """`pretrained`'s encoder and projector under a new head, its weights copied.

  Raises `ConfigError` for an unknown method or statistics, or a parameter that the rules do not name exactly once.
  """
  for key, value, known in (("method", method, FROZEN), ("statistics", statistics, STATISTICS)):
    if value not in known:
      raise ConfigError(f"config.fine_tune.{key} is {value!r}; known: {', '.join(known)}")
  config, mesh = pretrained.config, pretrained.mesh
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
    return {kind: {k: v for k, v in values.items() if k not in given[kind]} for kind, values in made.items()}

  shapes = jax.eval_shape(fresh)
  where = {
    "params": rules.shardings(shapes["params"], mesh, table=graph.table),
    "stats": jax.tree.map(lambda _: replicated(mesh), shapes["stats"]),
  }
  new = jax.jit(fresh, out_shardings=where)()
  params = _of_graph(graph.params, given["params"]) | new["params"]
  _, rate_factors = optimizers.factors(params, rules_of_rates)
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
  return states.with_added(config, prompt_tokens=wanted["prompt_tokens"], prompt_pixels=wanted["prompt_pixels"])


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
  optimizer = optimizers.make_optimizer(trainable, rate=schedule, rules=rules_of_rates, **options)
  slow = optimizers.scale_by_depth(trainable, depth=backbones.depth(backbone), decay=layer_decay)
  return optimizer if layer_decay == 1 else optax.chain(optimizer, slow)


def initial_state(learner: Learner, optimizer: optax.GradientTransformation):
  """(state, shardings): trainable parameters (a copy), statistics, and the optimizer's state."""
  where = {
    "trainable": jax.tree.map(lambda x: x.sharding, learner.trainable),
    "stats": jax.tree.map(lambda _: replicated(learner.mesh), learner.stats),
  }
  shapes = jax.eval_shape(optimizer.init, learner.trainable)
  where["opt"] = rules.optimizer_shardings(shapes, learner.trainable, where["trainable"], learner.mesh)

  def start(trainable, stats):
    copy = jax.tree.map(jnp.copy, {"trainable": trainable, "stats": stats})
    return copy | {"opt": optimizer.init(copy["trainable"])}

  return jax.jit(start, out_shardings=where)(learner.trainable, learner.stats), where


def make_step(
  learner: Learner, optimizer: optax.GradientTransformation, *, shardings, seed: int, augmentation: dict,
  crop_list: Sequence[int], triplet_weight: float, margin: float, cross_entropy_weight: float, scale: float,
  label_smoothing: float,
):
  """The jitted `(state, frozen, batch, number, factor) -> (state, metrics)`; the state given is donated.

  `batch` holds `frames` uint8 [b, 1, t, 64, 64, c], `valid` bool [b, 1, t] and `label` int32 [b], cut over the mesh.
  `factor` multiplies the whole schedule of rates. Metrics are (sum, count) pairs, as in `training.step`. Labels are
  identities for the triplet loss: give it no weight where they are not.
  """
  mesh = learner.mesh

  def loss_of(trainable, frozen, stats, images, valid, label):
    params = _unsharded(learner, trainable, frozen)
    network = learner.network(params, stats, training=True)
    found = network(images, valid, crop_list=crop_list if max(crop_list, default=1) > 1 else ())
    ce, accuracy = supervised.cross_entropy(found.logits, label, scale=scale, label_smoothing=label_smoothing)
    loss = cross_entropy_weight * ce
    metrics = {"cross_entropy": (ce, 1.0), "accuracy": (accuracy, 1.0)}
    if triplet_weight:
      apart, active = supervised.triplet(found.embedding, label, margin=margin)
      loss += triplet_weight * apart
      metrics |= {"triplet": (apart, 1.0), "active_triplets": (active, 1.0)}
    return loss, (metrics, stats_of(network))

  def step(state, frozen, batch, number, factor):
    frames = jax.lax.with_sharding_constraint(batch["frames"][:, 0], batch_sharding(mesh))
    images = augment(rng.key(seed, "augment.fine_tune", number), frames, **augmentation)
    images = jax.lax.with_sharding_constraint(images, batch_sharding(mesh))
    (loss, (metrics, stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
      state["trainable"], frozen, state["stats"], images, batch["valid"][:, 0], batch["label"]
    )
    norm = optax.tree.norm(gradients)
    updates, opt = optimizer.update(gradients, state["opt"], state["trainable"])
    trainable = optax.apply_updates(state["trainable"], jax.tree.map(lambda u: factor * u, updates))
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    metrics |= {"loss": (loss, 1.0), "gradient_norm": (norm, 1.0), "finite": (finite, 1.0)}
    new = {"trainable": trainable, "stats": stats, "opt": opt}
    return new, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), metrics)

  return jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
