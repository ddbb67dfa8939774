"""Checkpoints: the whole state and what is needed to use it again, written by Orbax while training goes on.

  <workdir>/checkpoints/<step>/state   the state tree of `training.state`
  <workdir>/checkpoints/<step>/meta    JSON: format, run, step, config, content hash of each data set, people by
                                       population, code version

A checkpoint is restored onto any mesh of any number of devices. A run's name (`meta.run`) is drawn once and kept over
restarts; with the step it identifies the weights.
"""

import dataclasses
import json
import pathlib
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
from fgait_jax.errors import CheckpointError
from fgait_jax.parallel import hosts
from fgait_jax.parallel import mesh as meshes
from fgait_jax.paths import local_path
from fgait_jax.training import configuration
from fgait_jax.training import state as states
from fgait_jax.training import weights as weights_folder
from fgait_jax.training.pretrained import Pretrained

FORMAT = 2
FOLDER = "checkpoints"


class Checkpoints:
  """The checkpoints of one run; keeps the newest `keep`, and that of step `best()`, asked whenever one is saved. The
  end of a `with` waits for what is being written.

  A write that fails raises `CheckpointError`: at the next `check` or `save`, or at the end of the `with`.
  """

  def __init__(self, workdir: str | pathlib.Path, *, keep: int, best: Callable[[], int | None] = lambda: None):
    self.folder = local_path(workdir, "the run's folder") / FOLDER
    self.folder.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
      preservation_policy=_NewestAndBest(keep, best), enable_async_checkpointing=True
    )
    self.manager = ocp.CheckpointManager(self.folder, options=options)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    try:
      self._write(self.manager.wait_until_finished)
    finally:
      self._write(self.manager.close)

  def latest(self) -> int | None:
    """Step of the newest complete checkpoint."""
    return self.manager.latest_step()

  def save(self, step: int, state, meta: dict, *, replace: bool = False) -> None:
    """Starts writing unless this step is there already, or in place of it to `replace` it; the state may be donated as
    soon as this returns."""
    if replace and step == self.latest():
      self._write(lambda: self.manager.delete(step))
    if step != self.latest():
      args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta | {"step": step}))
      self._write(lambda: self.manager.save(step, args=args, force=True))

  def check(self) -> None:
    """Raises `CheckpointError` if what was being written could not be."""
    self._write(self.manager.check_for_errors)

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

  def meta(self, step: int) -> dict:
    """The JSON beside the state at `step`."""
    return _read(self.folder / str(step), lambda: _restore(self.folder, step, meta=ocp.args.JsonRestore()))["meta"]

  def restore(self, step: int, target):
    """The state at `step`; `target` is a tree of `jax.ShapeDtypeStruct` with shardings."""
    args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    return _read(self.folder / str(step), lambda: self.manager.restore(step, args=args))["state"]


@dataclasses.dataclass(frozen=True)
class _NewestAndBest:
  """Orbax's question which checkpoints, oldest first, not to delete."""

  keep: int
  best: Callable[[], int | None]

  def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
    del context
    best = self.best()
    return [step.step == best or place >= len(checkpoints) - self.keep for place, step in enumerate(checkpoints)]


def new_meta(config: ConfigDict, data: dict[str, str], people: dict[str, list[str]]) -> dict:
  """What is stored beside a state; `data` maps each data set to the content hash of its manifest, `people` is
  `people_of` what was learnt from."""
  run = hosts.agree(uuid.uuid4().hex[:16])
  config = json.loads(json.dumps(config.to_dict()))
  return {"format": FORMAT, "run": run, "config": config, "data": data, "people": people, "code": code_version()}


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
  git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
  try:
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return fgait_jax.__version__
  return f"{fgait_jax.__version__}+{commit}"


def check_restart(folder: pathlib.Path, before: dict, now: dict) -> None:
  """Raises `CheckpointError` naming every key and data set in which `now` would be another run than `before`."""
  _check_format(before, folder)
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


def _check_format(meta: dict, where) -> None:
  if meta["format"] != FORMAT:
    raise CheckpointError(f"{where} has format {meta['format']}, this code reads format {FORMAT} alone: use it with the"
                          f" version that wrote it ({meta['code']}), or train anew in another folder")


def weights_to_start_from(path: str, state, mesh: Mesh) -> tuple[dict, dict]:
  """(student's and teacher's weights as parts of a state, what `meta` keeps as `started_from`) of a pretraining run.

  `path` is as `load_network` takes it, `state` that of the new run before its first step, whose discriminant stays
  untaught: one that was learnt belongs to the weights as they were. Raises `CheckpointError`.
  """
  try:
    teacher = load_network(path, mesh=mesh)
    if teacher.fine_tune:
      raise CheckpointError("it is a fine-tuned network, without student, decoder or predictor of its own; name the"
                            " pretraining run that it was made of")
    if "projector" not in teacher.params or "recognition" in teacher.params:
      raise CheckpointError("it is a network under a head for identities, as published networks are, or was published"
                            " without heads; pretraining takes the weights of pretraining")
    if "predictor" not in teacher.params:
      raise CheckpointError("these weights were published without the heads that training goes on with")
    # A folder of weights holds one network, with which both begin; each has arrays of its own.
    student = load_network(path, mesh=mesh, which="teacher" if weights_folder.is_one(path) else "student")
  except CheckpointError as error:
    raise CheckpointError(f"config.train.start_from={path}: {error}") from error

  def begun(network: Pretrained, new: dict) -> dict:
    stats = {name: values for name, values in network.stats.items() if name != "discriminant"}
    return {"params": network.params, "stats": stats | {k: v for k, v in new["stats"].items() if k == "discriminant"}}

  weights = begun(student, state) | {"teacher": begun(teacher, state["teacher"])}
  found, wanted = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (weights["teacher"], state["teacher"]))
  if found != wanted:
    model = teacher.config.model
    names = ("name", "variant", "channels", "stem", "temporal_pooling", "body_heads")
    keys = ", ".join(f"config.model.{key}={model[key]}" for key in names)
    raise CheckpointError(f"config.train.start_from={path} holds another network; to train it, set {keys}")
  about = {"of": teacher.identity, "data": teacher.data, "people": teacher.people, "sources": teacher.sources,
           "learned": teacher.config.data.to_dict(),
           "imported_from": teacher.imported_from, "before": teacher.started_from}
  return weights, json.loads(json.dumps(about))


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
  meta = _read(folder / str(step), lambda: _restore(folder, step, meta=ocp.args.JsonRestore()))["meta"]
  _check_format(meta, f"{folder}/{step}")
  config = ConfigDict(meta["config"]).lock()
  if not trained:
    config = states.with_added(config)  # what fine-tuning adds is learned, or it is nothing
  graph, wanted = states.abstract_weights(config, mesh)
  identity = f"{meta['run']}-{step}-{which}"
  if trained:
    item = {"teacher": wanted} if which == "teacher" else wanted
    weights = _read(folder / str(step), lambda: _restore(folder, step, state=ocp.args.PyTreeRestore(
      item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
    )))["state"]
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


def _restore(folder: pathlib.Path, step: int, **items):
  # A fresh, read-only manager each time: one that has restored an item in one way refuses another.
  with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
    return manager.restore(step, args=ocp.args.Composite(**items))


def _find(path: pathlib.Path) -> tuple[pathlib.Path, int]:
  """(folder of checkpoints, step) of a run's folder, a folder of checkpoints, or a checkpoint."""
  if not path.is_dir():
    raise CheckpointError(f"there is no folder {path}; give the --workdir of a run, a folder in its {FOLDER}, a"
                          f" folder of weights, or the name of weights that come with the package"
                          f" ({', '.join(weights_folder.packaged()) or 'none'})")
  if path.name.isdigit() and (path / "state").exists():
    return path.parent, int(path.name)
  folder = path / FOLDER if (path / FOLDER).is_dir() else path
  steps = [int(child.name) for child in folder.iterdir() if child.name.isdigit()]
  if not steps:
    raise CheckpointError(f"{path} holds no checkpoint yet; a run writes its first at config.train.save_every")
  return folder, max(steps)


def _read(folder: pathlib.Path, read):
  """What `read` gives; whatever a damaged folder makes Orbax raise becomes a `CheckpointError` naming the folder."""
  try:
    return read()
  except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
    reason = str(error).strip().split("\n")[0][:300]
    raise CheckpointError(
      f"cannot read {folder}: {reason}. The checkpoint is partial, damaged or of another model; remove it to use the"
      " one before it"
    ) from error
