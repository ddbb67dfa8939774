"""What an objective is: a loss of one step's outputs, with settings, checks and, where it needs one, state of its own.

An objective is a frozen dataclass; its fields are the keys of its section of the configuration beside `weight`.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from fgait_jax.parallel.mesh import replicated
from fgait_jax.typing import Array, Float

Metrics = Mapping[str, tuple[Array | float, Array | float]]


class Objective:
  """Inherit from it, and write `__call__`; the rest says "no state, nothing to check"."""

  identities = False  # whether labels must be identities: left out of fine-tuning for anything else

  def needs(self, key: str, config) -> list[tuple[bool, str]]:
    """(whether it holds, what to say where it does not) of the values in `config`, all of the run's configuration;
    `key` is the name of the own section, such as "config.objectives.contrastive"."""
    del key, config
    return []

  def init(self, shapes: Any) -> Any:
    """The state before the first step, a tree of arrays. `shapes` is what the teacher (in fine-tuning, which has none,
    the network) gives for a batch, as `jax.ShapeDtypeStruct`s."""
    del shapes
    return {}

  def shardings(self, state: Any, mesh: Mesh) -> Any:
    """How each array of the state (or its shape) lies on the mesh."""
    return jax.tree.map(lambda _: replicated(mesh), state)

  def __call__(
    self, student: Any, teacher: Any, batch: Mapping[str, Array], state: Any
  ) -> tuple[Float[Array, ""], Metrics, Any]:
    """(loss in float32, metrics as (sum, count) pairs, next state), inside the jitted step.

    In pretraining `student` is a `models.network.PretrainOutput`, `teacher` a `models.network.Embedding` without a
    gradient, and `batch` has `group`, int32 [b]. In fine-tuning `student` is a `models.recognition.Recognition`,
    `teacher` None, and `batch` has `label`, int32 [b]. The state only advances where the step is taken.
    """
    raise NotImplementedError
