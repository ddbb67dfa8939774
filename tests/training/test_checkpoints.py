"""A run's weights are found by folder, restored alone, on any devices; damage is named."""

import pathlib
import shutil
import subprocess
import types

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import fgait_jax
from fgait_jax.errors import CheckpointError, RunError
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import folders
from fgait_jax.training.checkpoints import Checkpoints, code_version, load_network, new_meta, people_of
from fgait_jax.training.metrics import read_lines


@pytest.fixture(scope="module")
def trained(run, configure, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("trained")
  return workdir, run(configure(train__stop_at=2, train__save_every=1), workdir)


@pytest.fixture(scope="module")
def mesh():
  return make_mesh(devices=jax.devices()[:1])


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.mark.parametrize("folder, step", [("", 2), ("checkpoints", 2), ("checkpoints/1", 1)])
def test_a_folder_of_any_level_is_understood(trained, mesh, folder, step):
  found = load_network(trained[0] / folder, mesh=mesh)
  assert (found.step, found.path) == (step, trained[0])
  assert found.identity.endswith(f"-{step}-teacher")
  assert found.config.data.batch_size == 8


def test_people_are_kept_by_population():
  def split(name, subjects, **more):
    return types.SimpleNamespace(manifest={"name": name} | more, subjects=np.array(subjects))

  one, two = split("s_118", ["b", "a", "a"], population="s"), split("s_112", ["c", "a"], population="s")
  assert people_of([one, two, split("kth", ["a"])]) == {"s": ["a", "b", "c"], "kth": ["a"]}
  assert people_of([one], {"s": ["z"], "x": ["y"]}) == {"s": ["a", "b", "z"], "x": ["y"]}
  assert people_of([one], {}) == {}  # what came before is not recorded


def test_only_the_weights_asked_for_are_read(trained, mesh):
  teacher, student = load_network(trained[0], mesh=mesh), load_network(trained[0], mesh=mesh, which="student")
  assert_same({"params": teacher.params, "stats": teacher.stats}, trained[1]["teacher"])
  assert_same(student.params, trained[1]["params"])
  assert teacher.identity != student.identity


def test_untrained_is_the_network_before_the_first_step(trained, run, configure, mesh, tmp_path):
  untrained = load_network(trained[0], mesh=mesh, trained=False)
  first = run(configure(train__stop_at=0), tmp_path)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), jax.device_get(untrained.params),
    jax.device_get(first["teacher"]["params"]),
  )
  assert untrained.identity.startswith("untrained-")


def test_embedding_is_in_evaluation_mode_and_the_same_on_any_devices(trained, mesh, toy):
  frames = np.stack([toy.frames(i)[:4] for i in range(4)])
  valid = np.ones((4, 4), bool)
  one, two = load_network(trained[0], mesh=mesh), load_network(trained[0], mesh=make_mesh(devices=jax.devices()[:2]))
  whole = one.embed(frames, valid)
  assert whole.prediction.shape == (4, 39, 8)  # 31 parts and eight heads of the whole body
  np.testing.assert_allclose(two.embed(frames, valid).prediction, whole.prediction, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(one.embed(frames[:1], valid[:1]).prediction[0], whole.prediction[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  "damage, message",
  [
    (lambda path: shutil.rmtree(path), r"there is no folder .*; give the --workdir of a run"),
    (lambda path: (shutil.rmtree(path), path.mkdir()), r"holds no checkpoint yet; .*config.train.save_every"),
    (lambda path: shutil.rmtree(path / "checkpoints/2/state"),
     r"checkpoints/2 is damaged: state/.* is missing. .*/checkpoints also has the steps \[1\]; name one of these"),
    (lambda path: shutil.rmtree(path / "checkpoints/2/meta"), r"checkpoints/2 is damaged: meta/metadata is missing"),
    (lambda path: (path / "checkpoints/2/meta/metadata").write_text("{"),
     r"checkpoints/2 is damaged: meta/metadata is not what was written \(its SHA-256 differs\)"),
    (lambda path: (path / "checkpoints/2/SHA256SUMS").unlink(),
     r"checkpoints/2 is damaged: SHA256SUMS: No such file"),
    (lambda path: (path / "checkpoints/2/SHA256SUMS").write_text(""),
     r"checkpoints/2 is damaged: meta/metadata is not listed in SHA256SUMS"),
  ],
  ids=["missing", "empty", "no-state", "no-meta", "cut-short", "no-sums", "empty-sums"],
)
def test_what_cannot_be_read_names_the_folder(trained, mesh, tmp_path, damage, message):
  path = pathlib.Path(shutil.copytree(trained[0], tmp_path / "run"))
  damage(path)
  with pytest.raises(CheckpointError, match=message):
    load_network(path, mesh=mesh)


def test_unknown_network_is_refused(trained):
  with pytest.raises(CheckpointError, match='which=\'pupil\'; a checkpoint holds "teacher" and "student"'):
    load_network(trained[0], which="pupil")


@pytest.mark.parametrize("method, which, message", [
  ("full", "student", "of the student; of a fine-tuned network the teacher alone is kept: set config.network=teacher"),
  (None, "student", "of the student; the checkpoint is damaged or of another model"),
])
def test_weights_that_are_not_there_are_named(trained, mesh, tmp_path, method, which, message):
  found = load_network(trained[0], mesh=mesh)
  state = {"head": {"params": {"kernel": np.ones(3, np.float32)}},
           "teacher": {"params": found.params, "stats": found.stats}}
  tuned = {"fine_tune": {"dataset": "walkers", "settings": {"method": method}}}
  meta = new_meta(found.config, {}, {}) | (tuned if method else {})
  with Checkpoints(tmp_path, keep=1) as saved:
    saved.save(1, state, meta)
  with pytest.raises(CheckpointError, match=f"checkpoints/1 lacks .* arrays {message}"):
    load_network(tmp_path, mesh=mesh, which=which)


def test_a_failed_write_is_named_at_the_next_look(run, configure, tmp_path, monkeypatch):
  def fail(_):
    raise ValueError("RESOURCE_EXHAUSTED: no space left on device\nmany lines")

  monkeypatch.setattr(ocp.CheckpointManager, "check_for_errors", fail)
  with pytest.raises(CheckpointError, match=rf"cannot write to {tmp_path}/checkpoints: RESOURCE_EXHAUSTED: no space"):
    run(configure(train__save_every=100), tmp_path)
  assert [line["step"] for line in read_lines(tmp_path)] == [1]  # of 4


def test_a_failed_write_is_named_at_the_end(tmp_path, monkeypatch):
  def fail(_):
    raise OSError("disk on fire")

  monkeypatch.setattr(ocp.CheckpointManager, "wait_until_finished", fail)
  with pytest.raises(CheckpointError, match="cannot write to .*: disk on fire"), Checkpoints(tmp_path, keep=1):
    pass


def test_no_process_waits_for_one_that_cannot_write(tmp_path, monkeypatch):
  """Of several, each is told what the first met, in place of meeting it where it never comes."""
  (tmp_path / "damaged").write_text("a file where a folder would be")

  def set_aside() -> str:
    with Checkpoints(tmp_path, keep=1) as saved, pytest.raises(RunError) as error:
      saved.set_aside(3)
    return str(error.value)

  met, said = set_aside(), []
  assert f"cannot write {tmp_path / 'damaged' / '3'}" in met

  def first_message(text: str) -> str:
    said.append(text)
    return met

  (tmp_path / "damaged").unlink()
  monkeypatch.setattr(folders.hosts, "is_first", lambda: False)
  monkeypatch.setattr(folders.hosts, "first_message", first_message)
  with pytest.raises(RunError, match="cannot write"):
    folders.by_first(tmp_path, lambda: pytest.fail("only the first process writes"))
  assert said == [""]


def test_the_code_version_names_the_commit_of_a_checkout_only(tmp_path, monkeypatch):
  git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
  for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
    subprocess.run([*git, *words], check=True)
  commit = subprocess.run([*git, "describe", "--always"], check=True, capture_output=True, text=True).stdout.strip()
  monkeypatch.setattr(fgait_jax, "__file__", str(tmp_path / "site-packages" / "fgait_jax" / "__init__.py"))
  assert code_version() == fgait_jax.__version__
  monkeypatch.setattr(fgait_jax, "__file__", str(tmp_path / "fgait_jax" / "__init__.py"))
  assert code_version() == f"{fgait_jax.__version__}+{commit}"
