"""The task "embed": a built data set in, `embeddings.npz` out, for `identify`, for `score`, or for any other tool.

Folders of masks and videos are built first, by data_prep, which counts what it drops; nothing is read unbuilt here.
"""

import pathlib

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import registry
from fgait_jax.evaluation.features import files, salt
from fgait_jax.evaluation.setup import prepare


@registry.task("embed", writes="embeddings.npz")
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `out`/embeddings.npz: embeddings float32 [N, C, P], labels, types, views, keys [N] text, and `identity`,
  JSON that names the weights, the data, the salt and what the network had seen in pretraining."""
  if (path := registry.get("embed").path(config, out)).exists():
    raise ConfigError(f"{path} is there already; give another --out, or move it away")
  salted = salt.load(config.salt) if config.salt else None
  if salted and config.cache != "off":
    raise ConfigError(f"config.cache={config.cache!r} would keep the embeddings without the salt; set it to off")
  setup = prepare(config, out, untrained=False)
  found = setup.embeddings_of(setup.trained, "model")
  if salted:
    found = salted.apply(found)
  files.save(path, found, identity=setup.identity(salt=salted.name if salted else ""))
  subjects = len(np.unique(found.subjects))
  count, channels, parts = found.embeddings.shape
  print(f"{setup.split.name}: {count} walks of {subjects} subjects, {parts} parts of {channels} channels each")
  return [path]
