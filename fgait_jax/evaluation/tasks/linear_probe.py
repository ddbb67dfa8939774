"""The linear-probe task: how much a softmax layer reads out of embeddings that stay as they are.

Target "subject": the layer learns who walks from some conditions of the test subjects and is asked in the others.
Another target is an attribute: it learns from the training split and is asked on the test split, other people.
"""

import dataclasses
import pathlib

import numpy as np

from fgait_jax.data.source import open_split
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import probe, protocols, results, targets
from fgait_jax.evaluation.features.extraction import Features
from fgait_jax.evaluation.metrics import statistics
from fgait_jax.evaluation.protocols.trials import trials_of
from fgait_jax.evaluation.setup import Setup, prepare

METRICS = (
  {"key": "accuracy", "title": "accuracy %", "interval": True, "best": 100, "digits": 1},
  {"key": "top5", "title": "top-5 %", "interval": False, "best": 100, "digits": 1},
  {"key": "balanced_accuracy", "title": "balanced %", "interval": False, "best": 100, "digits": 1},
  {"key": "macro_f1", "title": "macro F1 %", "interval": False, "best": 100, "digits": 1},
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
  """Which walks teach and which ask: row numbers, labels, and what to say of it. `train_split` None is the same
  split."""

  train: np.ndarray
  train_labels: np.ndarray
  tests: dict[str, np.ndarray]
  labels: np.ndarray  # of every walk of the evaluated split
  train_split: object | None
  parts: targets.Parts  # of `train`: where the penalty is tried, and where it is judged
  note: str


def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `linear_probe-<dataset>.json`, of an attribute `linear_probe-<dataset>-<attribute>.json`.

  Raises `RuntimeError` should a parameter or statistic of the network change.
  """
  named = "" if config.probe.target == "subject" else f"-{config.probe.target}"
  setup = prepare(config, out)
  path = setup.claim(f"linear_probe-{config.dataset}{named}.json")
  lessons = _by_condition(setup) if config.probe.target == "subject" else [_by_split(setup)]
  for rows in lessons:
    probe.check(config.probe, rows.parts)
  before = probe.fingerprint(setup.trained.params, setup.trained.stats)
  systems = [("model", setup.title, setup.trained)]
  if config.baselines:
    systems += [("untrained", "untrained network", setup.untrained), ("raw_gei", "GEI", None)]
  table = []
  for name, title, network in systems:
    test, train = _features(setup, lessons[0], network, title)
    found = [_probed(config, rows, train, test) for rows in lessons]
    table.append({"name": name, "title": title, "centred": "none"} | _joined(lessons, found))
  if config.baselines:
    guess = {c: probe.guessing(rows.train_labels, rows.labels[r]) for rows in lessons for c, r in rows.tests.items()}
    table.append({"name": "chance", "title": "most frequent class", "centred": "none", "figures": guess})
  if probe.fingerprint(setup.trained.params, setup.trained.stats) != before:
    raise RuntimeError("the frozen network changed under the linear probe")
  settings = config.probe
  notes = [*dict.fromkeys(rows.note for rows in lessons), *probe.told(table),
           "The encoder is frozen: parameters and running statistics are the same bytes before and after."]
  if config.bootstrap:
    notes.append(f"Intervals: {config.bootstrap} resamples of the test subjects.")
  subjects = setup.split.subjects
  result = setup.described() | {
    "task": "linear_probe", "title": f"Linear probe of {settings.target} on {config.dataset}", "notes": notes,
    "rows": table, "metrics": METRICS, "frozen": {"fingerprint": before, "unchanged": True},
    "conditions": [{"name": c, "title": f"{c}: {len(r)} walks of {len(np.unique(subjects[r]))} subjects, learnt from"
                    f" {len(rows.train)}"} for rows in lessons for c, r in rows.tests.items()],
  }
  return [results.write(path, result)]


def _features(setup: Setup, rows: Rows, network, title: str) -> tuple[Features, Features]:
  """Of the evaluated split and of the one that teaches; the GEI where there is no network."""

  def of(split):
    return setup.silhouettes_of(split) if network is None else setup.embeddings_of(network, title, split)

  test = of(setup.split)
  return test, test if rows.train_split is None else of(rows.train_split)


def _probed(config, rows: Rows, train: Features, test: Features) -> dict:
  settings = config.probe
  labels = np.empty(len(train), rows.train_labels.dtype)
  labels[rows.train] = rows.train_labels
  layer = probe.fit(train.embeddings, labels, rows=rows.train, parts=rows.parts, penalties=settings.penalties,
                    iterations=settings.iterations)
  figures = {}
  for condition, where in rows.tests.items():
    logits = layer.logits(test.embeddings[where])
    found, right = probe.figures(logits, rows.labels[where], layer.classes)
    if settings.target != "subject":  # of people the matrix would be as wide as there are people
      found["confusion"] = probe.confusion(logits, rows.labels[where], layer.classes)
    figures[condition] = found | {"ci": _intervals(right, test.subjects[where], config), "walks": len(where),
                                  "by_subject": statistics.by_subject(right, test.subjects[where])}
  return {"figures": figures, "classes": len(layer.classes)} | layer.described()


def _joined(lessons: list[Rows], found: list[dict]) -> dict:
  """What several layers, each learnt from a gallery of its own, found: figures together, the rest by condition."""
  if len(found) == 1:
    return found[0]
  rest = {"/".join(rows.tests): {k: v for k, v in one.items() if k != "figures"}
          for rows, one in zip(lessons, found, strict=True)}
  return {"figures": {c: figures for one in found for c, figures in one["figures"].items()}, "layers": rest}


def _intervals(right: np.ndarray, subjects: np.ndarray, config) -> dict:
  names, subject = np.unique(subjects, return_inverse=True)
  if not config.bootstrap or len(names) < 2:
    return {}
  weights = statistics.subject_weights(len(names), resamples=config.bootstrap, seed=config.seed)
  hits, walks = np.bincount(subject, weights=right), np.bincount(subject)
  return {"accuracy": statistics.interval(100 * (weights @ hits) / (weights @ walks))}


def _by_condition(setup: Setup) -> list[Rows]:
  """A lesson for each gallery of the protocol, or the one of `config.probe.train_conditions`."""
  config, split = setup.config, setup.split
  conditions, subjects = split.conditions.astype(np.str_), split.subjects.astype(np.str_)
  if config.probe.train_conditions:
    wanted, known = list(config.probe.train_conditions), np.unique(conditions)
    if unknown := sorted(set(wanted) - set(known)):
      raise ConfigError(f"config.probe.train_conditions names {unknown}; {config.dataset} has {known.tolist()}")
    return [_lesson(setup, np.isin(conditions, wanted), {c: conditions == c for c in known if c not in wanted})]
  views, galleries = split.views.astype(np.str_), {}
  for trial in trials_of(protocols.get(config.protocol), subjects, conditions, views, origin=setup.origin):
    galleries.setdefault(trial.gallery.tobytes(), (trial.gallery, {}))[1][trial.name] = trial.probes
  return [_lesson(setup, teaching, asked) for teaching, asked in galleries.values()]


def _lesson(setup: Setup, teaching: np.ndarray, asked: dict[str, np.ndarray]) -> Rows:
  """Learns from the walks `teaching`, bool [N], and asks those of each condition `asked` whose person was learnt."""
  split = setup.split
  conditions, subjects = split.conditions.astype(np.str_), split.subjects.astype(np.str_)
  taught = np.unique(subjects[teaching])
  tests = {c: np.flatnonzero(rows & ~teaching & np.isin(subjects, taught)) for c, rows in asked.items()}
  tests = {c: rows for c, rows in tests.items() if len(rows)}
  if not teaching.any() or not tests:
    raise DataError(
      f"{split.name}: no walks left to {'test' if teaching.any() else 'train'} the probe on; conditions"
      f" {np.unique(conditions).tolist()}, trained on {np.unique(conditions[teaching]).tolist()};"
      " change config.probe.train_conditions")
  missing = len(np.unique(subjects)) - len(taught)
  note = (f"The layer learns {len(taught)} subjects from {', '.join(np.unique(conditions[teaching]))} and is asked in"
          " other conditions.")
  note += f" {missing} subjects without walks to learn from are left out." if missing else ""
  train = np.flatnonzero(teaching)
  parts = probe.keep_back_walks(subjects, train, fraction=_fraction(setup.config), seed=setup.config.seed)
  return Rows(train=train, train_labels=subjects[train], tests=tests, labels=subjects, train_split=None, parts=parts,
              note=note)


def _fraction(config) -> float:
  """Of what is learnt from, the share kept back: none where there is no penalty to choose."""
  return config.probe.validation_fraction if len(config.probe.penalties) > 1 else 0.0


def _by_split(setup: Setup) -> Rows:
  config, split, target = setup.config, setup.split, setup.config.probe.target
  teacher = open_split(config.data_dir, config.dataset, config.probe.train_split)
  for side in (teacher, split):
    if target not in side.attributes:
      raise ConfigError(f'config.probe.target is {target!r}; {side.name} has "subject" and the attributes'
                        f" {sorted(side.attributes) or 'none'}")
  if shared := sorted(set(teacher.subjects) & set(split.subjects)):
    raise ConfigError(f"config.probe.train_split {config.probe.train_split!r} and config.split {config.split!r} share"
                      f" {len(shared)} subjects ({', '.join(map(str, shared[:5]))}, ...): the probe would know its test"
                      " people; take splits of other people")
  train = np.flatnonzero(~np.isnan(teacher.attributes[target]))
  test = np.flatnonzero(~np.isnan(split.attributes[target]))
  if not len(train) or not len(test):
    raise DataError(f"attribute {target!r} is given for {len(train)} walks of {teacher.name} and {len(test)} of"
                    f" {split.name}; both are needed")

  def text(values):
    return np.array(["" if np.isnan(v) else f"{v:g}" for v in values], np.str_)

  labels = text(teacher.attributes[target])
  parts = targets.keep_back(teacher.subjects.astype(np.str_), labels, target=target, fraction=_fraction(config),
                            seed=config.seed, section="probe")
  note = f"The layer learns {target} from the {config.probe.train_split} split; no test subject is in it."
  return Rows(train=train, train_labels=labels[train], tests={"all": test}, labels=text(split.attributes[target]),
              train_split=teacher, parts=parts, note=note)
