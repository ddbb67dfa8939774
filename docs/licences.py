"""Writes the licences of everything in requirements.lock as the table docs/licences.md: what the packages that are
installed in this environment say of themselves.

  make lock        writes requirements.lock anew and then this
"""

import importlib.metadata
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
HEAD = """# Licences of what is installed

`requirements.txt` and all that it asks for, as `requirements.lock` pins it, on Python 3.11 and Linux. Made by
`make lock` from what each package says of itself; a package's own files are what counts.

| package | version | licence | home |
|---|---|---|---|
"""


def licence(about: importlib.metadata.PackageMetadata) -> str:
  """The SPDX expression, else the classifiers, else the first line of the text."""
  if about["License-Expression"]:
    return about["License-Expression"]
  kinds = [name.split(" :: ")[-1] for name in about.get_all("Classifier") or [] if name.startswith("License :: ")]
  named = [kind for kind in kinds if kind != "OSI Approved"]
  return " and ".join(named) or (about["License"] or "not said").strip().splitlines()[0].strip()


def home(about: importlib.metadata.PackageMetadata) -> str:
  links = dict(line.lower().split(", ", 1) for line in about.get_all("Project-URL") or [] if ", " in line)
  usual = ("homepage", "home", "source", "source code", "repository", "github", "documentation")
  return about["Home-page"] or next((links[name] for name in usual if name in links), "")


def table() -> str:
  """The page; packages that are not installed here, such as another system's, are left out."""
  names = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M)
  lines = []
  for name in sorted(set(names), key=str.lower):
    try:
      about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
      continue
    lines.append(f"| {about['Name']} | {about['Version']} | {licence(about)} | {home(about)} |\n")
  return HEAD + "".join(lines)


if __name__ == "__main__":
  (ROOT / "docs" / "licences.md").write_text(table(), encoding="utf-8")
