"""Cross-entropy of the class scores of parts, as the recipes of FoundationGait (A5) and OpenGait have it."""

import dataclasses

import jax
import jax.numpy as jnp

from fgait_jax.objectives.base import Objective
from fgait_jax.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy(Objective):
  """`cross_entropy` of the scores that only training sees."""

  scale: float
  label_smoothing: float

  def needs(self, key, config):
    return [
      (self.scale > 0, f"{key}.scale={self.scale} must be above 0"),
      (0 <= self.label_smoothing <= 1, f"{key}.label_smoothing={self.label_smoothing} must be from 0 to 1"),
    ]

  def __call__(self, student, teacher, batch, state):
    loss, accuracy = cross_entropy(
      student.logits, batch["label"], scale=self.scale, label_smoothing=self.label_smoothing
    )
    return loss, {"cross_entropy": (loss, 1.0), "accuracy": (accuracy, 1.0)}, state


def cross_entropy(
  logits: Float[Array, "b p c"], label: Int[Array, " b"], *, scale: float, label_smoothing: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Loss in nats, mean over samples and parts, and the accuracy 0..1 of the class with the highest mean over parts.

  `logits` (cosines) are multiplied by `scale`; the target has 1 - eps on the label plus eps / c everywhere, as torch's
  cross-entropy smooths.
  """
  scores = jax.nn.log_softmax(scale * logits.astype(jnp.float32), axis=-1)
  own = jnp.take_along_axis(scores, label[:, None, None], axis=-1)[..., 0]
  loss = -jnp.mean((1 - label_smoothing) * own + label_smoothing * jnp.mean(scores, axis=-1))
  hit = jnp.argmax(jnp.mean(logits.astype(jnp.float32), axis=1), axis=-1) == label
  return loss, jnp.mean(hit.astype(jnp.float32))
