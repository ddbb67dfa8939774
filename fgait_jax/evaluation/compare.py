"""The task "compare": is one finished evaluation better than another on the same probes? From result files alone.

Result files keep each probe subject's mean outcome and number of trials (`by_subject`). The paired test draws and swaps
whole subjects, so these hold all that single probes would say.
"""

import pathlib

import numpy as np

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import results, statistics
from fgait_jax.evaluation.report.compare import pairs

OUTCOMES = {"rank1": "rank-1 %", "map": "mAP %", "accuracy": "accuracy %"}


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
  if not matched and [len(side) for side in contents] == [1, 1] and _scored_alike(*contents[0], *contents[1]):
    matched = [(contents[0][0], contents[1][0])]
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
    result = compared(first, second, config)
    written.append(results.write(out / f"compare-{names[id(first)]}.json", result))
  if not written:
    raise DataError(f"{settings.first} and {settings.second}: no result holds outcomes by subject; those of the tasks"
                    " zero_shot, score, fine_tune and linear_probe do")
  return written


def compared(first: dict, second: dict, config) -> dict:
  """The result file of one comparison; `first` and `second` are contents of result files of the same evaluation."""
  settings = config.compare
  if not _scored_alike(first, second) and first["data"]["content_hash"] != second["data"]["content_hash"]:
    raise DataError(f"{settings.first} and {settings.second} were evaluated on different builds of"
                    f" {first['data']['name']}: their probes are not the same; evaluate one of them again")
  rows = [_model_row(content, settings[f"{side}_row"], settings[side], side)
          for content, side in ((first, "first"), (second, "second"))]
  tests = {}
  for condition in first["conditions"]:
    name = condition["name"]
    by = [row["figures"].get(name, {}).get("by_subject") for row in rows]
    if None not in by:
      tests[name] = {key: _tested(*by, key, name, config) for key in OUTCOMES if key in by[0] and key in by[1]}
  if not tests:
    raise DataError(f"{settings.first} and {settings.second}: the rows {settings.first_row!r} and"
                    f" {settings.second_row!r} of {first['title']!r} hold no outcomes by subject; evaluate them again")
  keys = [key for key in OUTCOMES if any(key in found for found in tests.values())]
  titles = [f"{label}: {row['title']}" for label, row in zip("AB", rows, strict=True)]
  table = [
    {"name": "first", "title": titles[0], "centred": "none", "figures": _figures(tests, "first")},
    {"name": "second", "title": titles[1], "centred": "none", "figures": _figures(tests, "second")},
    {"name": "difference", "title": "B - A", "centred": "none", "figures": _figures(tests, "difference")},
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


def _scored_alike(first: dict, second: dict) -> bool:
  """Both score embeddings from a file by the same protocol: other embeddings are other files, of the same walks or not,
  which subjects and trials must tell."""
  return all(content["task"] == "score" for content in (first, second)) and first["protocol"] == second["protocol"]


def _read(path: str, side: str) -> list[tuple[pathlib.Path, dict]]:
  if not path:
    raise ConfigError(f"config.compare.{side} is empty; give a result file, or a folder of results")
  found = [(p, results.read(p)) for p in results.find(path)]
  return [(p, content) for p, content in found if content["task"] not in ("compare", "identify")]


def _model_row(content: dict, name: str, path: str, side: str) -> dict:
  rows = {row["name"]: row for row in content["rows"] if row["centred"] == "none"}
  if name not in rows:
    raise ConfigError(f"config.compare.{side}_row is {name!r}; {path} has the rows {', '.join(rows) or 'none'}")
  return rows[name]


def _has_outcomes(row: dict) -> bool:
  return any("by_subject" in figures for figures in row["figures"].values())


def _tested(first: dict, second: dict, key: str, condition: str, config) -> dict:
  """Figures over all trials of both, their difference, its interval and p."""
  sides = []
  for by in (first, second):
    trials = dict(zip(by["subjects"], by["trials"], strict=True))
    sides.append(({n: v * trials[n] for n, v in zip(by["subjects"], by[key], strict=True) if v is not None}, trials))
  (one, trials), (two, others) = sides
  names = sorted(one)
  if set(one) != set(two) or any(trials[name] != others[name] for name in names):
    raise DataError(f"{config.compare.first} and {config.compare.second}: the probes of {condition} are not the same"
                    f" ({len(one)} and {len(two)} subjects); evaluate both on the same walks by the same protocol")
  counts = np.array([trials[name] for name in names], np.float64)
  a, b = (np.array([side[name] for name in names], np.float64) for side in (one, two))
  if len(names) < 2:
    raise DataError(f"{config.compare.first}: {condition} has {len(names)} probe subject; a paired test wants two")
  found = statistics.paired_sums(b - a, counts, resamples=config.compare.resamples, seed=config.seed)
  return {"first": a.sum() / counts.sum(), "second": b.sum() / counts.sum(), **found, "subjects": len(names),
          "trials": int(counts.sum()), "better_subjects": int((b > a).sum()), "worse_subjects": int((b < a).sum())}


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
    seen = ", ".join(content["pretraining"]["datasets"]) or "data not known"
    notes.append(f"{label}: row {settings[f'{side}_row']} of {settings[side]}, pretrained on {seen}.")
  return [*notes, "Figures are over all trials (a probe in a gallery view). Intervals of the difference:"
          f" {settings.resamples} resamples of the probe subjects; p: two-sided, of a permutation test that swaps the"
          " two systems subject by subject, not corrected for the number of conditions."]
