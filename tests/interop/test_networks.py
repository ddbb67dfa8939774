"""Published networks: their records, and that a checkpoint is recognised, read whole, and embeds as recorded."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy
from flax import nnx

from fgait_jax import config_files
from fgait_jax.errors import CheckpointError, ConfigError, DataError
from fgait_jax.interop import check_golden, check_networks, export, import_opengait, names, networks
from fgait_jax.models import backbones
from fgait_jax.training import state as states
from fgait_jax.training.checkpoints import load_network

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "networks"
NO_TORCH = "torch is not installed: pip install -r requirements-interop.txt"
RECORDS = {
  "gaitset_casiab": ("gaitset", "8-16-32"), "gaitbase_gait3d": ("gaitbase", "8-16-32-64"),
  "deepgaitv2_p3d_1221": ("deepgaitv2", "p3d-1-2-2-1@8-16-32-48"),
  "deepgaitv2_3d_1111": ("deepgaitv2", "3d-1-1-1-1@8-12-16-24"), "gaitssb_finetune": ("gaitssb", "8-16-24-32"),
}  # fmt: skip


def record(name: str) -> dict[str, np.ndarray]:
  with np.load(GOLDEN / f"{name}.npz") as file:
    return {key: file[key] for key in file.files}


def state_of(name: str, **options) -> dict[str, np.ndarray]:
  return {key.removeprefix("state/"): value for key, value in record(name).items() if key.startswith("state/")}


@pytest.mark.parametrize("name", [
  "gaitset_casiab", *(pytest.param(name, marks=pytest.mark.slow) for name in RECORDS if name != "gaitset_casiab")])
def test_every_recorded_array_is_within_its_tolerance(name):
  lines = check_golden.check(GOLDEN / f"{name}.npz")
  assert {line.name.split("/")[0] for line in lines} >= {"eval", "eval_b", "distance", "packed", "train", "grad"}
  assert not [str(line) for line in lines if not line.passed]


@pytest.mark.slow
@pytest.mark.parametrize("name", [
  "gaitbase_oumvlp", "deepgaitv2_2d_1111", "deepgaitv2_p3d_1111", "foundationgait_finetune", "gaitssb_pretrain",
  "swingait", "gaitjepa_p3d_1111"])
def test_records_beside_the_checkout_are_within_their_tolerances(shared_data, name):
  assert not [str(line) for line in check_golden.check(shared_data / "golden/networks" / f"{name}.npz")
              if not line.passed]


@pytest.mark.slow
@pytest.mark.parametrize("name", [
  "deepgaitv2_2d_1111", "deepgaitv2_3d_1111", "deepgaitv2_p3d_1111", "deepgaitv2_p3d_1111.ddp", "deepgaitv2_p3d_1221",
  "foundationgait_finetune", "gaitbase_gait3d", "gaitbase_gait3d.ddp", "gaitbase_oumvlp", "gaitset_casiab",
  "gaitssb_finetune", "gaitssb_pretrain", "swingait"])
def test_torch_files_beside_the_checkout_embed_as_recorded(shared_data, name, tmp_path):
  pytest.importorskip("torch", reason=NO_TORCH)
  network, _, wrapped = name.partition(".")
  path = shared_data / "golden/networks" / f"{network}-00002{'.ddp' if wrapped else ''}.pt"
  assert_embeds_as_recorded(path, path.with_name(f"{network}.npz"), tmp_path)


@pytest.mark.slow
def test_a_torch_file_of_gaitjepas_training_embeds_as_recorded(shared_data, tmp_path):
  torch = pytest.importorskip("torch", reason=NO_TORCH)
  arrays = shared_data / "golden/networks/gaitjepa_p3d_1111.npz"
  with np.load(arrays) as file:
    state = {k.removeprefix("state/"): torch.from_numpy(file[k]) for k in file.files if k.startswith("state/")}
  both = {f"target_encoder.{k}": v / 2 for k, v in state.items()} | {f"online_encoder.{k}": v for k, v in state.items()}
  torch.save({"state_dict": both, "cfg": {"dim": 256}, "epoch": 50}, tmp_path / "full.pth")
  assert_embeds_as_recorded(tmp_path / "full.pth", arrays, tmp_path, recorded="eval/pooled_part_embedding")


def assert_embeds_as_recorded(path, arrays, tmp_path, *, recorded="eval/embedding"):
  assert import_opengait.main([str(path), "--out", str(tmp_path / "ours")]) == 0
  network = load_network(tmp_path / "ours")
  with np.load(arrays) as file:
    frames, expected = file["input/sils64"][..., None], file[recorded]
  found = np.swapaxes(getattr(network.embed(frames, np.ones(frames.shape[:2], bool)), network.embedding), 1, 2)
  if network.embedding == "prediction":
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
  np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", RECORDS)
def test_the_network_is_recognised_and_read_whole(name):
  state, (model, variant) = state_of(name), RECORDS[name]
  found = networks.recognise(state)
  assert (found.model["name"], found.model["variant"], found.model["channels"]) == (model, variant, 1)
  params, stats = import_opengait.convert(found)
  back = found.network.names.export_tree(params) | found.network.names.export_tree(stats)
  left = {key for key in state if key.startswith("BNNecks.")}
  assert set(found.aside) == left
  assert back.keys() == {key for key in state if not key.endswith("num_batches_tracked")} - left
  for key, value in back.items():
    np.testing.assert_array_equal(value, state[key])


@pytest.mark.parametrize("name", ["gaitset_casiab", "gaitssb_finetune"])
def test_an_imported_network_embeds_as_recorded_and_leaves_under_the_same_names(name, tmp_path):
  arrays, state = record(name), state_of(name)
  safetensors.numpy.save_file({f"module.{key}": value for key, value in state.items()}, tmp_path / "a.safetensors")
  lines = import_opengait.run(tmp_path / "a.safetensors", out=tmp_path / "ours")
  assert lines[-1].endswith("as config.model.name={} config.model.variant={}".format(*RECORDS[name]))
  network = load_network(tmp_path / "ours")
  assert network.embedding == "recognition"
  found = network.embed(arrays["input/sils64"][..., None], np.ones((3, 7), bool))
  assert (found.projection is None) == (name == "gaitset_casiab")
  assert found.prediction is None
  expected = arrays["eval/embedding"]
  np.testing.assert_allclose(np.swapaxes(found.recognition, 1, 2), expected, atol=1e-5 * np.abs(expected).max())
  out = export.opengait_state(network)
  assert out.keys() == state.keys()
  for key in state:
    assert key.endswith("num_batches_tracked") or np.array_equal(out[key], state[key])
  assert load_network(tmp_path / "ours", trained=False).embedding == "prediction"  # of a network to be pretrained


def test_pretraining_of_gaitssb_is_compared_by_its_prediction(tmp_path):
  state = {key: value for key, value in state_of("gaitssb_finetune").items() if not key.startswith("head0")}
  safetensors.numpy.save_file(state, tmp_path / "neither.safetensors")
  with pytest.raises(CheckpointError, match="missing    predictor.0.fc_bin"):
    import_opengait.run(tmp_path / "neither.safetensors", out=tmp_path / "ours")
  state |= {key.replace("projector", "predictor"): value for key, value in state.items()
            if key.startswith("projector") and not key.startswith("projector.4")}
  safetensors.numpy.save_file(state, tmp_path / "whole.safetensors")
  import_opengait.run(tmp_path / "whole.safetensors", out=tmp_path / "ours")
  network = load_network(tmp_path / "ours")
  assert (network.embedding, network.config.model.name) == ("prediction", "gaitssb")
  assert export.opengait_state(network).keys() == state.keys()


def test_swingait_is_read_without_its_spare_part_and_leaves_with_zeros_for_it(tmp_path):
  published = names.SWINGAIT
  config = config_files.load("configs/reference.py")
  config.model.update(name="swingait", variant="1-1-2-2@4-4-16")
  weights = states.initial_weights(states.with_added(config, no_projector=1, recognition_features=8))
  state = published.export_tree(weights["params"]) | published.export_tree(weights["stats"])
  assert state["transformer.patch_embed.proj.weight"].shape == (16, 4, 1, 2, 2)
  assert state["transformer.layers.1.blocks.1.attn.relative_position_bias_table"].shape == (225, 2)
  assert state["FCs.fc_bin"].shape == (16, 32, 8)
  state["FCs.fc_bin"][15] = 1
  index = "transformer.layers.0.blocks.0.attn.relative_position_index"
  state[index] = np.ones((45, 45), np.int64)
  safetensors.numpy.save_file(jax.tree.map(np.ascontiguousarray, state), tmp_path / "a.safetensors")
  lines = import_opengait.run(tmp_path / "a.safetensors", out=tmp_path / "ours", width=64)
  assert f"left aside: {index}, places in a window, which its size says" in lines
  assert "left aside: the last 1 of the parts of FCs.fc_bin, which nobody compares" in lines
  network = load_network(tmp_path / "ours")
  assert (network.embedding, network.config.model.variant) == ("recognition", "1-1-2-2@4-4-16")
  frames = np.zeros((1, 2, 64, 64, 1), np.uint8)
  edged = frames.copy()
  edged[..., :8, :] = 255  # what a cut to 44 columns leaves out
  found = [network.embed(x, np.ones((1, 2), bool)).recognition for x in (frames, edged)]
  assert np.abs(found[0] - found[1]).max() > 1e-3
  jax.tree.map(np.testing.assert_array_equal, network.params, weights["params"])
  out = export.opengait_state(network)
  assert not out["FCs.fc_bin"][15].any()
  assert out[index][0, 0] == 2 * 45 + 2 * 9 + 4  # no offset
  assert out[index].max() == 224
  assert {key for key in out if not key.endswith(("index", "num_batches_tracked"))} == state.keys() - {index}


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_read(dtype, tmp_path):
  state = {key: np.asarray(value).astype(dtype) for key, value in state_of("gaitset_casiab").items()}
  safetensors.flax.save_file(state, tmp_path / "a.safetensors")
  found = networks.recognise(import_opengait.read_state(tmp_path / "a.safetensors"))
  np.testing.assert_array_equal(import_opengait.convert(found)[0]["recognition"]["kernel"],
                                state["Head.fc_bin"].astype(np.float32))


def test_a_jepa_keeps_its_tokens_and_the_target_is_left_and_named(tmp_path):
  rng = np.random.default_rng(0)
  state = {key.replace("FCs.", "fcs."): value for key, value in state_of("deepgaitv2_p3d_1221").items()
           if "BNNecks" not in key}
  shapes = {"0.weight": (48,), "0.bias": (48,), "1.weight": (24, 48), "1.bias": (24,)}
  state |= {f"part_proj.{key}": rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
  both = {f"online_encoder.{key}": value for key, value in state.items()}
  both |= {f"target_encoder.{key}": value / 2 for key, value in state.items() if value.dtype == np.float32}
  safetensors.numpy.save_file(both, tmp_path / "full.safetensors")
  lines = import_opengait.run(tmp_path / "full.safetensors", out=tmp_path / "ours")
  assert "left aside: target_encoder.fcs.fc_bin, of another network" in lines
  network = load_network(tmp_path / "ours")
  np.testing.assert_array_equal(network.params["recognition"]["kernel"], state["fcs.fc_bin"])  # not of the target
  out = export.opengait_state(network)
  assert out.keys() == state.keys()
  np.testing.assert_array_equal(out["part_proj.1.weight"], state["part_proj.1.weight"])

  frames, valid = jnp.asarray(rng.random((1, 3, 64, 44, 1)), jnp.float32), jnp.array([[True, True, False]])
  run = nnx.jit(lambda network: (network.frame_tokens(frames, valid), network.encoder.encode(frames, valid).features))
  tokens, grid = map(np.asarray, run(network.network()))
  assert tokens.shape == (1, 3, 16, 24)
  assert not tokens[0, 2].any()
  part = grid[0, 1, 5].mean(axis=0) + grid[0, 1, 5].max(axis=0)
  part = (part - part.mean()) / np.sqrt(part.var() + 1e-5) * state["part_proj.0.weight"] + state["part_proj.0.bias"]
  np.testing.assert_allclose(tokens[0, 1, 5], state["part_proj.1.weight"] @ part + state["part_proj.1.bias"], rtol=1e-4,
                             atol=1e-4)
  del state["part_proj.0.bias"]
  with pytest.raises(CheckpointError, match="missing    part_proj.0.bias"):
    import_opengait.convert(networks.recognise(state))


def test_others_have_no_tokens():
  network = nnx.eval_shape(lambda: backbones.create_network(name="p3d", variant="test", rngs=nnx.Rngs(0)))
  with pytest.raises(ConfigError, match="no tokens of single frames"):
    network.frame_tokens(jnp.zeros((1, 1, 64, 44, 1)), jnp.ones((1, 1), bool))


@pytest.mark.parametrize("names, message", [
  (["Backbone.forward_block.conv1.conv.weight", "projector.3.fc_bin"], "looks like .* GaitSSB, but lacks 'Backbone"),
  (["conv1.weight", "fc.bias"], "of another network than .*GaitSet: it holds 2 names, among them conv1"),
  (["layer0.forward_block.0.weight", "layer2.0.conv1.weight"], r"looks like .* DeepGaitV2 \(3d\), but lacks 'layer3"),
])
def test_another_network_is_named(names, message):
  with pytest.raises(CheckpointError, match=message):
    networks.recognise({name: np.ones((2, 1, 3, 3), np.float32) for name in names})


def test_an_encoder_without_its_embedding_is_refused_and_the_file_named(tmp_path):
  state = {key: value for key, value in state_of("gaitbase_gait3d").items() if not key.startswith("FCs.")}
  safetensors.numpy.save_file(state, tmp_path / "encoder.safetensors")
  with pytest.raises(CheckpointError, match="encoder.safetensors: .* of GaitBase, but lacks 'FCs.fc_bin'"):
    import_opengait.run(tmp_path / "encoder.safetensors", out=tmp_path / "ours")
  state |= {"FCs.fc_bin": np.ones((16, 64, 32), np.float32), "wings": np.ones(2, np.float32)}
  safetensors.numpy.save_file(state, tmp_path / "more.safetensors")
  with pytest.raises(CheckpointError, match=r"more.safetensors: 1 keys do not fit GaitBase, .*\n  unknown    wings"):
    import_opengait.run(tmp_path / "more.safetensors", out=tmp_path / "ours")


def test_a_network_of_other_parts_is_refused():
  state = state_of("gaitbase_gait3d")
  state["FCs.fc_bin"] = np.ones((31, 64, 32), np.float32)
  with pytest.raises(CheckpointError, match=r"misshapen  FCs.fc_bin: \[31, 64, 32\], expected \[16, 64, 32\]"):
    import_opengait.convert(networks.recognise(state))


def changed(tmp_path, change) -> pathlib.Path:
  arrays = record("gaitset_casiab")
  change(arrays)
  np.savez(tmp_path / "changed.npz", **arrays)
  return tmp_path / "changed.npz"


def test_a_wrong_array_fails_and_a_loss_that_is_not_known_is_named(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(check_networks, "training", lambda *_: [{}])

  def wrong(arrays):
    arrays["eval/embedding"] = arrays["eval/embedding"] + 2e-5 * np.abs(arrays["eval/embedding"]).max()

  assert check_golden.main([str(changed(tmp_path, wrong))]) == 1
  told = capsys.readouterr().out
  assert "FAIL   2.0e-05  (within 1e-05)  eval/embedding" in told
  assert "FAIL       inf" in told  # what was not computed
  monkeypatch.undo()

  def other_loss(arrays):
    meta = json.loads(str(arrays["meta"]))
    meta["training"]["losses"]["arcface"] = {}
    arrays["meta"] = np.array(json.dumps(meta))

  with pytest.raises(DataError, match="meta.training.losses has arcface; known: triplet, softmax"):
    check_golden.check(changed(tmp_path, other_loss))
  with pytest.raises(DataError, match="the record of gaitset_casiab lacks input/sils_b"):
    check_golden.check(changed(tmp_path, lambda arrays: arrays.pop("input/sils_b")))
