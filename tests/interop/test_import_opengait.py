"""OpenGait checkpoints become ours; every key that does not fit is listed."""

import hashlib
import pathlib
import pickle
import re
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy
from flax import nnx

from fgait_jax.errors import CheckpointError
from fgait_jax.interop import export, import_opengait, names, networks
from fgait_jax.models.backbones import create_network
from fgait_jax.training import stored
from fgait_jax.training.checkpoints import load_network

VARIANT = "1-1-2-1@4-4-6-8"


def state_dict(prefix: str, seed: int) -> dict[str, np.ndarray]:
  network = nnx.eval_shape(lambda: create_network(name="p3d", variant=VARIANT, rngs=nnx.Rngs(0)))
  rng, state = np.random.default_rng(seed), {}
  for tree in nnx.split(network, nnx.Param, nnx.BatchStat)[1:]:
    values = jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(np.float32), nnx.to_pure_dict(tree))
    state |= names.FOUNDATION_GAIT.export_tree(values)
  state |= {k.replace("running_var", "num_batches_tracked"): np.array(3) for k in state if "running_var" in k}
  return {prefix + k: np.ascontiguousarray(v) for k, v in state.items()}


@pytest.fixture(scope="module")
def pretraining_state():
  return state_dict("teacher_backbone.", 0) | state_dict("student_backbone.", 1)


def saved(path: pathlib.Path, state) -> pathlib.Path:
  safetensors.numpy.save_file(state, path)
  return path


def test_teacher_and_student_arrive_and_leave_unchanged(tmp_path, pretraining_state):
  path = saved(tmp_path / "model.safetensors", pretraining_state)
  assert import_opengait.main([str(path), "--out", str(tmp_path / "ours")]) == 0
  teacher = load_network(tmp_path / "ours")
  assert teacher.config.model.variant == VARIANT
  out = export.opengait_state(teacher)
  for key, expected in state_dict("teacher_backbone.", 0).items():
    if "num_batches" not in key:
      np.testing.assert_array_equal(out[key], expected)
  student = names.FOUNDATION_GAIT.export_tree(load_network(tmp_path / "ours", which="student").params)
  np.testing.assert_array_equal(
    student["predictor.3.fc_bin"], pretraining_state["student_backbone.predictor.3.fc_bin"]
  )
  assert import_opengait.main([str(path), "--out", str(tmp_path / "ours")]) == 1  # never written over


def test_the_embedding_of_a_fine_tuned_network_arrives_and_its_scores_are_named_as_left_aside(tmp_path):
  layer = np.random.default_rng(0).normal(size=(31, 8, 4)).astype(np.float32)
  scores = {"BNNecks.fc_bin": np.ones((31, 4, 9), np.float32), "BNNecks.bn1d.weight": np.ones(124, np.float32)}
  state = state_dict("teacher_backbone.", 0) | {"FCs.fc_bin": layer} | scores
  lines = import_opengait.run(saved(tmp_path / "m.safetensors", state), out=tmp_path / "ours")
  assert [line for line in lines if "aside" in line] == [
    f"left aside: {name}, scores of training identities" for name in sorted(scores)]
  found = load_network(tmp_path / "ours")
  assert found.embedding == "recognition"
  np.testing.assert_array_equal(found.params["recognition"]["kernel"], layer)
  np.testing.assert_array_equal(export.opengait_state(found)["FCs.fc_bin"], layer)


def test_unknown_missing_and_misshapen_keys_are_all_listed():
  state = state_dict("", 0)
  del state["layer3.1.sbn.running_mean"]
  state["layer4.0.sbn.bias"] = np.ones(3, np.float32)
  state["layer9.weight"] = np.ones(3, np.float32)
  state["layer2.0.sbn.bias"][0] = np.nan
  with pytest.raises(CheckpointError) as error:
    import_opengait.convert(networks.recognise(state))
  for line in ("unknown    layer9.weight", "missing    layer3.1.sbn.running_mean", "4 keys",
               r"misshapen  layer4.0.sbn.bias: [3], expected [8]", "not finite layer2.0.sbn.bias"):
    assert line in str(error.value)


def test_asking_for_what_is_not_there_is_named(tmp_path):
  with pytest.raises(CheckpointError, match="holds no student, only teacher"):
    import_opengait.choose({"teacher_backbone.x": jnp.ones(1)}, "student")
  with pytest.raises(CheckpointError, match="is no file"):
    import_opengait.read_state(tmp_path / "absent.pt")
  (tmp_path / "bad.safetensors").write_bytes(b"nothing")
  with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
    import_opengait.read_state(tmp_path / "bad.safetensors")


def test_torch_checkpoint_is_read_as_weights_only(tmp_path):
  torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r requirements-interop.txt")
  expected = state_dict("teacher_backbone.", 0)
  state = {k: torch.from_numpy(np.array(v)) for k, v in expected.items()}
  forms = {"opengait.pt": {"model": state, "optimizer": {}, "iteration": 7},
           "lightning.pth": {"state_dict": state, "cfg": {"width": 44}, "epoch": 50}, "bare.pth": state,
           "module.pt": {"model": {f"module.{k}": v for k, v in state.items()}}}
  for name, content in forms.items():
    torch.save(content, tmp_path / name)
    read = import_opengait.read_state(tmp_path / name)
    assert read.keys() == expected.keys(), name
    for key, value in read.items():
      np.testing.assert_array_equal(value, expected[key])
  torch.save({k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "half.pt")
  for key, value in import_opengait.read_state(tmp_path / "half.pt").items():
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, np.asarray(expected[key], jnp.bfloat16).astype(np.float32))


def test_torch_files_of_anything_else_are_refused(tmp_path):
  torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r requirements-interop.txt")
  with (tmp_path / "code.pt").open("wb") as file:
    pickle.dump({"model": pathlib.Path("x")}, file)
  torch.save({"model": [torch.ones(2)]}, tmp_path / "list.pt")
  torch.save({"model": {"x": torch.ones(1).expand(1 << 40)}}, tmp_path / "bomb.pt")
  torch.save({"model": {"x": torch.ones(2, dtype=torch.complex64)}}, tmp_path / "complex.pt")
  torch.save({"x": torch.ones(1000)}, tmp_path / "short.pt")
  (tmp_path / "short.pt").write_bytes((tmp_path / "short.pt").read_bytes()[:-200])
  for name, message in (
    ("code.pt", "cannot be read as weights only"), ("short.pt", "cannot be read as weights only"),
    ("list.pt", 'holds no state dict, neither itself nor under "model" or "state_dict"'),
    ("bomb.pt", "holds more than plain tensors: a tensor of .1099511627776. has only 4 bytes"),
    ("complex.pt", "holds more than plain tensors"),
  ):
    with pytest.raises(CheckpointError, match=f"{name} {message}"):
      import_opengait.read_state(tmp_path / name)


def test_torch_files_of_the_old_form_are_read_and_take_no_more_memory_than_they_are(tmp_path, monkeypatch):
  torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r requirements-interop.txt")
  torch.save({"model": {"x": torch.arange(3.0)}}, old := tmp_path / "old.pt", _use_new_zipfile_serialization=False)
  np.testing.assert_array_equal(import_opengait.read_state(old)["x"], [0, 1, 2])
  (text := tmp_path / "text.pt").write_bytes(b"\x80\x02X\xff\xff\xff\x3f")  # a text of a gigabyte follows, it says
  tracemalloc.start()
  with pytest.raises(CheckpointError, match="text.pt cannot be read as weights only"):
    import_opengait.read_state(text)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 1 << 26

  def silent(*args, **options):
    raise EOFError

  monkeypatch.setattr(torch, "load", silent)  # as torch does for some
  with pytest.raises(CheckpointError, match=r"old.pt cannot be read as weights only: EOFError\(\)"):
    import_opengait.read_state(old)


@pytest.mark.parametrize(
  ("wrapper", "dtype"),
  [("module.", np.float32), ("_orig_mod.module.", np.float32), ("", jnp.bfloat16), ("", np.float16)],
)
def test_wrapped_and_other_precisions_are_read_as_the_same_weights(wrapper, dtype, pretraining_state, tmp_path):
  changed = {f"{wrapper}{name}": np.asarray(value).astype(dtype) for name, value in pretraining_state.items()}
  safetensors.flax.save_file(changed, tmp_path / "a.safetensors")
  found = import_opengait.read_state(tmp_path / "a.safetensors")
  assert found.keys() == pretraining_state.keys()
  for name, value in found.items():
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, np.asarray(pretraining_state[name]).astype(dtype).astype(np.float32))


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, capsys):
  (tmp_path / "file").write_text("")
  out = tmp_path / "file" / "below"
  assert import_opengait.main([str(tmp_path / "nothing.safetensors"), "--out", str(out)]) == 1
  told = capsys.readouterr().err
  assert f"--out={out} cannot be written ({tmp_path / 'file'} is a file); give another folder" in told


def test_a_leading_tilde_is_the_users_folder(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert import_opengait.main(["~/nothing.safetensors", "--out", "~/out"]) == 1
  assert f"{tmp_path / 'nothing.safetensors'} is no file" in capsys.readouterr().err


def test_a_folder_of_weights_is_not_written_over_and_what_came_is_recorded(tmp_path, pretraining_state, capsys):
  path = saved(tmp_path / "model.safetensors", pretraining_state)
  (tmp_path / "held").mkdir()
  (tmp_path / "held" / "model.safetensors").write_bytes(b"weights")
  assert import_opengait.main([str(path), "--out", str(tmp_path / "held")]) == 1
  assert f"--out={tmp_path}/held holds weights (model.safetensors), which would be read" in capsys.readouterr().err
  assert import_opengait.main([str(path), "--out", str(tmp_path / "ours")]) == 0
  _, meta = newest_meta(tmp_path / "ours")
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  assert meta["imported_from"] == {"file": "model.safetensors", "sha256": digest}


def newest_meta(folder):
  step, = stored.steps_in(folder / "checkpoints") if (folder / "checkpoints").is_dir() else stored.steps_in(folder)
  where = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
  return step, stored.read_meta(where, step)


def test_our_own_export_keeps_the_width(tmp_path, capsys):
  path = saved(tmp_path / "model.safetensors", state_dict("teacher_backbone.", 0))
  assert import_opengait.main([str(path), "--out", str(tmp_path / "whole"), "--width", "64"]) == 0
  export.run(tmp_path / "whole", out=tmp_path, form="opengait")
  back = [str(tmp_path / "opengait.safetensors"), "--out", str(tmp_path / "back")]
  assert import_opengait.main([*back, "--width", "44"]) == 1
  assert "is of a network of 64 columns, as its export says; leave out --width 44" in capsys.readouterr().err
  assert import_opengait.main(back) == 0
  assert load_network(tmp_path / "back").config.augment.width == 64


@pytest.mark.parametrize(("change", "words"), [
  (lambda v: -v, "below 0    .*running_var"), (lambda v: v.astype(np.int32), "no weights .*running_var, of int32"),
])
def test_numbers_that_are_no_weights_end_the_import(tmp_path, capsys, change, words):
  state = state_dict("", 0)
  name = next(key for key in state if key.endswith("running_var"))
  path = saved(tmp_path / "model.safetensors", state | {name: change(state[name])})
  assert import_opengait.main([str(path), "--out", str(tmp_path / "ours")]) == 1
  assert re.search(words, capsys.readouterr().err)


def test_torch_parameters_are_read_and_packed_zips_and_text_are_not(tmp_path):
  torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r requirements-interop.txt")
  expected = torch.arange(3.0)
  torch.save({"model": {"x": torch.nn.Parameter(expected)}}, whole := tmp_path / "whole.pt")
  np.testing.assert_array_equal(import_opengait.read_state(whole)["x"], expected)
  with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as new:
    for name in old.namelist():
      new.writestr(name, old.read(name))
  with pytest.raises(CheckpointError, match="packed.pt holds packed files .*, as torch writes none"):
    import_opengait.read_state(tmp_path / "packed.pt")
  (tmp_path / "text.pt").write_text("epoch 1\n")
  with pytest.raises(CheckpointError, match="text.pt cannot be read as weights only: it is no checkpoint of torch"):
    import_opengait.read_state(tmp_path / "text.pt")
