"""Zero-shot retrieval: the model and what it must beat, by the data set's protocol, nothing trained."""

import dataclasses
import pathlib

from fgait_jax.data import schema
from fgait_jax.evaluation import columns, pictures, protocols, results, scoring
from fgait_jax.evaluation.features import baselines, controls
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.protocols.ranked import CrossView
from fgait_jax.evaluation.registry import task
from fgait_jax.evaluation.results import Row
from fgait_jax.evaluation.setup import Setup, prepare
from fgait_jax.training import pixels


@task("zero_shot", writes="zero_shot-{config.dataset}.json", outcomes=True, centres=True)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Retrieval by the data set's protocol, without training: the model, then what it must beat."""
  protocol = protocols.get(config.protocol)
  setup = prepare(config, out)
  path = setup.claim()
  setup.trials(protocol)
  systems = _systems(setup)
  rows = scoring.rows_of(config, protocol, systems)
  if config.controls:
    rows += _controls(setup, protocol)
  if config.baselines:
    rows += scoring.chance_rows(config, protocol, systems[0][2], dict.fromkeys(row.centred for row in rows))
  return [results.write(path, setup.result(
    title=f"Zero-shot recognition on {config.dataset}", notes=_notes(setup, protocol, systems, rows), rows=rows,
    protocol=scoring.used(protocol, config.metric), conditions=scoring.conditions_of(rows[0].figures),
    columns=list(columns.RETRIEVAL), pictures=_pictures(setup, protocol, systems[0][2]) if config.pictures else []))]


def _systems(setup: Setup) -> list[tuple[str, str, Features]]:
  """(name, title, features) of the model and of what it must beat."""
  config = setup.config
  systems = [("model", setup.title, setup.embeddings_of(setup.trained, "model"))]
  if not config.baselines:
    return systems
  gei = setup.silhouettes_of()
  systems += [
    ("untrained", "untrained network", setup.embeddings_of(setup.untrained, "untrained network")),
    *((name, title, of(gei)) for name, title, of in baselines.UNLEARNT),
  ]
  if setup.trained.embedding == "discriminant":
    mapped = baselines.silhouette_discriminant(
      setup.trained.config, data_dir=config.data_dir, max_frames=config.max_frames, seed=config.seed)
    systems += [] if mapped is None else [("raw_gei_lda", "raw GEI, discriminant", mapped(gei))]
  return systems


def _controls(setup: Setup, protocol) -> list[Row]:
  """Rows of the network on walks without order, direction or motion."""
  config, rows = setup.config, []
  for name, title in controls.TITLES.items():
    split = controls.controlled(setup.split, name, max_frames=config.max_frames, seed=config.seed,
                                still_frames=controls.still_frames(setup.trained.config.model))
    found = setup.embeddings_of(setup.trained, f"model, {title},", split)
    row = scoring.row_of(config, protocol, name, f"network, {title}", found)
    # A table is enough for them.
    rows.append(dataclasses.replace(row, cmc={}, per_view={}, details=row.details | {"control": True}))
  return rows


def _notes(setup: Setup, protocol, systems: list[tuple], rows: list[Row]) -> list[str]:
  config = setup.config
  metric = {"euclidean": "Euclidean distance", "cosine": "cosine distance"}[config.metric]
  notes = [f"Protocol {protocol.name} ({protocol.title}; {protocol.source}); {metric}, mean over parts.",
           "No labels were used here." if config.centre_by == "none" else
           f"No labels were used here; centred rows know which {config.centre_by.replace('_', ' and ')} each walk comes"
           " from: the mean of each is taken off, and embeddings are at unit length again."]
  if protocol.published:
    notes.append(f"Published: {protocol.published}.")
  if type(protocol) is CrossView:
    notes.append("Each view of the probes is ranked in each other view of the gallery; ranks and mAP are means over"
                 " views, AUC and EER of all these pairs together.")
  beside_it = any(name == "raw_gei_lda" for name, *_ in systems)
  if beside_it:
    named, others = baselines.named_sets(setup.trained.config)
    notes.append("The GEI's discriminant learnt from the same people as the network's own, with their labels."
                 if not others else f"The GEI's discriminant learnt from {' and '.join(named)}, with labels of"
                 f" subjects; the network's own from these and, without such labels, from {' and '.join(others)}.")
  if setup.trained.config.model.facing:
    notes.append("The network centres walks and turns them to face one way"
                 f"{', and so does the discriminant of GEIs' if beside_it else ''}.")
  ranks = {row.name: row.details["embeddings"]["effective_rank"] for row in rows
           if row.name in ("model", "untrained") and row.centred == "none"}
  notes.append("Effective rank of the embeddings, mean over parts: "
               + ", ".join(f"{name} {rank:.1f}" for name, rank in ranks.items()) + ".")
  if config.controls:
    notes.append("Network rows: the same network, gallery and probes changed alike. What it finds in shuffled or"
                 " reversed walks owes nothing to the order of frames, in a repeated one nothing to motion.")
  hubs = {name: found.values["hubness"] for name, found in rows[0].figures.items()}
  shares = (f"{name} {hub['largest_share']:.1f} % (skewness {hub['skewness']:.1f})" for name, hub in hubs.items()
            if None not in hub.values())
  notes.append("Hubness of the model, the share of nearest neighbours that one gallery subject takes:"
               f" {', '.join(shares)}.")
  return notes + setup.notes + scoring.interval_notes(config, "probe subjects")


def _pictures(setup: Setup, protocol, found: Features) -> list[str]:
  config, network = setup.config, setup.trained
  made = [pictures.nearest(
    setup.out / f"neighbours-{config.dataset}.png", split=setup.split, found=found, protocol=protocol,
    metric=config.metric, count=config.pictures, seed=config.seed, mirror=config.mirror_views,
    subtitle=f"{setup.data_title}; {setup.title}; {config.metric} distance. Probes drawn at random. Green: the"
             " same person; red: someone else. Below: subject, condition, view, distance.")]
  masks = pixels.of(setup.split)[0] == schema.SILHOUETTES
  if masks and max(network.config.student.masked_fractions) > 0 and "decoder" in network.params:
    made.append(pictures.filled_in(
      setup.out / f"reconstructions-{config.dataset}.png", network=network, split=setup.split, count=config.pictures,
      seed=config.seed, mirror=config.mirror_views, subtitle=f"{setup.data_title}; {setup.title}"))
  return [path.name for path in made]
