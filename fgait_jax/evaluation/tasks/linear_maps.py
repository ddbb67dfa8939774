"""The whitening task: recognition after a linear map learnt in closed form from the training split, PCA whitening
without labels and the linear discriminant with them, for the network and, on the same terms, for what it must beat.
"""

import dataclasses
import pathlib

import numpy as np

from fgait_jax.data.schema import population_of
from fgait_jax.data.source import open_split
from fgait_jax.data.subset import Subset, rows_of_whole_subjects
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import protocols, results, targets
from fgait_jax.evaluation.features.extraction import Features
from fgait_jax.evaluation.setup import Setup, prepare
from fgait_jax.evaluation.tasks import zero_shot
from fgait_jax.training import linear_maps

SECTION = "whitening"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taught:
  """The maps of one system; `shrinkage` of the discriminant, and what chose it: {shrinkage: validation rank-1}."""

  pca: linear_maps.LinearMap
  lda: linear_maps.LinearMap
  shrinkage: float
  tried: dict[float, float]


def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `whitening-<dataset>.json`, and the test walks' embeddings under the network's discriminant beside it."""
  protocol, settings = protocols.get(config.protocol), config.whitening
  setup = prepare(config, out)
  path = setup.claim(f"whitening-{config.dataset}.json")
  setup.check_roles(protocol)
  teacher = _teacher(setup)
  subjects = teacher.subjects.astype(np.str_)
  parts = targets.keep_back(subjects, subjects, target="subject", fraction=settings.validation_fraction,
                            seed=config.seed, section=SECTION)
  if not settings.shrinkages or not all(0 <= s <= 1 for s in settings.shrinkages):
    raise ConfigError(f"config.whitening.shrinkages={tuple(settings.shrinkages)} must lie in 0 to 1")
  if not len(parts.validation) and len(settings.shrinkages) != 1:
    raise ConfigError(f"config.whitening.shrinkages={tuple(settings.shrinkages)} are chosen from on validation"
                      " identities; config.whitening.validation_fraction must be above 0")
  rows, taught, mapped = {"lda": [], "pca": [], "plain": []}, {}, None
  for name, title, of in _systems(setup):
    train, test = of(teacher), of(setup.split)
    taught[name] = _learn(train, parts, config)
    best, plain = ("model", "zero_shot") if name == "model" else (f"{name}_lda", name)
    systems = {"lda": (best, f"{title} + LDA", taught[name].lda(test)),
               "pca": (f"{name}_pca", f"{title} + PCA", taught[name].pca(test)), "plain": (plain, title, test)}
    for kind, system in systems.items():
      row = zero_shot.row_of(setup, protocol, *system)
      if kind != "lda":  # nine curves and matrices a condition would hide those that matter
        for drawn in ("per_view",) if name == "model" else ("per_view", "cmc"):
          row.pop(drawn, None)
      rows[kind].append(row)
    mapped = mapped or systems["lda"][2]
  rows = [*rows["lda"], *rows["pca"], *rows["plain"]]
  if config.baselines:
    rows += zero_shot.chance_rows(config, protocol, mapped, ["none"])
  mapped.save(out / f"whitening-{config.dataset}.npz", identity={
    "weights": setup.trained.identity, "data": setup.split.manifest["content_hash"],
    "map": [teacher.manifest["content_hash"], teacher.name, settings.to_dict()]})
  result = setup.described() | {
    "task": SECTION, "title": f"Recognition on {config.dataset} after a linear map",
    "notes": _notes(setup, teacher, taught["model"]), "rows": rows, "metrics": zero_shot.METRICS,
    "protocol": {"name": protocol.name, "title": protocol.title, "source": protocol.source, "metric": config.metric},
    "conditions": zero_shot.titles_of(rows[0]["figures"]),
    "whitening": {name: {"tried": {str(k): v for k, v in maps.tried.items()}, "components": maps.pca.kernel.shape[1],
                         "directions": maps.lda.kernel.shape[1]} for name, maps in taught.items()},
  }
  return [results.write(path, result)]


def _teacher(setup: Setup):
  """The walks that are learnt from; none is of a person who is tested."""
  config, settings = setup.config, setup.config.whitening
  name = settings.dataset or config.dataset
  teacher = open_split(config.data_dir, name, settings.train_split)
  targets.check_apart(teacher, setup.split, section=SECTION)
  if settings.max_sequences < 0:
    raise ConfigError(f"config.whitening.max_sequences={settings.max_sequences} must be 0 or more")
  rows = rows_of_whole_subjects(teacher.subjects, settings.max_sequences)
  # Its name is part of what embeddings are cached under.
  return teacher if len(rows) == len(teacher) else Subset(teacher, rows, name=f"{teacher.name} ({len(rows)} walks)")


def _systems(setup: Setup) -> list[tuple]:
  """(name, title, features of a split)."""
  systems = [("model", setup.title, lambda split: setup.embeddings_of(setup.trained, "model", split))]
  if setup.config.baselines:
    systems += [
      ("untrained", "untrained network",
       lambda split: setup.embeddings_of(setup.untrained, "untrained network", split)),
      ("raw_gei", "raw GEI", setup.silhouettes_of),
    ]
  return systems


def _learn(train: Features, parts: targets.Parts, config) -> Taught:
  """Both maps from all training walks; the shrinkage is the best on identities that a first map had not seen, the
  earliest among equals."""
  settings = config.whitening
  tried = {}
  if len(parts.validation):
    basis = linear_maps.components(train.embeddings[parts.fit], most=settings.components, seed=config.seed)
    asked = train.take(parts.validation)
    for shrinkage in settings.shrinkages:
      found = linear_maps.discriminant(basis, train.subjects[parts.fit], shrinkage=shrinkage)(asked)
      tried[shrinkage] = targets.rank1(found, across=settings.validate_across, metric="cosine", section=SECTION,
                                       protocol=protocols.get(config.protocol))
  best = max(tried, key=tried.get) if tried else settings.shrinkages[0]
  basis = linear_maps.components(train.embeddings, most=settings.components, seed=config.seed)
  return Taught(pca=linear_maps.whitened(basis, floor=settings.floor), tried=tried, shrinkage=best,
                lda=linear_maps.discriminant(basis, train.subjects, shrinkage=best))


def _notes(setup: Setup, teacher, taught: Taught) -> list[str]:
  config, protocol = setup.config, protocols.get(setup.config.protocol)
  people = len(np.unique(teacher.subjects))
  same = population_of(teacher.manifest) == population_of(setup.split.manifest)
  apart = "; nobody tested is among them" if same else ""
  notes = [
    f"Protocol {protocol.name} ({protocol.title}; {protocol.source}); mapped embeddings are one vector, its cosine"
    f" compared; the others by {config.metric} distance, mean over parts.",
    f"LDA learnt who walks from {len(teacher)} walks of {people} people of {teacher.name}, PCA from the same walks"
    f" without labels{apart}.",
  ]
  if taught.tried:
    notes.append("The shrinkage of each LDA was chosen on training people kept back (the network's:"
                 f" {taught.shrinkage:g}).")
  if config.bootstrap:
    notes.append(f"Intervals: {config.bootstrap} resamples of the probe subjects.")
  return notes
