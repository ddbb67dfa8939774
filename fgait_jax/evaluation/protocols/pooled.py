"""Protocols with one ranking of the whole gallery per probe: Gait3D, FreeGait, CCGR, GREW, KTH, own data."""

import dataclasses
import re

import numpy as np

from fgait_jax.evaluation import retrieval, statistics
from fgait_jax.evaluation.protocols import lists
from fgait_jax.evaluation.protocols.base import Protocol, Settings, Walks, figures, matching, mean_of, merged, verified


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooled(Protocol):
  """Each probe ranks the whole gallery; conditions differ in their probes only.

  gallery: pattern of types; conditions: name -> pattern of probe types. reading: what becomes of probes without a mate.
  by_view: where True, patterns are of `type/view`.
  """

  gallery: str = ""
  conditions: dict[str, str] = dataclasses.field(default_factory=dict)
  known: str = ".*"
  reading: str = "excluded"
  by_view: bool = False

  def roles(self, walks: Walks) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    names = np.char.add(np.char.add(walks.types, "/"), walks.views) if self.by_view else walks.types
    strange = [name for name in np.unique(names) if not re.fullmatch(self.known, name)]
    if strange:
      raise self.refuse(walks, f"unknown {'types and views' if self.by_view else 'types'}: {', '.join(strange[:10])}")
    return matching(names, self.gallery), {n: matching(names, p) for n, p in self.conditions.items()}

  def _evaluate(self, walks: Walks, settings: Settings) -> dict:
    held, probed = self.roles(walks)
    if not held.any():
      raise self.refuse(walks, "the gallery is empty")
    present = [name for name, rows in probed.items() if rows.any()]
    if not present:
      raise self.refuse(walks, "there are no probes")
    gallery, union = walks.take(held), np.any([probed[name] for name in present], axis=0)
    probe = walks.take(union)
    ranking = retrieval.rank(
      probe.embeddings,
      gallery.embeddings,
      probe_labels=probe.labels,
      gallery_labels=gallery.labels,
      metric=settings.metric,
      budget_bytes=settings.budget_bytes,
    )
    conditions = {
      name: pooled_figures(
        ranking.take(probed[name][union]), probe.take(probed[name][union]), gallery, self.reading, settings
      )
      for name in present
    }
    curves = {name: found.pop("cmc") for name, found in conditions.items()}
    absent = [name for name in probed if name not in present]
    return {"conditions": conditions, "absent": absent, "summary": mean_of(conditions), "cmc": curves}


def pooled_figures(ranking, probe: Walks, gallery: Walks, reading: str, settings: Settings, *, keep=None) -> dict:
  """Figures of probes that all rank one gallery; `keep` as in `verified`, all pairs where none is given."""
  found = figures(
    ranking,
    labels=probe.labels,
    keys=probe.keys(),
    rows=np.zeros(len(probe), np.int64),
    allowed=np.ones((1, 1), bool),
    reading=reading,
    settings=settings,
  )
  del found["cells"]
  found["gallery"] = len(gallery)
  found["hubness"] = statistics.hubness(ranking.nearest[:, 0], gallery_labels=gallery.labels)
  keep = keep or (lambda p, g: np.ones((len(p), len(g)), bool))
  return merged(found, verified(probe, gallery, keep=keep, settings=settings))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed(Pooled):
  """Probes or gallery stand in an official list of `label-type-view` keys; the rest is the other side."""

  role: str  # "probe" or "gallery": what the list names
  names: str  # the list, a file of this folder

  def roles(self, walks):
    listed = np.isin(walks.keys(), lists.load(self.names))
    if not listed.any():
      raise self.refuse(walks, f"none of its sequences is on the official list of the {self.role}")
    gallery = listed if self.role == "gallery" else ~listed
    return gallery, {"all": ~gallery}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Pooled):
  """Any data: types "gallery" and "probe" where one of them is met, else each subject's first row is gallery."""

  def roles(self, walks):
    types = set(np.unique(walks.types).tolist())
    if {name.strip().lower() for name in types} & {"gallery", "probe"}:
      if types != {"gallery", "probe"}:  # a slip of the pen must not turn into another split of the data
        raise self.refuse(walks, 'types are not exactly "gallery" and "probe"')
      gallery = walks.types == "gallery"
    else:
      gallery = np.zeros(len(walks), bool)
      gallery[np.unique(walks.labels, return_index=True)[1]] = True
    return gallery, {"all": ~gallery}
