"""What is learnt of walks: who walks, their condition, a class of a protocol, or an attribute. No frames here."""

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.labels import Labels
from fgait_jax.evaluation.metrics.classification import in_order
from fgait_jax.evaluation.protocols.classify import Classify


def labels_of(split, target: str, protocol, *, section: str) -> np.ndarray:
  """The label of every walk as text, "" where it has none.

  `target` is "subject", "condition", "class" (what `protocol`, one of classes, reads off subject and condition) or an
  attribute's name. Raises `ConfigError`, which names `section` of the configuration, for any other.
  """
  if target in ("subject", "condition"):
    return np.asarray(split.subjects if target == "subject" else split.conditions, np.str_)
  if target == "class":
    if not isinstance(protocol, Classify):
      raise ConfigError(f"config.{section}.target=class takes the classes of config.protocol, and {protocol.name} has"
                        " none; take scoliosis1k or d_gait, or name another target")
    return np.asarray(list(protocol.classes))[protocol.truth(Labels.of(split))]
  if target not in split.attributes:
    classes = ', "class"' if isinstance(protocol, Classify) else ""
    raise ConfigError(f'config.{section}.target is {target!r}; {split.name} has "subject", "condition"{classes} and the'
                      f" attributes {sorted(split.attributes) or 'none'}")
  return np.array(["" if np.isnan(v) else f"{v:g}" for v in split.attributes[target]], np.str_)


def check_shared(labels: np.ndarray, split, target: str, *, section: str) -> None:
  """Raises `ConfigError` where most classes of an attribute are of one person each: a measure, such as a height."""
  if target == "subject":
    return
  known = labels != ""
  pairs = np.unique(np.stack([labels[known], np.asarray(split.subjects, np.str_)[known]]), axis=1)
  people = np.unique(pairs[0], return_counts=True)[1]
  if len(people) > 2 and np.mean(people == 1) > 0.5:
    raise ConfigError(f"config.{section}.target={target} has {len(people)} values in {split.name}, most of them of one"
                      " person alone: a measure. Only classes that people share are learnt; give the data set an"
                      " attribute of a few classes, such as 0 and 1 for below and above its median")


def classes_of(labels: np.ndarray, target: str, protocol) -> list[str]:
  """The classes in the order of their scores: the protocol's, else by number, else by name."""
  if target == "class":
    return list(protocol.classes)
  return in_order(np.unique(labels[labels != ""])).tolist()
