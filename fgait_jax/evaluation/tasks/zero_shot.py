"""Zero-shot retrieval: the model and what it must beat, by the data set's protocol, nothing trained."""

import dataclasses
import pathlib

import numpy as np

from fgait_jax.evaluation import protocols, results
from fgait_jax.evaluation.features import baselines
from fgait_jax.evaluation.features.extraction import Features
from fgait_jax.evaluation.protocols.ranked import CrossView
from fgait_jax.evaluation.report import neighbours, reconstructions
from fgait_jax.evaluation.setup import Setup, prepare

METRICS = (
  {"key": "rank1", "title": "rank-1 %", "interval": True, "best": 100, "digits": 1},
  {"key": "rank5", "title": "rank-5 %", "interval": False, "best": 100, "digits": 1},
  {"key": "map", "title": "mAP %", "interval": False, "best": 100, "digits": 1},
  {"key": "minp", "title": "mINP %", "interval": False, "best": 100, "digits": 1},
  {"key": "auc", "title": "AUC %", "interval": False, "best": 100, "digits": 1},
  {"key": "eer", "title": "EER %", "interval": False, "best": 0, "digits": 1},
)
_CHANCE_WALKS = 20_000  # walks scored at random behind the chance row, over all draws


def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Retrieval by the data set's protocol, without training: the model, then what it must beat."""
  protocol = protocols.get(config.protocol)
  setup = prepare(config, out)
  path = setup.claim(f"zero_shot-{config.dataset}.json")
  setup.check_roles(protocol)
  systems = [("model", setup.title, setup.embeddings_of(setup.trained, "model"))]
  if config.baselines:
    gei = setup.silhouettes_of()
    systems += [
      ("untrained", "untrained network", setup.embeddings_of(setup.untrained, "untrained network")),
      ("row_bands", "row-band GEI", baselines.in_row_bands(gei)),
      ("raw_gei", "raw GEI", gei),
    ]
    if setup.trained.embedding == "discriminant":
      mapped = baselines.silhouette_discriminant(
        setup.trained.config, data_dir=config.data_dir, max_frames=config.max_frames, seed=config.seed)
      systems += [] if mapped is None else [("raw_gei_lda", "raw GEI, discriminant", mapped(gei))]
  rows = [row_of(setup, protocol, *system) for system in systems]
  if config.centre_by != "none":
    rows += [row_of(setup, protocol, name, title, baselines.centred(found, config.centre_by), centred=config.centre_by)
             for name, title, found in systems]
  if config.baselines:
    rows += chance_rows(config, protocol, systems[0][2], dict.fromkeys(row["centred"] for row in rows))
  first = rows[0]["figures"]
  metric = {"euclidean": "Euclidean distance", "cosine": "cosine distance"}[config.metric]
  notes = [f"Protocol {protocol.name} ({protocol.title}; {protocol.source}); {metric}, mean over parts.",
           "No labels were used here." if config.centre_by == "none" else
           f"No labels were used here; centred rows know which {config.centre_by.replace('_', ' and ')} each walk comes"
           " from."]
  if type(protocol) is CrossView:
    notes.append("Each view of the probes is ranked in each other view of the gallery; figures are means over views.")
  if any(name == "raw_gei_lda" for name, _, _ in systems):
    notes.append("The GEI's discriminant learnt from the people who taught the network's own, told who walks.")
  notes.append(hubs(first))
  if config.bootstrap:
    notes.append(f"Intervals: {config.bootstrap} resamples of the probe subjects.")
  result = setup.described() | {
    "task": "zero_shot", "title": f"Zero-shot recognition on {config.dataset}", "notes": notes, "rows": rows,
    "protocol": {"name": protocol.name, "title": protocol.title, "source": protocol.source, "metric": config.metric},
    "conditions": titles_of(first), "metrics": METRICS,
  }
  if config.pictures:
    result["pictures"] = _pictures(setup, protocol, systems[0][2])
  return [results.write(path, result)]


def row_of(setup: Setup, protocol, name: str, title: str, found: Features, centred: str = "none") -> dict:
  """A row of a result: `found` scored by `protocol`, with what reports draw of it."""
  config = setup.config
  scored = evaluate(protocol, found, config, origin=setup.origin, bootstrap=config.bootstrap)
  row = {"name": name, "title": title, "centred": centred, "figures": scored["conditions"]}
  return row | {"embeddings": scored["embeddings"]} | {k: scored[k] for k in ("cmc", "per_view") if k in scored}


def titles_of(figures: dict) -> list[dict]:
  """The `conditions` of a result from the figures of a row: what was asked of how many."""
  return [{"name": name, "title": f"{name}: {found['probes']} probes of {found['probe_subjects']} subjects, gallery of"
           f" {found['gallery']} walks"} for name, found in figures.items()]


def evaluate(protocol, found: Features, config, *, origin: str, bootstrap: int,
             gallery: Features | None = None, by_cell: bool = False) -> dict:
  """The protocol's result for `found`; its keys are those of docs/evaluation.md. `gallery` has the same walks as they
  stand in a gallery, where these are others; `by_cell` as `Protocol.evaluate` has it."""
  return protocol.evaluate(found.embeddings, found.subjects, found.conditions, found.views, metric=config.metric,
                           bootstrap=bootstrap, seed=config.seed, origin=origin, by_cell=by_cell,
                           enrolled=None if gallery is None else gallery.embeddings)


def hubs(figures: dict) -> str:
  """How unevenly the model's nearest neighbours fall, as a sentence."""
  told = (f"{name} {found['hubness']['largest_share']:.1f} % (skewness {found['hubness']['skewness']:.1f})"
          for name, found in figures.items() if None not in found["hubness"].values())
  return f"Hubness of the model, the share of nearest neighbours that one gallery subject takes: {', '.join(told)}."


def chance_rows(config, protocol, found: Features, centrings) -> list[dict]:
  """A row of guessing for each of `centrings`, under the same protocol."""
  draws = int(np.clip(_CHANCE_WALKS // len(found), 3, 20))

  def scored(embeddings: np.ndarray) -> dict:
    return evaluate(protocol, dataclasses.replace(found, embeddings=embeddings), config, origin="chance", bootstrap=0)

  level = baselines.chance_level(lambda e: scored(e)["conditions"], len(found), seed=config.seed, draws=draws)
  keys = [metric["key"] for metric in METRICS]
  exact = {name: {k: values[k] for k in keys} | {"rank1": values["chance_rank1"], "auc": 50.0, "eer": 50.0}
           for name, values in level.items()}
  return [{"name": "chance", "title": "chance", "centred": how, "figures": exact, "draws": draws} for how in centrings]


def _pictures(setup: Setup, protocol, found: Features) -> list[str]:
  config, network = setup.config, setup.trained
  made = [neighbours.of_features(
    setup.out / f"neighbours-{config.dataset}.png", split=setup.split, found=found, protocol=protocol,
    metric=config.metric, count=config.pictures, seed=config.seed, mirror=config.mirror_views,
    subtitle=f"{setup.data_title}; {setup.title}; {config.metric} distance. Probes drawn at random. Green: the"
             " same person; red: someone else. Below: subject, condition, view, distance.")]
  if network.config.student.masked_fraction > 0:
    made.append(reconstructions.of_network(
      setup.out / f"reconstructions-{config.dataset}.png", network=network, split=setup.split, count=config.pictures,
      seed=config.seed, mirror=config.mirror_views, subtitle=f"{setup.data_title}; {setup.title}"))
  return [path.name for path in made]
