"""CCPG (Li et al., CVPR 2023): clothes-changing pairs, each with a gallery of its own, in two readings.

gait: rank in each gallery camera apart, mean over pairs of different cameras (OpenGait's maintainers call this the gait
figure). reid: one ranking of all cameras without the probe's own subject in the probe's own camera.
"""

import dataclasses

import numpy as np

from fgait_jax.evaluation.protocols.base import Settings, Walks, mean_of
from fgait_jax.evaluation.protocols.crossview import CrossView, CrossViewGallery
from fgait_jax.evaluation.protocols.pooled import pooled_figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ccpg(CrossView):
  """`pairs`: name -> (pattern of probe types, pattern of gallery types). A camera is the view up to its first "_".

  The result's `readings` holds "gait" and "reid", each with conditions of its own; the top level repeats the gait one.
  """

  pairs: dict[str, tuple[str, str]]
  gallery: str = ""
  conditions: dict[str, str] = dataclasses.field(default_factory=dict)

  def roles(self, walks: Walks) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Each pair of clothes has a gallery of its own; here they are one."""
    self._refuse_unknown(walks)
    gallery = np.any([walks.matching(pattern) for _, pattern in self.pairs.values()], axis=0)
    return gallery, {name: walks.matching(pattern) for name, (pattern, _) in self.pairs.items()}

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    self._refuse_unknown(walks)
    cameras = np.array([view.split("_")[0] for view in walks.views.tolist()], dtype=str)
    by_camera = dataclasses.replace(walks, views=cameras)
    gait, reid, per_view = {}, {}, {}
    curves = {"gait": {}, "reid": {}}
    for name, (probe_types, gallery_types) in self.pairs.items():
      probe, gallery = by_camera.take(walks.matching(probe_types)), by_camera.take(walks.matching(gallery_types))
      if not len(probe) and not len(gallery):
        continue
      if not len(gallery) or not len(probe):
        raise self.refuse(walks, f"pair {name}: the {'gallery is' if len(probe) else 'probes are'} empty")
      views = np.unique(np.concatenate([probe.views, gallery.views]))
      gait[name] = self._figures(self._rank(probe, gallery, views, settings), probe, gallery, views, settings)
      cells, curves["gait"][name] = gait[name].pop("cells"), gait[name].pop("cmc")
      per_view[name] = {"probe_views": views, "gallery_views": views, "rank1": cells}
      ranking = CrossViewGallery._rank(self, probe, gallery, views, settings)
      reid[name] = pooled_figures(ranking, probe, gallery, "excluded", settings, keep=_other_cameras)
      curves["reid"][name] = reid[name].pop("cmc")
    if not gait:
      raise self.refuse(walks, "there are no probes")
    readings = {
      reading: {"conditions": found, "summary": mean_of(found), "cmc": curves[reading]}
      for reading, found in (("gait", gait), ("reid", reid))
    }
    absent = [name for name in self.pairs if name not in gait]
    return {**readings["gait"], "absent": absent, "per_view": per_view, "readings": readings}


def _other_cameras(probe: Walks, gallery: Walks) -> np.ndarray:
  return (probe.views[:, None] != gallery.views[None, :]) | (probe.labels[:, None] != gallery.labels[None, :])
