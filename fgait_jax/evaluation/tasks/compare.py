"""The task "compare": is one finished evaluation better than another on the same probes? From result files alone.

The test is that of pairing.py, over the subjects of the probes.
"""

import pathlib

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.metrics.pairing import OUTCOMES, pairs, same_data, tested


def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `compare-<evaluation>.json` for each evaluation that both sides hold.

  Raises `ConfigError` for unset keys and unknown rows, `DataError` where nothing can be paired.
  """
  settings = config.compare
  if settings.resamples < 100:
    raise ConfigError(f"config.compare.resamples={settings.resamples} must be at least 100")
  sides = [_read(settings[side], side) for side in ("first", "second")]
  contents = [[content for _, content in side] for side in sides]
  matched, alone = pairs(*contents)
  names = {id(content): path.stem for path, content in sides[0]}
  if not matched:
    raise DataError(f"config.compare.first={settings.first} and config.compare.second={settings.second} hold no"
                    f" evaluation of the same task, data set, split and protocol: {'; '.join(alone)}")
  single = len(matched) == 1
  written = []
  for first, second in matched:
    if not single and not all(_has_outcomes(_model_row(c, settings[f"{s}_row"], settings[s], s))
                              for c, s in ((first, "first"), (second, "second"))):
      continue  # of folders, what holds outcomes is compared
    path = results.claim(out / f"compare-{names[id(first)]}.json", config)
    written.append(results.write(path, compared(first, second, config)))
  if not written:
    raise DataError(f"{settings.first} and {settings.second}: no result holds outcomes by subject; those of the tasks"
                    " zero_shot, score, fine_tune and linear_probe do, unless an earlier version wrote them")
  return written


def compared(first: dict, second: dict, config) -> dict:
  """The result file of one comparison; `first` and `second` are contents of result files of the same evaluation."""
  settings = config.compare
  if not same_data(first, second):
    raise DataError(f"{settings.first} and {settings.second} were evaluated on different builds of"
                    f" {first['data']['name']}: their probes are not the same; evaluate one of them again")
  rows = [_model_row(content, settings[f"{side}_row"], settings[side], side)
          for content, side in ((first, "first"), (second, "second"))]
  centred = rows[0]["centred"]
  if rows[1]["centred"] != centred:
    raise ConfigError(f"{settings.first} is centred by {centred}, {settings.second} by {rows[1]['centred']}: evaluate"
                      " both with the same config.centre_by")
  tests = {}
  for condition in first["conditions"]:
    name = condition["name"]
    by = [row["figures"].get(name, {}).get("by_subject") for row in rows]
    if None not in by:
      tests[name] = {key: _tested(by, key, name, config) for key in OUTCOMES if key in by[0] and key in by[1]}
  if not tests:
    raise DataError(f"{settings.first} and {settings.second}: the rows {settings.first_row!r} and"
                    f" {settings.second_row!r} of {first['title']!r} hold no outcomes by subject; evaluate them again")
  keys = [key for key in OUTCOMES if any(key in found for found in tests.values())]
  titles = [f"{label}: {row['title']}" for label, row in zip("AB", rows, strict=True)]
  table = [
    {"name": name, "title": title, "centred": centred, "figures": _figures(tests, name)}
    for name, title in zip(("first", "second", "difference"), (*titles, "B - A"), strict=True)
  ]
  metrics = [metric for key in keys for metric in (
    {"key": key, "title": OUTCOMES[key], "interval": True, "best": 100, "digits": 1},
    {"key": f"p_{key}", "title": "p", "interval": False, "best": 0, "digits": 4})]
  return {
    "task": "compare", "title": f"{first['title']}: two systems", "notes": _notes(first, second, settings),
    "data": first["data"], "pretraining": {"datasets": []}, "config": config.to_dict(), "pictures": [],
    "protocol": first.get("protocol"), "rows": table, "metrics": metrics, "comparison": tests,
    "compared": [{"file": str(settings[side]), "row": settings[f"{side}_row"], "checkpoint": content.get("checkpoint"),
                  "pretraining": content["pretraining"]} for side, content in (("first", first), ("second", second))],
    "conditions": [{"name": name, "title": f"{name}: {_counts(found)}"} for name, found in tests.items()],
  }


def _read(path: str, side: str) -> list[tuple[pathlib.Path, dict]]:
  if not path:
    raise ConfigError(f"config.compare.{side} is empty; give a result file, or a folder of results")
  found = [(p, results.read(p)) for p in results.find(path)]
  return [(p, content) for p, content in found if content["task"] not in ("compare", "identify")]


def _model_row(content: dict, name: str, path: str, side: str) -> dict:
  """The plain row of that name; of a score that was centred, which has no plain one, the centred row."""
  rows = {row["name"]: row for row in sorted(content["rows"], key=lambda row: row["centred"] == "none")}
  if name not in rows:
    raise ConfigError(f"config.compare.{side}_row is {name!r}; {path} has the rows {', '.join(rows) or 'none'}")
  return rows[name]


def _has_outcomes(row: dict) -> bool:
  return any("by_subject" in figures for figures in row["figures"].values())


def _tested(by: list[dict], key: str, condition: str, config) -> dict:
  settings = config.compare
  try:
    return tested(*by, key, resamples=settings.resamples, seed=config.seed)
  except DataError as error:
    raise DataError(f"{settings.first} and {settings.second}, {condition}: {error}; evaluate both on the same walks by"
                    " the same protocol") from error


def _figures(tests: dict, side: str) -> dict:
  figures = {}
  for name, found in tests.items():
    figures[name] = {key: test[side] for key, test in found.items()} | {"ci": {}}
    if side == "difference":
      figures[name] |= {f"p_{key}": test["p"] for key, test in found.items()}
      figures[name]["ci"] = {key: test["ci"] for key, test in found.items()}
  return figures


def _counts(found: dict) -> str:
  test = next(iter(found.values()))
  return (f"{test['trials']} trials of {test['subjects']} subjects; B better for {test['better_subjects']}, worse for"
          f" {test['worse_subjects']}")


def _notes(first: dict, second: dict, settings) -> list[str]:
  notes = []
  for label, side, content in (("A", "first", first), ("B", "second", second)):
    pretraining = content["pretraining"]
    seen = ", ".join(pretraining["datasets"]) or "data not known"
    seen += f", {pretraining['labels']}" if "labels" in pretraining else ""
    metric = (content.get("protocol") or {}).get("metric")
    how = f", {metric} distance" if metric else ""
    notes.append(f"{label}: row {settings[f'{side}_row']} of {settings[side]}{how}, pretrained on {seen}.")
  return [*notes, "Figures are over all trials (a probe in a gallery view). Intervals of the difference:"
          f" {settings.resamples} resamples of the probe subjects; p: two-sided, of a permutation test that swaps the"
          " two systems subject by subject, not corrected for the number of conditions."]
