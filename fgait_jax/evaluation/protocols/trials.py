"""A protocol's comparisons: which walks are sought among which others, and which of them may meet.

All that looks at probes and galleries (figures, verification, pictures, the linear probe, robustness) takes them from
here, so that a walk that a figure leaves out is left out everywhere.
"""

import dataclasses
import enum

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.labels import Labels
from fgait_jax.evaluation.protocols.base import Protocol


class Meeting(enum.Enum):
  """Which pairs of a probe and a gallery walk count."""

  ANY = "any"
  OTHER_CAMERA = "no two walks of one camera"
  NOT_OWN_CAMERA = "no two walks of one subject in one camera"

  def allows(self, same_subject: np.ndarray, same_camera: np.ndarray) -> np.ndarray:
    """Bool, of the arrays' common shape: the pair may meet."""
    same_subject, same_camera = np.broadcast_arrays(same_subject, same_camera)
    forbidden = {Meeting.ANY: np.zeros_like(same_camera, bool), Meeting.OTHER_CAMERA: same_camera,
                 Meeting.NOT_OWN_CAMERA: same_subject & same_camera}
    return ~forbidden[self]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
  """One comparison: `probes` sought in `gallery`, bool rows [N]; `cameras` str [N] of all walks; who may meet."""

  name: str
  probes: np.ndarray
  gallery: np.ndarray
  cameras: np.ndarray
  meeting: Meeting

  def may_meet(self, subjects: np.ndarray, probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Bool [n, m] of the rows `probes` [n] and `gallery` [m] (indices); subjects [N] of all walks."""
    same = (column[probes][:, None] == column[gallery][None, :] for column in (subjects, self.cameras))
    return self.meeting.allows(*same)


def trials_of(protocol: Protocol, walks: Labels) -> list[Trial]:
  """The protocol's trials among `walks`: those that have probes.

  Raises `ConfigError` where the protocol is not one of retrieval or finds no gallery or no probes, and `DataError`,
  which names `walks.origin`, where conditions or views are unknown to it.
  """
  trials = protocol.trials(walks)
  asked = [trial for trial in trials if trial.probes.any()]
  lacking = [trial.name for trial in asked or trials if not trial.gallery.any()]
  if lacking or not asked:
    missing = f"gallery of {', '.join(lacking)}" if lacking else "probe"
    raise ConfigError(f"config.protocol={protocol.name} wants {protocol.wants}; came: types"
                      f" {np.unique(walks.conditions).tolist()}, so there is no {missing}")
  return asked
