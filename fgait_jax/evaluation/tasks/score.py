"""The task "score": embeddings that any tool made, from an .npz file, by a public protocol. No network, no frames."""

import hashlib
import pathlib
from collections.abc import Mapping

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import protocols, results
from fgait_jax.evaluation.features.baselines import centred
from fgait_jax.evaluation.features.extraction import Features
from fgait_jax.evaluation.metrics.distances import check_centring
from fgait_jax.evaluation.protocols.servers import write_csv
from fgait_jax.paths import local_path

_RETRIEVAL = (("rank1", "rank-1 %", True, 100), ("rank5", "rank-5 %", False, 100), ("map", "mAP %", False, 100))
_RETRIEVAL += (("minp", "mINP %", False, 100), ("auc", "AUC %", False, 100))
_CLASSES = (("accuracy", "accuracy %", True, 100), ("precision", "precision %", False, 100))
_CLASSES += (("recall", "recall %", False, 100), ("f1", "F1 %", False, 100))


def score(
  path: str | pathlib.Path,
  *,
  protocol: str,
  metric: str = "euclidean",
  bootstrap: int = 1000,
  seed: int = 0,
  centre_by: str = "none",
  rerank: Mapping | None = None,
) -> dict:
  """The result of `protocol` (docs/evaluation.md) on a file of embeddings [N, C, P], labels, types and views [N].

  centre_by: "none", or subtract the mean of each "condition" (type) or "view" first. rerank: k1, k2 and weight of
  a protocol that re-ranks. Raises ConfigError for an unknown
  protocol, metric or centring, and DataError, which names the file, for anything in it that cannot be scored.
  """
  scorer = protocols.get(protocol)
  check_centring(centre_by)
  if not str(path):
    raise ConfigError("config.embeddings is empty; give --config.embeddings=FILE.npz")
  found, origin = Features.load(local_path(path, "config.embeddings"))
  found = centred(found, centre_by)
  result = scorer.evaluate(
    found.embeddings, found.subjects, found.conditions, found.views, metric=metric, bootstrap=bootstrap, seed=seed,
    origin=str(path), rerank=rerank,
  )
  return result | {"file": str(path), "centred": centre_by, "origin": origin}


def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Scores `config.embeddings`; writes `<protocol>.json` to `out` (and `<protocol>.csv` for a server)."""
  path = results.claim(out / f"{config.protocol}.json", config)
  scored = score(
    config.embeddings,
    protocol=config.protocol,
    metric=config.metric,
    bootstrap=config.bootstrap,
    seed=config.seed,
    centre_by=config.centre_by,
    rerank=config.rerank.to_dict(),
  )
  written = [results.write(path, layout(scored, config=config.to_dict()))]
  if "submission" in scored:
    written.append(write_csv(scored, out / f"{config.protocol}.csv"))
  return written


def layout(scored: dict, *, config: dict) -> dict:
  """A `score` in the layout of result files: conditions and figures as table rows, the rest of it as it is."""
  path = pathlib.Path(scored["file"])
  figures, columns = _figures(scored)
  kept = {k: v for k, v in scored.items() if k not in ("conditions", "protocol", "title", "source", "metric", "origin")}
  if "readings" in scored:  # curves and matrices under the names of their conditions, as figures are
    kept["cmc"] = {f"{kind} {n}": curve for kind, r in scored["readings"].items() for n, curve in r["cmc"].items()}
    kept["per_view"] = {f"gait {name}": cells for name, cells in scored["per_view"].items()}
  size = scored["embeddings"]
  notes = [f"Protocol {scored['protocol']}: {scored['title']} ({scored['source']}); {scored['metric']} distance;"
           f" embeddings of {size['channels']} channels x {size['parts']} parts."]
  if config["bootstrap"]:
    notes.append(f"Intervals: {config['bootstrap']} resamples of the probe subjects.")
  if scored.get("submission", {}).get("reranked"):
    k1, k2, weight = (config["rerank"][name] for name in ("k1", "k2", "weight"))
    notes.append(f"k-reciprocal re-ranking, k1 {k1}, k2 {k2}, weight of the original distance {weight:g}.")
  lacking = {name: found["without_mate"] for name, found in figures.items() if found.get("without_mate")}
  if lacking:
    told = ", ".join(f"{count} in {name}" for name, count in lacking.items())
    reading = {found["reading"] for name, found in figures.items() if name in lacking}
    notes.append(f"Probes without a mate in the gallery: {told}; counted as {' or '.join(sorted(reading))}.")
  row = {"name": "model", "title": path.stem, "centred": scored["centred"], "figures": figures}
  return kept | {
    "task": "score",
    "title": f"{scored['title']}: {path.name}",
    "protocol": {key: scored[key] for key in ("title", "source", "metric")} | {"name": scored["protocol"]},
    "data": {
      "name": path.name,
      "split": "as given",
      "kind": "embeddings",
      "walks": scored["sequences"],
      "subjects": scored["subjects"],
      "content_hash": hashlib.sha256(path.read_bytes()).hexdigest(),
    },
    "notes": notes,
    "pretraining": scored["origin"].get("pretraining", {"datasets": []}),
    "conditions": [{"name": name, "title": _condition_title(name, found)} for name, found in figures.items()],
    "metrics": [{"key": k, "title": t, "interval": i, "best": b, "digits": 2} for k, t, i, b in columns],
    "rows": [row] if figures else [],
    "config": config,
    "pictures": [],
  }


def _figures(scored: dict) -> tuple[dict, tuple]:
  """Table sections of a score, and their columns."""
  if "readings" in scored:
    found = scored["readings"]
    return {f"{kind} {name}": v for kind in found for name, v in found[kind]["conditions"].items()}, _RETRIEVAL
  if "conditions" in scored:
    return scored["conditions"], _RETRIEVAL
  if "attributes" in scored:
    return {name: found["summary"] for name, found in scored["attributes"].items()}, _CLASSES
  if "classes" in scored:
    more = tuple((k, f"{k.upper()} %", False, 100) for k in ("auc", "eer") if k in scored["summary"])
    return {"all": scored["summary"]}, _CLASSES + more
  return {}, ()


def _condition_title(name: str, found: dict) -> str:
  if "probes" not in found:
    return name
  return f"{name}: {found['probes']} probes of {found['probe_subjects']} subjects, gallery of {found['gallery']}"
