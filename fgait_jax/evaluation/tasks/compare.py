"""The task "compare": is one finished evaluation better than another on the same probes? From result files alone.

The test is that of metrics/pairing.py, over the subjects of the probes.
"""

import dataclasses
import pathlib

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import columns, registry, results
from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.metrics.pairing import BySubject, TooFew, tested
from fgait_jax.evaluation.plain import encoded
from fgait_jax.evaluation.report import sources
from fgait_jax.evaluation.report.side_by_side import pairs, same_data
from fgait_jax.evaluation.report.sources import Shown
from fgait_jax.evaluation.results import Condition, Figures, Pretraining, Result, Row

_SIDES = ("first", "second")
MEAN = "mean"  # the condition that is the mean of all others


@registry.task("compare", writes="compare-{evaluation}.json", sections=("compare",), checkpoint=False)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `compare-<evaluation>.json` for each evaluation that both sides hold.

  Raises `ConfigError` for unset keys and unknown rows, `DataError` where nothing can be paired.
  """
  settings = config.compare
  if settings.resamples < 100:
    raise ConfigError(f"config.compare.resamples={settings.resamples} must be at least 100")
  sides = [_read(settings[side], side) for side in _SIDES]
  names = {id(shown.result): shown.path.stem for shown in sides[0]}
  matched, alone = pairs(*([shown.result for shown in side] for side in sides))
  if not matched:
    raise DataError(f"config.compare.first={settings.first} and config.compare.second={settings.second} hold no"
                    f" evaluation of the same task, data set, split and protocol: {'; '.join(alone)}")
  written = []
  for pair in matched:
    if len(matched) > 1 and not _is_fit(pair, settings):
      continue
    rows = [_row(result, settings, side) for result, side in zip(pair, _SIDES, strict=True)]
    path = registry.claim(config, out, evaluation=names[id(pair[0])])
    written.append(results.write(path, _compared(pair, rows, config)))
  if not written:
    raise DataError(f"{settings.first} and {settings.second}: no result holds outcomes by subject in the rows"
                    f" {settings.first_row!r} and {settings.second_row!r} with config.compare.centred="
                    f"{settings.centred} and config.compare.conditions={tuple(settings.conditions)}")
  return written


def _is_fit(pair: tuple[Result, Result], settings) -> bool:
  """Whether both results have the row and the conditions asked for, and outcomes in them: of folders, what does not is
  left out."""
  try:
    rows = [_row(result, settings, side) for result, side in zip(pair, _SIDES, strict=True)]
    _conditions(pair, rows, settings)
  except ConfigError:
    return False
  return all(any(figures.by_subject for figures in row.figures.values()) for row in rows)


def _compared(pair: tuple[Result, Result], rows: list[Row], config) -> Result:
  """The comparison of `rows` of two results of the same evaluation."""
  settings, first = config.compare, pair[0]
  if not same_data(*pair):
    raise DataError(f"{settings.first} and {settings.second} were evaluated on different builds of {first.data.name}:"
                    " their probes are not the same; evaluate one of them again")
  if rows[0].centred != rows[1].centred:
    raise ConfigError(f"{settings.first} is centred by {rows[0].centred}, {settings.second} by {rows[1].centred}:"
                      " evaluate both with the same config.centre_by")
  tests, left_out, both = {}, [], {}
  for condition in _conditions(pair, rows, settings):
    sides = [row.figures.get(condition, Figures()).by_subject for row in rows]
    if None in sides:
      if sides != [None, None]:
        left_out.append(f"{condition} is left out: {settings[_SIDES[sides.index(None)]]} has no outcomes of it.")
      continue
    try:
      tests[condition] = _tests([sides], condition, config)
      both[condition] = sides
    except TooFew as error:
      left_out.append(f"{condition} is left out: {error}.")
  if not tests:
    why = " ".join(left_out) or "they hold no outcomes by subject; evaluate them again"
    raise DataError(f"{settings.first} and {settings.second}, the rows {settings.first_row!r} and"
                    f" {settings.second_row!r} of {first.title!r}: {why}")
  if len(tests) > 1 and MEAN not in tests:
    tests[MEAN] = _tests(list(both.values()), f"the mean of {', '.join(both)}", config)
  shown = [column for column in columns.OUTCOMES if any(column.key in found for found in tests.values())]
  titles = [f"{label}: {row.title}" for label, row in zip("AB", rows, strict=True)]
  return Result(
    task="compare", title=f"{first.title}: two systems", notes=left_out + _notes(pair, settings), data=first.data,
    pretraining=Pretraining(), protocol=first.protocol, config=config.to_dict(),
    conditions=[Condition(name=name, title=f"{name}: {_counts(found)}") for name, found in tests.items()],
    columns=[column for outcome in shown for column in (
      dataclasses.replace(outcome, interval=True),
      Column(key=f"p_{outcome.key}", title="p", better="", digits=4))],
    rows=[Row(name=name, title=title, centred=rows[0].centred, figures=_figures(tests, name))
          for name, title in zip((*_SIDES, "difference"), (*titles, "B - A"), strict=True)],
    details={"comparison": tests, "compared": [
      {"file": str(settings[side]), "row": settings[f"{side}_row"], "pretraining": encoded(result.pretraining),
       "checkpoint": result.checkpoint and encoded(result.checkpoint)}
      for side, result in zip(_SIDES, pair, strict=True)]})


def _read(path: str, side: str) -> list[Shown]:
  """The results of a side that hold outcomes."""
  if not path:
    raise ConfigError(f"config.compare.{side} is empty; give a result file, or a folder of results")
  holding = sorted(task.name for task in registry.TASKS.values() if task.outcomes)
  found = [shown for shown in sources.read(path, flag=f"config.compare.{side}").results if shown.result.task in holding]
  if not found:
    raise DataError(f"config.compare.{side}={path}: no result holds outcomes by subject; those of the tasks"
                    f" {', '.join(holding)} do")
  return found


def _row(result: Result, settings, side: str) -> Row:
  """The row of the name asked for, plain or centred as asked for; where a score has one of the two alone, that one."""
  name = settings[f"{side}_row"]
  rows = {row.name: row for row in sorted(result.rows, key=lambda row: (row.centred != "none") == settings.centred)}
  if name not in rows:
    raise ConfigError(f"config.compare.{side}_row is {name!r}; {settings[side]} has the rows"
                      f" {', '.join(rows) or 'none'}")
  if settings.centred and rows[name].centred == "none":
    raise ConfigError(f"config.compare.centred: {settings[side]} has no centred row {name!r}; evaluate with"
                      " config.centre_by=view, condition or condition_view")
  return rows[name]


def _conditions(pair: tuple[Result, Result], rows: list[Row], settings) -> list[str]:
  """The conditions asked for, of which both rows must have outcomes, or all of the first result."""
  for side, row in zip(_SIDES, rows, strict=True):
    known = [name for name, figures in row.figures.items() if figures.by_subject]
    if wrong := [name for name in settings.conditions if name not in known]:
      raise ConfigError(f"config.compare.conditions={tuple(settings.conditions)}: {settings[side]} has no outcomes of"
                        f" {wrong[0]!r}; it has those of {', '.join(known) or 'none'}")
  return list(settings.conditions) or [condition.name for condition in pair[0].conditions]


def _tests(conditions: list[list[BySubject]], name: str, config) -> dict[str, dict]:
  """The paired test of each outcome that both sides of all `conditions` have; raises `TooFew` where it cannot be made
  of so few people."""
  settings = config.compare
  try:
    return {c.key: tested(*zip(*conditions, strict=True), c.key, resamples=settings.resamples, seed=config.seed)
            for c in columns.OUTCOMES if None not in [getattr(by, c.key) for sides in conditions for by in sides]}
  except TooFew:
    raise
  except DataError as error:
    raise DataError(f"{settings.first} and {settings.second}, {name}: {error}; evaluate both on the same walks by"
                    " the same protocol") from error


def _figures(tests: dict[str, dict], row: str) -> dict[str, Figures]:
  figures = {}
  for name, found in tests.items():
    figures[name] = {key: test[row] for key, test in found.items()}
    if row == "difference":
      figures[name] |= {f"p_{key}": test["p"] for key, test in found.items()}
      figures[name]["ci"] = {key: test["ci"] for key, test in found.items()}
  return results.figures_of(figures)


def _counts(found: dict[str, dict]) -> str:
  test = next(iter(found.values()))
  titles = {column.key: column.title.removesuffix(" %") for column in columns.OUTCOMES}
  better = [f"by {titles[key]} for {by['better_subjects']}, worse for {by['worse_subjects']}"
            for key, by in found.items()]
  return f"{test['trials']} trials of {test['subjects']} subjects; B better {'; '.join(better)}"


def _notes(pair: tuple[Result, Result], settings) -> list[str]:
  notes = []
  for label, side, result in zip("AB", _SIDES, pair, strict=True):
    seen = ", ".join([*result.pretraining.datasets, result.pretraining.label_use])
    how = f" ({result.protocol.metric} distance)" if result.protocol else ""
    notes.append(f"{label}: row {settings[f'{side}_row']} of {settings[side]}{how}, whose network was pretrained on"
                 f" {seen if result.pretraining.datasets else 'data not known'}.")
  return [*notes, "Figures are over all trials (of retrieval, a probe in a gallery view). Intervals of the difference:"
          f" {settings.resamples} resamples of the probe subjects; p: two-sided, of a permutation test that swaps the"
          " two systems subject by subject, not corrected for the number of conditions."]
