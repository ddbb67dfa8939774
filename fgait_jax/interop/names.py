"""Maps names and array layouts between the released network's state dict and our parameters.

A state dict here is a mapping from torch names without `teacher_backbone.` to numpy arrays in torch layout. Our side is
two nested dictionaries of arrays, parameters and running statistics; all blocks of a stage but the first are stacked.
"""

import dataclasses
import re

import jax
import numpy as np

_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Our layer inside a block -> torch's. Blocks within frames (stage 1) and P3D blocks have different names.
_FRAME_BLOCK = {"conv1": "conv1", "norm1": "bn1", "conv2": "conv2", "norm2": "bn2"}
_P3D_BLOCK = {
  "conv1": "conv1.forward_block.0", "norm1": "conv1.forward_block.1",
  "temporal": "shortcut3d", "temporal_norm": "sbn",
  "conv2": "conv2.forward_block.0", "norm2": "conv2.forward_block.1",
  "shortcut": "downsample.0", "shortcut_norm": "downsample.1",
}  # fmt: skip
_HEAD = {"fc1": "0.fc_bin", "norm1/norm": "1.bn1d", "fc2": "3.fc_bin", "norm2/norm": "4.bn1d"}


@dataclasses.dataclass(frozen=True)
class Leaf:
  """Torch's name for one of our arrays, with `{}` for the number of the block where `stacked`."""

  torch: str
  stacked: bool


def leaf(path: str) -> Leaf:
  """Torch's name for one of our paths, such as "encoder/stage2/rest/conv1/kernel"; raises `KeyError` for others."""
  parent, name = path.rsplit("/", 1)
  if match := re.fullmatch(r"encoder/stem(_norm)?", parent):
    layer = f"layer0.forward_block.{1 if match[1] else 0}"
    return Leaf(f"{layer}.{_NORM.get(name, 'weight')}", False)
  if match := re.fullmatch(r"encoder/stage(\d)/(first|rest)/(\w+)", parent):
    stage, place, layer = match.groups()
    prefix, table = ("layer1.forward_block", _FRAME_BLOCK) if stage == "1" else (f"layer{stage}", _P3D_BLOCK)
    block = "0" if place == "first" else "{}"
    return Leaf(f"{prefix}.{block}.{table[layer]}.{_NORM.get(name, 'weight')}", place == "rest")
  if match := re.fullmatch(r"(projector|predictor)/(fc\d|norm\d/norm)", parent):
    tail = _HEAD[match[2]]
    return Leaf(f"{match[1]}.{tail}" if tail.endswith("fc_bin") else f"{match[1]}.{tail}.{_NORM[name]}", False)
  raise KeyError(f"{path} is no parameter of the P3D network and its heads")


def to_ours(array: np.ndarray, path: str, *, parts: int = 31) -> np.ndarray:
  """One torch array (of one block) in our layout."""
  if path.endswith("/kernel") and not path.startswith("encoder"):
    return array  # per-part layers: [p, in, out] in both
  if not path.startswith("encoder"):
    return array.reshape(-1, parts).T.reshape(-1)  # torch flattens (channel, part), we (part, channel)
  if not path.endswith("/kernel"):
    return array
  out_in_window = np.moveaxis(array, (0, 1), (-1, -2))  # [out, in, ...] -> [..., in, out]
  if "/temporal/" in path:
    return out_in_window[:, 0, 0]
  return out_in_window[0, 0, 0] if "/shortcut/" in path else out_in_window


def to_torch(array: np.ndarray, path: str, *, parts: int = 31) -> np.ndarray:
  """The inverse of `to_ours`."""
  if path.endswith("/kernel") and not path.startswith("encoder"):
    return array
  if not path.startswith("encoder"):
    return array.reshape(parts, -1).T.reshape(-1)
  if not path.endswith("/kernel"):
    return array
  if "/temporal/" in path:
    array = array[:, None, None]
  elif "/shortcut/" in path:
    array = array[None, None, None]
  return np.moveaxis(array, (-1, -2), (0, 1))


def flatten(tree: dict) -> dict[str, object]:
  """Leaves by "/"-joined path."""
  return {"/".join(str(k.key) for k in path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def unflatten(leaves: dict[str, object]) -> dict:
  tree = {}
  for path, value in leaves.items():
    *parents, name = path.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value
  return tree


def torch_names(path: str, shape: tuple[int, ...]) -> list[str]:
  """The torch names of one of our arrays: one for each block of a stack, in its order."""
  place = leaf(path)
  return [place.torch.format(i + 1) for i in range(shape[0])] if place.stacked else [place.torch]


def export_tree(tree: dict) -> dict[str, np.ndarray]:
  """Our parameters, statistics or gradients as a torch state dict (without `num_batches_tracked`)."""
  state = {}
  for path, array in flatten(tree).items():
    array = np.asarray(array)
    names = torch_names(path, array.shape)
    for name, one in zip(names, array if leaf(path).stacked else [array], strict=True):
      state[name] = to_torch(one, path)
  return state


@dataclasses.dataclass(frozen=True)
class Import:
  """The result of reading a state dict. The lists name torch keys; `values` is complete only when both are empty."""

  values: dict
  missing: list[str]
  misshapen: list[str]
  used: set[str]


def import_tree(state: dict[str, np.ndarray], abstract: dict) -> Import:
  """Fills a tree of our shapes from a torch state dict; missing and misshapen arrays are listed and left out."""
  values, missing, misshapen, used = {}, [], [], set()
  for path, want in flatten(abstract).items():
    names = torch_names(path, want.shape)
    stacked = leaf(path).stacked
    found = []
    for name in names:
      if name not in state:
        missing.append(name)
        continue
      used.add(name)
      # Takes no memory, however large a network the file's shapes describe.
      one = np.broadcast_to(np.float32(0), want.shape[1:] if stacked else want.shape)
      expected = to_torch(one, path).shape
      if state[name].shape != expected:
        misshapen.append(f"{name}: {list(state[name].shape)}, expected {list(expected)}")
      else:
        found.append(to_ours(np.asarray(state[name], np.float32), path))
    if len(found) == len(names):
      values[path] = np.stack(found) if stacked else found[0]
  return Import(unflatten(values), missing, misshapen, used)
