"""Learns the discriminant of finished weights anew, from other walks; the encoder stays as it is.

  python -m fgait_jax.interop.fit_discriminant walkers-tiny --sets mine:sequence --out here

`mine` is a built data set, such as recordings of the place where people are to be recognised; with `sequence` nobody in
them need be known. FOLDER receives weights as `fgait_jax.interop.publish` writes them, which every task reads.
"""

import argparse
import dataclasses
import hashlib
import json
import sys

from absl import logging
from ml_collections import ConfigDict

from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, DataError, FgaitError
from fgait_jax.interop import publish
from fgait_jax.training import checkpoints, configuration, preflight, pretraining, weights
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.discriminant import closing_batches
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.session import Watchdog


def fit(network: Pretrained, settings: ConfigDict, *, data: str) -> Pretrained:
  """`network` with a discriminant learnt from `settings.sets` of the folder `data`, as its closing one was; `settings`
  is a section `discriminant`. Raises `CheckpointError`, `ConfigError` and `DataError`."""
  if network.fine_tune or network.imported_from or not network.config.model.discriminant:
    raise CheckpointError(f"{network.identity} does not end in a discriminant; take weights of run_pretrain.py, with"
                          " config.model.discriminant above 0")
  config = network.config.copy_and_resolve_references().unlock()
  config.discriminant, config.data.dir = settings, data
  config.lock()
  configuration.check(config, network.mesh)
  splits = pretraining.opened(data, config.discriminant.sets)
  pretraining.check_channels(splits.values(), config.model.channels)
  count = len(closing_batches(config)[1]) * config.data.batch_size * config.data.clips
  print(f"learning the discriminant from {count:,} clips of "
        + ", ".join(f"{split.name} ({len(split):,} walks)" for split in splits.values()), flush=True)
  found = pretraining.learnt_discriminant(
    config, network.graph, {"params": network.params, "stats": network.stats}, splits, mesh=network.mesh,
    watchdog=Watchdog(minutes=0, stops=False), between=lambda: None,
  )
  hashes = {split.name: split.manifest["content_hash"] for split in splits.values()}
  described = json.dumps([config.discriminant.to_dict(), hashes], sort_keys=True)
  return dataclasses.replace(
    network, config=config, stats=network.stats | {"discriminant": found},
    identity=f"{network.identity}-fitted-{hashlib.sha256(described.encode()).hexdigest()[:8]}",
    data=network.data | hashes, people=checkpoints.people_of(splits.values(), network.people),
    sources=network.sources | checkpoints.sources_of(splits.values()),
  )


def main(arguments: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m fgait_jax.interop.fit_discriminant",
                                   description=__doc__.split("\n\n")[0])
  parser.add_argument("weights", help="a run's folder, a folder of weights, or the name of weights of the package")
  parser.add_argument("--out", required=True, metavar="FOLDER", help="receives the weights")
  parser.add_argument("--sets", help="what to learn from, NAME[:positives[:split]],... (default: as before)")
  parser.add_argument("--data", default=defaults.data().dir, help="folder of built data sets (default: %(default)s)")
  for name in ("walks", "components", "shrinkage", "segmenter", "holes"):
    parser.add_argument(f"--{name}", type=type(defaults.discriminant()[name]),
                        help=f"as config.discriminant.{name} (default: as it was)")
  options = parser.parse_args(arguments)
  logging.set_verbosity(logging.ERROR)  # Orbax logs every file it opens
  try:
    preflight.configure_jax()
    preflight.use_compilation_cache(defaults.train().compilation_cache)
    out = preflight.writable(options.out, flag="--out")
    publish.refuse_run(out)
    network = load_network(options.weights)
    settings = network.config.discriminant.copy_and_resolve_references().unlock()
    settings.update({name: value for name in settings if name not in ("sets", "frames")
                     and (value := getattr(options, name)) is not None})
    if options.sets is not None:
      settings.sets = defaults.discriminant_sets(options.sets)
    if not settings.sets:
      raise DataError("--sets names no data set; give one, as in --sets=mine:sequence")
    fitted = fit(network, settings, data=options.data)
    publish.write(fitted, out)
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print(f"{out}: {weights.WEIGHTS}, {weights.ABOUT}, {weights.CARD}, the weights {fitted.identity}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
