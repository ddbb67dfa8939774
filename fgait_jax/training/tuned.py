"""Fine-tuned networks on disk: a checkpoint like that of a pretraining run, and the head beside it.

  <folder>/checkpoints/<step>/state   teacher: {params, stats} with the fine-tuned encoder and projector, low-rank
                                      updates merged in, prompts beside them, and the embedding layer of a head of
                                      identities as `recognition`, or as `discriminant` where that is what it was;
                                      head: all of the head, class scores too
  <folder>/checkpoints/<step>/meta    that of `training.checkpoints`, whose config stays that of pretraining but for
                                      what was added in `model`, with `fine_tune`: from which network, on which data,
                                      for what and how it was made

`load_network(<folder>)` reads it as any other, so every task runs on it: on its `recognition` or `discriminant`, or
where classes were learnt, on what their head reads, `projection` or `pooled`. The predictor is still the pretrained
one; a network whose head does not read the projection keeps neither projector nor predictor.
"""

import hashlib
import json
import pathlib

from fgait_jax.training import checkpoints, folders
from fgait_jax.training import state as states
from fgait_jax.training.fine_tuning import Fitted
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.supervised import Learner


def save(
  folder: pathlib.Path, *, config, trained: Pretrained, learner: Learner, fitted: Fitted, dataset
) -> str:
  """Writes what `trained` has become by `config` into `folder`, and returns its identity. One that was there goes when
  the new one is whole."""
  state: dict[str, dict] = {"teacher": {}, "head": {}}
  before = {"params": trained.params, "stats": trained.stats}
  for kind, after in (("params", learner.params(fitted.trainable)), ("stats", fitted.stats)):
    state["head"][kind] = {"head": after["head"]}
    state["teacher"][kind] = before[kind] | {module: after[module] for module in after if module != "head"}
  added = states.added(learner.config) | {"recognition_features": 0, "token_features": 0}
  features = 0  # of a discriminant
  if added["no_projector"]:
    for values in state["teacher"].values():
      values.pop("projector", None)
      values.pop("predictor", None)
  for name in ("recognition", "tokens"):
    state["teacher"]["params"].pop(name, None)  # of an encoder that is gone, as the discriminant
  state["teacher"]["stats"].pop("discriminant", None)
  if config.fine_tune.target == "subject":
    layer = state["head"]["params"]["head"]["embed"]
    if config.fine_tune.reads == "discriminant":
      state["teacher"]["stats"]["discriminant"] = {
        "mean": state["head"]["stats"]["head"]["mean"], "kernel": layer["kernel"][0]}
      features = layer["kernel"].shape[-1]
    else:
      state["teacher"]["params"]["recognition"] = layer
      added["recognition_features"] = layer["kernel"].shape[-1]
  described = [trained.identity, config.fine_tune.to_dict(), config.dataset, config.seed, fitted.step, fitted.factor]
  text = json.dumps([described, dataset.manifest["content_hash"]], sort_keys=True)
  seen = trained.data | {dataset.name: dataset.manifest["content_hash"]}
  people = checkpoints.people_of([dataset], trained.people)
  meta = checkpoints.new_meta(states.with_added(learner.config, **added, discriminant=features), seen, people)
  meta["run"] = f"tuned-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
  meta["fine_tune"] = {"of": trained.identity, "before": trained.fine_tune, "pretrained": trained.pretrained,
                       "dataset": dataset.name,
                       "settings": config.fine_tune.to_dict(), "step": fitted.step, "factor": fitted.factor}
  meta["sources"] = trained.sources | checkpoints.sources_of([dataset])
  meta["started_from"], meta["imported_from"] = trained.started_from, {"file": trained.imported_from}
  beside = checkpoints.save_beside(folder, fitted.step, state, json.loads(json.dumps(meta)))
  with folders.noted(folder):
    folders.put(beside, folder / checkpoints.FOLDER)
    beside.parent.rmdir()
  return f"{meta['run']}-{fitted.step}"
