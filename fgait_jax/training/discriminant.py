"""The closing step of pretraining: the teacher's discriminant, solved from the batches that would follow the last.

Gradients learn slowly what is solved exactly in seconds: how heads vary together within a person, and what is left
between persons. It needs what the contrastive objective needs and nothing more, which clips are of one group: walks of
a person where identities are known, one recording where they are not (then `augment` alone says what must not matter).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fgait_jax import rng
from fgait_jax.data.augment import augment
from fgait_jax.data.clips import spaced
from fgait_jax.data.pipeline import batches
from fgait_jax.models.heads import unit
from fgait_jax.parallel import hosts, rules
from fgait_jax.parallel.mesh import replicated
from fgait_jax.training import linear_maps
from fgait_jax.training.pretrained import stride_of


def learnt(stats) -> bool:
  """Whether running statistics hold a discriminant."""
  return "discriminant" in stats and bool(jnp.any(stats["discriminant"]["kernel"]))


def learn(config, graph, teacher, splits, *, mesh: Mesh) -> dict[str, np.ndarray]:
  """`mean` [f] and `kernel` [f, model.discriminant] from the unit predictions of `teacher`, {params, stats}.

  `splits` are of `discriminant.names`, or of `data.names` where none are named there. A function of the configuration
  and the teacher. Where there are fewer groups than directions, the last are zero.
  Raises `DataError` where clips cannot be read, or teach nothing (fewer than two groups, or one clip of each).
  """
  settings, data = config.discriminant, config.data
  factors, exponent, mix, positives = data.factors, data.exponent, data.mix, data.positives
  if settings.names:
    factors, exponent, mix, positives = (1.0,) * len(splits), 0.0, "per_sequence", settings.positives
  order = spaced(settings.frames, stride=stride_of(data))

  @jax.jit
  def embed(weights, frames, valid, group, number):
    network = graph.merge(rules.gathered(weights["params"], mesh), weights["stats"])
    network.eval()
    found = []
    for clip in range(data.clips):
      key = rng.key(config.seed, f"discriminant.{clip}", number)
      images = augment(key, frames[:, clip], **config.augment.to_dict())
      found.append(unit(network.embed(images, valid[:, clip]).prediction.astype(jnp.float32)))
    rows = jnp.stack(found).reshape(data.clips * len(group), -1)
    return jax.lax.with_sharding_constraint((rows, jnp.tile(group, data.clips)), replicated(mesh))

  first = config.train.steps
  count = max(1, settings.walks // (data.batch_size * data.clips))
  stream = batches(
    splits, seed=config.seed, batch_size=data.batch_size, clips=data.clips, clip_frames=settings.frames,
    window_frames=settings.frames, factors=factors, exponent=exponent, mix=mix, start=first,
    stop=first + count, process_index=jax.process_index(), process_count=jax.process_count(), threads=data.threads,
    workers=0, prefetch=min(data.prefetch, 4), positives=positives,
  )
  rows, groups = [], []
  for number, batch in enumerate(stream):
    batch = {"frames": batch["frames"][:, :, order], "valid": batch["valid"], "group": batch["group"]}
    found, group = jax.device_get(embed(teacher, **hosts.to_global(batch, mesh), number=np.int32(first + number)))
    rows.append(found)
    groups.append(group)
  rows, groups = np.concatenate(rows), np.concatenate(groups)
  basis = linear_maps.components(rows[..., None], most=settings.components, seed=0)
  found = linear_maps.discriminant(basis, groups, shrinkage=settings.shrinkage)
  kernel = np.zeros((rows.shape[1], config.model.discriminant), np.float32)
  directions = min(kernel.shape[1], found.kernel.shape[1])
  kernel[:, :directions] = found.kernel[:, :directions]
  return {"mean": found.mean.astype(np.float32), "kernel": kernel}
