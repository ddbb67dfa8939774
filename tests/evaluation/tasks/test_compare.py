"""Two result files: paired over the same subjects, refused where they are not of the same probes."""

import dataclasses
import re

import numpy as np
import pytest

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.metrics import pairing
from fgait_jax.evaluation.report import tables
from fgait_jax.evaluation.tasks import compare, score
from tests.evaluation.conftest import content, typed


def protocol(name, metric="euclidean"):
  return {"name": name, "title": name, "source": "made up", "metric": metric}


def result(hits, *, trials=4, content="d", name="walkers", title="tiny, 100 steps"):
  """A zero-shot result of one condition; `hits` of each of the subjects in per cent."""
  by = {"subjects": [f"{n:03d}" for n in range(len(hits))], "rank1": list(hits), "map": [h / 2 for h in hits],
        "trials": [trials] * len(hits)}
  return {
    "format": results.FORMAT, "task": "zero_shot", "title": "Zero-shot", "notes": [], "config": {},
    "data": {"name": name, "split": "test", "kind": "synthetic", "walks": 8, "subjects": 2, "content_hash": content},
    "pretraining": {"datasets": ["walkers (train)"]}, "protocol": protocol("walkers"),
    "conditions": [{"name": "CL", "title": "CL"}], "columns": [],
    "rows": [{"name": "model", "title": title, "centred": "none", "figures": {"CL": {"by_subject": by}}}],
  }


def centred(found):
  """As a score of centred embeddings: no plain row."""
  return found | {"rows": [row | {"centred": "view"} for row in found["rows"]]}


def config_of(first, second, **values):
  config = defaults.evaluation().unlock()
  config.task, config.compare.first, config.compare.second = "compare", str(first), str(second)
  config.compare.resamples = 500
  config.compare.update(values)
  return config.lock()


def written(tmp_path, *contents):
  return [results.write(tmp_path / side / "zero_shot-walkers.json", typed(one))
          for side, one in zip("ab", contents, strict=True)]


def test_a_constant_gain_is_found_and_printed(tmp_path):
  rng = np.random.default_rng(0)
  low = rng.choice([0.0, 25.0, 50.0], 12)
  first, second = written(tmp_path, result(low), result(low + 25, title="tiny, 200 steps"))
  (path,) = compare.run(config_of(first, second), tmp_path)
  assert path.name == "compare-zero_shot-walkers.json"
  test = content(path)["comparison"]["CL"]["rank1"]
  assert test["difference"] == pytest.approx(25)
  assert test["ci"] == pytest.approx([25, 25])
  assert test["p"] == pytest.approx(1 / 501, abs=0.005)
  assert test["second"] - test["first"] == pytest.approx(25)
  assert (test["subjects"], test["trials"], test["better_subjects"]) == (12, 48, 12)
  text = tables.caption(results.read(path))
  assert "A: row model" in text
  assert "whose network was pretrained on walkers (train)" in text  # the row may be of the mean silhouette


def test_equal_systems_do_not_differ_and_folders_are_paired(tmp_path):
  written(tmp_path, result([0, 50, 100]), result([0, 50, 100]))
  (path,) = compare.run(config_of(tmp_path / "a", tmp_path / "b"), tmp_path)
  test = content(path)["comparison"]["CL"]["rank1"]
  assert (test["difference"], test["p"]) == (0, 1)


def test_the_plain_row_is_compared_where_there_is_a_centred_one(tmp_path):
  both = result([0, 50, 100])
  both["rows"] = centred(result([100, 100, 100]))["rows"] + both["rows"]
  first, second = written(tmp_path, both, result([0, 50, 100]))
  (path,) = compare.run(config_of(first, second), tmp_path)
  assert content(path)["comparison"]["CL"]["rank1"]["difference"] == 0
  (path,) = compare.run(config_of(first, first, centred=True), tmp_path / "centred")
  assert content(path)["comparison"]["CL"]["rank1"]["first"] == 100
  assert {row.centred for row in results.read(path).rows} == {"view"}
  with pytest.raises(ConfigError, match="config.compare.centred: .* has no centred row 'model'; evaluate with"):
    compare.run(config_of(first, second, centred=True), tmp_path / "centred")


def of_conditions(**hits):
  """`result` with a condition of each name."""
  found = result(next(iter(hits.values())))
  found["conditions"] = [{"name": name, "title": name} for name in hits]
  by = {name: result(of)["rows"][0]["figures"]["CL"] for name, of in hits.items()}
  found["rows"] = [dict(found["rows"][0], figures=by)]
  return found


def test_conditions_asked_for_are_compared_alone_and_as_their_mean(tmp_path):
  """Of eight people each gains in one of the conditions: in both together all gain."""
  first, second = written(
    tmp_path, of_conditions(A=[0] * 8, D=[50] * 8, E=[25] * 8),
    of_conditions(A=[0] * 8, D=[75] * 4 + [50] * 4, E=[25] * 4 + [50] * 4))
  (path,) = compare.run(config_of(first, second, conditions=("D", "E")), tmp_path)
  tests = content(path)["comparison"]
  assert list(tests) == ["D", "E", "mean"]
  mean, alone = tests["mean"]["rank1"], tests["D"]["rank1"]
  assert (mean["first"], mean["second"], mean["difference"]) == (37.5, 50, 12.5)
  assert (mean["better_subjects"], alone["better_subjects"]) == (8, 4)
  assert mean["p"] == pytest.approx(2 / 2**8, abs=0.012)
  assert alone["p"] == pytest.approx(2 / 2**4, abs=0.05)
  with pytest.raises(ConfigError, match=r"conditions=\('D', 'F'\): \S+a/\S+ has no outcomes of 'F'; it has .* A, D, E"):
    compare.run(config_of(first, second, conditions=("D", "F")), tmp_path / "none")
  (path,) = compare.run(config_of(first, second, conditions=("D", "E"), resamples=501), tmp_path / "more")
  assert content(path)["comparison"]["mean"]["rank1"]["trials"] == 2 * 8 * 4
  both = [path.parent for path in (first, second)]
  for folder in both:
    results.write(folder / "zero_shot-more.json", typed(result([0, 50], name="more")))
  with pytest.raises(DataError, match=r"no result holds outcomes .* config.compare.conditions=\('F',\)"):
    compare.run(config_of(*both, conditions=("F",)), tmp_path / "none")


def test_a_condition_that_one_side_has_no_outcomes_of_is_named(tmp_path):
  """The mean is of the others, and no longer what it seems."""
  first, second = written(tmp_path, of_conditions(A=[0] * 8, D=[50] * 8, E=[25] * 8),
                          of_conditions(A=[0] * 8, D=[75] * 8))
  (path,) = compare.run(config_of(first, second), tmp_path)
  found = results.read(path)
  assert list(found.details["comparison"]) == ["A", "D", "mean"]
  assert f"E is left out: {second} has no outcomes of it." in found.notes
  with pytest.raises(ConfigError, match=rf"\('E', 'D'\): {second} has no outcomes of 'E'; it has those of A, D"):
    compare.run(config_of(first, second, conditions=("E", "D")), tmp_path / "asked")


def test_seeds_draw_other_people_and_each_measure_says_for_how_many_it_is_better(tmp_path):
  rng = np.random.default_rng(0)
  low, high = (result((25.0 * rng.integers(0, 5, 12)).tolist()) for _ in range(2))
  high["rows"][0]["figures"]["CL"]["by_subject"]["map"] = [100] * 12
  first, second = written(tmp_path, low, high)
  intervals = []
  for seed in (0, 1):
    config = config_of(first, second).unlock()
    config.seed = seed
    (path,) = compare.run(config.lock(), tmp_path / str(seed))
    found = results.read(path)
    intervals.append(found.details["comparison"]["CL"]["rank1"]["ci"])
  assert intervals[0] != intervals[1]
  test = found.details["comparison"]["CL"]
  assert test["map"]["better_subjects"] == 12 != test["rank1"]["better_subjects"]
  assert found.conditions[0].title.endswith(
    f"B better by rank-1 for {test['rank1']['better_subjects']}, worse for {test['rank1']['worse_subjects']};"
    " by mAP for 12, worse for 0")


def test_a_condition_of_one_subject_is_left_out_of_the_others(tmp_path):
  both = []
  for hits in ([0, 50, 100], [50, 50, 100]):
    one = result(hits)
    one["conditions"].append({"name": "d3", "title": "d3"})
    alone = {"subjects": ["000"], "rank1": [100], "map": [50], "trials": [2]}
    one["rows"][0]["figures"]["d3"] = {"by_subject": alone}
    both.append(one)
  first, second = written(tmp_path, *both)
  (path,) = compare.run(config_of(first, second), tmp_path)
  found = results.read(path)
  assert [condition.name for condition in found.conditions] == ["CL"]
  assert "d3 is left out: 1 probe subject; a paired test wants two." in found.notes
  for one in both:
    del one["rows"][0]["figures"]["CL"]
  first, second = written(tmp_path, *both)
  with pytest.raises(DataError, match="of 'Zero-shot': d3 is left out: 1 probe subject; a paired test wants two"):
    compare.run(config_of(first, second), tmp_path / "alone")


def test_of_folders_what_lacks_the_row_asked_for_is_left_out(tmp_path):
  written(tmp_path, result([0, 50, 100]), result([0, 50, 100]))
  for side in "ab":
    probe = result([0, 50, 100]) | {"task": "linear_probe", "title": "Probe"}
    probe["rows"] = [probe["rows"][0] | {"name": "other"}]
    results.write(tmp_path / side / "linear_probe-walkers.json", typed(probe))
  (path,) = compare.run(config_of(tmp_path / "a", tmp_path / "b"), tmp_path)
  assert path.name == "compare-zero_shot-walkers.json"


def test_a_score_of_other_embeddings_under_the_same_name_is_not_replaced(tmp_path):
  walks = {"labels": np.array(list("aabb")), "types": np.array(["gallery", "probe"] * 2),
           "views": np.array(["0"] * 4)}
  config = defaults.evaluation().unlock()
  config.task, config.protocol, config.bootstrap, config.embeddings = "score", "own", 0, str(tmp_path / "e.npz")
  values = np.arange(8, dtype=np.float32).reshape(4, 2, 1)
  np.savez(config.embeddings, embeddings=values, **walks)
  assert score.run(config, tmp_path) == score.run(config, tmp_path)
  np.savez(config.embeddings, embeddings=values[::-1], **walks)
  with pytest.raises(ConfigError, match="own.json is there already, .* other settings:\n  content of the data"):
    score.run(config, tmp_path)


def test_embeddings_of_two_tools_are_compared_by_their_probes(tmp_path):
  """Other embeddings are another file: neither its name nor its hash says that the walks are others."""
  one, two = (result([0, 50, high], content=name, name=f"{name}.npz") | {"task": "score"} for high, name in (
    (50, "a"), (100, "b")))
  for side in (one, two):
    side["data"]["kind"] = "embeddings"
  first, second = written(tmp_path, one, two)
  (path,) = compare.run(config_of(first, second), tmp_path)
  assert content(path)["comparison"]["CL"]["rank1"]["better_subjects"] == 1
  text = tables.caption(results.read(path))
  assert "whose network was pretrained on walkers (train)" in text
  assert "What their model was pretrained on is not known" not in text
  first, second = written(tmp_path, one, two | {"protocol": protocol("casia_b")})
  with pytest.raises(DataError, match="hold no evaluation of the same task, data set"):
    compare.run(config_of(first, second), tmp_path)


def test_scores_of_other_metrics_and_centred_ones_are_compared_and_named(tmp_path):
  one, two = (centred(result([0, 50, high], content=metric)) | {"task": "score"} | {
    "protocol": protocol("walkers", metric)} for high, metric in ((50, "euclidean"), (100, "cosine")))
  (path,) = compare.run(config_of(*written(tmp_path, one, two)), tmp_path)
  found = content(path)
  assert found["comparison"]["CL"]["rank1"]["better_subjects"] == 1
  assert {row["centred"] for row in found["rows"]} == {"view"}
  assert re.search(r"A: row model of .* \(euclidean distance\), .*B: row model of .* \(cosine distance\), ",
                   tables.caption(results.read(path)))


def test_classes_are_compared_by_subject(tmp_path):
  """Scores of classes hold each subject's accuracy, as the advice to evaluate again promises."""
  subjects, types = np.array([f"{n:03d}" for n in range(9)]), np.array(["negative", "neutral", "positive"] * 3)
  logits = np.eye(3, dtype=np.float32)[np.tile(np.arange(3), 3)][..., None]
  for name, shift in (("a", 0), ("b", 1)):
    np.savez(tmp_path / f"{name}.npz", embeddings=np.roll(logits, [0, shift], (0, 1)), labels=subjects, types=types,
             views=types)
    config = defaults.evaluation().unlock()
    config.task, config.protocol, config.bootstrap = "score", "scoliosis1k", 0
    config.embeddings = str(tmp_path / f"{name}.npz")
    score.run(config, tmp_path / name)
  config.centre_by = "condition"
  with pytest.raises(ConfigError, match="centre_by=condition, but protocol scoliosis1k scores classes"):
    score.run(config, tmp_path / "centred")
  (path,) = compare.run(config_of(tmp_path / "a", tmp_path / "b"), tmp_path)
  test = content(path)["comparison"]["all"]["accuracy"]
  assert (test["first"], test["second"], test["subjects"]) == (100, 0, 9)


@pytest.mark.parametrize("second,values,error,message", [
  (result([0, 50, 100, 0]), {}, DataError, r"CL: the probes are not the same \(3 and 4 subjects, 12 and 16 trials\)"),
  (result([0, 50, 100], trials=5), {}, DataError, r"CL: the probes are not the same .*, 12 and 15 trials\)"),
  (centred(result([0, 50, 100])), {}, ConfigError, "a/.*json is centred by none, .*b/.*json by view: evaluate both"),
  (result([0, 50, 100], content="e"), {}, DataError, "different builds of walkers"),
  (result([0, 50, 100], name="kth"), {}, DataError, "hold no evaluation of the same task, data set"),
  (result([0, 50, 100]), {"second_row": "gei"}, ConfigError, "second_row is 'gei'; .* has the rows model"),
  (result([0, 50, 100]) | {"task": "robustness"}, {}, DataError,
   "config.compare.second=.*: no result holds outcomes by subject; those of the tasks fine_tune, linear_maps, .* do"),
  (result([0, 50, 100]), {"resamples": 3}, ConfigError, "config.compare.resamples=3 must be at least 100"),
])
def test_what_cannot_be_paired_is_said(tmp_path, second, values, error, message):
  first, second = written(tmp_path, result([0, 50, 100]), second)
  with pytest.raises(error, match=message):
    compare.run(config_of(first, second, **values), tmp_path)
  with pytest.raises(ConfigError, match="config.compare.second is empty"):
    compare.run(config_of(first, ""), tmp_path)


def test_the_map_of_probes_without_a_mate_is_paired_over_those_that_have_one():
  by = pairing.BySubject(subjects=["a", "b", "c"], rank1=[50, 0, 100], trials=[2, 2, 1], map=[40, None, 80],
                         map_trials=[1, 0, 1])
  better = dataclasses.replace(by, map=[60, None, 90])
  found = pairing.tested([by], [better], "map", resamples=10, seed=0)
  assert (found["first"], found["second"], found["trials"], found["subjects"]) == (60, 75, 2, 2)
  assert pairing.tested([by], [by], "rank1", resamples=10, seed=0)["trials"] == 5
