"""The crash matrix: what was broken how often, and what came of it, printed at the end (`make test-faults`)."""

import collections
import pathlib
import random

import pytest

from tests.faults.harness import digest_of

ROWS = pytest.StashKey()


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> tuple[str, pathlib.Path]:
  """(digest, folder) of a run that nothing happened to."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  return digest_of(folder), folder


@pytest.fixture
def matrix(request):
  """`matrix(fault, outcome, lost=0)`: one try of a fault, for the table."""
  rows = request.config.stash.setdefault(ROWS, collections.defaultdict(list))
  return lambda fault, outcome, lost=0: rows[fault].append((outcome, lost))


@pytest.fixture
def chance(request) -> random.Random:
  return random.Random(request.node.nodeid)


def pytest_terminal_summary(terminalreporter, config):
  rows = config.stash.get(ROWS, {})
  if not rows:
    return
  write = terminalreporter.write_line
  write("")
  write("| fault | tries | bit for bit as if nothing had happened | refused in one line | steps lost at most |")
  write("|---|---|---|---|---|")
  for fault, tries in rows.items():
    outcomes = [outcome for outcome, _ in tries]
    same, refused = outcomes.count("same"), outcomes.count("refused")
    write(f"| {fault} | {len(tries)} | {same} | {refused} | {max(lost for _, lost in tries)} |")
