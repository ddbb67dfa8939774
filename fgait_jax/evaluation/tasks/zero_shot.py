"""Zero-shot retrieval: the model and what it must beat, by the data set's protocol, nothing trained."""

import pathlib

from fgait_jax.evaluation import columns, pictures, protocols, results, scoring
from fgait_jax.evaluation.features import baselines
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.protocols.ranked import CrossView
from fgait_jax.evaluation.registry import task
from fgait_jax.evaluation.results import Figures
from fgait_jax.evaluation.setup import Setup, prepare


@task("zero_shot", writes="zero_shot-{config.dataset}.json", outcomes=True)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Retrieval by the data set's protocol, without training: the model, then what it must beat."""
  protocol = protocols.get(config.protocol)
  setup = prepare(config, out)
  path = setup.claim()
  setup.trials(protocol)
  systems = _systems(setup)
  rows = scoring.rows_of(config, protocol, systems)
  if config.baselines:
    rows += scoring.chance_rows(config, protocol, systems[0][2], dict.fromkeys(row.centred for row in rows))
  figures = rows[0].figures
  return [results.write(path, setup.result(
    title=f"Zero-shot recognition on {config.dataset}", notes=_notes(config, protocol, systems, figures), rows=rows,
    protocol=scoring.used(protocol, config.metric), conditions=scoring.conditions_of(figures),
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
    ("row_bands", "row-band GEI", baselines.in_row_bands(gei)),
    ("raw_gei", "raw GEI", gei),
  ]
  if setup.trained.embedding == "discriminant":
    mapped = baselines.silhouette_discriminant(
      setup.trained.config, data_dir=config.data_dir, max_frames=config.max_frames, seed=config.seed)
    systems += [] if mapped is None else [("raw_gei_lda", "raw GEI, discriminant", mapped(gei))]
  return systems


def _notes(config, protocol, systems: list[tuple], figures: dict[str, Figures]) -> list[str]:
  metric = {"euclidean": "Euclidean distance", "cosine": "cosine distance"}[config.metric]
  notes = [f"Protocol {protocol.name} ({protocol.title}; {protocol.source}); {metric}, mean over parts.",
           "No labels were used here." if config.centre_by == "none" else
           f"No labels were used here; centred rows know which {config.centre_by.replace('_', ' and ')} each walk comes"
           " from."]
  if type(protocol) is CrossView:
    notes.append("Each view of the probes is ranked in each other view of the gallery; figures are means over views.")
  if any(name == "raw_gei_lda" for name, *_ in systems):
    notes.append("The GEI's discriminant learnt from the same people as the network's own, with their labels.")
  hubs = {name: found.values["hubness"] for name, found in figures.items()}
  shares = (f"{name} {hub['largest_share']:.1f} % (skewness {hub['skewness']:.1f})" for name, hub in hubs.items()
            if None not in hub.values())
  notes.append("Hubness of the model, the share of nearest neighbours that one gallery subject takes:"
               f" {', '.join(shares)}.")
  return notes + scoring.interval_notes(config, "probe subjects")


def _pictures(setup: Setup, protocol, found: Features) -> list[str]:
  config, network = setup.config, setup.trained
  made = [pictures.nearest(
    setup.out / f"neighbours-{config.dataset}.png", split=setup.split, found=found, protocol=protocol,
    metric=config.metric, count=config.pictures, seed=config.seed, mirror=config.mirror_views,
    subtitle=f"{setup.data_title}; {setup.title}; {config.metric} distance. Probes drawn at random. Green: the"
             " same person; red: someone else. Below: subject, condition, view, distance.")]
  if network.config.student.masked_fraction > 0 and "decoder" in network.params:
    made.append(pictures.filled_in(
      setup.out / f"reconstructions-{config.dataset}.png", network=network, split=setup.split, count=config.pictures,
      seed=config.seed, mirror=config.mirror_views, subtitle=f"{setup.data_title}; {setup.title}"))
  return [path.name for path in made]
