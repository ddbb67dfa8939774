"""The closing step of pretraining: the teacher's discriminant, solved from the batches that would follow the last; and
the opening one of fine-tuning, where a head begins as the discriminant of the walks that it is to learn from.

Gradients learn slowly what is solved exactly in seconds: how parts vary together within a person, and what is left
between persons. It maps what is pooled, before the heads, which keep what their own task wanted. It needs what the
contrastive objective needs and nothing more, which clips are of one group: walks of a person where identities are
known, one recording where they are not (then `augment` alone says what must not matter).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fgait_jax import defaults, rng
from fgait_jax.data.augment import augment
from fgait_jax.data.clips import spaced
from fgait_jax.errors import DataError
from fgait_jax.kernels.unit import unit
from fgait_jax.parallel import hosts, rules
from fgait_jax.parallel.mesh import replicated
from fgait_jax.training import linear_maps
from fgait_jax.training.pretrained import stride_of
from fgait_jax.training.session import Reading


def closing_batches(config) -> tuple[ConfigDict, range]:
  """(the configuration whose batches teach, their numbers): those that would follow the last, of longer clips, or of
  `discriminant.sets`, in equal parts."""
  settings, taught = config.discriminant, config.copy_and_resolve_references().unlock()
  taught.data.update(clip_frames=settings.frames, window_frames=settings.frames)
  if settings.sets:
    taught.data.sets = ConfigDict({name: defaults.data_set() for name in settings.sets})
    taught.data.update(sets=settings.sets, exponent=0.0, mix="per_sequence")  # exponent 0: in equal parts
  count = settings.walks // (config.data.batch_size * config.data.clips)
  return taught.lock(), range(config.train.steps, config.train.steps + count)


def embedder(config, graph, mesh: Mesh):
  """The jitted `({params, stats}, frames, valid, group, number) -> (rows [clip b, f], group [clip b])` of a batch: the
  pooled parts of every clip, each at unit length. A clip is augmented by itself, as `config.augment` says, or with more
  errors of segmentation where `config.discriminant` says so."""
  clips, settings = config.data.clips, config.augment.to_dict()
  settings |= {name: max(settings[name], config.discriminant[name]) for name in ("segmenter", "holes")}

  @jax.jit
  def embed(weights, frames, valid, group, number):
    network = graph.merge(rules.unsharded(weights["params"], mesh, table=graph.table), weights["stats"])
    network.eval()
    found = []
    for clip in range(clips):
      key = rng.key(config.seed, f"discriminant.{clip}", number)
      images = augment(key, frames[:, clip], **settings)
      found.append(unit(network.embed(images, valid[:, clip]).pooled.astype(jnp.float32)))
    rows = jnp.stack(found).reshape(clips * len(group), -1)
    return jax.lax.with_sharding_constraint((rows, jnp.tile(group, clips)), replicated(mesh))

  return embed


def learn(
  config, graph, teacher, reading: Reading, *, numbers: range, mesh: Mesh, between: Callable[[], None]
) -> dict[str, np.ndarray]:
  """`mean` [f] and `kernel` [f, model.discriminant] from the pooled parts, each at unit length, of `teacher`, its
  {params, stats}. While they are found every scale of parts counts alike (`Cut.balance`): whole bodies and halves carry
  over to real people better than the many fine strips (docs/choices.md).

  `reading` gives the batches `numbers`, of `closing_batches`; `between` is called before each, and may raise. Where
  there are fewer groups than directions, the last are zero. Raises `DataError`, on all processes, where clips cannot be
  read, or teach nothing (fewer than two groups, or one clip of each).
  """
  settings = config.discriminant
  taken = np.arange(0, settings.frames, settings.step)
  order = taken[spaced(len(taken), stride=max(1, round(stride_of(config.data) / settings.step)))]
  embed = embedder(config, graph, mesh)

  rows, groups = [], []
  for number in numbers:
    between()
    batch = reading.next()
    batch = {"frames": batch["frames"][:, :, order], "valid": batch["valid"][:, :, order], "group": batch["group"]}
    found, group = jax.device_get(embed(teacher, **hosts.to_global(batch, mesh), number=np.int32(number)))
    rows.append(found)
    groups.append(group)
  if error := reading.words():
    raise DataError(error)
  rows, groups = np.concatenate(rows), np.concatenate(groups)
  balance = np.repeat(graph.backbone.cut.balance, rows.shape[1] // graph.backbone.cut.count).astype(rows.dtype)
  keys = "config.discriminant.shrinkage", "config.discriminant.components"
  basis = linear_maps.components((rows * balance)[..., None], most=settings.components, seed=0, key=keys[1])
  found = linear_maps.discriminant(basis, groups, shrinkage=settings.shrinkage, keys=keys)
  kernel = np.zeros((rows.shape[1], config.model.discriminant), np.float32)
  directions = min(kernel.shape[1], found.kernel.shape[1])
  kernel[:, :directions] = found.kernel[:, :directions] * balance[:, None]  # of the rows as they are
  return {"mean": (found.mean / balance).astype(np.float32), "kernel": kernel}


def head(
  pooled: np.ndarray, labels: np.ndarray, *, features: int, components: int, shrinkage: float, prior: float
) -> dict[str, dict]:
  """Where `models.recognition.DiscriminantHead` begins: flat {"params", "stats"}, of the pooled parts [n, d, p], each
  at unit length, of whole walks with the class numbers `labels` [n].

  The kernel is `linear_maps.discriminant`'s, its first `features` directions; a person's is that of the mean of the
  embeddings (imprinted weights, arXiv 1712.07136). Both have a mean square of 1, which changes nothing but how fast
  Adam learns them further: at a rate of 1e-3 by a thousandth a step. Raises `DataError` where the walks teach nothing.
  """
  rows = np.swapaxes(pooled, 1, 2).reshape(len(pooled), -1)
  keys = "config.fine_tune.shrinkage", "config.fine_tune.components"
  basis = linear_maps.components(rows[..., None], most=components, seed=0, key=keys[1])
  found = linear_maps.discriminant(basis, labels, shrinkage=shrinkage, prior=prior, keys=keys)
  found = dataclasses.replace(found, kernel=found.kernel[:, :features])
  embeddings = (rows - found.mean) @ found.kernel
  embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
  people = np.stack([embeddings[labels == n].mean(axis=0) for n in range(labels.max() + 1)], axis=1)
  people /= np.maximum(np.linalg.norm(people, axis=0), 1e-12)
  params = {name: kernel[None] / np.sqrt(np.mean(np.square(kernel)))
            for name, kernel in (("head/embed/kernel", found.kernel), ("head/classes/kernel", people))}
  stats = {"head/mean": found.mean}
  return jax.tree.map(lambda x: x.astype(np.float32), {"params": params, "stats": stats})
