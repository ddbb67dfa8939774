"""Worker processes of a build end with it, and a build ends with them."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from data_prep import builder, shards
from data_prep.datasets import walkers
from data_prep.sources.base import Walk
from fgait_jax.errors import DataError

CONTEXT = multiprocessing.get_context("spawn")


def wait_as_worker(told):
  builder._start_worker(None)
  told.send("ready")
  time.sleep(60)


def start_worker(told):
  worker = CONTEXT.Process(target=wait_as_worker, args=(told,))
  worker.start()
  worker.join()


def started(target):
  """A process that runs `target`, and the end of its pipe on which "ready" has come."""
  here, there = CONTEXT.Pipe(duplex=False)
  process = CONTEXT.Process(target=target, args=(there,))
  process.start()
  there.close()
  assert here.poll(60)
  assert here.recv() == "ready"
  return process, here


def test_ctrl_c_ends_a_worker_silently(capfd):
  worker, _ = started(wait_as_worker)
  os.kill(worker.pid, signal.SIGINT)
  worker.join(60)
  assert (worker.exitcode, capfd.readouterr().err) == (-signal.SIGINT, "")


def test_a_killed_build_leaves_no_worker():
  build, here = started(start_worker)
  build.kill()
  assert here.poll(30)
  with pytest.raises(EOFError):  # the worker's end of the pipe is closed, too
    here.recv()


def run(tmp_path, reads, *, workers=2, **options):
  walks = [
    Walk(subject="1", condition="nm", view=str(i), key=f"1/nm/{i}", read=read) for i, read in enumerate(reads)
  ]
  source = type("Source", (), {"splits": lambda self: {"train": walks}, "fingerprint": lambda self: "same"})
  record = dataclasses.replace(walkers.RECORD, name="fake", source=lambda raw: source())
  return builder.build(record, raw=None, out=tmp_path, workers=workers, limit_dropped=0.0, **options)


@pytest.fixture
def single_walks(monkeypatch):
  """A shard for every walk."""
  monkeypatch.setattr(shards, "MIN_WALKS", 1)


def test_there_are_as_many_processes_as_asked_for_and_no_more_than_shards(tmp_path, single_walks, monkeypatch):
  asked = []

  def pool(count, **_):
    asked.append(count)
    raise KeyboardInterrupt

  monkeypatch.setattr(builder, "ProcessPoolExecutor", pool)
  for workers in (2, 3, 9):
    with pytest.raises(KeyboardInterrupt):
      run(tmp_path, [bytes] * 3, workers=workers)
  assert asked == [2, 3, 3]


def test_a_worker_that_is_killed_ends_the_build_and_what_it_finished_is_kept(tmp_path, single_walks):
  frames = functools.partial(np.full, (2, 64, 64), 1, np.uint8)
  with pytest.raises(DataError, match="a worker process was killed from outside, .* with fewer --workers"):
    run(tmp_path, [frames, frames, frames, functools.partial(os._exit, 9)])
  done = []
  run(tmp_path, [frames] * 4, progress=lambda *now: done.append(now))
  assert done[0][0] > 0
  assert done[-1] == (4, 4)
