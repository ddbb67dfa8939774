"""What a run does with a folder that is damaged, forged, full, or written by another run at the same time."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from fgait_jax.errors import CheckpointError, DamagedCheckpoint, RunError
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import folders, stored
from fgait_jax.training.checkpoints import Checkpoints, load_network, new_meta
from fgait_jax.training.metrics import Writer, read_lines


@pytest.fixture(scope="module")
def whole(run, configure, tmp_path_factory):
  """(folder, state) of a run with checkpoints at 1 and 2."""
  workdir = tmp_path_factory.mktemp("whole")
  return workdir, run(configure(train__stop_at=2, train__save_every=1), workdir)


@pytest.fixture
def copy(whole, tmp_path):
  return pathlib.Path(shutil.copytree(whole[0], tmp_path / "run"))


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def flip(path, at=0.5):
  content = bytearray(path.read_bytes())
  content[int(at * len(content))] ^= 16
  path.write_bytes(content)


def test_a_flipped_bit_in_any_file_is_found_and_named(copy):
  step, mesh = copy / "checkpoints" / "2", make_mesh(devices=jax.devices()[:1])
  names = [line.partition("  ")[2] for line in (step / "SHA256SUMS").read_text().splitlines()]
  assert {"meta/metadata", "state/manifest.ocdbt", "state/_METADATA"} < set(names)
  assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=step, check=False).returncode == 0
  for name in names:
    sound = (step / name).read_bytes()
    flip(step / name)
    with pytest.raises(DamagedCheckpoint, match=f"checkpoints/2 is damaged: {name} is not what was written"):
      load_network(copy, mesh=mesh)
    (step / name).write_bytes(sound[:-1])
    with pytest.raises(DamagedCheckpoint, match=f"checkpoints/2 is damaged: {name} is not what was written"):
      load_network(copy, mesh=mesh)
    (step / name).write_bytes(sound)
  (step / "state" / "foreign").touch()
  with pytest.raises(DamagedCheckpoint, match="state/foreign is not listed in SHA256SUMS"):
    load_network(copy, mesh=mesh)
  assert load_network(copy / "checkpoints" / "1", mesh=mesh).step == 1


def largest(folder):
  return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_restart_stops_at_a_damaged_checkpoint_or_takes_the_one_before(run, configure, whole, copy, capsys):
  flip(largest(copy / "checkpoints" / "2"))
  with pytest.raises(DamagedCheckpoint, match=r"checkpoints/2 is damaged: .*those of steps \[1\]. To go on from the"
                     " newest sound one, give the same command with --config.train.on_damage=previous"):
    run(configure(train__stop_at=2, train__save_every=1), copy)
  state = run(configure(train__stop_at=2, train__save_every=1, train__on_damage="previous"), copy)
  assert_same(state, whole[1])
  out = capsys.readouterr().out
  assert f"passed over {copy}/checkpoints/2 is damaged: " in out
  assert "steps       1 to 4 (continuing)" in out
  assert [path.name for path in (copy / "damaged").iterdir()] == ["2"]
  assert [line["step"] for line in read_lines(copy)] == [1, 2]


def test_without_any_sound_checkpoint_nothing_is_begun(run, configure, copy):
  for step in ("1", "2"):
    flip(copy / "checkpoints" / step / "meta" / "metadata")
  with pytest.raises(CheckpointError, match=r"checkpoints/2 is .*; .*checkpoints/1 is .*There is no other; begin anew"):
    run(configure(train__on_damage="previous"), copy)
  assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == ["1", "2"]


def with_model(meta, **changes):
  return {**meta, "config": {**meta["config"], "model": {**meta["config"]["model"], **changes}}}


FORGED = {
  "list": lambda meta: [meta], "nothing": lambda meta: {}, "no-run": lambda meta: {**meta, "run": None},
  "run-elsewhere": lambda meta: {**meta, "run": "../../tmp/x"}, "other-step": lambda meta: {**meta, "step": 7},
  "no-config": lambda meta: {k: v for k, v in meta.items() if k != "config"},
  "config-empty": lambda meta: {**meta, "config": {}},
  "config-list": lambda meta: {**meta, "config": {**meta["config"], "model": [1]}},
  "config-words": lambda meta: {**meta, "config": {**meta["config"], "seed": "zero"}},
  "config-unknown": lambda meta: with_model(meta, name="x"),
  "config-negative": lambda meta: with_model(meta, channels=-1),
  "data": lambda meta: {**meta, "data": {"walkers": [1]}}, "people": lambda meta: {**meta, "people": {"kth": "all"}},
  "format": lambda meta: {**meta, "format": "3"}, "fine-tune": lambda meta: {**meta, "fine_tune": [1]},
  "origin": lambda meta: {**meta, "started_from": "x"},
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_meta_is_refused_in_one_line(run, configure, copy, forge):
  step = copy / "checkpoints" / "2"
  path = step / "meta" / "metadata"
  path.write_text(json.dumps(forge(json.loads(path.read_text()))))
  stored.write_sums(step, ("state", "meta"))
  with pytest.raises(CheckpointError) as raised:
    load_network(copy, mesh=make_mesh(devices=jax.devices()[:1]))
  assert "checkpoints/2" in str(raised.value)
  assert "\n" not in str(raised.value)
  with pytest.raises(CheckpointError, match="checkpoints"):
    run(configure(), copy)


def test_a_second_run_in_a_folder_is_refused(run, configure, tmp_path):
  program = ("import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX);"
             "print('held', flush=True); time.sleep(60)")
  (tmp_path / ".lock").write_text("process 7 on host0")
  other = subprocess.Popen([sys.executable, "-c", program, tmp_path / ".lock"], stdout=subprocess.PIPE)
  try:
    other.stdout.readline()
    with pytest.raises(RunError, match=r"is being written by another run \(process 7 on host0\); wait for it or stop"):
      run(configure(train__stop_at=0), tmp_path)
  finally:
    other.kill()
    other.communicate()
  with folders.locked(tmp_path):  # a lock goes with its process
    pass
  assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_step_of_another_run_ends_this_one_before_it_saves(copy, whole, tmp_path):
  with Checkpoints(tmp_path / "mine", keep=3) as saved:
    meta = whole_meta(whole)
    saved.save(1, {"x": np.ones(2)}, meta)
    shutil.copytree(copy / "checkpoints" / "2", saved.folder / "2")
    with pytest.raises(CheckpointError, match="holds step 2, which this run has not written: another run writes there"):
      saved.save(3, {"x": np.ones(2)}, meta)


def whole_meta(whole):
  return new_meta(load_network(whole[0], mesh=make_mesh(devices=jax.devices()[:1])).config, {}, {})


@pytest.fixture
def replaceable(whole, tmp_path):
  """Checkpoints with one, of step 1, in which x is 0."""
  with Checkpoints(tmp_path, keep=3) as saved:
    meta = whole_meta(whole)
    saved.save(1, {"x": np.zeros(2)}, meta)
    saved.manager.wait_until_finished()
    yield saved, lambda x: saved.save(1, {"x": np.full(2, float(x))}, meta, replace=True)


def held(folder):
  with Checkpoints(folder, keep=3) as saved:
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints"]
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return float(saved.restore(1, {"x": jax.ShapeDtypeStruct((2,), np.float32, sharding=where)})["x"][0])


def test_a_checkpoint_that_is_replaced_goes_when_the_other_is_whole(replaceable, tmp_path, monkeypatch):
  _, replace = replaceable
  replace(1)
  assert held(tmp_path) == 1

  def full(*_, **__):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patched:
    patched.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(CheckpointError, match="No space"):
      replace(2)
  assert held(tmp_path) == 1


@pytest.mark.parametrize("moves, found", [(0, 0), (1, 2), (2, 2)])
def test_killed_while_it_is_replaced_one_of_both_is_there(replaceable, tmp_path, monkeypatch, moves, found):
  _, replace = replaceable
  made, done = pathlib.Path.rename, []

  def killed(path, target):
    if "unfinished" in f"{path}{target}" and path.is_dir():
      if len(done) == moves:
        raise SystemExit("killed")
      done.append(path)
    return made(path, target)

  monkeypatch.setattr(folders.shutil, "rmtree", lambda *a, **k: None)
  monkeypatch.setattr(pathlib.Path, "rename", killed)
  if moves < 2:
    with pytest.raises(SystemExit):
      replace(2)
  else:
    replace(2)
  monkeypatch.undo()
  assert held(tmp_path) == found


def test_damaged_lines_do_not_keep_a_sound_checkpoint_from_going_on(run, configure, whole, copy, capsys):
  path = copy / "metrics.jsonl"
  sound = path.read_bytes().splitlines()
  path.write_bytes(b"\n".join([
    sound[0], b"\xff\xfe\x00", b"[1, 2]", b'{"step": "2", "kind": "train"}', b'{"kind": "train"}', b"[" * 100000,
    b'{"step": 2, "kind": "evaluate", "validation": [1]}', *sound[1:]]) + b'\n{"step": 2, "ki')
  assert_same(run(configure(train__stop_at=2), copy), whole[1])
  assert "7 lines of metrics.jsonl are cut short or damaged and were left out" in capsys.readouterr().out
  assert [line["step"] for line in read_lines(copy)] == [1, 2]


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "tensorboard"])
def test_a_file_that_cannot_be_written_ends_in_one_line(run, configure, copy, name):
  path = copy / name
  shutil.rmtree(path) if path.is_dir() else path.unlink()
  path.mkdir() if name != "tensorboard" else path.touch()  # as a full or read-only disk, even for root
  with pytest.raises(RunError, match=f"cannot write {path}: .*the same command then goes on from the newest"):
    run(configure(), copy)


@pytest.mark.parametrize("which", ["lines", "events"])
def test_a_disk_that_fills_up_is_said_at_once(tmp_path, which):
  """`SummaryWriter` of tensorboardX waited for ever at the eleventh line."""
  writer = Writer(tmp_path, start=0)
  if which == "lines":
    writer.path.unlink()
    writer.path.symlink_to("/dev/full")
  else:
    writer.events._py_recordio_writer._writer = pathlib.Path("/dev/full").open("wb")  # noqa: SIM115
  for _ in range(30):
    with pytest.raises(RunError, match=r"cannot write .*: No space left on device"):
      writer.write(1, "train", {"loss": 1.0})
