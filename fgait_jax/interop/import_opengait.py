"""Converts a checkpoint of OpenGait into one of ours, for every evaluation and, by `config.train.start_from`, for
further training.

  python -m fgait_jax.interop.import_opengait CHECKPOINT --out DIR [--network teacher|student] [--width 44|64]

Reads .pt (needs torch, see requirements-interop.txt; weights only, no code of the file is run) and .safetensors. Which
network it is, of those in fgait_jax/interop/networks.py, follows from names and shapes. Every key is accounted for:
unknown, missing and misshapen ones are listed and end the conversion.
"""

import argparse
import hashlib
import io
import pathlib
import pickle
import sys
import zipfile
from collections.abc import Mapping

import jax
import numpy as np
import safetensors
import safetensors.flax  # numpy alone has no bfloat16
from absl import logging
from flax import nnx

from fgait_jax import config_files
from fgait_jax.errors import CheckpointError, FgaitError, first_line
from fgait_jax.interop import networks
from fgait_jax.models.network import GaitNetwork
from fgait_jax.paths import local_path
from fgait_jax.training import preflight
from fgait_jax.training import state as states
from fgait_jax.training import weights as weights_folder
from fgait_jax.training.checkpoints import Checkpoints, new_meta

_PREFIXES = {"teacher": "teacher_backbone.", "student": "student_backbone."}
_ONLINE = "online_encoder."
_COUNTED = ("num_batches_tracked", "relative_position_index")  # whole numbers of torch's modules
_ZIP = b"PK\x03\x04"  # by which torch knows its zips
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile, before every key


def read_state(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The state dict of a file, float32, without the prefixes that parallel training adds to every key. Raises
  `CheckpointError` where it cannot be read as weights only."""
  if not path.is_file():
    raise CheckpointError(f"{path} is no file")
  state = _read_file(path)
  while wrapper := next((w for w in _WRAPPERS if state and all(name.startswith(w) for name in state)), None):
    state = {name.removeprefix(wrapper): value for name, value in state.items()}
  return state


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
  if path.suffix == ".safetensors":
    try:
      return {name: _plain(array, name) for name, array in safetensors.flax.load_file(path).items()}
    except Exception as error:  # the file, or a type of number that JAX does not have
      raise CheckpointError(f"{path} cannot be read as safetensors: {error!r}") from error
  try:
    import torch
  except ImportError as error:
    raise CheckpointError(
      f"{path} needs torch to be read: pip install -r requirements-interop.txt (or give a .safetensors file)"
    ) from error
  try:
    # A bare pickle, as torch wrote it before its zips, may ask a file for gigabytes that it does not have.
    with open(path, "rb") as file:
      source = path if file.read(4) == _ZIP else io.BytesIO(path.read_bytes())
    if source is path:
      _refuse_packed(path)
    content = torch.load(source, map_location="cpu", weights_only=True)
  except (pickle.UnpicklingError, LookupError) as error:  # torch's advice is to run what it holds
    raise CheckpointError(f"{path} cannot be read as weights only: it is no checkpoint of torch, or holds objects that"
                          " would run code; save its state dict alone, a dict of tensors") from error
  except CheckpointError:
    raise
  except Exception as error:  # torch raises many kinds here: zip, runtime errors
    raise CheckpointError(f"{path} cannot be read as weights only: {first_line(error)}") from error
  state = None
  if isinstance(content, Mapping):
    state = content.get("model", content.get("state_dict", content))
  if not isinstance(state, Mapping) or not all(
    isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
  ):
    raise CheckpointError(f'{path} holds no state dict, neither itself nor under "model" or "state_dict"')
  try:
    return {name: _plain(_numbers(tensor), name) for name, tensor in state.items()}
  except Exception as error:  # sparse, quantised and other tensors without plain numbers
    raise CheckpointError(f"{path} holds more than plain tensors: {first_line(error)}") from error


def _plain(array, name: str) -> np.ndarray:
  """An array of real numbers as float32, of whole ones that count nothing as it is, for `convert` to name; raises
  `ValueError` for one without numbers."""
  if not np.size(array) or np.iscomplexobj(array):
    raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, expected real numbers")
  array = np.asarray(array)
  return array if array.dtype.kind in "iub" and not name.endswith(_COUNTED) else array.astype(np.float32)


def _numbers(tensor) -> np.ndarray:
  """`tensor` in NumPy, unless it repeats few stored numbers: a file of a kilobyte may so stand for terabytes."""
  if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
    raise ValueError(f"a tensor of {list(tensor.shape)} has only {tensor.untyped_storage().nbytes()} bytes")
  tensor = tensor.detach()  # a parameter's gradient
  plain = tensor.is_complex() or not tensor.is_floating_point()
  return (tensor if plain else tensor.float()).numpy()  # which has no bfloat16


def _refuse_packed(path: pathlib.Path) -> None:
  """Raises `CheckpointError` for a zip with packed members: torch writes none, and a small one may unpack to anything.
  """
  with zipfile.ZipFile(path) as file:
    packed = [member.filename for member in file.infolist() if member.compress_type != zipfile.ZIP_STORED]
  if packed:
    raise CheckpointError(f"{path} holds packed files ({packed[0]:.80}), as torch writes none; unpack it and save it"
                          " again")


def _exported_width(path: pathlib.Path) -> int | None:
  """Columns of a frame that the network of our own export sees; None for other files."""
  if path.suffix != ".safetensors":
    return None
  with safetensors.safe_open(path, "numpy") as file:
    width = (file.metadata() or {}).get("width", "")
  return int(width) if width in ("44", "64") else None


def choose(state: dict[str, np.ndarray], network: str | None) -> tuple[str, dict[str, np.ndarray], list[str]]:
  """(name of the network, its state dict without prefix, names of the other one).

  A pretraining checkpoint holds teacher and student: the teacher is taken unless `network` is "student"; of GaitJEPA's
  the online encoder is, which is the one that was released. A state dict without prefixes is taken whole. Raises
  `CheckpointError` where `network` is not there.
  """
  found = [which for which, prefix in _PREFIXES.items() if any(k.startswith(prefix) for k in state)]
  if not found:
    if network is not None:
      raise CheckpointError(f"no key begins with {_PREFIXES[network]!r}; leave out --network for this checkpoint")
    online = {k.removeprefix(_ONLINE): v for k, v in state.items() if k.startswith(_ONLINE)}
    return "network", online or state, [k for k in state if online and not k.startswith(_ONLINE)]
  network = network or found[0]
  if network not in found:
    raise CheckpointError(f"the checkpoint holds no {network}, only {' and '.join(found)}; change --network")
  others = tuple(prefix for which, prefix in _PREFIXES.items() if which != network)
  aside = [k for k in state if k.startswith(others)]
  return network, {k.removeprefix(_PREFIXES[network]): v for k, v in state.items() if k not in aside}, aside


def create(found: networks.Found) -> GaitNetwork:
  """A network of that architecture with random weights; call it under `nnx.eval_shape` for shapes only."""
  return states.new_network(_config(found), jax.random.key(0))


def _config(found: networks.Found, width: int = 44):
  """The configuration of a run to come, with the network that was found, whose frames have `width` columns."""
  config = config_files.load(str(config_files.SHIPPED / "reference.py"))
  config.model.update(**found.model, dtype="float32")
  config.augment.width = width
  return states.with_added(config, **found.added)


def convert(found: networks.Found) -> tuple[dict, dict]:
  """(parameters, statistics) of a network; raises `CheckpointError` listing every key that does not fit."""
  _, params, stats = nnx.split(nnx.eval_shape(lambda: create(found)), nnx.Param, nnx.BatchStat)
  state = found.weights
  params, stats = (found.network.names.import_tree(state, nnx.to_pure_dict(tree)) for tree in (params, stats))
  known = params.used | stats.used
  lines = [f"unknown    {k}" for k in state if k not in known and not k.endswith(".num_batches_tracked")]
  lines += [f"missing    {k}" for k in params.missing + stats.missing]
  lines += [f"misshapen  {k}" for k in params.misshapen + stats.misshapen]
  lines += [f"no weights {k}, of {state[k].dtype}" for k in sorted(known) if state[k].dtype != np.float32]
  lines += [f"not finite {k}" for k in sorted(known) if not np.isfinite(state[k]).all()]
  lines += [f"below 0    {k}" for k in sorted(known) if k.endswith(".running_var") and (state[k] < 0).any()]
  if lines:
    raise CheckpointError(f"{len(lines)} keys do not fit {found.network.names.title}, {_described(found)}:\n  "
                          + "\n  ".join(lines))
  return params.values, stats.values


def _described(found: networks.Found) -> str:
  return " ".join(f"config.model.{key}={found.model[key]}" for key in ("name", "variant"))


def write(weights: dict[str, tuple[dict, dict]], found: networks.Found, *, out: pathlib.Path, width: int, step: int,
          source):
  """Writes {"teacher": (params, stats), "student": ...} as our checkpoint at `step`, with a new optimizer state.

  Raises `CheckpointError` where `out` holds a checkpoint already.
  """
  weights_folder.refuse_over(out, "--out")
  config = _config(found, width)
  (params, stats), (teacher_params, teacher_stats) = weights["student"], weights["teacher"]
  state = {
    "step": np.int32(step), "params": params, "stats": stats,
    "teacher": {"params": teacher_params, "stats": teacher_stats},
    "opt": states.optimizer_of(config, params).init(params),
  }
  with Checkpoints(out, keep=1) as checkpoints:
    if checkpoints.latest() is not None:
      raise CheckpointError(f"{out} already holds step {checkpoints.latest()}; give another --out")
    checkpoints.save(step, jax.tree.map(jax.numpy.asarray, state), new_meta(config, {}, {}) | {"imported_from": source})


def run(path: pathlib.Path, *, out: pathlib.Path, network: str | None = None, width: int | None = None) -> list[str]:
  """Converts `path` and returns lines that describe the result. Without `network`, teacher and student are both kept if
  both are there. `width`: columns of 64, from the middle, that the network sees (None: what our own export says, else
  44)."""
  state, exported = read_state(path), _exported_width(path)
  if exported and width not in (None, exported):
    raise CheckpointError(f"{path} is of a network of {exported} columns, as its export says; leave out --width"
                          f" {width}")
  width = width or exported or 44
  both = network is None and all(any(k.startswith(p) for k in state) for p in _PREFIXES.values())
  wanted = ("teacher", "student") if both else (network,)
  lines, converted = [], {}
  for which in wanted:
    which, chosen, others = choose(state, which)
    try:
      found = networks.recognise(chosen)
      converted[which] = convert(found)
    except CheckpointError as error:
      raise CheckpointError(f"{path}: {error}") from None
    lines.append(f"{which}: {len(chosen)} keys of {found.network.names.title}, {_described(found)}")
  only = next(iter(converted.values()))
  weights = {which: converted.get(which, only) for which in ("teacher", "student")}
  lines += [f"left aside: {name}, {purpose}" for name, purpose in found.aside.items()]
  if spare := found.network.names.spare:
    lines.append(f"left aside: the last {spare} of the parts of {found.network.head}, which nobody compares")
  lines += [] if both else [f"left aside: {name}, of another network" for name in others]
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  write(weights, found, out=out, width=width, step=0, source={"file": path.name, "sha256": digest})
  return [*lines, f"wrote {out} as {_described(found)}"]


def main(arguments: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description="Converts a checkpoint of OpenGait into one of ours.")
  parser.add_argument("checkpoint")
  parser.add_argument("--out", required=True, help="folder of the new checkpoint")
  parser.add_argument("--network", choices=tuple(_PREFIXES), help="which of two to take; without it both are kept")
  parser.add_argument("--width", type=int, choices=(44, 64),
                      help="columns of a frame that the network sees: 64 where it was trained on whole frames"
                           " (default: what `fgait_jax.interop.export` wrote down, else 44)")
  options = parser.parse_args(arguments)
  logging.set_verbosity(logging.ERROR)  # Orbax logs every file it opens
  try:
    preflight.configure_jax()
    out = preflight.writable(options.out, flag="--out")
    print("\n".join(run(local_path(options.checkpoint, "the checkpoint"), out=out, network=options.network,
                        width=options.width)))
  except FgaitError as error:
    print(error, file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
