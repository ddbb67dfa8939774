"""Maps names and array layouts between the state dicts of published networks and our parameters.

A state dict here is a mapping from torch names, without the prefix of a wrapper or of teacher and student, to numpy
arrays in torch layout. Our side is two nested dictionaries of arrays, parameters and running statistics; all blocks of
a stage but the first are stacked.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from flax import traverse_util

_LAST = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
         "position_bias": "relative_position_bias_table"}
# Our layer inside a block -> torch's, by the form of the block (models/p3d.py).
_SHORTCUT = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}
_BLOCKS = {
  "2d": {"conv1": "conv1", "norm1": "bn1", "conv2": "conv2", "norm2": "bn2", **_SHORTCUT},
  "3d": {"volume1": "conv1", "norm1": "bn1", "volume2": "conv2", "norm2": "bn2", **_SHORTCUT},
  "p3d": {
    "conv1": "conv1.forward_block.0", "norm1": "conv1.forward_block.1",
    "temporal": "shortcut3d", "temporal_norm": "sbn",
    "conv2": "conv2.forward_block.0", "norm2": "conv2.forward_block.1", **_SHORTCUT,
  },
}  # fmt: skip
_WINDOW = {"norm1": "norm1", "attention": "attn", "attention/qkv": "attn.qkv", "attention/out": "attn.proj",
           "norm2": "norm2", "mlp/up": "mlp.fc1", "mlp/down": "mlp.fc2"}
_MLP = {"fc1": "0", "norm1/norm": "1.bn1d", "fc2": "3", "norm2/norm": "4.bn1d"}


@dataclasses.dataclass(frozen=True)
class Leaf:
  """Torch's name for one of our arrays; where `stacked`, with the number of the block as in `Names.modules`."""

  torch: str
  stacked: bool


@dataclasses.dataclass(frozen=True)
class Import:
  """The result of reading a state dict. The lists name torch keys; `values` is complete only when both are empty."""

  values: dict
  missing: list[str]
  misshapen: list[str]
  used: set[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
  """The names of one published network.

  Attributes:
    title: of the network.
    modules: our module -> torch's. Of a stack of blocks, `{block}` is the number of a block, and `{rest}` of one that
      follows a first block, which is not in the stack.
    parts: of the body, into which its heads are cut.
    spare: parts beyond these that a file has and nobody compares; they are dropped, and written as zeros.
    point_axes: window axes of a pointwise convolution: 2 within frames, 3 over frames.
  """

  title: str
  modules: Mapping[str, str]
  parts: int
  spare: int = 0
  point_axes: int = 3

  def leaf(self, path: str) -> Leaf:
    """Torch's name for one of our paths, such as "encoder/stage2/rest/conv1/kernel"; raises `KeyError` for others."""
    parent, _, name = path.rpartition("/")
    if parent not in self.modules:
      raise KeyError(f"{path} is no parameter of {self.title}")
    last = _LAST.get(name, "fc_bin" if _by_part(path) else "weight")
    return Leaf(f"{self.modules[parent]}.{last}", "{" in self.modules[parent])

  def torch_names(self, path: str, shape: tuple[int, ...]) -> list[str]:
    """The torch names of one of our arrays: one for each block of a stack, in its order."""
    place = self.leaf(path)
    return [place.torch.format(block=i, rest=i + 1) for i in range(shape[0])] if place.stacked else [place.torch]

  def to_ours(self, array: np.ndarray, path: str) -> np.ndarray:
    """One torch array (of one block) in our layout."""
    if not path.endswith("/kernel"):
      # torch flattens (channel, part), we (part, channel)
      return array.reshape(-1, self.parts + self.spare).T[: self.parts].reshape(-1) if _by_part(path) else array
    if _by_part(path):
      return array[: self.parts]  # per-part layers: [p, in, out] in both
    array = np.moveaxis(array, (0, 1), (-1, -2))  # [out, in, window ...] -> [window ..., in, out]
    if "/temporal/" in path:
      return array[:, 0, 0]
    if path.startswith("encoder/embed/"):
      return array.reshape(-1, array.shape[-1])
    return array.reshape(array.shape[-2:]) if "/shortcut/" in path else array

  def to_torch(self, array: np.ndarray, path: str) -> np.ndarray:
    """The inverse of `to_ours`."""
    if not path.endswith("/kernel"):
      return self._with_spare(array.reshape(self.parts, -1)).T.reshape(-1) if _by_part(path) else array
    if _by_part(path):
      return self._with_spare(array)
    if "/temporal/" in path:
      array = array[:, None, None]
    elif "/shortcut/" in path:
      array = array.reshape((1,) * self.point_axes + array.shape)
    elif path.startswith("encoder/embed/"):
      array = array.reshape(1, 2, 2, -1, array.shape[-1])
    return np.moveaxis(array, (-1, -2), (0, 1))

  def _with_spare(self, array: np.ndarray) -> np.ndarray:
    return np.pad(array, [(0, self.spare), *[(0, 0)] * (array.ndim - 1)]) if self.spare else array

  def export_tree(self, tree: dict) -> dict[str, np.ndarray]:
    """Our parameters, statistics or gradients as a torch state dict (without `num_batches_tracked`)."""
    state = {}
    for path, array in flatten(tree).items():
      array = np.asarray(array)
      names = self.torch_names(path, array.shape)
      for name, one in zip(names, array if self.leaf(path).stacked else [array], strict=True):
        state[name] = self.to_torch(one, path)
    return state

  def import_tree(self, state: Mapping[str, np.ndarray], abstract: dict) -> Import:
    """Fills a tree of our shapes from a torch state dict; missing and misshapen arrays are listed and left out."""
    values, missing, misshapen, used = {}, [], [], set()
    for path, want in flatten(abstract).items():
      names, stacked = self.torch_names(path, want.shape), self.leaf(path).stacked
      # Takes no memory, however large a network the file's shapes describe.
      one = np.broadcast_to(np.float32(0), want.shape[1:] if stacked else want.shape)
      expected = self.to_torch(one, path).shape
      found = []
      for name in names:
        if name not in state:
          missing.append(name)
          continue
        used.add(name)
        if state[name].shape != expected:
          misshapen.append(f"{name}: {list(state[name].shape)}, expected {list(expected)}")
        else:
          found.append(self.to_ours(np.asarray(state[name], np.float32), path))
      if len(found) == len(names):
        values[path] = np.stack(found) if stacked else found[0]
    return Import(unflatten(values), missing, misshapen, used)


def _by_part(path: str) -> bool:
  """Whether an array is of a head that has a layer for each part."""
  return not path.startswith(("encoder/", "tokens/"))


def _stage(number: int, torch: str, mode: str) -> dict[str, str]:
  place = f"encoder/stage{number}"
  return {f"{place}/{part}/{ours}": f"{torch}.{index}.{theirs}"
          for part, index in (("first", "0"), ("rest", "{rest}")) for ours, theirs in _BLOCKS[mode].items()}


def _encoder(mode: str, stages: tuple[int, ...] = (2, 3, 4)) -> dict[str, str]:
  """Of DeepGaitV2, and of all that is built on it; `stages` of the mode."""
  found = {"encoder/stem": "layer0.forward_block.0", "encoder/stem_norm": "layer0.forward_block.1"}
  found |= _stage(1, "layer1.forward_block", "2d")
  for number in stages:
    found |= _stage(number, f"layer{number}.forward_block" if mode == "2d" else f"layer{number}", mode)
  return found


def _resnet() -> dict[str, str]:
  backbone = "Backbone.forward_block"
  found = {"encoder/stem": f"{backbone}.conv1.conv", "encoder/stem_norm": f"{backbone}.bn1"}
  for number in (1, 2, 3, 4):
    found |= _stage(number, f"{backbone}.layer{number}", "2d")
  return found


def _mlp(name: str) -> dict[str, str]:
  return {f"{name}/{ours}": f"{name}.{theirs}" for ours, theirs in _MLP.items()}


def _head(embed: str) -> dict[str, str]:
  """The layer of identities in a network that embeds (`recognition`) and in one that trains (`head`), and the neck."""
  return {"recognition": embed, "head/embed": embed, "head/neck/norm/norm": "BNNecks.bn1d",
          "head/neck/classes": "BNNecks"}


def _set_blocks() -> dict[str, str]:
  found = {}
  for torch, ours in (("set_block1.forward_block", "set1"), ("set_block2.forward_block", "set2"),
                      ("set_block3.forward_block", "set3"), ("gl_block2", "global2"), ("gl_block3", "global3")):
    found |= {f"encoder/{ours}/conv1": f"{torch}.0.conv", f"encoder/{ours}/conv2": f"{torch}.2.conv"}
  return found


def _windows() -> dict[str, str]:
  between = "transformer.layers.0.downsample"
  found = {"encoder/embed": "transformer.patch_embed.proj", "encoder/embed_norm": "transformer.patch_embed.norm",
           "encoder/widen_norm": f"{between}.0", "encoder/widen": f"{between}.1", "encoder/norm": "transformer.norm"}
  for number in (1, 2):
    block = f"transformer.layers.{number - 1}.blocks.{{block}}"
    found |= {f"encoder/swin{number}/{ours}": f"{block}.{theirs}" for ours, theirs in _WINDOW.items()}
  return found


FOUNDATION_GAIT = Names(
  title="FoundationGait's P3D network", modules=_encoder("p3d") | _mlp("projector") | _mlp("predictor") | _head("FCs"),
  parts=31)
DEEPGAITV2 = {
  mode: Names(title=f"DeepGaitV2 ({mode})", modules=_encoder(mode) | _head("FCs"), parts=16,
              point_axes=2 if mode == "2d" else 3)
  for mode in _BLOCKS
}
_TOKENS = {"tokens/norm": "part_proj.0", "tokens/linear": "part_proj.1"}
GAITJEPA = Names(title="GaitJEPA", modules=_encoder("p3d") | _head("fcs") | _TOKENS, parts=16)
GAITBASE = Names(title="GaitBase", modules=_resnet() | _head("FCs"), parts=16, point_axes=2)
GAITSSB = Names(
  title="GaitSSB", modules=_resnet() | _mlp("projector") | _mlp("predictor") | _head("head0"), parts=31, point_axes=2)
SWINGAIT = Names(title="SwinGait", modules=_encoder("p3d", (2,)) | _windows() | _head("FCs"), parts=15, spare=1)
GAITSET = Names(title="GaitSet", modules=_set_blocks() | _head("Head"), parts=62)


# Nested dicts to {"a/b/c": leaf}, and back.
flatten = functools.partial(traverse_util.flatten_dict, sep="/")
unflatten = functools.partial(traverse_util.unflatten_dict, sep="/")
