"""Learns the discriminant of finished weights anew, from other walks; the encoder stays as it is.

  python -m fgait_jax.interop.fit_discriminant walkers-tiny --sets mine:sequence:test --out fitted

`mine` is a built data set, such as recordings of the place where people are to be recognised; with `sequence` nobody in
them need be known. FOLDER receives weights as `fgait_jax.interop.publish` writes them, which every task reads.
"""

import argparse
import dataclasses
import hashlib
import json
import re
import sys

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from fgait_jax import defaults
from fgait_jax.errors import CheckpointError, ConfigError, FgaitError, require
from fgait_jax.evaluation.features.extraction import progress_bar
from fgait_jax.interop import publish
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import checkpoints, configuration, preflight, pretraining, weights
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.session import Watchdog

KEYS = "walks", "components", "shrinkage", "segmenter", "holes"  # of the section `discriminant`, as flags
# What learning it reads of a configuration beside its data sets.
READ = ("augment.", *(f"data.{key}" for key in defaults.data() if key != "sets"),
        *(f"discriminant.{key}" for key in (*KEYS, "frames", "step")))


def refitted(network: Pretrained, settings: ConfigDict, *, data: str) -> Pretrained:
  """`network` with a discriminant learnt as its run learnt the closing one, but as the section `settings` says, from
  data sets of the folder `data`: with its run's own settings it is the run's own. Raises `CheckpointError`,
  `ConfigError` and `DataError`."""
  config = network.config.copy_and_resolve_references().unlock()
  config.discriminant, config.data.dir = settings, data
  config.lock()
  require(configuration.positives_needs("discriminant.sets", settings.sets) + configuration.closing_needs(config))
  trained_on = config.data.sets
  splits = pretraining.opened(data, settings.sets or trained_on, first=trained_on)
  pretraining.check_frames(splits.values(), config.model)
  with progress_bar(f"learning the discriminant from {', '.join(s.name for s in splits.values())}",
                    settings.walks) as advance:
    found = pretraining.learnt_discriminant(
      config, network.graph, {"params": network.params, "stats": network.stats}, splits, mesh=network.mesh,
      watchdog=Watchdog(minutes=0, stops=False), between=lambda: advance(config.data.batch_size * config.data.clips),
    )
  hashes = {split.name: split.manifest["content_hash"] for split in splits.values()}
  described = json.dumps([settings.to_dict(), hashes], sort_keys=True)
  before = re.sub("-fitted-[0-9a-f]{8}", "", network.identity)  # of the discriminant that this one replaces
  return dataclasses.replace(
    network, config=config, stats=network.stats | {"discriminant": found},
    identity=f"{before}-fitted-{hashlib.sha256(described.encode()).hexdigest()[:8]}",
    data=network.data | hashes, people=checkpoints.people_of(splits.values(), network.people),
    sources=network.sources | checkpoints.sources_of(splits.values()),
  )


def check(network: Pretrained) -> None:
  """Raises `CheckpointError` where `network` has no discriminant that could be learnt."""
  if network.fine_tune:
    raise CheckpointError(f"{network.identity} is fine-tuned: it recognises by a head of its own. Name the pretraining"
                          " run that it was made of")
  if not network.config.model.discriminant:
    raise CheckpointError(f"{network.identity} does not end in a discriminant; take weights of run_pretrain.py, with"
                          " config.model.discriminant above 0")
  if lacking := configuration.lacking(network.config.to_dict(), READ):
    raise CheckpointError(f"{network.identity} was written by another version ({network.code}), whose configuration has"
                          f" {', '.join(lacking[:5])} not or of another kind; use that version")


def remarks(fitted: Pretrained) -> list[str]:
  """What whoever uses `fitted` should know of it beforehand."""
  said, steps = [], fitted.config.train.steps
  if fitted.step < steps:
    said.append(f"the encoder is that of step {fitted.step:,} of {steps:,}: its run has not ended")
  kernel = np.asarray(fitted.stats["discriminant"]["kernel"])
  if (found := int(kernel.any(axis=0).sum())) < kernel.shape[1]:
    said.append(f"{found} of {kernel.shape[1]} directions were found, at most one less than there are recordings or"
                " people; add more, or known people beside them, as in --sets=mine:sequence:test,walkers:subject")
  return said


def main(arguments: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m fgait_jax.interop.fit_discriminant",
                                   description=__doc__.split("\n\n")[0])
  parser.add_argument("weights", help="a run's folder, a folder of weights, or the name of weights of the package")
  parser.add_argument("--out", required=True, metavar="FOLDER", help="receives the weights")
  parser.add_argument("--sets", help="what to learn from, NAME[:positives[:split]],... (default: as before)")
  parser.add_argument("--data", default=defaults.data().dir, help="folder of built data sets (default: %(default)s)")
  for name in KEYS:
    parser.add_argument(f"--{name}", type=type(defaults.discriminant()[name]),
                        help=f"as config.discriminant.{name} (default: as before)")
  options = parser.parse_args(arguments)
  logging.set_verbosity(logging.ERROR)  # Orbax logs every file it opens
  try:
    preflight.configure_jax()
    preflight.use_compilation_cache(defaults.train().compilation_cache)
    out = preflight.writable(options.out, flag="--out")
    if out.resolve() == weights.located(options.weights).resolve():
      raise ConfigError(f"--out={out} is the folder of the weights themselves, which would be lost; give another one")
    network = load_network(options.weights, mesh=make_mesh(devices=jax.devices()[:1]))  # minutes on one, of any batch
    check(network)
    publish.refuse_others(out, network.identity)
    settings = network.config.discriminant.copy_and_resolve_references().unlock()
    settings.update({name: getattr(options, name) for name in KEYS if getattr(options, name) is not None})
    if options.sets is not None:
      settings.sets = _sets(options.sets)
    fitted = refitted(network, settings, data=options.data)
    publish.write(fitted, out)
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  for remark in remarks(fitted):
    print(f"warning: {remark}", file=sys.stderr)
  print(f"{out}: {weights.WEIGHTS}, {weights.ABOUT}, {weights.CARD}, the weights {fitted.identity}")
  return 0


def _sets(text: str) -> ConfigDict:
  try:
    return defaults.discriminant_sets(text)
  except ValueError as error:
    raise ConfigError(f"--sets: {error}") from error


if __name__ == "__main__":
  sys.exit(main())
