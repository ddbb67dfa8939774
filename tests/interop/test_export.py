"""Exported networks run where this package cannot be imported."""

import pathlib
import resource
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

import fgait_jax
from fgait_jax import config_files
from fgait_jax.interop import export, import_opengait, publish
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import state as states
from fgait_jax.training.checkpoints import Checkpoints, new_meta

ROOT = pathlib.Path(__file__).parents[2]
# Runs load.py with every import of this package refused.
_ALONE = """
import runpy, sys
class Refuse:
  def find_spec(self, name, *_):
    if name.split(".")[0] in ("fgait_jax", "configs", "data_prep", "flax", "orbax"):
      raise ImportError(name)
sys.meta_path.insert(0, Refuse())
folder, frames = sys.argv[1:3]
sys.argv = ["load.py", frames]
runpy.run_path(folder + "/load.py", run_name="__main__")
"""


@pytest.fixture(scope="module", params=["transformer", "p3d"])
def checkpoint(request, tmp_path_factory):
  config = config_files.load(str(ROOT / "configs" / "pretrain.py") + ":test")
  config.model.name = request.param
  if request.param == "p3d":
    config.student.masked_fractions = (0.0,)
    config.model.body_heads, config.model.facing = 0, False
  folder = tmp_path_factory.mktemp(request.param)
  _, state, _ = states.create(config, make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1]))
  with Checkpoints(folder, keep=1) as checkpoints:
    checkpoints.save(0, state, new_meta(config, {}, {}))
  return folder


def test_artifact_runs_alone_for_any_batch_and_time(checkpoint, tmp_path):
  written = export.run(checkpoint, out=tmp_path, form="jax", platforms=("cpu",))
  assert {pathlib.Path(p).name for p in written} == {"network.jaxexport", "load.py", "network.json"}
  pretrained = export.load_network(checkpoint)
  rng = np.random.default_rng(0)
  for b, t in ((2, 4), (1, 7)):
    frames = rng.integers(0, 256, (b, t, 64, 64, 1), np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    subprocess.run(
      [sys.executable, "-c", _ALONE, str(tmp_path), str(tmp_path / "frames.npy")], check=True, cwd=tmp_path
    )
    ours = np.asarray(pretrained.embed(frames, np.ones((b, t), bool)).prediction)
    ours = ours / np.maximum(np.linalg.norm(ours, axis=-1, keepdims=True), 1e-12)
    np.testing.assert_allclose(np.load(tmp_path / "frames.embedding.npy"), ours, atol=1e-4)


def test_frames_are_spaced_as_evaluation_spaces_them(tmp_path):
  config = config_files.load(str(ROOT / "configs" / "pretrain.py") + ":test")
  config.data.window_frames = 12  # of clips of 4 frames
  _, state, _ = states.create(config, make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1]))
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(0, state, new_meta(config, {}, {}))
  rng = np.random.default_rng(0)
  walks = [rng.integers(0, 256, (n, 64, 64), np.uint8) for n in (14, 2, 9)]
  padded, valid = np.zeros((3, 14, 64, 64, 1), np.uint8), np.zeros((3, 14), bool)
  for row, walk in enumerate(walks):
    padded[row, : len(walk), ..., 0], valid[row, : len(walk)] = walk, True
  pretrained = export.load_network(tmp_path)
  assert pretrained.stride == 3
  found = export.export_network(pretrained, platforms=("cpu",)).call(padded, valid)
  np.testing.assert_allclose(found, fgait_jax.load(tmp_path).embed(walks).embeddings.swapaxes(1, 2), atol=1e-5)


def test_frames_that_are_no_silhouettes_are_refused_by_the_artifact_too(checkpoint, tmp_path):
  export.run(checkpoint, out=tmp_path, form="jax", platforms=("cpu",))
  frames = np.full((1, 4, 64, 64, 1), 255, np.uint8)
  for wrong, words in ((frames / 255, "float64 [1, 4, 64, 64, 1] up to 1.0"), (frames[:0] / 255, "up to 0"),
                       (frames > 0, "bool [1, 4, 64, 64, 1] up to True"), (frames[0], "uint8 [4, 64, 64, 1] up to 255"),
                       (frames // 255, "uint8 [1, 4, 64, 64, 1] up to 1")):
    np.save(tmp_path / "frames.npy", wrong)
    ended = subprocess.run([sys.executable, "load.py", "frames.npy"], cwd=tmp_path, capture_output=True, text=True)
    assert words in ended.stderr
    assert "expected uint8 [b, t, 64, 64, c], 0 background and 255 body" in ended.stderr


def test_a_disk_that_fills_up_costs_no_network_that_was_there(checkpoint, tmp_path, capsys):
  (tmp_path / "load.py").write_text("good")
  (tmp_path / "network.jaxexport").write_text("good")
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
  try:
    assert export.main([str(checkpoint), "--out", str(tmp_path), "--format", "jax", "--platforms", "cpu"]) == 1
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert f"error: cannot write {tmp_path}/network.jaxexport: File too large" in capsys.readouterr().err
  held = {file.name: file.read_text() for file in tmp_path.iterdir()}
  assert held == {"load.py": "good", "network.jaxexport": "good"}


@pytest.mark.parametrize(("platforms", "unknown"), [("gpu", "gpu"), ("cpu,foo", "foo"), ("", "")])
def test_a_platform_that_jax_does_not_know_is_refused(tmp_path, capsys, platforms, unknown):
  assert export.main(["run", "--out", str(tmp_path), "--format", "jax", "--platforms", platforms]) == 1
  assert f"--platforms {unknown}: known: cpu, cuda, tpu" in capsys.readouterr().err


def test_published_names_are_for_published_networks_only(checkpoint, tmp_path, capsys):
  tmp_path = tmp_path / "released"
  status = export.main([str(checkpoint), "--out", str(tmp_path), "--format", "opengait"])
  if "p3d" in checkpoint.name:
    assert status == 0
    assert "teacher_backbone.layer4.0.sbn.weight" in safetensors.numpy.load_file(tmp_path / "opengait.safetensors")
  else:
    assert status == 1
    told = capsys.readouterr().err
    assert "config.model.name=transformer is no published network and has no names but ours; those with" in told
    assert not tmp_path.exists()


def test_a_fine_tuned_head_is_what_is_exported(checkpoint, tmp_path, capsys):
  config = states.with_added(export.load_network(checkpoint).config, recognition_features=6, prompt_pixels=2)
  made = states.initial_weights(config)
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(0, {"teacher": made}, new_meta(config, {}, {}))
  tuned = export.load_network(tmp_path)
  frames, valid = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 1), np.uint8), np.ones((2, 4), bool)
  found = export.embedding_function(tuned)(frames, valid)
  assert found.shape == (2, tuned.network().projector.parts, 6)
  np.testing.assert_allclose(found, tuned.embed(frames, valid).recognition, atol=1e-5)
  if "p3d" in checkpoint.name:
    assert export.main([str(tmp_path), "--out", str(tmp_path / "released"), "--format", "opengait"]) == 1
    assert "none for a border of prompts" in capsys.readouterr().err


@pytest.mark.parametrize(("lacking", "said"), [
  ({"body_heads": 2}, "none for heads that see the whole body"),
  ({"facing": True}, "do not turn walks to face one way"),
  ({"discriminant": 4}, "none for a closing discriminant"),
])
def test_what_the_released_network_lacks_is_not_exported_under_its_names(tmp_path, capsys, lacking, said):
  config = config_files.load(str(ROOT / "configs" / "pretrain.py") + ":p3d_test")
  config.model.update(lacking)
  _, state, _ = states.create(config, make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1]))
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(0, state, new_meta(config, {}, {}))
  assert export.main([str(tmp_path), "--out", str(tmp_path / "released"), "--format", "opengait"]) == 1
  assert said in capsys.readouterr().err


def test_a_fine_tuned_network_published_without_its_predictor_is_exported_and_read_back(tmp_path, capsys):
  """As FoundationGait's fine-tuning: a layer of identities over the projection, and a predictor that nobody needs."""
  config = states.with_added(config_files.load(str(ROOT / "configs" / "pretrain.py") + ":p3d_test"),
                             recognition_features=6)
  with Checkpoints(tmp_path / "run", keep=1) as checkpoints:
    checkpoints.save(0, {"teacher": states.initial_weights(config)}, new_meta(config, {}, {}))
  tuned = export.load_network(tmp_path / "run")
  publish.write(tuned, tmp_path / "weights", heads=False)
  light = export.load_network(tmp_path / "weights")
  assert set(light.params) == {"encoder", "projector", "recognition"}

  assert export.main([str(tmp_path / "weights"), "--out", str(tmp_path / "out"), "--format", "opengait"]) == 0
  path = tmp_path / "out" / "opengait.safetensors"
  state = safetensors.numpy.load_file(path)
  whole = export.opengait_state(tuned)
  assert {name for name in whole if name not in state} == {n for n in whole if ".predictor." in n} != set()
  assert all(np.array_equal(state[name], whole[name]) for name in state)

  assert import_opengait.main([str(path), "--out", str(tmp_path / "back")]) == 0
  frames, valid = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 1), np.uint8), np.ones((2, 4), bool)
  expected = np.asarray(tuned.embed(frames, valid).recognition)
  back = export.load_network(tmp_path / "back")
  assert back.embedding == light.embedding == "recognition"
  for network in (light, back):
    np.testing.assert_allclose(network.embed(frames, valid).recognition, expected, atol=1e-5)
  np.testing.assert_allclose(export.embedding_function(light)(frames, valid), expected, atol=1e-5)


def test_heads_that_were_left_out_of_a_pretrained_network_are_missed(tmp_path, capsys):
  config = config_files.load(str(ROOT / "configs" / "pretrain.py") + ":p3d_test")
  with Checkpoints(tmp_path / "run", keep=1) as checkpoints:
    config.model.body_heads, config.model.discriminant = 0, 4
    made = states.initial_weights(config)
    made["stats"]["discriminant"]["kernel"] += 1.0  # it counts as learnt
    checkpoints.save(0, {"teacher": made}, new_meta(config, {}, {}))
  publish.write(export.load_network(tmp_path / "run"), tmp_path / "weights", heads=False)
  assert export.main([str(tmp_path / "weights"), "--out", str(tmp_path / "out"), "--format", "opengait"]) == 1
  assert "published without the heads that the published names are of" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_an_artifact_of_maps_takes_every_channel_and_low_values(tmp_path):
  """What `embed` gives for the same walk, and no complaint that labels are too dark for silhouettes."""
  config = config_files.load(str(ROOT / "configs" / "pretrain.py") + ":test")
  config.model.update(channels=2, pixels="maps", facing=False)
  _, state, _ = states.create(config, make_mesh(devices=jax.devices()[:1]))
  with Checkpoints(tmp_path / "run", keep=1) as saved:
    saved.save(4, state, new_meta(config, {"walkers/train": "d" * 64}, {}))
  walk = np.random.default_rng(0).integers(0, 9, (4, 64, 64, 2), np.uint8)
  export.run(tmp_path / "run", out=tmp_path, form="jax", platforms=("cpu",))
  np.save(tmp_path / "frames.npy", walk[None])
  subprocess.run([sys.executable, "load.py", "frames.npy"], cwd=tmp_path, check=True)
  found = np.load(tmp_path / "frames.embedding.npy")
  model = fgait_jax.load(tmp_path / "run")
  wanted = np.swapaxes(model.embed([walk]).embeddings, 1, 2)
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  with pytest.raises(fgait_jax.errors.DataError, match="frames are maps of 1 channel, the network takes maps of 2"):
    model.embed([walk[..., :1]])
  with pytest.raises(fgait_jax.errors.DataError, match="walk 0: all its frames are 0"):
    model.embed([walk * 0])
