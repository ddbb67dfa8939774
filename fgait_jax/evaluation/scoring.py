"""Rows of results that several tasks write: features scored by a protocol, guessing, and what is said of them."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from fgait_jax.evaluation import columns, results
from fgait_jax.evaluation.features import baselines
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.protocols.base import Protocol
from fgait_jax.evaluation.results import CHANCE, Condition, Figures, Row

_CHANCE_WALKS = 20_000  # walks scored at random behind the chance row, over all draws


def row_of(config, protocol: Protocol, name: str, title: str, found: Features, centred: str = "none") -> Row:
  """`found` scored by `protocol`, with what reports draw of it."""
  scored = protocol.score(found, metric=config.metric, bootstrap=config.bootstrap, seed=config.seed)
  return Row(name=name, title=title, centred=centred, figures=results.figures_of(scored["conditions"]),
             cmc=scored["cmc"], per_view=scored.get("per_view", {}), details={"embeddings": scored["embeddings"]})


def rows_of(config, protocol: Protocol, systems: list[tuple[str, str, Features]]) -> list[Row]:
  """A row of each of `systems`, (name, title, features), then the same centred where `config.centre_by` asks for it."""
  return [row_of(config, protocol, name, title, baselines.centred(found, how), centred=how)
          for how in dict.fromkeys(("none", config.centre_by)) for name, title, found in systems]


def chance_rows(config, protocol: Protocol, found: Features, centrings: Iterable[str]) -> list[Row]:
  """A row of guessing for each of `centrings`, under the same protocol."""
  draws = int(np.clip(_CHANCE_WALKS // len(found), 3, 20))

  def scored(embeddings: np.ndarray) -> dict:
    guess = dataclasses.replace(found, embeddings=embeddings, origin="chance")
    return protocol.score(guess, metric=config.metric, bootstrap=0, seed=config.seed)["conditions"]

  level = baselines.chance_level(scored, len(found), seed=config.seed, draws=draws)
  exact = {name: {column.key: values[column.key] for column in columns.RETRIEVAL}
           | {"rank1": values["chance_rank1"], "auc": 50.0, "eer": 50.0} for name, values in level.items()}
  return [Row(name=CHANCE, title="chance", centred=how, figures=results.figures_of(exact), details={"draws": draws})
          for how in centrings]


def conditions_of(figures: dict[str, Figures]) -> list[Condition]:
  """The conditions of a result, from the figures of a row: what was asked of how many."""
  return [Condition(name=name, title=name if "probes" not in found.values else (
    f"{name}: {found.values['probes']} probes of {found.values['probe_subjects']} subjects, gallery of"
    f" {found.values['gallery']} walks")) for name, found in figures.items()]


def used(protocol: Protocol, metric: str) -> results.Protocol:
  """By what rule a result was scored."""
  return results.Protocol(name=protocol.name, title=protocol.title, source=protocol.source, metric=metric)


def interval_notes(config, people: str) -> list[str]:
  """What the intervals rest on, if there are any: resamples of `people`, such as "probe subjects"."""
  return [f"Intervals: {config.bootstrap} resamples of the {people}."] if config.bootstrap else []


def probe_notes(rows: list[Row]) -> list[str]:
  """Of the linear probes among `rows`: how penalties were chosen, and which layers did not converge."""
  layers = [(f"{row.title} {name}".strip(), layer) for row in rows
            for name, layer in row.details.get("layers", {"": row.details}).items() if "penalty" in layer]
  if not layers:
    return []
  chosen = ", ".join(f"{title} {layer['penalty']:g}" for title, layer in layers)
  kept = ", each by the least cross-entropy on training walks or people kept back" if layers[0][1]["tried"] else ""
  notes = [f"Logistic regression to convergence; L2 penalties{kept}: {chosen}."]
  if early := [title for title, layer in layers if not layer["converged"]]:
    notes.append(f"Not converged, raise config.linear_probe.iterations: {', '.join(early)}.")
  return notes
