"""Cross-view protocols: a gallery per view, or one of all views, and averages that leave out identical views."""

import dataclasses
import re

import numpy as np

from fgait_jax.evaluation import retrieval, statistics
from fgait_jax.evaluation.protocols.base import Protocol, Settings, Walks, figures, mean_of, merged, verified


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossView(Protocol):
  """Rank in each gallery view apart; result: mean over probe views of the mean over other gallery views.

  gallery: pattern of types; conditions: name -> pattern of probe types; known: pattern all types must match;
  known_views: pattern all views must match; drop_views: views left out; summary: the condition that stands for all, or
  "" for their mean. identical: where True, cells of identical views count too.
  """

  gallery: str
  conditions: dict[str, str]
  known: str = ".*"
  known_views: str = ".*"
  drop_views: tuple[str, ...] = ()
  summary: str = ""
  identical: bool = False

  def roles(self, walks: Walks) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    self._refuse_unknown(walks)
    kept = ~np.isin(walks.views, self.drop_views)
    return kept & walks.matching(self.gallery), {name: kept & walks.matching(p) for name, p in self.conditions.items()}

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    in_gallery, probed = self.roles(walks)
    gallery = walks.take(in_gallery)
    if not len(gallery):
      raise self.refuse(walks, "the gallery is empty")
    present = [name for name, rows in probed.items() if rows.any()]
    if not present:
      raise self.refuse(walks, "there are no probes")
    union = np.any([probed[name] for name in present], axis=0)
    probe = walks.take(union)
    views = np.unique(np.concatenate([probe.views, gallery.views]))
    ranking = self._rank(probe, gallery, views, settings)
    conditions, per_view, curves = {}, {}, {}
    for name in present:
      rows = probed[name][union]
      found = self._figures(ranking.take(rows), probe.take(rows), gallery, views, settings)
      cells, curves[name] = found.pop("cells"), found.pop("cmc")
      per_view[name] = {"probe_views": views, "gallery_views": self._gallery_views(views), "rank1": cells}
      conditions[name] = found
    return {
      "conditions": conditions,
      "absent": [name for name in self.conditions if name not in present],
      "summary": conditions[self.summary] if self.summary in conditions else mean_of(conditions),
      "cmc": curves,
      "per_view": per_view,
    }

  def _refuse_unknown(self, walks: Walks) -> None:
    for column, pattern, what in ((walks.types, self.known, "types"), (walks.views, self.known_views, "views")):
      strange = [name for name in np.unique(column) if not re.fullmatch(pattern, name)]
      if strange:
        raise self.refuse(walks, f"unknown {what}: {', '.join(strange[:10])}")

  def _gallery_views(self, views):
    return views

  def _rank(self, probe: Walks, gallery: Walks, views, settings: Settings) -> retrieval.Ranking:
    found = np.unique(gallery.views)  # views without a gallery stay columns of their own, empty
    ranking = retrieval.rank(
      probe.embeddings,
      gallery.embeddings,
      probe_labels=probe.labels,
      gallery_labels=gallery.labels,
      gallery_groups=np.searchsorted(found, gallery.views),
      metric=settings.metric,
      budget_bytes=settings.budget_bytes,
    )
    return ranking.spread(np.searchsorted(views, found), len(views))

  def _figures(self, ranking, probe: Walks, gallery: Walks, views, settings: Settings) -> dict:
    rows = np.searchsorted(views, probe.views)
    allowed = np.ones((len(views),) * 2, bool) if self.identical else ~np.eye(len(views), dtype=bool)
    found = figures(
      ranking, labels=probe.labels, keys=probe.keys(), rows=rows, allowed=allowed, reading="error", settings=settings
    )
    found["gallery"] = len(gallery)
    found["hubness"] = statistics.hubness(ranking.nearest[allowed[rows]], gallery_labels=gallery.labels)
    return merged(found, verified(probe, gallery, keep=self._pairs, settings=settings))

  def _pairs(self, probe: Walks, gallery: Walks) -> np.ndarray:
    if self.identical:
      return np.ones((len(probe), len(gallery)), bool)
    return probe.views[:, None] != gallery.views[None, :]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossViewGallery(CrossView):
  """One gallery of all views, without the probe's own subject in the probe's own view; mean over probe views."""

  def _gallery_views(self, views):
    return ["all"]

  def _rank(self, probe, gallery, views, settings):
    return retrieval.rank(
      probe.embeddings,
      gallery.embeddings,
      probe_labels=probe.labels,
      gallery_labels=gallery.labels,
      probe_cameras=probe.views,
      gallery_cameras=gallery.views,
      metric=settings.metric,
      budget_bytes=settings.budget_bytes,
    )

  def _figures(self, ranking, probe, gallery, views, settings):
    found = figures(
      ranking,
      labels=probe.labels,
      keys=probe.keys(),
      rows=np.searchsorted(views, probe.views),
      allowed=np.ones((len(views), 1), bool),
      reading="excluded",
      settings=settings,
    )
    found["gallery"] = len(gallery)
    found["hubness"] = statistics.hubness(ranking.nearest[:, 0], gallery_labels=gallery.labels)
    return merged(found, verified(probe, gallery, keep=_other_views, settings=settings))


def _other_views(probe: Walks, gallery: Walks) -> np.ndarray:
  same = (probe.views[:, None] == gallery.views[None, :]) & (probe.labels[:, None] == gallery.labels[None, :])
  return ~same
