"""Texts that are recorded in tests/golden: what moved shows in the diff. UPDATE_GOLDEN=1 rewrites them."""

import os
import pathlib

GOLDEN = pathlib.Path(__file__).parent / "golden"


def check_recorded(name: str, text: str) -> None:
  """That tests/golden/<name> holds `text`."""
  path = GOLDEN / name
  if os.environ.get("UPDATE_GOLDEN"):
    path.write_text(text)
  recorded = path.read_text() if path.exists() else ""
  found = "differs" if path.exists() else "is missing"
  assert text == recorded, f"{path} {found}; if meant, run with UPDATE_GOLDEN=1 and say why in the commit"
