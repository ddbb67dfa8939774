"""The robustness task: what is left of recognition when probes, gallery or both are corrupted (corruption.py).

Clean walks are embedded once, through the cache that all tasks share; corrupted ones are made, embedded and forgotten.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from fgait_jax.data.subset import rows_of_whole_subjects
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import columns, protocols, results, scoring
from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.features import baselines, corruption
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics import statistics
from fgait_jax.evaluation.registry import task
from fgait_jax.evaluation.results import Condition, Row
from fgait_jax.evaluation.setup import Setup, prepare

CORRUPTED = ("probe", "gallery", "both")
_WORDS = {"probe": "Probes", "gallery": "Gallery walks", "both": "Probes and gallery walks"}


@task("robustness", writes="robustness-{config.dataset}-{config.robustness.corrupt}.json", sections=("robustness",))
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `robustness-<dataset>-<corrupted side>.json`: rank-1 of each type and severity, and its share of clean."""
  protocol = protocols.get(config.protocol)
  kinds, severities = chosen(config.robustness)
  setup = prepare(config, out)
  path = setup.claim()
  setup.only_silhouettes("corruptions act")
  rows = rows_of_whole_subjects(setup.split.subjects, config.robustness.max_sequences)
  changed = _changed(setup, protocol, rows)

  def corrupted(kind: str, severity: int):
    return corruption.CorruptedSplit(setup.split, changed, kind=kind, severity=severity, seed=config.seed)

  cases = [(kind, severity) for kind in kinds for severity in severities]
  table = []
  for system in _systems(setup):
    table += _rows(setup, protocol, system, rows, changed, {case: corrupted(*case) for case in cases})
  return [results.write(path, setup.result(
    title=f"Robustness on {config.dataset}, {config.robustness.corrupt} corrupted", rows=table, severities=severities,
    notes=[*_notes(config, protocol, setup, rows), _clean(table)], protocol=scoring.used(protocol, config.metric),
    conditions=[Condition(name="mean", title=f"mean over {len(kinds)} types and {len(severities)} severities"),
                *(Condition(name=kind, title=kind.replace("_", " ")) for kind in kinds)],
    columns=[dataclasses.replace(columns.RANK1, interval=False), Column(key="relative", title="rel. %", interval=True),
             *(Column(key=f"severity{s}", title=f"sev {s}") for s in severities)]))]


def chosen(settings) -> tuple[list[str], list[int]]:
  """Types and severities of `config.robustness`; raises `ConfigError` on unknown ones, named twice, or an unknown
  side."""
  if settings.corrupt not in CORRUPTED:
    raise ConfigError(f"config.robustness.corrupt is {settings.corrupt!r}; known: {', '.join(CORRUPTED)}")
  if settings.max_sequences < 0:
    raise ConfigError(f"config.robustness.max_sequences={settings.max_sequences} must be 0 or more")
  kinds, severities = list(settings.types or corruption.TYPES), list(settings.severities or corruption.LEVELS)
  for kind in kinds:
    corruption.check(kind, severities[0])
  for severity in severities:
    corruption.check(kinds[0], severity)
  for name, values in (("types", kinds), ("severities", severities)):
    if len(set(values)) < len(values):
      raise ConfigError(f"config.robustness.{name} names one twice: {values}")
  return kinds, severities


def _changed(setup: Setup, protocol, rows: np.ndarray) -> np.ndarray:
  """Rows of the split that are corrupted, among `rows`."""
  trials = setup.trials(protocol, rows)
  probe, gallery = (np.any([getattr(trial, side) for trial in trials], axis=0) for side in ("probes", "gallery"))
  return rows[{"probe": probe, "gallery": gallery, "both": gallery | probe}[setup.config.robustness.corrupt]]


def _systems(setup: Setup) -> list[tuple]:
  """(names and titles of rows, features of a split, what each row makes of them): the clean split is cached."""
  systems = [((("model", setup.title, _same),), _embedding(setup, setup.trained, "model"))]
  if setup.config.baselines:
    systems += [((("untrained", "untrained network", _same),), _embedding(setup, setup.untrained, "untrained network")),
                (baselines.UNLEARNT, lambda split: setup.silhouettes_of(split))]
  return systems


def _same(found: Features) -> Features:
  return found


def _embedding(setup: Setup, network, title: str) -> Callable:
  def of(split) -> Features:
    return setup.embeddings_of(network, title) if split is setup.split else setup.embed(network, title, split)

  return of


def _rows(setup: Setup, protocol, system, rows: np.ndarray, changed: np.ndarray, cases: dict) -> list[Row]:
  """The rows of one system: `cases` maps (type, severity) to the corrupted split of the rows `changed`."""
  named, features_of = system
  places = np.searchsorted(rows, changed)
  whole = features_of(setup.split).take(rows)
  clean = {name: _scored(setup, protocol, change(whole)) for name, _, change in named}
  if None in [scored["rank1"] for scored in clean.values()]:
    raise DataError(f"protocol {protocol.name} has no mean rank-1 on {setup.split.name}, of which shares could be told:"
                    " a condition has no probe with a mate in its gallery; task zero_shot shows which")
  found: dict[str, dict] = {name: {} for name, *_ in named}
  for case, split in cases.items():
    embeddings = np.array(whole.embeddings)
    embeddings[places] = features_of(split).embeddings
    mixed, side = dataclasses.replace(whole, embeddings=embeddings), setup.config.robustness.corrupt
    # A walk may be a probe of one comparison and stand in the gallery of another: only one of the two is corrupted.
    probes, gallery = whole if side == "gallery" else mixed, whole if side == "probe" else mixed
    for name, _, change in named:
      found[name][case] = _scored(setup, protocol, change(probes), change(gallery))
  return [_row(name, title, clean[name], found[name], setup.config) for name, title, _ in named]


def _scored(setup: Setup, protocol, found: Features, gallery: Features | None = None) -> dict:
  """`rank1` of the protocol's summary in per cent, and per condition what it is the average of: `by_cell`; `gallery`
  has the same walks as they stand in a gallery, where these are others."""
  scored = protocol.score(found, gallery=gallery, metric=setup.config.metric, bootstrap=0, seed=setup.config.seed,
                          by_cell=True)
  conditions = scored["conditions"]
  if (summary := getattr(protocol, "summary", "")) in conditions:
    conditions = {summary: conditions[summary]}
  cells = {name: {"subjects": np.asarray(figures["by_cell"]["subjects"])}
           | {key: np.array(figures["by_cell"][key], np.float64) for key in ("hits", "trials")}
           for name, figures in conditions.items()}
  return {"rank1": scored["summary"]["rank1"], "by_cell": cells}


def _row(name: str, title: str, clean: dict, found: dict, config) -> Row:
  kinds = list(dict.fromkeys(kind for kind, _ in found))
  samples = _resampled(clean, found, config) if config.bootstrap else {}
  by_type = {kind: {s: scored["rank1"] for (k, s), scored in found.items() if k == kind} for kind in kinds}
  figures = {}
  for kind in ("mean", *kinds):
    shown = by_type if kind == "mean" else {kind: by_type[kind]}
    at = {f"severity{s}": float(np.mean([values[s] for values in shown.values()])) for s in next(iter(shown.values()))}
    mean = float(np.mean(list(at.values())))
    drawn = [sample for (k, _), sample in samples.items() if kind in ("mean", k)]
    figures[kind] = {"rank1": mean, "relative": _relative(mean, clean["rank1"]), **at,
                     "probe_subjects": len(_subjects(clean)),
                     "ci": {"relative": statistics.interval(100 * np.mean(drawn, axis=0))} if drawn else {}}
  return Row(name=name, title=title, figures=results.figures_of(figures), details={"clean": clean["rank1"]},
             robustness={kind: list(values.values()) for kind, values in by_type.items()})


def _subjects(scored: dict) -> np.ndarray:
  return np.unique(np.concatenate([cells["subjects"] for cells in scored["by_cell"].values()]))


def _relative(rank1: float, clean: float) -> float | None:
  return 100 * rank1 / clean if clean else None


def _resampled(clean: dict, found: dict, config) -> dict:
  """Case -> share of clean rank-1 [resamples], each resample of the probe subjects averaged as the summary is: over
  cells, then over conditions. The same draws for all cases."""
  names = _subjects(clean)
  if len(names) < 2:
    return {}
  weights = statistics.subject_weights(len(names), resamples=config.bootstrap, seed=config.seed)

  def drawn(scored: dict) -> np.ndarray:
    figures = []
    for cells in scored["by_cell"].values():
      own = weights[:, np.searchsorted(names, cells["subjects"])]
      hits, trials = (np.tensordot(own, cells[key], axes=1)[..., None] for key in ("hits", "trials"))
      figures.append(statistics.mean_of_cells(hits, trials, np.ones(hits.shape[1:3], bool))[:, 0])
    return np.mean(figures, axis=0)

  before = drawn(clean)
  before = np.where(before > 0, before, np.nan)
  return {case: drawn(scored) / before for case, scored in found.items()}


def _clean(table: list[Row]) -> str:
  return "Clean rank-1: " + ", ".join(f"{row.title} {row.details['clean']:.1f}" for row in table) + "."


def _notes(config, protocol, setup: Setup, rows: np.ndarray) -> list[str]:
  notes = [
    f"Protocol {protocol.name} ({protocol.title}); rank-1 is its mean over conditions.",
    f"{_WORDS[config.robustness.corrupt]} corrupted, seed {config.seed}: silhouette forms of RobustGait's types with"
    " parameters of this project, not that benchmark's figures.",
    "rel.: share of the method's own clean rank-1.",
  ]
  if len(rows) < len(setup.split):
    notes.append(f"On {len(rows)} walks of {len(np.unique(setup.split.subjects[rows]))} subjects, the gallery too.")
  return notes + setup.notes + scoring.interval_notes(config, "probe subjects")
