"""A test in `little_memory` has half a gigabyte beyond what the process holds already, and a minute of a processor."""

import faulthandler
import pathlib
import resource
import signal

import pytest

ROOM = 1 << 29  # bytes
SECONDS = 60


@pytest.fixture
def little_memory():
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  soft, hard = resource.getrlimit(resource.RLIMIT_AS)
  resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
  faulthandler.register(signal.SIGPROF, chain=True)
  signal.setitimer(signal.ITIMER_PROF, SECONDS)
  yield
  signal.setitimer(signal.ITIMER_PROF, 0)
  resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
