"""An engine's workers write what a build on one machine writes, to the byte."""

import importlib.util
import pickle
import sys
import types

import numpy as np
import pytest

from data_prep import beam, build, datasets, shards
from data_prep.datasets.record import Record
from data_prep.sources.opengait import OpenGaitSource
from fgait_jax.data import schema
from fgait_jax.errors import DataError

PARTITION = {"train": [f"{i:03d}" for i in range(1, 6)], "test": ["006", "007"]}
RECORD = Record(
  name="fake", title="Fake walks", homepage="", obtain="by hand", licence="none", citation="nobody", kind="synthetic",
  source=lambda raw: OpenGaitSource(root=raw, partition=PARTITION), layout="id/type/view", partition=None,
  conditions={}, frame_rate=None, protocol="none",
)  # fmt: skip
needs_beam = pytest.mark.skipif(
  importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam: pip install -r requirements-beam.txt"
)


@pytest.fixture
def command(tmp_path, monkeypatch):
  """Builds seven shards, one walk of which is broken: command(out, *flags) -> (status, folder)."""
  monkeypatch.setattr(shards, "MIN_WALKS", 2)
  monkeypatch.setitem(datasets.RECORDS, "fake", RECORD)
  rng = np.random.default_rng(0)
  for i in range(1, 8):
    for view in ("000", "090"):
      path = tmp_path / "raw" / f"{i:03d}" / "nm-01" / view / f"{view}.pkl"
      path.parent.mkdir(parents=True)
      path.write_bytes(pickle.dumps(rng.choice([0, 255, 99], (4, 64, 64)).astype(np.uint8)))
  path.write_bytes(b"cut off")

  def run(out, *flags):
    argv = ["fake", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / out), "--limit-dropped", "0.1", *flags]
    return build.main(argv), tmp_path / out / "fake" / schema.BUILDER_VERSION

  return run


@needs_beam
@pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
def test_beam_writes_the_bytes_of_a_plain_build(command, mode):
  plain_status, plain = command("plain", "--workers", "1")
  flags = f"--direct_running_mode={mode} --direct_num_workers=2"
  status, folder = command("beam", "--runner", "DirectRunner", "--runner-options", flags)
  assert (plain_status, status) == (0, 0)
  assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in plain.iterdir()}
  assert len(list(folder.glob("*.array_record*"))) == 7


def test_the_engine_gets_its_own_flags_and_its_workers_write_pickled_jobs(command, monkeypatch, tmp_path):
  told = {}

  def run(jobs, *, runner, options):
    told.update(jobs=len(jobs), runner=runner, options=options)
    for job in jobs:
      (tmp_path / "job").write_bytes(pickle.dumps(job))
      beam.write(str(tmp_path / "job"))

  monkeypatch.setattr(beam, "run", run)
  status, _ = command("out", "--runner", "FlinkRunner", "--runner-options", "--parallelism=4 --job_name='a b'")
  assert status == 0
  assert told == {"jobs": 7, "runner": "FlinkRunner", "options": ["--parallelism=4", "--job_name=a b"]}


def test_a_worker_says_why_a_shard_cannot_be_written(tmp_path):
  job = shards.Job(path=tmp_path / "lost" / "a.array_record-0", dataset="a", split="test", attributes=(), walks=[])
  (tmp_path / "job").write_bytes(pickle.dumps(job))
  with pytest.raises(DataError, match="lost/a.array_record-0 cannot be written"):
    beam.write(str(tmp_path / "job"))


class Engine:
  """A stand-in for Beam's pipeline, which runs here and now. `stop` is the number of elements after which it fails,
  `lose` that of the last ones that it forgets."""

  stop, lose = None, 0

  def __init__(self, *, options):
    Engine.told = options

  def __enter__(self):
    return self

  def __exit__(self, *error):
    pass

  def __or__(self, step):
    self.elements = step(getattr(self, "elements", None))
    return self

  @classmethod
  def each(cls, function):
    def step(elements):
      for number, element in enumerate(elements[: len(elements) - cls.lose]):
        if number == cls.stop:
          raise ZeroDivisionError("in a worker\n  traceback\nits last line\n")
        function(element)

    return step


@pytest.fixture
def engine(monkeypatch):
  module = types.SimpleNamespace(Pipeline=Engine, Create=lambda made: lambda _: made, Reshuffle=lambda: lambda x: x,
                                 Map=Engine.each)
  options = types.SimpleNamespace(PipelineOptions=list)
  for name, stub in {"apache_beam": module, "apache_beam.options": options,
                     "apache_beam.options.pipeline_options": options}.items():
    monkeypatch.setitem(sys.modules, name, stub)
  return Engine


def test_a_pipeline_writes_all_shards_and_leaves_nothing_else(command, engine):
  _, plain = command("plain", "--workers", "1")
  status, folder = command("out", "--runner", "FlinkRunner", "--runner-options", "--parallelism=4")
  assert status == 0
  assert engine.told == ["--runner=FlinkRunner", "--parallelism=4"]
  assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in plain.iterdir()}


def test_a_pipeline_that_fails_says_how_far_it_came_and_is_continued(command, engine, monkeypatch, capsys):
  monkeypatch.setattr(engine, "stop", 3)
  status, folder = command("out", "--runner", "FlinkRunner")
  assert status == 1
  told = "--runner FlinkRunner: the pipeline failed (ZeroDivisionError: its last line); 3 of 7 shards are finished"
  assert told in capsys.readouterr().err
  assert not list(folder.parent.rglob("*.job"))
  monkeypatch.setattr(engine, "stop", 4)  # there are four left
  assert command("out", "--runner", "FlinkRunner")[0] == 0


def test_shards_that_a_pipeline_did_not_write_are_counted(command, engine, monkeypatch, capsys):
  monkeypatch.setattr(engine, "lose", 2)
  assert command("out", "--runner", "FlinkRunner")[0] == 1
  told = "2 of 7 shards are missing here after the pipeline (fake-test.array_record-00000-of-00002, ...)"
  assert told in capsys.readouterr().err


@needs_beam
def test_an_unknown_runner_is_told(command, capsys):
  status, folder = command("out", "--runner", "NoSuchRunner")
  assert status == 1
  assert "--runner NoSuchRunner: the pipeline failed" in capsys.readouterr().err
  assert not folder.exists()


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is installed")
def test_without_beam_the_error_names_what_to_install(command, capsys):
  status, folder = command("out", "--runner", "DirectRunner")
  assert status == 1
  assert "pip install -r requirements-beam.txt" in capsys.readouterr().err
  assert not folder.exists()


def test_options_without_a_runner_are_refused(command, capsys):
  with pytest.raises(SystemExit):
    command("out", "--runner-options", "--direct_num_workers=2")
  assert "--runner-options needs --runner" in capsys.readouterr().err
