"""Files that are damaged, of checkpoints and of data sets: refused in a line that names them, or without effect."""

import json
import pathlib
import re
import shutil

import pytest

from tests.faults.harness import digest_of, refusal, start

pytestmark = pytest.mark.slow


def flipped(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes(content)


def truncated(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
  path.write_bytes(b"")


def missing(path):
  path.unlink()


def foreign(path):
  path.write_bytes(b"\x80\x04not of this run" * 100)


DAMAGE = [flipped, truncated, emptied, missing, foreign]
CHECKPOINT = ["meta/metadata", "state/manifest.ocdbt", "state/d/*", "state/_METADATA", "state/_sharding",
              "state/array_metadatas/*", "state/ocdbt.process_0/manifest.ocdbt", "state/ocdbt.process_0/d/*",
              "SHA256SUMS"]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_checkpoint(whole, matrix, tmp_path, damage):
  """Each kind of file at once in a copy of its own; the run is started on the first of them alone, and from the one
  before in the end."""
  from fgait_jax.errors import CheckpointError
  from fgait_jax.training import checkpoints

  copy = tmp_path / "run"
  for number, name in enumerate(CHECKPOINT):
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole[1], copy)
    newest = copy / "checkpoints" / "24"
    for path in newest.glob(name):
      damage(path)
    with pytest.raises(CheckpointError, match=r"checkpoints/24") as raised:
      checkpoints.load_network(copy)
    assert "\n" not in str(raised.value)
    matrix(f"file of a checkpoint {damage.__name__}", "refused")
    if number in (0, 2):
      assert "checkpoints/24" in refusal(start(copy))
      same = digest_of(copy, "train.on_damage=previous") == whole[0]
      matrix(f"file of a checkpoint {damage.__name__}, on_damage=previous", "same" if same else "other", 3)
      assert same


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """(folder, digest of a run) of a built data set of several shards."""
  from data_prep import builder, shards
  from tests.data.test_source import RECORD

  out = tmp_path_factory.mktemp("data") / "built"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shards, "MIN_WALKS", 4)
    builder.build(RECORD, raw=None, out=out, workers=1, limit_dropped=0.0)
  return out, digest_of(tmp_path_factory.mktemp("data") / "run", f"--data={out}", "train.steps=4")


DATA = ["manifest.json", "dataset_info.json", "features.json", "index-train.npz", "fake-train.array_record-00000*"]


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_data_set(data, matrix, tmp_path, damage, name):
  copy = pathlib.Path(shutil.copytree(data[0], tmp_path / "built"))
  (path,) = copy.glob(f"fake/*/{name}")
  damage(path)
  process = start(tmp_path / "run", f"--data={copy}", "train.steps=4")
  output, errors = process.communicate(timeout=600)
  if process.returncode == 0:
    same = re.search(r"^digest (\w+)$", output, re.MULTILINE)[1] == data[1]
    matrix(f"file of a data set {damage.__name__}", "same" if same else "other")
    assert same
    return
  assert process.returncode == 1, errors
  assert "Traceback" not in errors
  assert re.search(r"^error: .*fake", errors, re.MULTILINE)
  matrix(f"file of a data set {damage.__name__}", "refused")


@pytest.mark.parametrize("how", ["truncated", "removed"])
def test_a_shard_that_is_lost_on_the_way(data, matrix, tmp_path, how):
  """Already open it may still be read; else the run saves, names it, and goes on when it is back."""
  copy = pathlib.Path(shutil.copytree(data[0], tmp_path / "built"))
  (path,) = copy.glob("fake/*/fake-train.array_record-00001*")
  words = ("train.steps=12", "data.prefetch=1")
  process = start(tmp_path / "run", f"--data={copy}", "--at=1", f"--fault={how}:{path}", *words)
  _, errors = process.communicate(timeout=600)
  assert process.returncode in (0, 1), errors
  assert "Traceback" not in errors
  shutil.copyfile(data[0] / path.relative_to(copy), path)
  expected = digest_of(tmp_path / "other", f"--data={data[0]}", "train.steps=12")
  same = digest_of(tmp_path / "run", f"--data={copy}", "train.steps=12") == expected
  matrix(f"shard {how} on the way", "same" if same else "other")
  assert same


def test_lines_of_metrics(whole, matrix, tmp_path):
  copy = pathlib.Path(shutil.copytree(whole[1], tmp_path / "run"))
  for damage in DAMAGE:
    shutil.rmtree(copy)
    shutil.copytree(whole[1], copy)
    damage(copy / "metrics.jsonl")
    matrix("metrics.jsonl damaged", "same" if digest_of(copy) == whole[0] else "other")
    for text in (copy / "metrics.jsonl").read_text().splitlines() if (copy / "metrics.jsonl").exists() else ():
      json.loads(text)
