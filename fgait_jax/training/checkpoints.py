"""Checkpoints: the whole state and what is needed to use it again, written by Orbax while training goes on.

  <workdir>/checkpoints/<step>/state       the state tree of `training.state`
  <workdir>/checkpoints/<step>/meta        JSON: format, run, step, config, content hash of each data set, people by
                                           population, code version
  <workdir>/checkpoints/<step>/SHA256SUMS  of their files, compared whenever they are read

A checkpoint is restored onto any mesh of any number of devices. A run's name (`meta.run`) is drawn once and kept over
restarts; with the step it identifies the weights.
"""

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from ml_collections import ConfigDict

import fgait_jax
from fgait_jax.data.schema import population_of
from fgait_jax.errors import CheckpointError, DamagedCheckpoint, FgaitError
from fgait_jax.parallel import hosts
from fgait_jax.parallel import mesh as meshes
from fgait_jax.paths import local_path
from fgait_jax.training import configuration, folders, stored
from fgait_jax.training import state as states
from fgait_jax.training import weights as weights_folder
from fgait_jax.training.pretrained import Pretrained

FOLDER = "checkpoints"
UNFINISHED = "unfinished"  # beside it: what is written to take the place of a checkpoint
DAMAGED = "damaged"  # beside it: checkpoints that were passed over
_ITEMS = ("state", "meta")


class Checkpoints:
  """The checkpoints of one run; keeps the newest `keep`, those of multiples of `every` (0: none), and that of step
  `best()`, asked whenever one is saved. The end of a `with` waits for what is being written.

  A write that fails raises `CheckpointError`: at the next `check` or `save`, or at the end of the `with`.
  """

  def __init__(
    self, workdir: str | pathlib.Path, *, keep: int, every: int = 0, best: Callable[[], int | None] = lambda: None
  ):
    self.folder = local_path(workdir, "the run's folder") / FOLDER
    self._writing = -1
    folders.by_first(self.folder, lambda: _finish_replacing(self.folder))
    options = ocp.CheckpointManagerOptions(
      preservation_policy=_Preserved(keep, every, best), enable_async_checkpointing=True, cleanup_tmp_directories=True,
      async_options=ocp.AsyncOptions(post_finalization_callback=self._write_sums),
    )
    self.manager = ocp.CheckpointManager(self.folder, options=options)
    self._own = set(self.manager.all_steps())

  def __enter__(self):
    return self

  def __exit__(self, *_):
    try:
      self._write(self.manager.wait_until_finished)
    finally:
      self._write(self.manager.close)

  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, in order."""
    return sorted(self.manager.all_steps())

  def latest(self) -> int | None:
    """Step of the newest complete checkpoint."""
    return self.manager.latest_step()

  def save(self, step: int, state, meta: dict, *, replace: bool = False) -> None:
    """Starts writing unless this step is there already, or writes it whole in place of that to `replace` it; the state
    may be donated as soon as this returns. Raises `CheckpointError` where another run writes to the folder too."""
    self._check_own()
    self._write(self.manager.wait_until_finished)
    if step != self.latest():
      self._writing = step
      self._write(lambda: self.manager.save(step, args=_items(step, state, meta), force=True))
      self._own.add(step)
    elif replace:
      beside = save_beside(self.folder.parent, step, state, meta)

      def put() -> None:
        folders.put(beside / str(step), self.folder / str(step))
        shutil.rmtree(beside.parent)

      folders.by_first(self.folder, put)

  def check(self) -> None:
    """Raises `CheckpointError` if what was being written could not be."""
    self._write(self.manager.check_for_errors)

  def set_aside(self, step: int) -> pathlib.Path:
    """Moves a damaged checkpoint out of the way, and returns where to."""
    place = self.folder.with_name(DAMAGED) / str(step)

    def move() -> None:
      place.parent.mkdir(exist_ok=True)
      shutil.rmtree(place, ignore_errors=True)
      (self.folder / str(step)).rename(place)

    folders.by_first(place, move)
    self.manager.reload()
    return place

  def meta(self, step: int) -> dict:
    """The JSON beside the state at `step`."""
    return stored.read_meta(self.folder, step)

  def restore(self, step: int, target):
    """The state at `step`; `target` is a tree of `jax.ShapeDtypeStruct` with shardings."""
    return stored.read_state(self.folder, step, target)

  def _write_sums(self) -> None:
    """Called by Orbax, in its own thread, when all is written and the folder is still called unfinished."""
    folder = self.folder / f"{self._writing}.orbax-checkpoint-tmp"
    stored.write_sums(folder if folder.is_dir() else self.folder / str(self._writing), _ITEMS)

  def _check_own(self) -> None:
    words = ""
    if hosts.is_first():
      strange = sorted(set(stored.steps_in(self.folder)) - self._own)
      if strange:
        words = (f"{self.folder} holds step {strange[0]}, which this run has not written: another run writes there, and"
                 " this one ends here. Its own checkpoints are as they were; stop the other, or give another --workdir")
    if words := hosts.first_message(words):
      raise CheckpointError(words)

  def _write(self, write) -> None:
    try:
      write()
    except Exception as error:  # of whatever file system; Orbax passes all of them on
      reason = str(error).strip().split("\n")[0]
      reason = reason if len(reason) < 300 else f"{reason[:100]} ... {reason[-200:]}"  # where it was, and why
      raise CheckpointError(
        f"cannot write to {self.folder}: {reason}. Free some space or mend the file system; the same command then goes"
        " on from the newest complete checkpoint"
      ) from error


def _items(step: int, state, meta: dict):
  return ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta | {"step": step}))


def save_beside(folder: pathlib.Path, step: int, state, meta: dict) -> pathlib.Path:
  """Writes a checkpoint, whole when this returns, to `folder`/unfinished, which held at most what a crash left there,
  and returns the folder of checkpoints that it is alone in. `folders.put` moves it to its place."""
  half = folder / UNFINISHED
  folders.by_first(half, lambda: shutil.rmtree(half, ignore_errors=True))
  with Checkpoints(half, keep=1) as saved:
    saved.save(step, state, meta)
  return half / FOLDER


def _finish_replacing(folder: pathlib.Path) -> None:
  """Makes `folder`, and moves to its place a checkpoint that a crash has left whole beside it, where nothing else
  stands there."""
  folder.mkdir(parents=True, exist_ok=True)
  half = folder.with_name(UNFINISHED)
  for whole in (half / FOLDER).glob("*"):
    if whole.name.isdigit() and not (folder / whole.name).exists():
      whole.rename(folder / whole.name)
  shutil.rmtree(half, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class _Preserved:
  """Orbax's question which checkpoints, oldest first, not to delete."""

  keep: int
  every: int
  best: Callable[[], int | None]

  def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
    del context
    kept, best = {point.step for point in checkpoints[-self.keep :]}, self.best()
    return [
      point.step in kept or point.step == best or bool(self.every and point.step % self.every == 0)
      for point in checkpoints
    ]


def new_meta(config: ConfigDict, data: dict[str, str], people: dict[str, list[str]]) -> dict:
  """What is stored beside a state; `data` maps each data set to the content hash of its manifest, `people` is
  `people_of` what was learnt from."""
  run = hosts.agree(uuid.uuid4().hex[:16])
  config = json.loads(json.dumps(config.to_dict()))
  return {"format": stored.FORMAT, "run": run, "config": config, "data": data, "people": people, "code": code_version()}


def people_of(splits: Iterable, before: Mapping[str, list[str]] | None = None) -> dict[str, list[str]]:
  """Population (schema.population_of) -> its subjects in `splits`, and in what a network had learnt from `before`.

  {} where `before` is {}: what was seen first is not recorded, so that the whole is not.
  """
  if before is not None and not before:
    return {}
  found = {population: set(names) for population, names in (before or {}).items()}
  for split in splits:
    found.setdefault(population_of(split.manifest), set()).update(map(str, np.unique(split.subjects)))
  return {population: sorted(names) for population, names in found.items()}


def sources_of(splits: Iterable) -> dict[str, dict]:
  """Name -> what the manifests of `splits` say of them: kind, licence, citation, homepage, sequences, subjects."""
  return {split.name: {name: split.manifest.get(name, "") for name in ("kind", "licence", "citation", "homepage")}
          | {"sequences": len(split), "subjects": len(np.unique(split.subjects))} for split in splits}


def code_version() -> str:
  """The package's version, with the commit where the code is a checkout."""
  root = pathlib.Path(fgait_jax.__file__).parents[1]
  if not (root / ".git").exists():  # an installation may lie inside somebody else's repository
    return fgait_jax.__version__
  # A run that is killed here must not leave the lock of the repository behind.
  git = ["git", "--no-optional-locks", "-C", str(root), "describe", "--always", "--dirty"]
  try:
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return fgait_jax.__version__
  return f"{fgait_jax.__version__}+{commit}"


def check_restart(folder: pathlib.Path, before: dict, now: dict) -> None:
  """Raises `CheckpointError` naming every key and data set in which `now` would be another run than `before`."""
  changed = configuration.changes(before["config"], now["config"])
  changed += [
    f"data set {name}: built anew, its content differs" for name in now["data"]
    if name in before["data"] and before["data"][name] != now["data"][name]
  ]
  if changed:
    raise CheckpointError(
      f"{folder} holds step {before['step']} of a run with other settings:\n  " + "\n  ".join(changed)
      + "\nSet them back to continue it, or give another --workdir (of run_eval.py: --out) to start anew."
    )


def weights_to_start_from(config, state, mesh: Mesh) -> tuple[dict, dict]:
  """(student's and teacher's weights as parts of a state, what `meta` keeps as `started_from`) of a pretraining run.

  `config.train.start_from` is as `load_network` takes it, `state` that of the new run before its first step, whose
  discriminant stays untaught: one that was learnt belongs to the weights as they were. Heads that were left out when
  the weights were published begin as in `state`, and `started_from` names them under `anew`. Raises `CheckpointError`,
  also for a network that computes otherwise than `config` says.
  """
  path = config.train.start_from
  try:
    teacher = load_network(path, mesh=mesh)
    if teacher.fine_tune:
      raise CheckpointError("it is a fine-tuned network, without student, decoder or predictor of its own; name the"
                            " pretraining run that it was made of")
    headless = states.added(teacher.config)["without_heads"]
    if "recognition" in teacher.params or ("projector" not in teacher.params and not headless):
      raise CheckpointError("it is a network under a head for identities, as published networks are; pretraining takes"
                            " the weights of pretraining")
    # A folder of weights holds one network, with which both begin; each has arrays of its own.
    student = load_network(path, mesh=mesh, which="teacher" if weights_folder.is_one(path) else "student")
  except CheckpointError as error:
    raise CheckpointError(f"config.train.start_from={path}: {error}") from error

  anew = sorted(state["params"].keys() - teacher.params.keys())

  def begun(network: Pretrained, new: dict) -> dict:
    stats = {name: values for name, values in network.stats.items() if name != "discriminant"}
    return {kind: own | {name: new[kind][name] for name in ("discriminant", *anew) if name in new[kind]}
            for kind, own in (("params", network.params), ("stats", stats))}

  weights = begun(student, state) | {"teacher": begun(teacher, state["teacher"])}
  found, wanted = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (weights["teacher"], state["teacher"]))
  ours, theirs = _computed(config), _computed(teacher.config)
  differing = [f"config.{key}={theirs[key]}" for key in ours if theirs.get(key, ours[key]) != ours[key]
               if key != "model.variant" or found != wanted]  # one size may be written in two ways
  if differing or found != wanted:
    how = f"to train it, set {', '.join(differing)}" if differing else "its arrays are of other shapes"
    raise CheckpointError(f"config.train.start_from={path} holds another network; {how}")
  about = {"of": teacher.identity, "anew": anew, "data": teacher.data, "people": teacher.people,
           "sources": teacher.sources, "learned": teacher.config.data.to_dict(),
           "imported_from": teacher.imported_from, "before": teacher.started_from}
  return weights, json.loads(json.dumps(about))


def _computed(config) -> dict:
  """What says how the encoder computes, by its key; `dtype` and `remat` may change, the discriminant begins anew."""
  kept = {f"model.{key}": value for key, value in config.model.items() if key not in ("dtype", "remat", "discriminant")}
  return kept | {"augment.width": config.augment.width}


def load_network(
  path: str | pathlib.Path, *, mesh: Mesh | None = None, which: str = "teacher", trained: bool = True
) -> Pretrained:
  """The network of a run's folder (its newest checkpoint), of its `checkpoints` folder, or of one step in it; of a
  folder of weights alone, or of the weights that the package carries under a name (training/weights.py).

  Reads only the weights asked for, `which` = "teacher" or "student", onto `mesh` (default: all devices along `data`),
  whatever mesh they were trained on. `trained=False` gives the same network as it was before the first step.
  Raises `CheckpointError` for a folder that is missing, empty, partial, of a later format, or without the weights asked
  for.
  """
  if which not in ("teacher", "student"):
    raise CheckpointError(f'which={which!r}; a checkpoint holds "teacher" and "student"')
  mesh = meshes.make_mesh() if mesh is None else mesh
  if weights_folder.is_one(path):
    return weights_folder.load(path, mesh=mesh, which=which, trained=trained)
  folder, step = _find(local_path(path, "the checkpoint"))
  try:
    meta = stored.read_meta(folder, step)
    if trained:
      stored.check_sums(folder / str(step), "state")
  except DamagedCheckpoint as error:
    others = [other for other in stored.steps_in(folder) if other != step]
    raise DamagedCheckpoint(f"{error}. " + (f"{folder} also has the steps {others}; name one of these folders" if others
                            else "There is no other beside it; train or import it again")) from error
  if lacking := configuration.lacking(meta["config"]):
    raise CheckpointError(f"{folder}/{step} is of no network that this code knows: its config has"
                          f" {', '.join(lacking[:5])} not or of another kind; name the --workdir of a pretraining run,"
                          " or a folder that fine-tuning or an import wrote")
  config = ConfigDict(meta["config"]).lock()
  if not trained:
    config = states.with_added(config)  # what fine-tuning adds is learned, or it is nothing
  try:
    graph, wanted = states.abstract_weights(config, mesh)
  except (FgaitError, TypeError, ValueError, ArithmeticError) as error:
    raise CheckpointError(f"{folder}/{step} is of no network that this code knows: {error}") from error
  identity = f"{meta['run']}-{step}-{which}"
  if trained:
    item = {"teacher": wanted} if which == "teacher" else wanted
    weights = stored.restore(folder, step, state=ocp.args.PyTreeRestore(
      item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
    ))["state"]
    weights = weights["teacher"] if which == "teacher" else weights
    _check_whole(weights, f"{folder}/{step}", which, meta)
  else:
    weights, identity = states.untrained(config, wanted)
    step = 0
  return Pretrained(
    graph=graph, params=weights["params"], stats=weights["stats"], config=config, step=step, path=folder.parent,
    identity=identity, mesh=mesh, data=dict(meta["data"]), people=dict(meta.get("people", {})),
    fine_tune=meta.get("fine_tune", {}) if trained else {},
    imported_from=meta.get("imported_from", {}).get("file", ""),
    started_from=meta.get("started_from", {}) if trained else {}, sources=meta.get("sources", {}), code=meta["code"],
  )


def _check_whole(weights, name: str, which: str, meta: dict) -> None:
  """Raises `CheckpointError` where Orbax, asked for part of a state, found none of some array and left its shape."""
  leaves = jax.tree.leaves(weights)
  missing = sum(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
  if not missing:
    return
  reason = "the checkpoint is damaged or of another model"
  if "fine_tune" in meta:
    reason = "of a fine-tuned network the teacher alone is kept: set config.network=teacher"
  raise CheckpointError(f"{name} lacks {missing} of {len(leaves)} arrays of the {which}; {reason}")


def _find(path: pathlib.Path) -> tuple[pathlib.Path, int]:
  """(folder of checkpoints, step) of a run's folder, a folder of checkpoints, or a checkpoint."""
  if not path.is_dir():
    raise CheckpointError(f"there is no folder {path}; give the --workdir of a run, a folder in its {FOLDER}, a"
                          f" folder of weights, or the name of weights that come with the package"
                          f" ({', '.join(weights_folder.packaged()) or 'none'})")
  if re.fullmatch(r"[0-9]+", path.name) and (path / "state").exists():
    return path.parent, int(path.name)
  folder = path / FOLDER if (path / FOLDER).is_dir() else path
  if not (steps := stored.steps_in(folder)):
    if (path / "network.jaxexport").exists():
      raise CheckpointError(f"{path} is an exported network, which its load.py runs; name the run or the weights that"
                            " it was made of")
    raise CheckpointError(f"{path} holds no checkpoint yet; a run writes its first at config.train.save_every")
  return folder, steps[-1]
