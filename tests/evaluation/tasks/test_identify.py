"""Probes against a gallery: nearest subjects, the threshold from strangers, and what is refused."""

import csv
import io
import shutil
import types

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from fgait_jax import defaults
from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.features import files
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.report import tables
from fgait_jax.evaluation.tasks import identify
from fgait_jax.parallel.mesh import make_mesh
from tests.evaluation.conftest import content


def features(places, subjects, *, types="nm", parts=2):
  """Walks that lie on a line: distances are those of the numbers `places`."""
  values = np.zeros((len(places), 3, parts), np.float32)
  values[:, 0] = np.asarray(places, np.float32)[:, None]
  values[:, 1] = 1  # never a zero vector
  column = np.array([types] * len(places) if isinstance(types, str) else types)
  return Features(embeddings=values, subjects=np.array(subjects), conditions=column,
                  views=np.array(["000"] * len(places)), keys=np.array([f"k{n}" for n in range(len(places))]))


GALLERY = features([0, 1, 10, 11, 12, 30], ["a", "a", "b", "b", "b", "c"])


def config_of(tmp_path, *, probes, gallery=GALLERY, validation=None, identities=None, **values):
  config = defaults.evaluation().unlock()
  config.task = "identify"
  for side, found in (("probes", probes), ("gallery", gallery), ("validation", validation)):
    if found is not None:
      config[side] = str(tmp_path / f"{side}.npz")
      files.save(config[side], found, identity=(identities or {}).get(side))
  config.update(values)
  return config.lock()


def test_a_walk_is_sought_among_its_persons_walks_of_other_types():
  walks = features([20, 21, 40], ["p"] * 3, types=["nm", "nm", "cl"])
  np.testing.assert_allclose(identify._own_distances(walks, "euclidean"), [20, 19, 19], rtol=1e-5)
  alike = features([20, 21, 40], ["p"] * 3)  # of one type: among the others, never itself
  np.testing.assert_allclose(identify._own_distances(alike, "euclidean"), [1, 1, 19], rtol=1e-5)
  turned = features([0, 1, 1], ["p"] * 3)  # an angle of 45 degrees between the first and the others
  np.testing.assert_allclose(identify._own_distances(turned, "cosine"), [1 - 0.5**0.5, 0, 0], atol=1e-6)


@pytest.mark.parametrize("asked, strangers", [(0.1, 20), (0.25, 200), (0.01, 10)])
def test_of_other_strangers_so_many_are_accepted_as_is_said(asked, strangers):
  """Within the walks that chose the threshold fewer lie below it: of new ones more were let in than asked otherwise."""
  draws, accepted, said = np.random.default_rng(0), [], 0.0
  for _ in range(200):
    places = 100 + 100 * draws.random(strangers + 100)
    found = identify.calibrate(features(places[:strangers], [f"s{n}" for n in range(strangers)]), GALLERY.take(
      np.array([0])), false_accept=asked, metric="euclidean", origin="v")
    accepted.append(np.mean(places[strangers:] < found.distance))
    said = found.false_accept
  assert said <= max(asked, 1 / (strangers + 1))
  assert np.mean(accepted) == pytest.approx(said, abs=0.015)


def test_figures_tell_the_nearest_from_the_answer():
  """Near the right person and beyond the threshold: found, and rejected."""
  labels, nearest, answers = (np.array(x) for x in (["a", "b", "y"], ["a", "a", "b"], ["unknown", "a", "b"]))
  found = identify.measure(labels, np.array(["a", "b"]), nearest, answers)
  assert {key: found[key] for key in ("rank1", "identified", "rejected", "accepted")} == {
    "rank1": 50, "identified": 0, "rejected": 50, "accepted": 100}


def test_nearest_subjects_are_exact_however_many_walks_each_has():
  rng = np.random.default_rng(0)
  subjects = rng.choice(list("abcdefg"), 60, p=[0.5, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05])
  gallery, probes = features(rng.normal(size=60), subjects), features(rng.normal(size=9), ["x"] * 9)
  named, distances = identify.nearest_subjects(probes, gallery, count=4, metric="euclidean")
  for probe, names, found in zip(probes.embeddings[:, 0, 0], named, distances, strict=True):
    by_subject = {s: np.abs(gallery.embeddings[subjects == s, 0, 0] - probe).min() for s in np.unique(subjects)}
    order = sorted(by_subject, key=by_subject.get)[:4]
    assert names.tolist() == order
    np.testing.assert_allclose(found, [by_subject[s] for s in order], atol=1e-3)


def test_probes_beyond_the_threshold_are_unknown(tmp_path):
  probes = features([0.5, 11.2, 20, 100], ["a", "b", "x", "y"])
  # Strangers lie 5, 6, 7 and 8 from the nearest gallery walk; of five one more is as likely to lie anywhere between.
  validation = features([-5, -6, 37, 38], ["p", "p", "q", "q"], types=["nm", "cl", "nm", "nm"])
  config = config_of(tmp_path, probes=probes, validation=validation, false_accept=0.4, top_k=2)
  paths = identify.run(config, tmp_path)
  found = content(paths[0])
  assert 5 < found["threshold"]["distance"] < 6.001
  assert (found["threshold"]["within"], found["threshold"]["false_accept"]) == (0.25, 0.4)
  assert found["threshold"]["false_reject"] == 0
  assert [m["answer"] for m in found["matches"]] == ["a", "b", "unknown", "unknown"]
  assert found["matches"][0]["candidates"][0]["subject"] == "a"
  assert found["matches"][0]["candidates"][0]["distance"] == pytest.approx(0.5, abs=1e-4)
  figures = found["rows"][0]["figures"]["probes"]
  assert (figures["identified"], figures["rejected"], figures["accepted"]) == (100, 0, 0)
  lines = list(csv.DictReader(paths[1].open()))
  assert len(lines) == 8
  assert (lines[1]["probe"], lines[1]["answer"], lines[1]["rank"], lines[1]["subject"]) == ("k0", "a", "2", "b")
  stream = io.StringIO()
  tables.show([results.read(paths[0])], console=Console(file=stream, width=110))
  assert "k2 (x, nm, 000)" in stream.getvalue()
  assert "unknown" in stream.getvalue()


@pytest.mark.parametrize("nameless", ["", "unknown", "probe"])
def test_probes_without_a_label_are_in_no_share(nameless, tmp_path):
  """They may be people of the gallery: taking them for strangers would call a right answer a false accept."""
  probes = features([0.5, 11.2, 100, 0.6, 0.7], ["a", "b", "y", nameless, nameless])
  config = config_of(tmp_path, probes=probes, validation=features([-50, 80], ["p", "q"]), false_accept=0.25)
  found = content(identify.run(config, tmp_path)[0])
  figures = found["rows"][0]["figures"]["probes"]
  assert (figures["probes_in_gallery"], figures["probes_not_in_gallery"], figures["probes_without_label"]) == (2, 1, 2)
  assert (figures["identified"], figures["rejected"], figures["accepted"]) == (100, 0, 0)
  assert found["conditions"][0]["title"].endswith("1 not, 2 without a label in no share")
  assert [m["answer"] for m in found["matches"]] == ["a", "b", "unknown", "a", "a"]


def test_without_validation_everyone_is_somebody(tmp_path):
  config = config_of(tmp_path, probes=features([100], ["y"]))
  found = content(identify.run(config, tmp_path)[0])
  assert found["matches"][0]["answer"] == "c"
  assert len(found["matches"][0]["candidates"]) == 3  # top_k is 5, the gallery has three
  assert found["threshold"] is None
  assert any("every probe is taken for somebody" in note for note in found["notes"])


def test_probes_that_are_walks_of_the_gallery_are_counted(tmp_path):
  config = config_of(tmp_path, probes=None)
  with config.unlocked():
    config.probes = config.gallery
  assert "6 of the probes are walks of the gallery" in tables.caption(results.read(identify.run(config, tmp_path)[0]))
  built = {side: {"weights": "run-1", "data": "d"} for side in ("probes", "gallery")}
  keyed = features([3, 4], ["a", "b"])  # of other frames of two walks of one build
  three = keyed.take(np.array([0, 0, 1]))
  for row, (probes, identities, count) in enumerate((
    (GALLERY.take(np.array([1])), {}, 1), (keyed, built, 2), (keyed, {}, 0), (three, built, 3))):
    config = config_of(tmp_path, probes=probes, identities=identities, seed=1)
    caption = tables.caption(results.read(identify.run(config, tmp_path / f"built{row}")[0]))
    assert (f"Caution: {count} of the probes are walks of the gallery" in caption) == (count > 0)


def test_one_walk_under_two_names_and_sides_that_were_not_treated_alike_are_said(tmp_path):
  gallery = features([0, 10, 0, 30], ["a", "b", "c", "c"])
  identities = {"gallery": {"mirror": ["*-l"], "max_frames": 5}, "probes": {"mirror": [], "max_frames": 5}}
  config = config_of(tmp_path, probes=features([1], ["a"]), gallery=gallery, identities=identities)
  notes = results.read(identify.run(config, tmp_path)[0]).notes
  assert any("holds one and the same walk for two people, as k0 and k2:" in note for note in notes)
  assert ("Caution: the walks of the two sides were not treated alike: of probes those of views none were mirrored, of"
          " the gallery those of views *-l were mirrored.") in notes
  config = config_of(tmp_path, probes=features([1.5], ["a"]), identities={"gallery": {"mirror": []}}, seed=1)
  notes = results.read(identify.run(config, tmp_path / "alike")[0]).notes
  assert not any("Caution" in note for note in notes)


def test_what_is_said_of_the_data_is_said_of_the_probes(tmp_path):
  """And of the network what the gallery's file knows: both are of the same."""
  identities = {"gallery": {"weights": "run-1", "data": "g", "kind": "real", "mirror": ["*-l"]},
                "probes": {"weights": "run-1", "data": "p", "kind": "synthetic", "mirror": []}}
  config = config_of(tmp_path, probes=features([1], ["a"]), identities=identities)
  found = results.read(identify.run(config, tmp_path)[0])
  assert (found.data.kind, found.data.content_hash, found.data.mirrored_views) == ("synthetic", "p", [])
  assert found.details["weights"] == "run-1"


def test_own_walks_of_another_type_are_what_is_rejected():
  validation = features([-50, -50.1, -70], ["p"] * 3, types=["nm", "nm", "cl"])
  found = identify.calibrate(validation, GALLERY, false_accept=0.01, metric="euclidean", origin="v")
  assert found.distance < 50
  assert (found.genuine, found.false_reject, found.within, found.false_accept) == (3, 0, 0, 0.25)
  cosine = identify.calibrate(validation, GALLERY, false_accept=0.5, metric="cosine", origin="v")
  assert cosine.false_accept <= 0.5


def test_validation_walks_of_gallery_people_are_left_out():
  found = identify.calibrate(features([0, 5, 20], ["a", "p", "p"]), GALLERY, false_accept=0.5, metric="euclidean",
                             origin="v")
  assert (found.impostors, found.in_gallery, found.impostor_subjects) == (2, 1, 1)
  with pytest.raises(DataError, match="v: no validation impostors: all 2 subjects are in the gallery"):
    identify.calibrate(features([0, 1], ["a", "b"]), GALLERY, false_accept=0.5, metric="euclidean", origin="v")


@pytest.mark.parametrize("values,error,message", [
  ({"probes": features([1, 2], ["a", "b"], parts=3)}, DataError, r"probes.npz: embeddings are \[N, 3, 3\], those of"),
  ({"gallery": features([], [])}, DataError, r"gallery.npz: embeddings have shape \(0, 3, 2\); wanted"),
  ({"gallery": features([1, 2], ["a", "unknown"])}, DataError,
   r"gallery.npz: 1 of 2 gallery walks are of a subject called 'unknown', the first in row 1 \(key k1\)"),
  ({"gallery": features([1, 2], ["a", ""])}, DataError, "gallery.npz: 1 of 2 gallery walks .* called ''"),
  ({"gallery": features([1, 2], ["a", " Unknown"])}, DataError, "1 of 2 gallery walks .* called ' Unknown'"),
  ({"validation": features([-50, 40, 0.1, 0.2], ["p", "q", "", ""])}, DataError,
   r"validation.npz: 2 of 4 validation walks are of a subject called '', the first in row 2 \(key k2\)"),
  ({"validation": features([-50, 0.1], ["p", "unknown"])}, DataError, "validation.npz: 1 of 2 validation walks"),
  ({"validation": features([-50, 0.1], ["p", "probe"])}, DataError, "validation walks are of a subject called 'probe'"),
  ({"probes": None}, ConfigError, "config.probes is empty; give --config.probes=embeddings.npz"),
  ({"top_k": 0}, ConfigError, "config.top_k=0 must be at least 1"),
  ({"false_accept": 1.0}, ConfigError, "config.false_accept=1.0 must lie between 0 and 1"),
  ({"metric": "manhattan"}, ConfigError, "unknown metric 'manhattan'"),
  ({"identities": {"probes": {"weights": "run-1"}, "gallery": {"weights": "run-2"}}}, DataError,
   "probes.npz was embedded with weights run-1, .*gallery.npz with run-2"),
  ({"identities": {"probes": {"weights": "run-1", "embedding": "projection"},
                   "gallery": {"weights": "run-1", "embedding": "prediction"}}}, DataError,
   "probes.npz was embedded with embedding projection, .*gallery.npz with prediction"),
  ({"identities": {"validation": {"weights": "run-1"}, "gallery": {"weights": "run-2"}},
    "validation": features([-50], ["p"])}, DataError, "validation.npz was embedded with weights run-1, .*with run-2"),
  ({"identities": {"probes": {"weights": "run-1", "map": ["a"]}, "gallery": {"weights": "run-1", "map": ["b"]}}},
   DataError, "probes.npz and .*gallery.npz are not under the same linear map"),
  ({"identities": {"probes": {"weights": "run-1", "map": ["a"]}, "gallery": {"weights": "run-1"}}}, DataError,
   "are not under the same linear map"),
  ({"identities": {"gallery": {"pretraining": {"told": "all"}}}}, DataError,
   "gallery.npz: identity.pretraining: unknown key 'told'; embed the walks again"),
])
def test_what_cannot_be_identified_is_said(tmp_path, values, error, message):
  config = config_of(tmp_path, **({"probes": features([1, 2], ["a", "b"])} | values))
  with pytest.raises(error, match=message):
    identify.run(config, tmp_path)


class Network:
  """Embeds a walk as its column sums."""

  embedding, stride, identity, step, fine_tune, imported_from, started_from = "prediction", 1, "stub-4", 4, {}, "", {}
  data = {"walkers/train": "a"}
  config = types.SimpleNamespace(data={"sets": {"walkers": {"split": "train", "positives": "subject"}}},
                                 model=types.SimpleNamespace(channels=1, pixels="silhouettes"))
  params = {"encoder": {}, "projector": {}, "predictor": {}}
  mesh = make_mesh()

  def embed(self, frames, valid):
    return types.SimpleNamespace(prediction=jnp.asarray(frames).astype(jnp.float32).sum((1, 2))[:, None, :, 0])


def with_values(**values):
  config = defaults.evaluation().unlock()
  config.update(values)
  return config.lock()


def masks(folder, width, count=4, mirrored=False):
  folder.mkdir(parents=True)
  for number in range(count):
    picture = np.zeros((120, 160), np.uint8)
    picture[10:110, 70 - width // 2 : 70 + width // 2 + number] = 255
    picture[10:60, 70 - width // 2 : 70] = 0  # no body is its own mirror image
    cv2.imwrite(str(folder / f"{number}.png"), picture[:, ::-1] if mirrored else picture)


def test_walks_are_mirrored_and_cut_as_asked_and_single_frames_said(tmp_path, monkeypatch):
  monkeypatch.setattr(identify, "load_network", lambda *_, **__: Network())
  masks(tmp_path / "known" / "ann" / "nm" / "a-r", 20, count=5)
  masks(tmp_path / "new" / "ann" / "nm" / "a-l", 20, count=5, mirrored=True)
  config = with_values(task="identify", checkpoint="run", gallery=str(tmp_path / "known"), probes=str(tmp_path / "new"))

  def found(**values):
    path, _ = identify.run(with_values(**config.to_dict() | values), tmp_path / f"out{len(list(tmp_path.iterdir()))}")
    result = results.read(path)
    return result, result.matches[0].candidates[0].distance

  plain, apart = found()
  turned, near = found(mirror_views=("*-l",))
  assert near < apart / 5
  assert (plain.data.mirrored_views, turned.data.mirrored_views) == ([], ["*-l"])
  assert (turned.pretraining.steps, turned.data.one_frame) == (4, 0)
  one, first = found(max_frames=1)
  assert first != apart
  assert one.data.one_frame == 1
  assert "Caution: 1 of 1 walks have one frame, a posture and no gait." in tables.caption(one)


def test_folders_of_masks_are_embedded_first(tmp_path, monkeypatch):
  """By one network, for all sides; a file of embeddings of another is refused beside them."""
  monkeypatch.setattr(identify, "load_network", lambda *_, **__: Network())
  for name, width in (("thin", 20), ("wide", 50)):
    masks(tmp_path / "known" / name / "nm" / "000", width)
    masks(tmp_path / "new" / f"new {name}", width + 2)
  masks(tmp_path / "others" / "somebody", 34)
  cv2.imwrite(str(tmp_path / "new" / "new thin" / "9.png"), np.zeros((120, 160), np.uint8))
  config = with_values(task="identify", checkpoint="walkers-tiny", gallery=str(tmp_path / "known"),
                       probes=str(tmp_path / "new"), validation=str(tmp_path / "others"), false_accept=0.9)
  written = identify.run(config, tmp_path / "out")
  found = content(written[0])
  assert [(m["label"], m["candidates"][0]["subject"]) for m in found["matches"]] == [
    ("new thin", "thin"), ("new wide", "wide")]
  assert found["pretraining"]["label_use"] == "with subject labels of walkers"
  assert any("new thin: 1 of 5 frames left out, mostly: all black" in note for note in found["notes"])
  assert found["rows"][0]["figures"]["probes"]["accepted"] is not None  # both are strangers by their names
  packed = shutil.make_archive(str(tmp_path / "one"), "gztar", tmp_path / "new" / "new thin")  # nobody is named
  written = identify.run(with_values(**config.to_dict() | {"probes": packed}), tmp_path / "one")
  (match,), figures = content(written[0])["matches"], content(written[0])["rows"][0]["figures"]["probes"]
  assert (match["probe"], match["label"], match["candidates"][0]["subject"]) == ("one/00/00", "", "thin")
  assert figures["accepted"] is None
  with (console := Console(width=200)).capture() as shown:
    console.print(tables.matches(results.read(written[0]).matches))
  assert "one/00/00 (no label, 00, 00)" in shown.get()
  files.save(tmp_path / "gallery.npz", GALLERY, identity={"weights": "other"})
  with pytest.raises(DataError, match="embeddings are|was embedded with weights"):
    identify.run(with_values(**config.to_dict() | {"gallery": str(tmp_path / "gallery.npz")}), tmp_path / "other")


def test_a_folder_without_a_checkpoint_says_what_to_give(tmp_path):
  masks(tmp_path / "known" / "ann", 20)
  config = with_values(task="identify", gallery=str(tmp_path / "known"), probes=str(tmp_path / "known"))
  with pytest.raises(ConfigError, match="config.gallery=.*known is not embedded yet; give --config.checkpoint=RUN"):
    identify.run(config, tmp_path / "out")


def test_a_folder_that_is_not_there_and_a_network_that_does_not_fit_are_said(tmp_path, monkeypatch):
  masks(tmp_path / "known" / "ann", 20)
  config = with_values(task="identify", checkpoint="run", gallery=str(tmp_path / "known"),
                       probes=str(tmp_path / "nowhere"))
  network = Network()
  monkeypatch.setattr(identify, "load_network", lambda *_, **__: network)
  with pytest.raises(DataError, match="config.probes=.*nowhere: there is no such file or folder"):
    identify.run(config, tmp_path / "out")
  config = with_values(**config.to_dict() | {"probes": config.gallery})
  for changes, message in (
    ({"embedding": "discriminant"}, "the network of run did not end in a discriminant; take prediction or pooled"),
    ({"embedding": "predicted"}, "config.embedding is 'predicted'; known: prediction"),
    ({"max_frames": 0}, "config.max_frames=0 and config.batch_frames=512 must be at least 1"),
  ):
    with pytest.raises(ConfigError, match=message):
      identify.run(with_values(**config.to_dict() | changes), tmp_path / "out")
  network.params = {"encoder": {}}  # published without heads
  with pytest.raises(ConfigError, match="the network of run has no projector; take prediction or pooled"):
    identify.run(with_values(**config.to_dict() | {"embedding": "projection"}), tmp_path / "out")
  network.config = types.SimpleNamespace(model=types.SimpleNamespace(channels=3, pixels="maps"))
  with pytest.raises(ConfigError, match="config.gallery=.*known does not fit run.*: frames are silhouettes of 1"):
    identify.run(config, tmp_path / "out")


def test_one_folder_on_both_sides_is_counted_wherever_home_is(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setattr(identify, "load_network", lambda *_, **__: Network())
  for name, width in (("ann", 20), ("bob", 40)):
    masks(tmp_path / "known" / name, width)
  config = with_values(task="identify", checkpoint="run", gallery="~/known", probes="~/known")
  found = content(identify.run(config, tmp_path / "out")[0])
  assert any("2 of the probes are walks of the gallery" in note for note in found["notes"])
