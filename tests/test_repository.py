"""What surrounds the code: licence, citation, changelog and the container's recipe say what is there."""

import datetime
import fnmatch
import hashlib
import pathlib
import re
import tomllib

import pytest
import yaml

import fgait_jax

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # of apache.org/licenses/LICENSE-2.0.txt


def test_the_licence_is_the_whole_text_and_named_alike():
  assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  assert PROJECT["project"]["license"] == citation["license"] == "Apache-2.0"


def test_the_citation_has_what_its_format_requires_and_names_the_paper():
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  assert citation["cff-version"] == "1.2.0"
  assert {"message", "title", "authors"} <= citation.keys()
  paper, = citation["references"]
  assert {"type", "title", "authors"} <= paper.keys()
  assert paper["url"].endswith("2512.00691")


def test_the_changelog_ends_at_the_version_of_the_code():
  """Above the last release stands what is unreleased, under the number that the code has with ".dev0"."""
  titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
  version, _, development = fgait_jax.__version__.partition(".dev")
  if development:
    assert titles[0] == f"[Unreleased]: {version}"
  else:
    number, date = titles[0].split(" - ")
    assert number == f"[{version}]"
    datetime.date.fromisoformat(date)


def anchors(page: pathlib.Path) -> set[str]:
  """The headings of a page as links name them."""
  titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
  return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page):
  missing = []
  for link in re.findall(r"\]\((?!https?:)([^)]+)", page.read_text()):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists() or (anchor and anchor not in anchors(target)):
      missing.append(link)
  assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_and_benchmarks_that_a_page_runs_are_there(page):
  named = re.findall(r"(?:pytest|python) ((?:tests|benchmarks)/[\w/.]+)", page.read_text())
  assert [name for name in named if not (ROOT / name).exists()] == []


def pins(path: pathlib.Path) -> set[tuple[str, str]]:
  """(package, version) of the lines "package==version" of a file, names in one spelling."""
  found = re.findall(r"^([\w.-]+)(?:\[\w,]+)?==([\w.]+)", path.read_text(), re.MULTILINE)
  return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}


def test_the_lock_holds_what_is_required_and_its_hashes():
  """`make lock` writes it."""
  lock = ROOT / "requirements.lock"
  assert pins(ROOT / "requirements.txt") - pins(lock) == set()
  entries = re.split(r"\n(?=[\w.-]+==)", lock.read_text())[1:]
  assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_licence_of_everything_that_is_installed_is_listed():
  page = (ROOT / "docs" / "licences.md").read_text()
  rows = re.findall(r"^\| ([\w.-]+) \| (\d[\w.]*) \| (.+?) \|", page, re.MULTILINE)
  listed = {re.sub(r"[-_.]+", "-", name).lower() for name, _, _ in rows}
  everywhere = re.findall(r"^([\w.-]+)==[\w.]+ \\", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
  assert set(everywhere) - listed == set()
  assert [name for name, _, licence in rows if licence == "not said"] == []


def copied() -> list[str]:
  """Sources of every COPY of the Dockerfile, in its order."""
  text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
  return [source for line in text.splitlines() if line.startswith("COPY ") for source in line.split()[1:-1]]


def test_the_container_gets_what_it_copies():
  kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
  assert sorted(copied()) == sorted(kept)
  assert [name for name in kept if not (ROOT / name).exists()] == []


def test_the_container_copies_what_the_installation_reads():
  tools = PROJECT["tool"]["setuptools"]
  read = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"],
          *tools["dynamic"]["dependencies"]["file"]}
  packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
  installed = {name for name in packages for pattern in tools["packages"]["find"]["include"]
               if fnmatch.fnmatch(name, pattern)}
  links = {path.resolve().relative_to(ROOT).parts[0] for name in installed for path in (ROOT / name).rglob("*")
           if path.is_symlink()}
  assert read | installed | links == set(copied())
  assert links == {"configs"}
