"""CCPG (Li et al., CVPR 2023): clothes-changing pairs, each with a gallery of its own, in three readings.

gait: rank in each gallery camera apart, mean over pairs of different cameras (OpenGait's maintainers call this the gait
figure). reid: one ranking of all cameras without the probe's own subject in the probe's own camera. identical: as gait,
pairs of one camera included. OpenGait prints all three.
"""

import dataclasses

import numpy as np

from fgait_jax.evaluation.protocols.base import Settings, Walks, matching
from fgait_jax.evaluation.protocols.figures import mean_of
from fgait_jax.evaluation.protocols.ranked import Averaging, Ranked, score_trials
from fgait_jax.evaluation.protocols.trials import Meeting

_CELLS = Averaging(over="cells", reading="error")
READINGS = {
  "gait": (Meeting.OTHER_CAMERA, _CELLS),
  "reid": (Meeting.NOT_OWN_CAMERA, Averaging(over="probes", reading="excluded")),
  "identical": (Meeting.ANY, _CELLS),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ccpg(Ranked):
  """`pairs`: name -> (pattern of probe types, pattern of gallery types). A camera is the view up to its first "_".

  The result's `readings` holds "gait", "reid" and "identical", each with conditions of its own; the top level repeats
  the gait one, and trials are its.
  """

  pairs: dict[str, tuple[str, str]]
  meeting: Meeting = READINGS["gait"][0]
  averaging: Averaging = READINGS["gait"][1]

  def _sides(self, walks):
    return {name: tuple(matching(walks.conditions, pattern) for pattern in pair) for name, pair in self.pairs.items()}

  def cameras(self, views: np.ndarray) -> np.ndarray:
    return np.array([view.split("_")[0] for view in views.tolist()], dtype=str)

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    trials = self.trials(walks)
    present = self._present(walks, trials)
    readings = {}
    for name, (meeting, averaging) in READINGS.items():
      found = score_trials(walks, [dataclasses.replace(t, meeting=meeting) for t in present], averaging, settings)
      readings[name] = found | {"summary": mean_of(found["conditions"])}
    per_view = [found.pop("per_view", None) for found in readings.values()][0]
    absent = [trial.name for trial in trials if not trial.probes.any()]
    return {**readings["gait"], "absent": absent, "per_view": per_view, "readings": readings}
