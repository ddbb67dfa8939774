"""Damaged files of every kind: a reader refuses them as it promises. It runs in another process with little memory and
little time, so that a signal is a finding too. `make fuzz` looks for longer, guided by coverage.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
EXAMPLES = 100  # of each reader
pytest.importorskip("hypothesis", reason="hypothesis is not installed (requirements-dev.txt)")
sys.path.insert(0, str(HERE))
import readers  # noqa: E402

NAMES = [name for name, reader in readers.READERS.items() if not reader.seldom]


@pytest.fixture(scope="module")
def findings(tmp_path_factory) -> dict[str, str]:
  """Reader -> what was found, "" where nothing was."""
  folder, found, left = tmp_path_factory.mktemp("fuzz"), {}, NAMES
  while left:
    command = [sys.executable, str(HERE / "hypothetical.py"), str(folder), str(EXAMPLES), *left]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"reader"')]
    assert lines, done.stderr
    found |= {line["reader"]: line["finding"] for line in lines if "finding" in line}
    if (last := lines[-1]["reader"]) not in found:  # the process ended in the middle of it
      content = (folder / "last").read_bytes()
      found[last] = f"exit status {done.returncode} at {content[:500]!r}\n{done.stderr[-2000:]}"
    left = [name for name in left if name not in found]
  return found


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_refused_as_its_reader_promises(name, findings):
  assert findings[name] == ""
