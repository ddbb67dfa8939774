"""One training step: two clips in, one update of student, optimizer and teacher out. The only place that knows
models, objectives and augmentation at once.

The student's clip is seen part-wise and masked, the teacher's as a whole. The teacher runs in training mode (batch
statistics, and running ones of its own) and only its parameters are averaged (FoundationGait A2).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from fgait_jax import rng
from fgait_jax.data.augment import augment
from fgait_jax.objectives.contrastive import part_info_nce
from fgait_jax.objectives.reconstruction import masked_cross_entropy
from fgait_jax.parallel import rules
from fgait_jax.parallel.mesh import batch_sharding, replicated
from fgait_jax.training.state import Graph, stats_of
from fgait_jax.typing import Array, Float, Int


def ema_rate(step: Int[Array, ""], *, start: float, steps: int) -> Float[Array, ""]:
  """1 - m(t), what the teacher takes of the student: m(t) = 1 - (1 - start) (cos(pi t / (T - 1)) + 1) / 2 with t the
  updates done including this one, and m = 1 from t = T - 1 on (FoundationGait A2)."""
  last = max(steps - 1, 1)
  t = step + 1
  return jnp.where(t >= last, 0.0, (1 - start) * (jnp.cos(jnp.pi * t / last) + 1) / 2)


def make_train_step(
  graph: Graph, optimizer: optax.GradientTransformation, *, mesh: Mesh, shardings, schedule: optax.Schedule, seed: int,
  steps: int, augmentation: dict, crop_list: Sequence[int], masked_fraction: float, reconstruction_weight: float,
  contrastive_weight: float, temperature: float, label_smoothing: float, queue: int, ema_start: float,
):
  """The jitted `(state, batch, number) -> (state, metrics)`; the state given is donated.

  `batch` holds `frames` uint8 [b, 2, t, 64, 64, c], `valid` bool [b, 2, t], `group` int32 [b] and `readable` bool [b],
  cut over (data, fsdp); `number` is the number of the batch. Metrics are (sum, count) pairs in float32, the same on all
  devices; `readable` is (1, 1) where all of the batch is, `finite` where loss and gradient are numbers. The state only
  changes if both are and if `number` is the state's step: after a bad batch it stays as it was, however many batches
  are already on their way. With a `queue`,
  the state's `queue` holds the teacher's last projections, and they stand beside those of the batch.
  """

  def look(frames: Array, purpose: str, number: Array) -> Float[Array, "b t 64 w c"]:
    frames = jax.lax.with_sharding_constraint(frames, batch_sharding(mesh))
    images = augment(rng.key(seed, f"augment.{purpose}", number), frames, **augmentation)
    return jax.lax.with_sharding_constraint(images, batch_sharding(mesh))

  def student_loss(params, stats, candidates, images, valid, key):
    student = graph.merge(rules.unsharded(params, mesh, table=graph.table), stats)
    out = student.pretrain(images, valid, crop_list=crop_list, masked_fraction=masked_fraction, key=key)
    contrastive, accuracy = part_info_nce(
      out.prediction.astype(jnp.float32), candidates["projection"], group=candidates["group"], temperature=temperature,
      label_smoothing=label_smoothing,
    )
    loss = contrastive_weight * contrastive
    metrics = {"contrastive": (contrastive, 1.0), "contrastive_accuracy": (accuracy, 1.0)}
    if out.logits is not None:
      total, count = masked_cross_entropy(out.logits.astype(jnp.float32), out.targets, out.masked)
      loss += reconstruction_weight * total / jnp.maximum(count, 1)
      metrics["reconstruction"] = (total, count)
    return loss, (metrics, stats_of(student))

  def train_step(state, batch, number):
    frames, valid = batch["frames"], batch["valid"]
    weights = rules.unsharded(state["teacher"]["params"], mesh, table=graph.table)
    teacher = graph.merge(weights, state["teacher"]["stats"])
    target = teacher.embed(look(frames[:, 0], "teacher", number), valid[:, 0]).projection
    candidates = {"projection": jax.lax.stop_gradient(target.astype(jnp.float32)), "group": batch["group"]}
    if queue:
      candidates = jax.tree.map(lambda new, old: jnp.concatenate([new, old]), candidates, state["queue"])
    images = look(frames[:, 1], "student", number)
    (loss, (metrics, stats)), gradients = jax.value_and_grad(student_loss, has_aux=True)(
      state["params"], state["stats"], candidates, images, valid[:, 1], rng.key(seed, "masking", number)
    )
    norm = optax.tree.norm(gradients)
    updates, opt = optimizer.update(gradients, state["opt"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    rate = ema_rate(number, start=ema_start, steps=steps)
    average = jax.tree.map(lambda old, new: old + rate * (new - old), state["teacher"]["params"], params)
    proposed = {
      "step": state["step"] + 1, "params": params, "stats": stats, "opt": opt,
      "teacher": {"params": average, "stats": stats_of(teacher)},
    }
    if queue:
      proposed["queue"] = jax.tree.map(lambda rows: rows[:queue], candidates)
    finite, readable = jnp.isfinite(loss) & jnp.isfinite(norm), jnp.all(batch["readable"])
    accept = finite & readable & (number == state["step"])
    new_state = jax.tree.map(lambda new, old: jnp.where(accept, new, old), proposed, state)
    metrics |= {
      "loss": (loss, 1.0), "gradient_norm": (norm, 1.0), "rate": (schedule(number), 1.0), "ema": (1 - rate, 1.0),
      "finite": (finite, 1.0), "readable": (readable, 1.0),
    }
    return new_state, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), metrics)

  return jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))


def step_of(config, graph: Graph, optimizer, *, mesh: Mesh, shardings, schedule: optax.Schedule):
  """`make_train_step` with the values of a configuration."""
  return make_train_step(
    graph, optimizer, mesh=mesh, shardings=shardings, schedule=schedule, seed=config.seed, steps=config.train.steps,
    augmentation=config.augment.to_dict(), **config.objective.to_dict(),
  )
