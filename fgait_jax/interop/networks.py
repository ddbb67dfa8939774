"""Which published network a state dict is of, by its names and shapes, and how it becomes one of ours.

`recognise` knows the networks that are implemented here, and refuses all others with the names that it found.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping

import numpy as np

from fgait_jax.data import schema
from fgait_jax.errors import CheckpointError
from fgait_jax.interop import names
from fgait_jax.models import deepgaitv2, gaitbase, gaitset, p3d, swingait

State = Mapping[str, np.ndarray]
_NECK = r"BNNecks\..*"  # scores of training identities


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """A published network that is implemented here.

  Attributes:
    names: its names, and ours.
    mark: names that it has, and that no network before it in `NETWORKS` has.
    model: keys of `config.model` (`name`, `variant`) from shapes; raises `KeyError` for a name that is not there.
    stem: name of the first convolution, whose second axis counts the channels of a frame.
    head: name of the layer that makes the compared embedding, where there is one.
    tokens: name of the layer that makes tokens of single frames, where there is one.
    aside: pattern of names that are left, with what they are for.
    projects: whether it has projector and predictor.
    stages: names of the outputs of its encoder's `stages` in records (`check_golden`).
  """

  names: names.Names
  mark: tuple[str, ...]
  model: Callable[[State], dict[str, str]]
  stem: str
  head: str
  tokens: str = ""
  aside: Mapping[str, str] = dataclasses.field(default_factory=dict)
  projects: bool = False
  stages: tuple[str, ...] = ("layer0", "layer1", "layer2", "layer3", "layer4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """One network in a state dict: `model` are keys of `config.model`, `added` counts of `training.state.ADDED`,
  `weights` the arrays that it reads, and `aside` maps the names that are left to what they are for."""

  network: Network
  model: dict[str, object]
  added: dict[str, int]
  weights: dict[str, np.ndarray]
  aside: dict[str, str]


def recognise(state: State) -> Found:
  """The network whose state dict this is. Raises `CheckpointError` for one that is not known."""
  known = ", ".join(n.names.title for n in NETWORKS)
  network = next((n for n in NETWORKS if state.keys() >= set(n.mark)), None)
  if network is None:
    some = ", ".join(list(state)[:3]) or "nothing"
    raise CheckpointError(f"this is a checkpoint of another network than {known}: it holds {len(state)} names, among"
                          f" them {some}")
  for name in (network.stem, *(name for name in state if name.endswith("fc_bin"))):
    if name in state and np.ndim(state[name]) < 3:
      raise CheckpointError(f"{name} has shape {list(np.shape(state[name]))}, expected three axes or more")
  aside = {name: purpose for name in state for pattern, purpose in network.aside.items() if re.fullmatch(pattern, name)}
  weights = {name: np.asarray(value) for name, value in state.items() if name not in aside}
  try:
    channels = state[network.stem].shape[1]
    model = network.model(state) | {"channels": channels,
                                    "pixels": schema.SILHOUETTES if channels == 1 else schema.MAPS}
    if not network.projects and network.head not in state:  # nothing else makes what is compared
      raise KeyError(network.head)
  except (KeyError, IndexError) as error:
    raise CheckpointError(f"this looks like a checkpoint of {network.names.title}, but lacks {error}") from None
  added = {"no_projector": int(not network.projects)}
  if network.head in state:
    added["recognition_features"] = state[network.head].shape[-1]
    added["without_heads"] = int(network.projects and "predictor.3.fc_bin" not in state)
  if network.tokens in state:
    added["token_features"] = state[network.tokens].shape[0]
  return Found(network=network, model=model, added=added, weights=weights, aside=aside)


def names_of(name: str, variant: str) -> names.Names:
  """The published names of `config.model.name` and `variant`; raises `CheckpointError` where it is none of those."""
  if name == "deepgaitv2":
    return names.DEEPGAITV2[deepgaitv2.sizes(variant)[0]]
  published = {"p3d": names.FOUNDATION_GAIT, "gaitbase": names.GAITBASE, "gaitset": names.GAITSET,
               "gaitssb": names.GAITSSB, "swingait": names.SWINGAIT}
  if name not in published:
    raise CheckpointError(f"config.model.name={name} is no published network and has no names but ours; those with"
                          f" published names are {', '.join([*published, 'deepgaitv2'])}")
  return published[name]


def _blocks(state: State, pattern: str) -> int:
  """How many different numbers the group of `pattern` takes at the beginning of names."""
  return len({m[1] for name in state if (m := re.match(pattern, name))})


def _deepgait(mode: str, inner: str) -> Callable[[State], tuple[tuple[int, ...], tuple[int, ...]]]:
  """(layers, channels) of a network on the encoder of DeepGaitV2, whose blocks' first convolution is `inner`."""
  within = ".forward_block" if mode == "2d" else ""

  def read(state):
    layers = [_blocks(state, r"layer1\.forward_block\.(\d+)\.")]
    layers += [_blocks(state, rf"layer{i}{re.escape(within)}\.(\d+)\.") for i in (2, 3, 4)]
    channels = [state["layer0.forward_block.0.weight"].shape[0]]
    channels += [state[f"layer{i}{within}.0.{inner}.weight"].shape[0] for i in (2, 3, 4)]
    return tuple(layers), tuple(channels)

  return read


_INNER = {"2d": "conv1", "p3d": "conv1.forward_block.0", "3d": "conv1"}


def _foundation_gait(state: State) -> dict[str, str]:
  layers, channels = _deepgait("p3d", _INNER["p3d"])(state)
  _check_projector(state, channels[-1])
  return {"name": "p3d", "variant": p3d.variant_of(layers, channels)}


def _check_projector(state: State, features: int) -> None:
  if (embed := state["projector.3.fc_bin"].shape[-1]) != features:
    raise CheckpointError(f"projector.3.fc_bin gives {embed} features from {features}; our network keeps their number")


def _deepgaitv2(mode: str) -> Callable[[State], dict[str, str]]:
  def model(state):
    return {"name": "deepgaitv2", "variant": deepgaitv2.variant_of(mode, *_deepgait(mode, _INNER[mode])(state))}
  return model


def _resnet(state: State) -> list[int]:
  """Channels of the stages of GaitBase's encoder."""
  return [state[f"Backbone.forward_block.layer{i}.0.conv1.weight"].shape[0] for i in (1, 2, 3, 4)]


def _gaitbase(state: State) -> dict[str, str]:
  return {"name": "gaitbase", "variant": gaitbase.variant_of(_resnet(state))}


def _gaitssb(state: State) -> dict[str, str]:
  channels = _resnet(state)
  _check_projector(state, channels[-1])
  return {"name": "gaitssb", "variant": gaitbase.variant_of(channels)}


def _gaitset(state: State) -> dict[str, str]:
  channels = [state[f"set_block{i}.forward_block.0.conv.weight"].shape[0] for i in (1, 2, 3)]
  return {"name": "gaitset", "variant": gaitset.variant_of(channels)}


def _swingait(state: State) -> dict[str, str]:
  layers = [_blocks(state, pattern) for pattern in (
    r"layer1\.forward_block\.(\d+)\.", r"layer2\.(\d+)\.", r"transformer\.layers\.0\.blocks\.(\d+)\.",
    r"transformer\.layers\.1\.blocks\.(\d+)\.")]
  widths = [state[name].shape[0] for name in (_STEM, "layer2.0.conv1.forward_block.0.weight", _PATCHES)]
  return {"name": "swingait", "variant": swingait.variant_of(layers, widths)}


_NECKS = {_NECK: "scores of training identities"}
_STEM = "layer0.forward_block.0.weight"
_PATCHES = "transformer.patch_embed.proj.weight"
_RESNET = "Backbone.forward_block.conv1.conv.weight"
_SET = "set_block1.forward_block.0.conv.weight"
# In the order in which they are tried.
NETWORKS = (
  Network(names=names.FOUNDATION_GAIT, mark=(_STEM, "projector.3.fc_bin"), model=_foundation_gait, stem=_STEM,
          head="FCs.fc_bin", aside=_NECKS, projects=True),
  Network(names=names.GAITJEPA, mark=("layer2.0.shortcut3d.weight", "fcs.fc_bin"), model=_deepgaitv2("p3d"), stem=_STEM,
          head="fcs.fc_bin", tokens="part_proj.1.weight"),
  Network(names=names.SWINGAIT, mark=(_STEM, _PATCHES), model=_swingait, stem=_STEM, head="FCs.fc_bin",
          aside=_NECKS | {r"transformer\..*\.relative_position_index": "places in a window, which its size says"},
          stages=("layer0", "layer1", "layer2", "upsampled", "patch_embed", "swin0", "swin1")),
  *(Network(names=names.DEEPGAITV2[mode], mark=(_STEM, mark), model=_deepgaitv2(mode), stem=_STEM, head="FCs.fc_bin",
            aside=_NECKS)
    for mode, mark in (("p3d", "layer2.0.shortcut3d.weight"), ("2d", "layer2.forward_block.0.conv1.weight"),
                       ("3d", "layer2.0.conv1.weight"))),
  Network(names=names.GAITSSB, mark=(_RESNET, "projector.3.fc_bin"), model=_gaitssb, stem=_RESNET, head="head0.fc_bin",
          projects=True),
  Network(names=names.GAITBASE, mark=(_RESNET,), model=_gaitbase, stem=_RESNET, head="FCs.fc_bin", aside=_NECKS),
  Network(names=names.GAITSET, mark=(_SET,), model=_gaitset, stem=_SET, head="Head.fc_bin",
          stages=("set_block1", "set_pool", "gl_block2", "set_block2", "set_pool_2", "gl_block3", "set_block3",
                  "set_pool_3")),
)
