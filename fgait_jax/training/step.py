"""One training step: a batch in, one update of the state out. With supervised.py the only place that knows models,
objectives and augmentation at once.

`make_step` is what pretraining and fine-tuning share: gradient, optimizer, and the gate before the state, which bad
batches do not pass. The step of pretraining gives it a loss in which the student's clip is seen part-wise and masked,
the teacher's as a whole. The teacher runs in training mode (batch statistics, and running ones of its own) and only its
parameters are averaged (FoundationGait A2).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from fgait_jax import objectives, rng
from fgait_jax.data.augment import augment
from fgait_jax.models.encoder import Encoder, StochasticEncoder
from fgait_jax.parallel import rules
from fgait_jax.parallel.mesh import batch_sharding, replicated
from fgait_jax.training.state import WINDOW, Graph, optimizer_of, schedule_of, stats_of
from fgait_jax.typing import Array, Float, Int, PRNGKeyArray


def make_step(
  loss_of: Callable, optimizer: optax.GradientTransformation, *, schedule: optax.Schedule, mesh: Mesh, shardings,
  mishaps, finish: Callable = lambda proposed, before, number: (proposed, {}),
):
  """The jitted `(state, batch, number, frozen, factor) -> (state, metrics)`; the state given is donated.

  `state` has `step`, `params`, `opt` and what else the loss needs; `batch` has `readable` bool [b]; `number` is the
  number of the batch, which `optimizer` is told, too. `loss_of(params, state, batch, number, frozen)` gives (loss,
  (metrics, changes)), where `changes` are the next values of other entries of the state, and `finish(proposed, before,
  number)` has the last word on the next state, with metrics of its own. `frozen`, arrays that nothing changes, and
  `factor`, by which the rates are multiplied, may be left out. `mishaps` is a section with `on_nonfinite`,
  `skip_at_most` and `spike`.

  Metrics are (sum, count) pairs in float32, the same on all devices; `readable` is (1, 1) where all of the batch is,
  `finite` where loss and gradient are numbers, `spike` where the loss is above `spike` times the median of the last
  losses, in a window of `state.WINDOW` batches of which more than half must be known. The state only changes if the
  batch is readable, its loss good and `number` the state's step: after a bad batch it stays as it was, however many
  batches are already on their way. A batch whose loss is bad is `skipped` where `mishaps` says so: of the state, step
  and guard alone go on.
  """
  optimizer = optax.with_extra_args_support(optimizer)
  most = mishaps.skip_at_most if mishaps.on_nonfinite == "skip" else 0

  def step(state, batch, number, frozen=None, factor=None):
    (loss, (metrics, changes)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
      state["params"], state, batch, number, frozen
    )
    norm = optax.tree.norm(gradients)
    updates, opt = optimizer.update(gradients, state["opt"], state["params"], number=number)
    rate = schedule(number)
    if factor is not None:
      updates, rate = jax.tree.map(lambda update: factor * update, updates), factor * rate
    params = optax.apply_updates(state["params"], updates)
    proposed = changes | {"step": state["step"] + 1, "params": params, "opt": opt}
    proposed, more = finish(proposed, state, number)
    guard = state["guard"]
    proposed["guard"] = {"losses": guard["losses"].at[number % WINDOW].set(loss), "skipped": jnp.int32(0)}
    finite, readable = jnp.isfinite(loss) & jnp.isfinite(norm), jnp.all(batch["readable"])
    spike = (loss > mishaps.spike * jnp.median(guard["losses"])) if mishaps.spike else jnp.bool_(False)
    turn = readable & (number == state["step"])
    accept = turn & finite & ~spike
    skipped = turn & ~accept & (guard["skipped"] < most)
    new_state = jax.tree.map(lambda new, old: jnp.where(accept, new, old), proposed, state)
    new_state["step"] += skipped
    new_state["guard"]["skipped"] += skipped
    own = {
      "loss": (loss, 1.0), "gradient_norm": (norm, 1.0), "rate": (rate, 1.0), "finite": (finite, 1.0),
      "readable": (readable, 1.0), "spike": (spike, 1.0), "skipped": (skipped, 1.0), **more,
    }
    if twice := metrics.keys() & own.keys():
      raise ValueError(f"an objective gives metrics that the step gives itself: {', '.join(sorted(twice))}")
    metrics = metrics | own
    return new_state, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), metrics)

  return jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))


def augmented(
  frames: Array, purpose: str, number: Array, *, seed: int, settings, mesh: Mesh
) -> Float[Array, "b t h w c"]:
  """Clips uint8 [b, t, 64, 64, c] as the network sees them in batch `number`; `settings` is a section `augment`."""
  frames = jax.lax.with_sharding_constraint(frames, batch_sharding(mesh))
  images = augment(rng.key(seed, f"augment.{purpose}", number), frames, **settings.to_dict())
  return jax.lax.with_sharding_constraint(images, batch_sharding(mesh))


def draw_with(encoder: Encoder, key: PRNGKeyArray) -> None:
  """Lets an encoder that draws in training do so with `key`."""
  if isinstance(encoder, StochasticEncoder):
    encoder.training_key = key


def ema_rate(step: Int[Array, ""], *, start: float, steps: int) -> Float[Array, ""]:
  """1 - m(t), what the teacher takes of the student: m(t) = 1 - (1 - start) (cos(pi t / (T - 1)) + 1) / 2 with t the
  updates done including this one, and m = 1 from t = T - 1 on (FoundationGait A2)."""
  last = max(steps - 1, 1)
  t = step + 1
  return jnp.where(t >= last, 0.0, (1 - start) * (jnp.cos(jnp.pi * t / last) + 1) / 2)


def pretraining_step(config, graph: Graph, *, mesh: Mesh, shardings):
  """`make_step` of a pretraining configuration, for states of `training.state`. `batch` holds, besides, `frames` uint8
  [b, 2, t, 64, 64, c], `valid` bool [b, 2, t] and `group` int32 [b], cut over (data, fsdp)."""
  active = objectives.build(config.objectives)
  options = {"seed": config.seed, "settings": config.augment, "mesh": mesh}

  def loss_of(params, state, batch, number, _):
    frames, valid = batch["frames"], batch["valid"]
    weights = rules.unsharded(state["teacher"]["params"], mesh, table=graph.table)
    teacher = graph.merge(weights, state["teacher"]["stats"])
    target = teacher.embed(augmented(frames[:, 0], "teacher", number, **options), valid[:, 0])
    student = graph.merge(rules.unsharded(params, mesh, table=graph.table), state["stats"])
    draw_with(student.encoder, rng.key(config.seed, "depth", number))
    prediction = student.pretrain(
      augmented(frames[:, 1], "student", number, **options), valid[:, 1], crop_list=config.student.crop_list,
      masked_fractions=config.student.masked_fractions, key=rng.key(config.seed, "masking", number),
    )
    loss, metrics, states = objectives.total(
      active, prediction, jax.lax.stop_gradient(target), batch, state["objectives"]
    )
    teacher_stats = {"params": state["teacher"]["params"], "stats": stats_of(teacher)}
    return loss, (metrics, {"stats": stats_of(student), "teacher": teacher_stats, "objectives": states})

  def average(proposed, before, number):
    rate = ema_rate(number, start=config.teacher.ema_start, steps=config.train.steps)
    params = jax.tree.map(lambda old, new: old + rate * (new - old), before["teacher"]["params"], proposed["params"])
    return proposed | {"teacher": proposed["teacher"] | {"params": params}}, {"ema": (1 - rate, 1.0)}

  optimizer = optimizer_of(config, nnx.to_pure_dict(graph.params))
  schedule = schedule_of(config.optim, steps=config.train.steps)
  return make_step(
    loss_of, optimizer, schedule=schedule, mesh=mesh, shardings=shardings, mishaps=config.train, finish=average
  )
