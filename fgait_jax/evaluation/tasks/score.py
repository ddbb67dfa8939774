"""The task "score": embeddings that any tool made, from an .npz file, by a public protocol. No network, no frames."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import columns, protocols, registry, results, scoring
from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.features import files
from fgait_jax.evaluation.features.baselines import centred
from fgait_jax.evaluation.metrics.classification import told_apart
from fgait_jax.evaluation.metrics.distances import check_centring
from fgait_jax.evaluation.protocols.classify import Scores
from fgait_jax.evaluation.protocols.servers import write_csv
from fgait_jax.evaluation.results import Data, Result, Row
from fgait_jax.paths import local_path

# What a protocol answers that stands elsewhere in a result file: in its fields, or among the figures of its row.
_MOVED = ("protocol", "title", "source", "metric", "sequences", "subjects", "conditions", "cmc", "per_view", "readings",
          "classes", "confusion", "attributes", "origin", "centred")


def score(path: str | pathlib.Path, *, protocol: str, metric: str = "euclidean", bootstrap: int = 1000, seed: int = 0,
          centre_by: str = "none", rerank: Mapping | None = None) -> dict:
  """The result of `protocol` (docs/results.md) on a file of embeddings [N, C, P], labels, types and views [N].

  centre_by: "none", or subtract the mean of each "condition" (type) or "view" first. rerank: k1, k2 and weight of
  a protocol that re-ranks. Raises ConfigError for an unknown protocol, metric or centring, and DataError, which names
  the file, for anything in it that cannot be scored.
  """
  scorer = protocols.get(protocol)
  check_centring(centre_by)
  if centre_by != "none" and isinstance(scorer, Scores):
    raise ConfigError(f"config.centre_by={centre_by}, but protocol {protocol} scores classes: without the mean of a"
                      " condition their logits are of no class; set it to none")
  found, origin = files.load(_file(path))
  if origin.get("embedding") == "logits" and not isinstance(scorer, Scores):
    raise DataError(f"{path} holds scores of classes, which tell nobody from another of the same class; protocol"
                    f" {protocol} ranks embeddings of people. The network that gave them embeds with configs/embed.py")
  result = scorer.score(centred(found, centre_by), metric=metric, bootstrap=bootstrap, seed=seed, rerank=rerank)
  return result | {"file": str(path), "centred": centre_by, "origin": origin}


@registry.task("score", writes="{config.protocol}.json", sections=("rerank",), checkpoint=False, outcomes=True,
               centres=True)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Scores `config.embeddings`; writes `<protocol>.json` to `out` (and `<protocol>.csv` for a server)."""
  content = _content(config.embeddings)
  path = registry.claim(config, out, (None, content))
  scored = score(config.embeddings, protocol=config.protocol, metric=config.metric, bootstrap=config.bootstrap,
                 seed=config.seed, centre_by=config.centre_by, rerank=config.rerank.to_dict())
  written = [results.write(path, result_of(scored, content=content, config=config.to_dict()))]
  if "submission" in scored:
    written.append(write_csv(scored, path.with_suffix(".csv")))
  return written


def _file(path: str | pathlib.Path) -> pathlib.Path:
  if not str(path):
    raise ConfigError("config.embeddings is empty; give --config.embeddings=FILE.npz")
  return local_path(path, "config.embeddings")


def _content(path: str | pathlib.Path) -> str:
  """SHA-256 of a file of embeddings, "" where there is none to read: `files.load` says so."""
  try:
    with open(_file(path), "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError:
    return ""


def result_of(scored: dict, *, content: str, config: dict) -> Result:
  """A `score` of a file with the SHA-256 `content` as a result: figures, curves and matrices as those of one row, the
  rest of it as it is."""
  path = pathlib.Path(scored["file"])
  found, shown = _figures(scored)
  cmc, per_view = scored.get("cmc", {}), scored.get("per_view", {})
  if "readings" in scored:  # curves and matrices under the names of their conditions, as figures are
    cmc = {f"{kind} {name}": curve for kind, r in scored["readings"].items() for name, curve in r["cmc"].items()}
    per_view = {f"gait {name}": table for name, table in per_view.items()}
  row = Row(name=results.MODEL, title=path.stem, centred=scored["centred"], figures=results.figures_of(found), cmc=cmc,
            per_view=per_view)
  return Result(
    task="score", title=f"{scored['title']}: {path.name}", notes=_notes(scored, config), config=config,
    protocol=scoring.used(protocols.get(scored["protocol"]), scored["metric"]),
    data=Data(name=path.name, split="as given", kind="embeddings", walks=scored["sequences"],
              subjects=scored["subjects"], content_hash=content),
    pretraining=results.seen_of(scored["origin"], origin=str(path)),
    conditions=scoring.conditions_of(row.figures), rows=[row] if found else [],
    columns=[dataclasses.replace(column, digits=2) for column in shown],
    details={key: value for key, value in scored.items() if key not in _MOVED})


def _notes(scored: dict, config: dict) -> list[str]:
  size, apart = scored["embeddings"], f"Protocol {scored['protocol']}: {scored['title']} ({scored['source']});"
  if isinstance(protocols.get(scored["protocol"]), Scores):
    notes = [f"{apart} scores of {size['channels']} classes x {size['parts']} parts."]
    notes += [told_apart(scored["classes"])] if "classes" in scored else []
  else:
    notes = [f"{apart} {scored['metric']} distance; embeddings of {size['channels']} channels x {size['parts']} parts."]
  if config["bootstrap"]:
    notes.append(f"Intervals: {config['bootstrap']} resamples of the probe subjects.")
  if scored.get("submission", {}).get("reranked"):
    k1, k2, weight = (config["rerank"][name] for name in ("k1", "k2", "weight"))
    notes.append(f"k-reciprocal re-ranking, k1 {k1}, k2 {k2}, weight of the original distance {weight:g}.")
  return notes


def _figures(scored: dict) -> tuple[dict[str, dict], tuple[Column, ...]]:
  """Figures of a score by condition, and the columns of their table."""
  if "readings" in scored:
    found = scored["readings"]
    return {f"{kind} {n}": v for kind in found for n, v in found[kind]["conditions"].items()}, columns.RETRIEVAL
  if "conditions" in scored:
    return scored["conditions"], columns.RETRIEVAL
  if "submission" in scored:
    return {}, ()
  found = scored.get("attributes", {"all": scored})
  figures = {name: one["summary"] | {key: one[key] for key in ("classes", "confusion")} for name, one in found.items()}
  return figures, columns.TWO_CLASSES if "auc" in scored["summary"] else columns.CLASSES
