"""The task "fine_tune": a pretrained network learns who walks, or a class or attribute, from labelled people, and is
tested on others. Rate and length are chosen on training identities kept back, never on the test split.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from fgait_jax.data.held_out import Parts, keep_back_people
from fgait_jax.data.source import open_split
from fgait_jax.data.subset import Subset
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import columns, protocols, provenance, registry, results, scoring, targets, validation
from fgait_jax.evaluation.features import baselines, extraction, files
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics.classification import classified, macro_f1, told_apart
from fgait_jax.evaluation.results import Condition, FineTuning, Result, Row, Tried
from fgait_jax.evaluation.setup import Setup, prepare
from fgait_jax.training import discriminant, folders, logistic_regression, supervised, tuned
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.fine_tuning import Fitted, Fitter, check_settings
from fgait_jax.training.pretrained import stride_of
from fgait_jax.training.supervised import Learner, Tuned


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """What is learnt, from which rows of `teacher`, and the labels of both splits as text ("" where there is none)."""

  setup: Setup
  teacher: object
  labels: np.ndarray  # of the teacher's walks
  test_labels: np.ndarray
  classes: list[str]  # of scores; none for identities, whose scores only training sees
  parts: Parts

  @property
  def settings(self):
    return self.setup.config.fine_tune

  @property
  def identifies(self) -> bool:
    """Whether it learns who walks, and not a class."""
    return self.settings.target == "subject"

  @property
  def taught(self) -> np.ndarray:
    """Rows of the teacher that the final network has learnt from."""
    if not self.settings.refit:
      return self.parts.fit
    return np.sort(np.concatenate([self.parts.fit, self.parts.validation]))

  def numbers(self, rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Class numbers of rows of the teacher, and how many classes there are."""
    labels = self.labels[rows]
    classes = np.unique(labels).tolist() if self.identifies else self.classes
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[label] for label in labels]), len(classes)


@registry.task("fine_tune", writes="fine_tune-{config.dataset}-{config.fine_tune.target}.json",
               sections=("fine_tune", "linear_probe"), outcomes=True, centres=True)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `fine_tune-<dataset>-<target>.json`, the test walks' embeddings (or logits) beside it as .npz, and the
  network into the folder of the same name."""
  folder = registry.get("fine_tune").path(config, out).with_suffix("")
  if folder.resolve() in (given := pathlib.Path(config.checkpoint).resolve(), *given.parents):
    raise ConfigError(f"config.checkpoint={config.checkpoint} is what this evaluation would write; give another --out")
  setup = prepare(config, out, untrained=config.fine_tune.scratch)
  path = setup.claim()
  with folders.locked(folder):
    return [_written(setup, folder, path)]


def _written(setup: Setup, folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
  """The result of `run`, where `folder` and `path` are this program's alone."""
  config = setup.config
  check_settings(config, setup.trained.config, setup.trained.mesh)
  task = _task(setup)
  if config.baselines and not task.identifies:
    logistic_regression.check(config.linear_probe, _probe_parts(task))
  learner, chosen, tried = _learn(task, setup.trained, folder / "training")
  found = _test(task, learner, chosen, f"test of {task.settings.target}")
  rows = (_identity_rows if task.identifies else _class_rows)(task, found, "model", _title(task, chosen))
  if task.settings.scratch:
    rows += _scratch(task, folder / "training" / "scratch")
  identity = tuned.save(folder, config=config, trained=setup.trained, learner=learner, fitted=chosen,
                        dataset=task.teacher)
  files.save(path.with_suffix(".npz"), found, identity=_identity(task, identity))
  return results.write(path, _result(task, learner, chosen, tried, rows, identity))


def _identity(task: Task, weights: str) -> dict:
  """What the file of the tuned network's embeddings says of their origin."""
  settings, origin = task.settings, task.setup.identity()
  name, _, split = task.teacher.name.partition("/")
  origin["pretraining"]["label_use"] += f", then fine-tuned for {settings.target} on {name} ({split})"
  learnt = "discriminant" if settings.reads == "discriminant" else "recognition"
  # As `load_network` calls them: whoever embeds other walks by this network may compare both.
  return origin | {"weights": f"{weights}-teacher", "embedding": learnt if task.identifies else "logits"}


def _task(setup: Setup) -> Task:
  """Everything that can be refused before the network does anything."""
  config, settings = setup.config, setup.config.fine_tune
  protocol = protocols.get(config.protocol)
  teacher = open_split(config.data_dir, config.dataset, settings.train_split)
  provenance.check_apart(teacher, setup.split, section="fine_tune")
  labels, test_labels = (targets.labels_of(s, settings.target, protocol, section="fine_tune")
                         for s in (teacher, setup.split))
  targets.check_shared(labels, teacher, settings.target, section="fine_tune")
  parts = keep_back_people(teacher.subjects.astype(np.str_), labels, target=settings.target, section="fine_tune",
                           fraction=settings.validation_fraction, seed=config.seed)
  people = len(np.unique(teacher.subjects[parts.fit]))
  if settings.mix == "per_subject" and people < settings.subjects:
    raise ConfigError(f"config.fine_tune.subjects={settings.subjects} in every batch, but {teacher.name} has"
                      f" {people} to learn from, without those kept back for validation; choose fewer")
  if settings.target == "subject":
    setup.trials(protocol)
    validation.check(teacher, parts.validation, across=settings.validate_across, protocol=protocol, section="fine_tune")
    classes = []
  else:
    if config.centre_by != "none":
      raise ConfigError(f"config.centre_by={config.centre_by!r} takes the mean of a camera off embeddings, but"
                        f" config.fine_tune.target={settings.target!r} gives scores of classes; set it to 'none'")
    classes = targets.classes_of(labels, settings.target, protocol)
    missing = sorted(set(classes) - set(labels[parts.fit])) or sorted(set(test_labels) - set(classes) - {""})
    if missing or len(classes) < 2 or not (test_labels != "").any():
      raise DataError(f"{teacher.name} teaches {settings.target} by {len(parts.fit)} walks of the classes"
                      f" {np.unique(labels[parts.fit]).tolist()}; {setup.split.name} asks"
                      f" {np.unique(test_labels[test_labels != '']).tolist()}: two classes or more are needed, and"
                      " every one must be learnt")
  return Task(setup=setup, teacher=teacher, labels=labels, test_labels=test_labels, classes=classes, parts=parts)


def _fitter(task: Task, network, rows: np.ndarray) -> Fitter:
  """Of `network`, to learn from `rows` of the teacher."""
  settings, (labels, classes) = task.settings, task.numbers(rows)
  head, features, begins = "identity" if task.identifies else "classes", settings.features, None
  if settings.reads == "discriminant":
    pooled = task.setup.embeddings_of(network, "before fine-tuning", task.teacher, embedding="pooled",
                                      stride=stride_of(settings)).embeddings
    begins = discriminant.head(pooled[rows], labels, features=features, components=settings.components,
                               shrinkage=settings.shrinkage, prior=settings.prior)
    head, features = settings.reads, begins["params"]["head/embed/kernel"].shape[-1]
  learner = supervised.create(
    network, head=head, reads=settings.reads, classes=classes, features=features, begins=begins,
    method=settings.method, statistics=settings.statistics, rank=settings.rank, lora_scale=settings.lora_scale,
    prompt_tokens=settings.prompt_tokens, prompt_pixels=settings.prompt_pixels, rules_of_rates=settings.optim.rules,
    seed=task.setup.config.seed)
  return Fitter(learner, task.setup.config, identity=network.identity)


def _learn(task: Task, network, folder: pathlib.Path) -> tuple[Learner, Fitted, list[Fitted]]:
  """What `network` becomes at the rate and length that are best for it, and everything that was tried; each training
  has its own folder in `folder`, and goes on where one there stood."""
  learner, chosen, tried = _choose(task, network, folder)
  if task.settings.refit:
    place = folder / f"refit-{chosen.factor:g}-{chosen.step}"  # other rates may choose another
    learner, chosen = _train(task, network, task.taught, chosen, place)
  return learner, chosen, tried


def _choose(task: Task, network, folder: pathlib.Path) -> tuple[Learner, Fitted, list[Fitted]]:
  """Trains at each rate on the fit identities; the best on the validation identities, the first among equals."""
  labels, _ = task.numbers(task.parts.fit)
  fitter = _fitter(task, network, task.parts.fit)
  split = Subset(task.teacher, task.parts.fit, name=f"{task.teacher.name} (fit)")
  score = _validation(task) if len(task.parts.validation) else None
  tried = [fitter.fit(split, labels, folder / f"rate-{factor:g}", factor=factor, score=score)
           for factor in task.settings.rates]
  best = max(range(len(tried)), key=lambda i: tried[i].score if tried[i].score is not None else 0)
  return fitter.learner, tried[best], tried


def _train(
  task: Task, network, rows: np.ndarray, chosen: Fitted, folder: pathlib.Path
) -> tuple[Learner, Fitted]:
  """Trains `network` on `rows` at the rate and to the step that were chosen."""
  labels, _ = task.numbers(rows)
  fitter = _fitter(task, network, rows)
  split = Subset(task.teacher, rows, name=task.teacher.name)
  return fitter.learner, fitter.fit(split, labels, folder, factor=chosen.factor, end=chosen.step)


def _extract(task: Task, network: Tuned, split, title: str, between=lambda: None) -> Features:
  config, output = task.setup.config, "embedding" if task.identifies else "logits"
  return extraction.extract(functools.partial(network.recognise, output=output), split, max_frames=config.max_frames,
                            batch_frames=config.batch_frames, mesh=network.learner.mesh, mirror=config.mirror_views,
                            normalise=False, progress=title, stride=stride_of(task.settings), embedding=output,
                            between=between)


def _test(task: Task, learner: Learner, fitted: Fitted, title: str) -> Features:
  network = Tuned(learner=learner, trainable=fitted.trainable, stats=fitted.stats)
  return _extract(task, network, task.setup.split, title)


def _validation(task: Task):
  rows, settings = task.parts.validation, task.settings
  split = Subset(task.teacher, rows, name=f"{task.teacher.name} (validation)")

  def score(network: Tuned, between: Callable[[], None]) -> float:
    found = _extract(task, network, split, "", between)
    if task.identifies:
      return validation.rank1(found, across=settings.validate_across, metric=task.setup.config.metric,
                              protocol=protocols.get(task.setup.config.protocol), section="fine_tune")
    return macro_f1(task.numbers(rows)[0], found.embeddings[..., 0].argmax(axis=1))

  return score


def _title(task: Task, chosen: Fitted) -> str:
  return f"fine-tuned ({task.settings.method})" if chosen.step else "discriminant, 0 steps"


def _identity_rows(task: Task, found: Features, name: str, title: str) -> list[Row]:
  """The fine-tuned network, then what it must beat."""
  setup = task.setup
  config, protocol = setup.config, protocols.get(setup.config.protocol)
  systems = [(name, title, found)]
  if config.baselines and name == "model":
    gei = setup.silhouettes_of()
    systems += [("zero_shot", "before fine-tuning", setup.embeddings_of(setup.trained, "before fine-tuning")),
                *((row, what, of(gei)) for row, what, of in baselines.UNLEARNT)]
  return scoring.rows_of(config, protocol, systems)


def _class_rows(task: Task, found: Features, name: str, title: str) -> list[Row]:
  """The fine-tuned network, then linear probes of the network before and of the GEI, and the most frequent class."""
  setup = task.setup
  asked = np.flatnonzero(task.test_labels != "")
  rows = [_class_row(task, found.embeddings[asked].mean(axis=-1), name, title)]
  if not setup.config.baselines or name != "model":
    return rows
  for key, what in (("linear_probe", "before: linear probe"), ("raw_gei", "linear probe of the GEI")):
    def of(split, key=key):
      return setup.embeddings_of(setup.trained, "before fine-tuning", split) if key == "linear_probe" else (
        setup.silhouettes_of(split))
    settings = setup.config.linear_probe
    layer = logistic_regression.fit(of(task.teacher).embeddings, task.labels, rows=task.taught,
                                    parts=_probe_parts(task), penalties=settings.penalties,
                                    iterations=settings.iterations)
    order = [layer.classes.tolist().index(c) for c in task.classes]
    row = _class_row(task, layer.logits(of(setup.split).embeddings[asked])[:, order], key, what)
    rows.append(dataclasses.replace(row, details=layer.described()))
  counts = np.array([(task.labels[task.taught] == c).sum() for c in task.classes], np.float32)
  rows.append(_class_row(task, np.tile(counts, (len(asked), 1)), "chance", "most frequent class"))
  return rows


def _probe_parts(task: Task) -> Parts:
  """Where the probes' penalty is tried and judged: the people by whom rate and length are chosen, where there are
  any."""
  config = task.setup.config
  if len(task.parts.validation) or len(config.linear_probe.penalties) == 1:
    return task.parts
  return keep_back_people(
    task.teacher.subjects.astype(np.str_), task.labels, target=task.settings.target,
    fraction=config.linear_probe.validation_fraction, seed=config.seed, section="linear_probe")


def _class_row(task: Task, logits: np.ndarray, name: str, title: str) -> Row:
  asked, config = np.flatnonzero(task.test_labels != ""), task.setup.config
  truth = np.array([task.classes.index(label) for label in task.test_labels[asked]])
  protocol = protocols.get(config.protocol)
  named = getattr(protocol, "binary", "") if task.settings.target == "class" else ""
  binary = named or (task.classes[1] if len(task.classes) == 2 else "")
  scored = classified(truth, logits, subjects=task.setup.split.subjects[asked].astype(np.str_), names=task.classes,
                      binary=binary, resamples=config.bootstrap, seed=config.seed)
  found = scored["summary"] | {key: scored[key] for key in ("classes", "confusion")}
  return Row(name=name, title=title, figures=results.figures_of({"all": found}))


def _scratch(task: Task, folder: pathlib.Path) -> list[Row]:
  """The untrained network, trained the same way at a rate and to a step of its own."""
  network = task.setup.untrained or load_network(task.setup.config.checkpoint, mesh=task.setup.trained.mesh,
                                                 trained=False)
  learner, fitted, tried = _learn(task, network, folder)
  found = _test(task, learner, fitted, "network from scratch")
  rows = (_identity_rows if task.identifies else _class_rows)(task, found, "scratch", "from scratch, same training")
  about = {"chosen": {"factor": fitted.factor, "step": fitted.step}, "tried_rates": _tried(tried)}
  return [dataclasses.replace(row, details=row.details | about) for row in rows]


def _tried(tried: list[Fitted]) -> list[Tried]:
  return [Tried(factor=t.factor, best_step=t.step, score=t.score, curve=t.curve) for t in tried]


def _result(task: Task, learner: Learner, chosen: Fitted, tried: list[Fitted], rows: list[Row],
            identity: str) -> Result:
  config, settings, split = task.setup.config, task.settings, task.setup.split
  asked = task.test_labels != ""
  subjects = {name: len(np.unique(task.teacher.subjects[rows])) for name, rows in (
    ("fit", task.parts.fit), ("validation", task.parts.validation), ("taught", task.taught))}
  measure = "rank-1" if task.identifies else "macro F1"
  notes = [f"Learnt from {len(task.taught)} walks of {subjects['taught']} people of {task.teacher.name}; no test person"
           " is among them."]
  if subjects["validation"]:
    notes.append(f"Rate and length were chosen by {measure} on {subjects['validation']} further training people"
                 + (", from whom the network then learnt too." if settings.refit else "."))
  if not chosen.step:
    notes.append("No step of training was better on them than the discriminant of these people with which it began: the"
                 " network ends in that, and is otherwise as it was.")
  notes += scoring.probe_notes(rows) + task.setup.notes + scoring.interval_notes(config, "test subjects")
  if task.identifies:
    conditions, shown = scoring.conditions_of(rows[0].figures), columns.RETRIEVAL
  else:
    conditions = [Condition(name="all", title=f"{settings.target}: {asked.sum()} walks of"
                            f" {len(np.unique(split.subjects[asked]))} subjects")]
    notes.append(told_apart(rows[0].figures["all"].values["classes"]))
    if not asked.all():
      notes.append(f"{(~asked).sum()} walks without {settings.target} are not asked.")
    shown = columns.TWO_CLASSES if "auc" in rows[0].figures["all"].values else columns.CLASSES
  return task.setup.result(
    title=f"Fine-tuned for {settings.target} on {config.dataset}", notes=notes, rows=rows, conditions=conditions,
    columns=list(shown), fine_tuning=FineTuning(method=settings.method, measure=measure, tried=_tried(tried), details={
      "identity": identity, "statistics": settings.statistics, "subjects": subjects,
      "trainable_parameters": _size(learner.trainable), "frozen_parameters": _size(learner.frozen),
      "chosen": {"factor": chosen.factor, "step": chosen.step}}))


def _size(tree) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))
