"""The training state, a plain tree of arrays, and the graph that makes a network of it.

  step     int32, batches used so far
  params   the student's parameters
  stats    its running batch statistics
  teacher  {params, stats}: moving average of the parameters, and statistics of its own
  opt      optax's state
  objectives  name -> state of each objective in use, {} where it has none
  guard    {losses, skipped}: what says whether a loss is far above those before, and how many batches in a row were
           left out (training/step.py)
"""

import dataclasses
import hashlib
import json

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fgait_jax import objectives, rng
from fgait_jax.models import backbones
from fgait_jax.models.encoder import Backbone
from fgait_jax.models.frame_tokens import FrameTokens
from fgait_jax.models.heads import PartLinear
from fgait_jax.models.network import GaitNetwork
from fgait_jax.models.prompts import add_prompts
from fgait_jax.parallel import rules
from fgait_jax.parallel.mesh import replicated
from fgait_jax.training.optimizers import make_optimizer, make_schedule

WINDOW = 64  # losses that a loss is compared with
# Keys of `config.model` that pretraining has none of: what fine-tuning adds, features of GaitJEPA's tokens, and 1 for
# what is left out: projector and predictor by a head that reads the pooled parts, all that an embedding does not need
# by publishing without heads.
ADDED = ("prompt_tokens", "prompt_pixels", "recognition_features", "token_features", "no_projector", "without_heads")


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
  """A network without its arrays. Compared by identity, so that it can be a static argument of `jax.jit`."""

  definition: nnx.GraphDef
  params: nnx.State  # of shapes
  stats: nnx.State  # of shapes
  backbone: Backbone

  @property
  def table(self) -> rules.Table:
    """The sharding rows of its parameters."""
    return backbones.sharding(self.backbone)

  def merge(self, params, stats) -> GaitNetwork:
    """The network with these arrays (plain nested dicts), in training mode."""
    return nnx.merge(self.definition, _filled(self.params, params), _filled(self.stats, stats))


def _filled(abstract: nnx.State, values) -> nnx.State:
  state = jax.tree.map(lambda x: x, abstract)
  nnx.replace_by_pure_dict(state, values)
  return state


def stats_of(network: GaitNetwork):
  """The running statistics of a network as a plain nested dict."""
  return nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))


def new_network(config, key) -> GaitNetwork:
  """The network that `config.model` names, with what fine-tuning added to it (`added`), in training mode."""
  extra = added(config)
  network = backbones.create_network(
    name=config.model.name, variant=config.model.variant, channels=config.model.channels, dtype=config.model.dtype,
    remat=config.model.remat, stem=config.model.stem, attention_frames=config.model.attention_frames,
    temporal_pooling=config.model.temporal_pooling, body_heads=config.model.body_heads, facing=config.model.facing,
    discriminant=config.model.discriminant, projects=not extra["no_projector"], rngs=nnx.Rngs(key),
  )
  rngs = nnx.Rngs(jax.random.fold_in(key, 1))
  frame = (64, config.augment.width, config.model.channels)
  add_prompts(network, tokens=extra["prompt_tokens"], pixels=extra["prompt_pixels"], frame=frame, rngs=rngs)
  if extra["recognition_features"]:
    shape = (*network.head_input_shape, extra["recognition_features"])
    network.recognition = PartLinear(*shape, cosine=network.cosine_head, rngs=rngs)
  if extra["token_features"]:
    network.tokens = FrameTokens(network.encoder.features, extra["token_features"], cut=network.cut, rngs=rngs)
  if extra["without_heads"]:
    network.without_heads()
  network.train()
  return network


def added(config) -> dict[str, int]:
  """How the network of `config` differs from that of pretraining: the counts of `ADDED`, 0 for nothing."""
  return dict.fromkeys(ADDED, 0) | {key: count for key, count in config.model.items() if key in ADDED}


def with_added(config: ConfigDict, **counts: int) -> ConfigDict:
  """A copy of `config` whose network differs from that of pretraining as `counts` say, as in `added`, and in nothing
  else. Counts of keys that pretraining has too take their place."""
  values = config.to_dict()
  model = {key: value for key, value in values["model"].items() if key not in ADDED}
  model |= {key: count for key, count in counts.items() if count or key not in ADDED}
  return ConfigDict(values | {"model": model}).lock()


def make_graph(config) -> Graph:
  """The graph of `config.model`; allocates nothing."""
  network = nnx.eval_shape(lambda: new_network(config, jax.random.key(0)))
  return Graph(*nnx.split(network, nnx.Param, nnx.BatchStat), backbones.find(config.model.name))


def initial_weights(config):
  """The student's first {params, stats}: a function of `config.model` and `config.seed`."""
  _, params, stats = nnx.split(new_network(config, rng.key(config.seed, "initialise")), nnx.Param, nnx.BatchStat)
  return {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}


def untrained(config, wanted) -> tuple[dict, str]:
  """(first weights of `config`'s network, placed as `wanted`, a name that identifies them)."""
  where = jax.tree.map(lambda leaf: leaf.sharding, wanted)
  described = json.dumps([config.model.to_dict(), config.seed], sort_keys=True)
  name = f"untrained-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
  return jax.jit(lambda: initial_weights(config), out_shardings=where)(), name


def schedule_of(optim, *, steps: int, key: str = "config.optim") -> optax.Schedule:
  """The learning rate over `steps` steps as the section `optim` says; errors call that section `key`."""
  return make_schedule(
    schedule=optim.schedule, peak_rate=optim.peak_rate, final_rate=optim.final_rate, warmup_steps=optim.warmup_steps,
    step_at=optim.step_at, step_factor=optim.step_factor, steps=steps, key=key,
  )


def optimizer_of(config, params) -> optax.GradientTransformation:
  """The optimizer of `config.optim` over `params` (arrays or shapes)."""
  optim = config.optim
  return make_optimizer(
    params, name=optim.name, rate=schedule_of(optim, steps=config.train.steps), momentum=optim.momentum,
    beta1=optim.beta1, beta2=optim.beta2, weight_decay=optim.weight_decay, clip_norm=optim.clip_norm, rules=optim.rules,
  )


def abstract(config, mesh: Mesh):
  """(graph, tree of shapes, tree of shardings) of the state; allocates nothing, so any size can be asked for."""
  graph = make_graph(config)
  shapes = jax.eval_shape(_initialiser(config, graph))
  weights = _sharded_weights(graph, shapes, mesh)
  shardings = {
    "step": replicated(mesh), **weights, "teacher": weights,
    "opt": rules.optimizer_shardings(shapes["opt"], shapes["params"], weights["params"], mesh),
    "objectives": {
      name: objective.shardings(shapes["objectives"][name], mesh)
      for name, (_, objective) in objectives.build(config.objectives).items()
    },
    "guard": guard_shardings(mesh),
  }
  return graph, placed(shapes, shardings), shardings


def abstract_weights(config, mesh: Mesh):
  """(graph, tree of shapes) of {params, stats}, of the student or of the teacher; allocates nothing."""
  graph = make_graph(config)
  shapes = {"params": nnx.to_pure_dict(graph.params), "stats": nnx.to_pure_dict(graph.stats)}
  return graph, placed(shapes, _sharded_weights(graph, shapes, mesh))


def _sharded_weights(graph: Graph, shapes, mesh: Mesh) -> dict:
  params = rules.shardings(shapes["params"], mesh, table=graph.table)
  return {"params": params, "stats": jax.tree.map(lambda _: replicated(mesh), shapes["stats"])}


def placed(shapes, shardings):
  """The tree of shapes, each with its sharding."""
  return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)


def new_guard() -> dict:
  """The state's `guard` before the first step: losses float32 [WINDOW], infinite where none is known, and a count."""
  return {"losses": jnp.full(WINDOW, jnp.inf, jnp.float32), "skipped": jnp.int32(0)}


def guard_shardings(mesh: Mesh) -> dict:
  return {"losses": replicated(mesh), "skipped": replicated(mesh)}


def _initialiser(config, graph: Graph):
  optimizer = optimizer_of(config, nnx.to_pure_dict(graph.params))
  active = objectives.build(config.objectives)

  def initialise():
    student = initial_weights(config)
    state = {
      "step": jnp.int32(0), **student, "teacher": jax.tree.map(jnp.copy, student),
      "opt": optimizer.init(student["params"]), "guard": new_guard(),
    }
    target = _embedding_shapes(config, graph)
    return state | {"objectives": {name: objective.init(target) for name, (_, objective) in active.items()}}

  return initialise


def _embedding_shapes(config, graph: Graph):
  """What the teacher gives for a batch, as shapes."""
  data = config.data
  shape = (data.batch_size, data.clip_frames, 64, config.augment.width, config.model.channels)
  frames, valid = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape[:2], bool)
  weights = nnx.to_pure_dict(graph.params), nnx.to_pure_dict(graph.stats)
  return jax.eval_shape(lambda weights, *clip: graph.merge(*weights).embed(*clip), weights, frames, valid)


def create(config, mesh: Mesh):
  """(graph, state at step 0, its shardings); every array is born where it will live."""
  graph, _, shardings = abstract(config, mesh)
  return graph, initialiser(config, graph, shardings)(), shardings


def initialiser(config, graph: Graph, shardings):
  """The jitted function, without arguments, that gives the state at step 0."""
  return jax.jit(_initialiser(config, graph), out_shardings=shardings)


def count_parameters(params) -> int:
  """Numbers in a tree of parameters."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
