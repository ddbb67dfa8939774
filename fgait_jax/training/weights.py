"""Weights that travel: a folder with one network, without what only training needs.

  model.safetensors   parameters under "params/...", running statistics under "stats/...", by our paths
  config.json         SHA-256 of that file and of the settings here; what a checkpoint's meta says: configuration, data,
                      people, code
  README.md           the model card (interop/card.py); nothing reads it

`training.checkpoints.load_network` reads such a folder like a checkpoint. Nothing in it is code, and nothing is run.
"""

import hashlib
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from jax.sharding import Mesh
from ml_collections import ConfigDict

import fgait_jax
from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, ConfigError, FgaitError
from fgait_jax.models import backbones
from fgait_jax.models.discriminant import is_fitted
from fgait_jax.parallel import hosts
from fgait_jax.paths import local_path
from fgait_jax.training import configuration, folders, stored
from fgait_jax.training import state as states
from fgait_jax.training.pretrained import Pretrained

LIBRARY, FORMAT = "fgait_jax", 1
FOLDER = "weights"  # of a run's folder, where the run itself writes them
WEIGHTS, ABOUT, CARD = "model.safetensors", "config.json", "README.md"
DTYPES = {"float32": ("F32", np.dtype(np.float32)), "bfloat16": ("BF16", np.dtype(jnp.bfloat16))}
PACKAGED = pathlib.Path(fgait_jax.__file__).parent / "weights"
_KEPT = ("step", "data", "people", "sources", "fine_tune", "imported_from", "started_from")  # of `Pretrained`
_FORM = {  # of config.json
  "sha256": str, "settings_sha256": str, "identity": str, "code": str, "config": dict, "step": int, "data": dict,
  "people": dict, "sources": dict, "fine_tune": dict, "imported_from": str, "started_from": dict,
}  # fmt: skip


_LONGEST = 255  # characters of an identity, which names files of a cache


def packaged() -> list[str]:
  """Names of the weights that come with the package."""
  return sorted(path.parent.name for path in PACKAGED.glob(f"*/{WEIGHTS}"))


def located(path: str | os.PathLike) -> pathlib.Path:
  """`path` as a folder; where there is none, and it names weights that come with the package, that of those."""
  folder = local_path(path, "the checkpoint")
  name = os.fspath(path).rstrip("/")
  return PACKAGED / name if not folder.exists() and name in packaged() else folder


def is_one(path: str | os.PathLike) -> bool:
  """Whether `path` is a folder of weights, or names one that comes with the package."""
  return (located(path) / WEIGHTS).is_file()


def refuse_over(folder: pathlib.Path, flag: str) -> None:
  """Raises `ConfigError` naming `flag` where `folder` holds weights: what a run writes would replace their settings,
  and they would be read in place of its checkpoints."""
  if (folder / WEIGHTS).exists():
    raise ConfigError(f"{flag}={folder} holds weights ({WEIGHTS}), which would be read in place of what is written"
                      " there; give another folder")


def identity_in(folder: pathlib.Path) -> str | None:
  """The identity of the weights that `save` of this or another version wrote into `folder`; None where none did."""
  try:
    about = json.loads((folder / ABOUT).read_bytes())
    return str(about["identity"]) if about["library"] == LIBRARY else None
  except (OSError, ValueError, TypeError, KeyError, RecursionError):
    return None


def save(network: Pretrained, folder: pathlib.Path, *, dtype: str = "float32", heads: bool = True) -> None:
  """Writes all but the card into `folder`; all processes call it together, and the first one writes.

  With `dtype` "bfloat16" every array is rounded, and the identity says so. `heads` False leaves out what the embedding
  that was learnt last does not need (`GaitNetwork.without_heads`). Raises `CheckpointError` where that cannot be,
  and `RunError` where it cannot be written.
  """
  config, trees = network.config, {"params": network.params, "stats": network.stats}
  if not heads:
    if config.model.discriminant and not is_fitted(network.stats):
      raise CheckpointError(f"{network.identity}: its discriminant is not learnt yet, so its heads cannot be left out")
    config = states.with_added(config, **states.added(config) | {"without_heads": 1})
    graph = states.make_graph(config)
    trees = {kind: {module: trees[kind][module] for module in getattr(graph, kind)} for kind in trees}
  arrays = {name: hosts.whole(leaf) for name, leaf in traverse_util.flatten_dict(trees, sep="/").items()}
  if not hosts.is_first():
    return
  arrays = {name: np.ascontiguousarray(array, DTYPES[dtype][1]) for name, array in arrays.items()}
  identity = network.identity
  if dtype != "float32" and not identity.endswith(f"-{dtype}"):
    identity = f"{identity}-{dtype}"
  content = safetensors.numpy.save(arrays, metadata={"identity": identity})  # the order of several would be by chance
  facts = {"library": LIBRARY, "format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), "dtype": dtype,
           "identity": identity, "embedding": network.embedding, "code": network.code, "config": config.to_dict()}
  # Where data and compiled programs lay on this machine is nobody's business.
  facts["config"]["data"]["dir"] = defaults.data().dir
  facts["config"]["train"]["compilation_cache"] = defaults.train().compilation_cache
  facts |= {name: getattr(network, name) for name in _KEPT}
  facts["settings_sha256"] = _settings_digest(facts)
  with folders.whole(folder / WEIGHTS) as half:
    half.write_bytes(content)
  folders.write_text(folder / ABOUT, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def about(folder: pathlib.Path) -> dict:
  """The content of config.json; raises `CheckpointError`, which names it, where it is none of ours or of a network that
  this version does not know."""
  path = folder / ABOUT
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise CheckpointError(f"{path} cannot be read ({error}); expected the file that lies beside {WEIGHTS} in a folder"
                          " of weights of fgait_jax") from error
  if not isinstance(found, dict) or found.get("library") != LIBRARY:
    raise CheckpointError(f"{path} is not of weights of fgait_jax; python -m fgait_jax.interop.publish writes such a"
                          " folder, and python -m fgait_jax.interop.import_opengait reads weights of OpenGait")
  if found.get("format") != FORMAT:
    raise CheckpointError(f"{path} has format {found.get('format')}, this code reads format {FORMAT} alone: use it with"
                          f" the version that wrote it ({found.get('code')})")
  lacking = sorted({*_FORM} - found.keys())
  if lacking:
    raise CheckpointError(f"{path} lacks {', '.join(lacking)}: it is damaged; copy the folder again")
  for name, kind in _FORM.items():
    if type(found[name]) is not kind:
      raise CheckpointError(f"{path}: {name} is {found[name]!r:.60}, expected a {kind.__name__}; copy the folder again")
  if wrong := stored.wrong_in(found | {"run": found["identity"], "imported_from": {}}, found["step"]):
    raise CheckpointError(f"{path} is not what was written: {wrong}; copy the folder again")
  if found["step"] < 0 or len(found["identity"]) > _LONGEST:
    raise CheckpointError(f"{path} is not what was written: step {found['step']}, identity {found['identity']:.60};"
                          " copy the folder again")
  digest = _settings_digest(found)
  found["config"] = configuration.completed(found["config"])
  model, wrote = found["config"].get("model"), f"written by fgait_jax {found['code']}, this is {fgait_jax.__version__}"
  if isinstance(model, dict) and f"{model.get('name')}" not in backbones.BACKBONES:
    raise CheckpointError(f"{path}: config.model.name={model.get('name')!r} is a network that this version does not"
                          f" know (known: {', '.join(backbones.BACKBONES)}); {wrote}")
  if isinstance(model, dict) and (differing := sorted({*model} - {*states.ADDED} ^ {*defaults.model()})):
    raise CheckpointError(f"{path}: config.model differs from that of this version in the keys {', '.join(differing)};"
                          f" {wrote}: use that version, or publish the run again with this one")
  if lacking := configuration.lacking(found["config"]):
    raise CheckpointError(f"{path} is of no network that this code knows: its config has {', '.join(lacking[:5])} not"
                          " or of another kind; copy the folder again")
  data = found["config"]["data"]
  if min(data["clip_frames"], data["window_frames"]) < 1 or not isinstance(data["sets"], dict):
    raise CheckpointError(f"{path} is of no network that this code knows: config.data.clip_frames, window_frames or"
                          " sets is not what a run has; copy the folder again")
  if digest != found["settings_sha256"]:
    raise CheckpointError(f"{path}: config or fine_tune is not what was written (the SHA-256 differs), and with other"
                          " settings the network embeds otherwise; copy the folder again")
  return found


def _settings_digest(facts: dict) -> str:
  """SHA-256 of the settings that embeddings follow from, beside the weights: they are cached by identity alone."""
  return hashlib.sha256(json.dumps([facts["config"], facts["fine_tune"]], sort_keys=True).encode()).hexdigest()


def load(path: str | os.PathLike, *, mesh: Mesh, which: str = "teacher", trained: bool = True) -> Pretrained:
  """The network of a folder of weights, or of the name of such that come with the package; see `load_network`.

  Raises `CheckpointError` naming the file that is damaged, foreign, or of a network that this version does not know.
  """
  folder = located(path)
  found = about(folder)
  if which == "student" and trained:
    raise CheckpointError(f"{folder} holds one network, without its student; set config.network=teacher")
  try:
    config = ConfigDict(found["config"]).lock()
    if not trained:
      config = states.with_added(config)
    graph, wanted = states.abstract_weights(config, mesh)
  except (FgaitError, TypeError, ValueError, ArithmeticError) as error:
    raise CheckpointError(f"{folder / ABOUT} is of no network that this code knows: {error}") from error
  kept = {name: found[name] for name in _KEPT}
  if trained:
    weights, identity = _placed(_read(folder / WEIGHTS, found), wanted, folder / WEIGHTS), found["identity"]
  else:
    weights, identity = states.untrained(config, wanted)
    kept |= {"step": 0, "fine_tune": {}, "started_from": {}}
  return Pretrained(graph=graph, **weights, config=config, path=folder, identity=identity, mesh=mesh,
                    code=found["code"], **kept)


def check(folder: pathlib.Path) -> dict:
  """The content of config.json of a folder whose weights are what it says; raises `CheckpointError` otherwise."""
  _read(folder / WEIGHTS, found := about(folder))
  return found


def _read(path: pathlib.Path, facts: dict) -> dict[str, np.ndarray]:
  """The arrays of the file, checked against its SHA-256."""
  try:
    content = path.read_bytes()
  except OSError as error:
    raise CheckpointError(f"{path} cannot be read ({error})") from error
  if (digest := hashlib.sha256(content).hexdigest()) != facts["sha256"]:
    raise CheckpointError(f"{path} ({len(content):,} bytes) has SHA-256 {digest[:16]}..., {ABOUT} says"
                          f" {facts['sha256'][:16]}...: it is truncated, changed or of other weights; copy both again")
  kinds = dict(DTYPES.values())
  try:
    stored = safetensors.deserialize(content)
  except safetensors.SafetensorError as error:
    raise CheckpointError(f"{path} is no safetensors file ({error})") from error
  if foreign := [f"{name} {entry['dtype']}" for name, entry in stored if entry["dtype"] not in kinds]:
    raise CheckpointError(f"{path}: {foreign[0]}, expected {' or '.join(kinds)} ({' or '.join(DTYPES)})")
  return {name: np.frombuffer(entry["data"], kinds[entry["dtype"]]).reshape(entry["shape"]).astype(np.float32)
          for name, entry in stored}


def _placed(arrays: dict[str, np.ndarray], wanted: dict, path: pathlib.Path) -> dict:
  """`arrays` as the tree of shapes `wanted`, each on its devices; raises `CheckpointError` where they do not fit."""
  leaves = traverse_util.flatten_dict(wanted, sep="/")
  wrong = [f"lacks {name}" for name in leaves if name not in arrays]
  wrong += [f"has {name}, which the network of {ABOUT} has not" for name in arrays if name not in leaves]
  wrong += [f"has {name} of shape {list(arrays[name].shape)}, expected {list(leaf.shape)}"
            for name, leaf in leaves.items() if name in arrays and arrays[name].shape != leaf.shape]
  wrong += [f"has numbers in {name} that are not finite" for name in leaves
            if name in arrays and not np.isfinite(arrays[name]).all()]
  wrong += [f"has a variance below 0 in {name}" for name in leaves
            if name.endswith("/var") and name in arrays and (arrays[name] < 0).any()]
  if wrong:
    raise CheckpointError(f"{path} {wrong[0]}" + (f" (and {len(wrong) - 1} more such)" if len(wrong) > 1 else ""))
  placed = {name: jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index, a=arrays[name]: a[index])
            for name, leaf in leaves.items()}
  return traverse_util.unflatten_dict(placed, sep="/")
