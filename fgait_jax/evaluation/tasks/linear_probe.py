"""The linear-probe task: how much a softmax layer reads out of embeddings that stay as they are.

Target "subject": the layer learns who walks from some conditions of the test subjects and is asked in the others.
Another target, such as an attribute, it learns from the training split and is asked on the test split, other people.
"""

import dataclasses
import pathlib

import numpy as np

from fgait_jax.data.held_out import Parts, keep_back_people, keep_back_walks
from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import columns, protocols, provenance, results, scoring
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics import classification, statistics
from fgait_jax.evaluation.registry import task
from fgait_jax.evaluation.results import CHANCE, Condition, Row
from fgait_jax.evaluation.setup import Setup, prepare
from fgait_jax.evaluation.targets import check_shared, labels_of
from fgait_jax.training import logistic_regression


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
  """What a layer is learnt from and tested on: row numbers and labels, and what to say of it. `train_split` None is
  the split that is tested."""

  train: np.ndarray
  train_labels: np.ndarray
  tests: dict[str, np.ndarray]
  labels: np.ndarray  # of every walk of the evaluated split
  train_split: object | None
  parts: Parts  # of `train`: where the penalty is tried, and where it is judged
  note: str


@task("linear_probe", writes="linear_probe-{config.dataset}-{config.linear_probe.target}.json",
      sections=("linear_probe",), outcomes=True)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `linear_probe-<dataset>-<target>.json`.

  Raises `RuntimeError` should a parameter or statistic of the network change.
  """
  settings = config.linear_probe
  setup = prepare(config, out)
  path = setup.claim()
  layers = _by_condition(setup) if settings.target == "subject" else [_by_split(setup)]
  for layer in layers:
    logistic_regression.check(settings, layer.parts)
  before = provenance.fingerprint(setup.trained.params, setup.trained.stats)
  systems = [("model", setup.title, setup.trained)]
  if config.baselines:
    systems += [("untrained", "untrained network", setup.untrained), ("raw_gei", "GEI", None)]
  table = []
  for name, title, network in systems:
    test, train = _features(setup, layers[0], network, title)
    found = [_probed(config, layer, train, test) for layer in layers]
    table.append(_row(name, title, layers, found))
  if config.baselines:
    guess = {c: classification.guessing(layer.train_labels, layer.labels[rows])
             for layer in layers for c, rows in layer.tests.items()}
    table.append(Row(name=CHANCE, title="most frequent class", figures=results.figures_of(guess)))
  if provenance.fingerprint(setup.trained.params, setup.trained.stats) != before:
    raise RuntimeError("the frozen network changed under the linear probe")
  subjects = setup.split.subjects
  return [results.write(path, setup.result(
    title=f"Linear probe of {settings.target} on {config.dataset}", rows=table, columns=list(columns.NAMES),
    notes=[*dict.fromkeys(layer.note for layer in layers), *scoring.probe_notes(table),
           "The encoder is frozen: parameters and running statistics are the same bytes before and after.",
           *setup.notes, *scoring.interval_notes(config, "test subjects")],
    conditions=[Condition(name=c, title=f"{c}: {len(rows)} walks of {len(np.unique(subjects[rows]))} subjects, learnt"
                          f" from {len(layer.train)}") for layer in layers for c, rows in layer.tests.items()],
    details={"frozen": {"fingerprint": before, "unchanged": True}}))]


def _features(setup: Setup, layer: Layer, network, title: str) -> tuple[Features, Features]:
  """Of the evaluated split and of the one that teaches; the GEI where there is no network."""

  def of(split):
    return setup.silhouettes_of(split) if network is None else setup.embeddings_of(network, title, split)

  test = of(setup.split)
  return test, test if layer.train_split is None else of(layer.train_split)


def _probed(config, layer: Layer, train: Features, test: Features) -> tuple[dict, dict]:
  """Figures by condition, and facts of the layer that gave them."""
  settings = config.linear_probe
  labels = np.empty(len(train), layer.train_labels.dtype)
  labels[layer.train] = layer.train_labels
  learnt = logistic_regression.fit(train.embeddings, labels, rows=layer.train, parts=layer.parts,
                                   penalties=settings.penalties, iterations=settings.iterations)
  figures = {}
  for condition, rows in layer.tests.items():
    logits, subjects = learnt.logits(test.embeddings[rows]), test.subjects[rows]
    found, right = classification.figures(logits, layer.labels[rows], learnt.classes)
    if settings.target != "subject":  # of people the matrix would be as wide as there are people
      found["confusion"] = classification.confusion(logits, layer.labels[rows], learnt.classes)
    ci = classification.accuracy_interval(right, subjects, resamples=config.bootstrap, seed=config.seed)
    figures[condition] = found | {"ci": ci, "walks": len(rows), "by_subject": statistics.by_subject(right, subjects)}
  return figures, {"classes": len(learnt.classes)} | learnt.described()


def _row(name: str, title: str, layers: list[Layer], found: list[tuple[dict, dict]]) -> Row:
  """What the layers, each learnt from a gallery of its own, found: figures together, facts of several by condition."""
  figures = {c: values for by_condition, _ in found for c, values in by_condition.items()}
  facts = {"/".join(layer.tests): about for layer, (_, about) in zip(layers, found, strict=True)}
  return Row(name=name, title=title, figures=results.figures_of(figures),
             details=found[0][1] if len(found) == 1 else {"layers": facts})


def _by_condition(setup: Setup) -> list[Layer]:
  """A layer for each gallery of the protocol, or the one of `config.linear_probe.train_conditions`."""
  config, conditions = setup.config, np.asarray(setup.split.conditions, np.str_)
  if config.linear_probe.train_conditions:
    wanted, known = list(config.linear_probe.train_conditions), np.unique(conditions)
    if unknown := sorted(set(wanted) - set(known)):
      raise ConfigError(f"config.linear_probe.train_conditions names {unknown}; {config.dataset} has {known.tolist()}")
    return [_layer(setup, np.isin(conditions, wanted), {c: conditions == c for c in known if c not in wanted})]
  galleries: dict[bytes, tuple[np.ndarray, dict]] = {}
  for trial in setup.trials(protocols.get(config.protocol)):
    galleries.setdefault(trial.gallery.tobytes(), (trial.gallery, {}))[1][trial.name] = trial.probes
  return [_layer(setup, teaching, asked) for teaching, asked in galleries.values()]


def _layer(setup: Setup, teaching: np.ndarray, asked: dict[str, np.ndarray]) -> Layer:
  """Learns from the walks `teaching`, bool [N], and asks those of each condition `asked` whose person was learnt."""
  split = setup.split
  conditions, subjects = np.asarray(split.conditions, np.str_), np.asarray(split.subjects, np.str_)
  taught = np.unique(subjects[teaching])
  tests = {c: np.flatnonzero(rows & ~teaching & np.isin(subjects, taught)) for c, rows in asked.items()}
  tests = {c: rows for c, rows in tests.items() if len(rows)}
  if not teaching.any() or not tests:
    raise DataError(
      f"{split.name}: no walks left to {'test' if teaching.any() else 'train'} the probe on; conditions"
      f" {np.unique(conditions).tolist()}, trained on {np.unique(conditions[teaching]).tolist()};"
      " change config.linear_probe.train_conditions")
  missing = len(np.unique(subjects)) - len(taught)
  note = (f"The layer learns {len(taught)} subjects from {', '.join(np.unique(conditions[teaching]))} and is asked in"
          " other conditions, in views that it learnt too: an easier task than finding across views.")
  note += f" {missing} subjects without walks to learn from are left out." if missing else ""
  train = np.flatnonzero(teaching)
  parts = keep_back_walks(subjects, train, fraction=_fraction(setup.config), seed=setup.config.seed,
                          section="linear_probe")
  return Layer(train=train, train_labels=subjects[train], tests=tests, labels=subjects, train_split=None, parts=parts,
              note=note)


def _fraction(config) -> float:
  """Of what is learnt from, the share kept back: none where there is no penalty to choose."""
  return config.linear_probe.validation_fraction if len(config.linear_probe.penalties) > 1 else 0.0


def _by_split(setup: Setup) -> Layer:
  config, split, settings = setup.config, setup.split, setup.config.linear_probe
  teacher, target = open_split(config.data_dir, config.dataset, settings.train_split), settings.target
  labels, asked = (labels_of(side, target, protocols.get(config.protocol), section="linear_probe")
                   for side in (teacher, split))
  provenance.check_apart(teacher, split, section="linear_probe")
  train, test = np.flatnonzero(labels != ""), np.flatnonzero(asked != "")
  if not len(train) or not len(test):
    raise DataError(f"{target!r} is given for {len(train)} walks of {teacher.name} and {len(test)} of {split.name};"
                    " both are needed")
  check_shared(labels, teacher, target, section="linear_probe")
  parts = keep_back_people(teacher.subjects.astype(np.str_), labels, target=target, fraction=_fraction(config),
                           seed=config.seed, section="linear_probe")
  note = f"The layer learns {target} from the {settings.train_split} split; no test subject is in it."
  if strange := np.count_nonzero(~np.isin(asked[test], labels[train])):
    note += f" {strange} of {len(test)} test walks are of no class that it learnt, and count as errors."
  if without := len(asked) - len(test):
    note += f" {without} walks without {target} are not asked."
  return Layer(train=train, train_labels=labels[train], tests={"all": test}, labels=asked, train_split=teacher,
               parts=parts, note=note)
