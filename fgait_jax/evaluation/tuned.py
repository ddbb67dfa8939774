"""Fine-tuned networks on disk: a checkpoint like that of a pretraining run, and the head beside it.

  <folder>/checkpoints/<step>/state   teacher: {params, stats} with the fine-tuned encoder and projector, all adaptation
                                      merged in; head: {params, stats} of what pretraining does not have
  <folder>/checkpoints/<step>/meta    that of `training.checkpoints`, whose config stays that of pretraining, with
                                      `fine_tune`: from which network, on which data, for what and how it was made

`load_network(<folder>)` reads it as any other, so every task runs on it; its `projection` is what was fine-tuned, the
predictor above it is still the pretrained one. Prompts are no part of a plain network: with them there is no `teacher`.
"""

import hashlib
import json
import pathlib
import shutil

from flax import traverse_util

from fgait_jax.evaluation.fitting import Fitted
from fgait_jax.evaluation.setup import Setup
from fgait_jax.parallel import hosts
from fgait_jax.training import checkpoints
from fgait_jax.training.supervised import Learner, flat


def save(folder: pathlib.Path, *, setup: Setup, learner: Learner, fitted: Fitted, dataset) -> str:
  """Writes the network into `folder`, in place of one that was there, and returns its identity."""
  config, trained = setup.config, setup.trained
  tuned = flat(learner.params(fitted.trainable))
  stats = flat(fitted.stats)
  before = {"params": flat(trained.params), "stats": flat(trained.stats)}
  after = {"params": tuned, "stats": stats}
  state = {"head": {kind: _nested({k: v for k, v in after[kind].items() if k not in before[kind]}) for kind in after}}
  if config.fine_tune.method != "prompt":
    state["teacher"] = {
      kind: _nested(before[kind] | {k: v for k, v in after[kind].items() if k in before[kind]}) for kind in after}
  described = [trained.identity, config.fine_tune.to_dict(), config.dataset, config.seed, fitted.step, fitted.factor]
  text = json.dumps([described, dataset.manifest["content_hash"]], sort_keys=True)
  meta = checkpoints.new_meta(trained.config, trained.data | {dataset.name: dataset.manifest["content_hash"]})
  meta["run"] = f"tuned-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
  meta["fine_tune"] = {"of": trained.identity, "before": trained.fine_tune, "dataset": dataset.name,
                       "settings": config.fine_tune.to_dict(), "step": fitted.step, "factor": fitted.factor}
  if hosts.is_first():
    shutil.rmtree(folder / checkpoints.FOLDER, ignore_errors=True)
  with checkpoints.Checkpoints(folder, keep=1) as saved:
    saved.save(fitted.step, state, json.loads(json.dumps(meta)))
  return f"{meta['run']}-{fitted.step}"


def _nested(values: dict) -> dict:
  return traverse_util.unflatten_dict(values, sep="/")
