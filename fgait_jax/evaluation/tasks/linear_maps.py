"""The task "linear_maps": recognition after a linear map learnt in closed form from the training split, PCA whitening
without labels and the linear discriminant with them, for the network and, on the same terms, for what it must beat.
"""

import dataclasses
import pathlib

import numpy as np

from fgait_jax.data.held_out import Parts, keep_back_people
from fgait_jax.data.source import open_split
from fgait_jax.data.subset import Subset, rows_of_whole_subjects
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import columns, protocols, provenance, results, scoring, validation
from fgait_jax.evaluation.features import files
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.registry import task
from fgait_jax.evaluation.setup import Setup, prepare
from fgait_jax.training import linear_maps

SECTION = "linear_maps"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taught:
  """The maps of one system; `shrinkage` of the discriminant, and what chose it: {shrinkage: validation rank-1}."""

  pca: linear_maps.LinearMap
  lda: linear_maps.LinearMap
  shrinkage: float
  tried: dict[float, float]


@task(SECTION, writes="linear_maps-{config.dataset}.json", sections=(SECTION,), outcomes=True)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `linear_maps-<dataset>.json`, and the test walks' embeddings under the network's discriminant beside it."""
  protocol, settings = protocols.get(config.protocol), config.linear_maps
  setup = prepare(config, out)
  path = setup.claim()
  setup.trials(protocol)
  teacher = _teacher(setup)
  subjects = teacher.subjects.astype(np.str_)
  parts = keep_back_people(subjects, subjects, target="subject", fraction=settings.validation_fraction,
                           seed=config.seed, section=SECTION)
  validation.check(teacher, parts.validation, across=settings.validate_across, protocol=protocol, section=SECTION)
  if not settings.shrinkages or not all(0 <= s <= 1 for s in settings.shrinkages):
    raise ConfigError(f"config.linear_maps.shrinkages={tuple(settings.shrinkages)} must lie in 0 to 1")
  if not len(parts.validation) and len(settings.shrinkages) != 1:
    raise ConfigError(f"config.linear_maps.shrinkages={tuple(settings.shrinkages)} are chosen from on validation"
                      " identities; config.linear_maps.validation_fraction must be above 0")
  rows, taught, mapped = {"lda": [], "pca": [], "plain": []}, {}, None
  for name, title, of in _systems(setup):
    train, test = of(teacher), of(setup.split)
    taught[name] = _learn(train, parts, config)
    best, plain = ("model", "zero_shot") if name == "model" else (f"{name}_lda", name)
    systems = {"lda": (best, f"{title} + LDA", taught[name].lda(test)),
               "pca": (f"{name}_pca", f"{title} + PCA", taught[name].pca(test)), "plain": (plain, title, test)}
    for kind, system in systems.items():
      row = scoring.row_of(config, protocol, *system)
      if kind != "lda":  # nine curves and matrices a condition would hide those that matter
        row = dataclasses.replace(row, per_view={}, cmc=row.cmc if name == "model" else {})
      rows[kind].append(row)
    mapped = mapped or systems["lda"][2]
  rows = [*rows["lda"], *rows["pca"], *rows["plain"]]
  if config.baselines:
    rows += scoring.chance_rows(config, protocol, mapped, ["none"])
  files.save(path.with_suffix(".npz"), mapped, identity=setup.identity(
    map=[teacher.manifest["content_hash"], teacher.name, settings.to_dict()]))
  learnt = {name: {"tried": {str(k): v for k, v in maps.tried.items()}, "components": maps.pca.kernel.shape[1],
                   "directions": maps.lda.kernel.shape[1]} for name, maps in taught.items()}
  return [results.write(path, setup.result(
    title=f"Recognition on {config.dataset} after a linear map", notes=_notes(setup, teacher, taught["model"]),
    rows=rows, columns=list(columns.RETRIEVAL), conditions=scoring.conditions_of(rows[0].figures),
    protocol=scoring.used(protocol, config.metric), details={"linear_maps": learnt}))]


def _teacher(setup: Setup):
  """The walks that are learnt from; none is of a person who is tested."""
  config, settings = setup.config, setup.config.linear_maps
  name = settings.dataset or config.dataset
  teacher = open_split(config.data_dir, name, settings.train_split)
  provenance.check_apart(teacher, setup.split, section=SECTION)
  if settings.max_sequences < 0:
    raise ConfigError(f"config.linear_maps.max_sequences={settings.max_sequences} must be 0 or more")
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


def _learn(train: Features, parts: Parts, config) -> Taught:
  """Both maps from all training walks; the shrinkage is the best on identities that a first map had not seen, the
  earliest among equals."""
  settings = config.linear_maps
  tried = {}
  if len(parts.validation):
    basis = linear_maps.components(train.embeddings[parts.fit], most=settings.components, seed=config.seed)
    asked = train.take(parts.validation)
    for shrinkage in settings.shrinkages:
      found = linear_maps.discriminant(basis, train.subjects[parts.fit], shrinkage=shrinkage)(asked)
      tried[shrinkage] = validation.rank1(found, across=settings.validate_across, metric="cosine", section=SECTION,
                                          protocol=protocols.get(config.protocol))
  best = max(tried, key=tried.get) if tried else settings.shrinkages[0]
  basis = linear_maps.components(train.embeddings, most=settings.components, seed=config.seed)
  return Taught(pca=linear_maps.whitened(basis, floor=settings.floor), tried=tried, shrinkage=best,
                lda=linear_maps.discriminant(basis, train.subjects, shrinkage=best))


def _notes(setup: Setup, teacher, taught: Taught) -> list[str]:
  config, protocol = setup.config, protocols.get(setup.config.protocol)
  people = len(np.unique(teacher.subjects))
  apart = "; nobody tested is among them" if provenance.same_population(teacher, setup.split) else ""
  notes = [
    f"Protocol {protocol.name} ({protocol.title}; {protocol.source}); mapped embeddings are one vector, its cosine"
    f" compared; the others by {config.metric} distance, mean over parts.",
    f"LDA learnt who walks from {len(teacher)} walks of {people} people of {teacher.name}, PCA from the same walks"
    f" without labels{apart}.",
  ]
  if taught.tried:
    notes.append("The shrinkage of each LDA was chosen on training people kept back (the network's:"
                 f" {taught.shrinkage:g}).")
  return notes + setup.notes + scoring.interval_notes(config, "probe subjects")
