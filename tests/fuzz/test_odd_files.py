"""What strangers hand over whole: built data sets and weights that are not what they seem."""

import json
import shutil
import sys

import numpy as np
import pytest
import safetensors.numpy

from data_prep import builder, verify
from data_prep.datasets.record import Record
from data_prep.sources.base import Walk
from fgait_jax.data import schema
from fgait_jax.data.source import open_split
from fgait_jax.errors import CheckpointError, DataError
from fgait_jax.evaluation import plain, results
from fgait_jax.interop import import_opengait, names, networks


class Fake:
  def splits(self):
    walk = Walk(subject="1", condition="nm", view="0", key="1/nm/0", read=lambda: np.full((3, 64, 44), 9, np.uint8))
    return {"train": [walk]}


RECORD = Record(
  name="fake", title="Fake walks", homepage="", obtain="by hand", licence="none", citation="nobody", kind="synthetic",
  source=lambda raw: Fake(), layout="none", partition=None, conditions={}, frame_rate=None, protocol="none",
  needs_raw=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  out = tmp_path_factory.mktemp("built")
  builder.build(RECORD, raw=None, out=out, workers=1, limit_dropped=0.0)
  return out


@pytest.fixture
def folder(built, tmp_path):
  """A copy that a test may damage."""
  shutil.copytree(built, tmp_path, dirs_exist_ok=True)
  return tmp_path / "fake" / schema.BUILDER_VERSION


def test_a_data_set_brings_no_code(folder, monkeypatch):
  """TFDS imports the module that features.json names; what lies in the current folder can be imported."""
  (folder.parent / "evil.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
  monkeypatch.syspath_prepend(str(folder.parents[1]))
  features = json.loads((folder / "features.json").read_text())
  assert len(open_split(folder.parents[1], "fake", "train")) == 1
  tensor = features["featuresDict"]["features"]["frames"]
  for odd in ({"pythonClassName": "fake.evil.Frames"}, {"python_class_name": "fake.evil.Frames"},
              {"jsonFeature": {"json": '{"type": "fake.evil.Frames"}'}}):  # fmt: skip
    features["featuresDict"]["features"]["frames"] = tensor | odd
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(DataError, match="features.json names .*, which is no feature of TFDS's and is not imported"):
      open_split(folder.parents[1], "fake", "train")
  assert not (folder.parent / "ran").exists()
  assert "fake.evil" not in sys.modules


@pytest.mark.parametrize("change", [[], {"shards": 3}, {"splits": {}}, {"builder_version": None}, {"kind": 1}])
def test_a_manifest_of_another_shape_is_one_line(folder, change):
  path = folder / schema.MANIFEST
  path.write_text(json.dumps(change and json.loads(path.read_text()) | change))
  for read in (lambda: open_split(folder.parents[1], "fake", "train"), lambda: verify.verify(folder)):
    with pytest.raises(DataError, match=r"manifest\.json is(?s:.*)") as error:
      read()
    assert "\n" not in str(error.value)
  with pytest.raises(DataError, match="holds another build of fake"):
    builder.build(RECORD, raw=None, out=folder.parents[1], workers=1, limit_dropped=0.0)


@pytest.mark.parametrize("shard", [np.zeros((1, 1)), np.zeros(2), np.array([{}], object)])
def test_an_index_of_another_shape_is_one_line(folder, shard):
  path = folder / schema.index_name("train")
  with np.load(path) as file:
    columns = dict(file)
  np.savez(path, **columns | {"shard": shard})
  with pytest.raises(DataError, match="index-train.npz: shard and num_frames are not columns of one table"):
    open_split(folder.parents[1], "fake", "train")


NAME = "kth-train.array_record-00000-of-00001"
MANIFEST = {
  "name": "kth", "builder_version": schema.BUILDER_VERSION, "kind": "real", "content_hash": "a",
  "source_fingerprint": "b",
  "splits": {"train": {"sequences": 1, "subjects": 1, "frames": 1}},
  "shards": {NAME: {"split": "train", "sequences": 1, "bytes": 1, "sha256": "c"}},
  "indices": {"b": {"bytes": 1, "sha256": "c"}}, "metadata": {},
}  # fmt: skip


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"shards": []}, "shards should be an object"),
    ({"shards": {"a": 1}}, "shards.a should be an object"),
    ({"shards": {"a": MANIFEST["shards"][NAME]}}, "shards.a is no shard of a split that it names"),
    ({"shards": {"../a": {}}}, "shards names '../a', which is no file's name"),
    ({"splits": {"test": MANIFEST["splits"]["train"]}}, f"shards.{NAME} is no shard of a split that it names"),
    ({"splits": {"train": {"sequences": -1, "subjects": 1, "frames": 1}}}, "splits.train.sequences should be a whole"),
    ({"kind": None}, "kind should be text"),
    ({"indices": {"b": {"bytes": True, "sha256": "c"}}}, "indices.b.bytes should be a whole number"),
    ({"indices": {"b": {"bytes": 1}}}, "indices.b.sha256 is missing"),
    ({"builder_version": ["1"]}, "is of builder .'1'., this code reads"),
  ],
)
def test_a_manifest_of_another_shape_is_named(changes, message):
  assert schema.parse_manifest(json.dumps(MANIFEST).encode()) == MANIFEST
  with pytest.raises(ValueError, match=message):
    schema.parse_manifest(json.dumps(MANIFEST | changes).encode())
  with pytest.raises(ValueError, match="it holds list"):
    schema.parse_manifest(b"[]")


@pytest.mark.parametrize(
  "shape", [(-2, 64, 64, 1), (0, 64, 64, 1), (1, 64, 64, 10**9), (1, 64, 10**9, 1), (10**15, 64, 64, 1)]
)
def test_packed_frames_of_no_possible_shape_are_refused(shape):
  time, height, width, channels = shape
  packed = schema.pack_frames(np.ones((1, 64, 64, 1), np.uint8))
  with pytest.raises(DataError):
    schema.unpack_frames(packed, num_frames=time, height=height, width=width, channels=channels)


FIRST = "layer0.forward_block.0.weight"
OTHERS = [f"layer{i}.0.conv1.forward_block.0.weight" for i in (2, 3, 4)]


def weights(**changes):
  state = {name: np.ones((4, 4, 1, 3, 3), np.float32) for name in (FIRST, *OTHERS)}
  return state | {"projector.3.fc_bin": np.ones((31, 4, 4), np.float32)} | changes


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({FIRST: np.array(1.0)}, r"layer0.* has shape \[\], expected three axes or more"),
    ({"projector.3.fc_bin": np.ones(3)}, r"projector.3.fc_bin has shape \[3\], expected three axes or more"),
    ({FIRST: np.ones((0, 4, 1, 3, 3), np.float32)}, "layer0.* is float32 .*, expected real numbers"),
    ({"x": np.ones(2, np.complex64)}, "x is complex64 .2., expected real numbers"),
    ({"x": np.ones(2, np.uint64)}, None),
    ({"x": np.ones(2, bool)}, None),
  ],
)
def test_odd_tensors_are_named(changes, message, tmp_path):
  safetensors.numpy.save_file(weights(**changes), path := tmp_path / "x.safetensors")
  if message is None:
    assert networks.recognise(import_opengait.read_state(path)).model["name"] == "p3d"
    return
  with pytest.raises(CheckpointError, match=message):
    networks.recognise(import_opengait.read_state(path))


def test_a_type_of_number_that_is_unknown_is_named(tmp_path):
  content = safetensors.numpy.save({"x": np.ones(4, np.float32)})
  (path := tmp_path / "x.safetensors").write_bytes(content.replace(b'"F32"', b'"X32"'))
  with pytest.raises(CheckpointError, match="x.safetensors cannot be read as safetensors"):
    import_opengait.read_state(path)


@pytest.mark.usefixtures("little_memory")
def test_shapes_that_describe_a_vast_network_take_no_memory():
  import jax

  wide = 1 << 20
  kernel = jax.ShapeDtypeStruct((1, 3, 3, wide, wide), np.float32)
  state = {FIRST: np.ones((4, 1, 1, 3, 3), np.float32)}
  found = names.FOUNDATION_GAIT.import_tree(state, {"encoder": {"stem": {"kernel": kernel}}})
  assert found.misshapen[0].startswith(f"{FIRST}: [4, 1, 1, 3, 3], expected [")


@pytest.mark.parametrize("value", [10**400, -(10**400), True, "1", None, float("nan"), float("inf")])
def test_a_figure_that_is_no_finite_number_is_none(value):
  assert results.Figures(values={"rank1": value}).number("rank1") is None
  assert results.Figures(values={"rank1": 2**70}).number("rank1") == 2.0**70


def test_a_list_of_figures_with_a_number_too_large_for_one_is_refused():
  with pytest.raises(ValueError, match=r"cmc.nm\[1\]: 1000000.* is too large for a float"):
    plain.decoded(dict[str, list[float]], {"nm": [1, 10**400]}, "cmc")
