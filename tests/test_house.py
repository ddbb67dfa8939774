"""The house stands as designed: imports run downward, files stay short, nobody hides defaults or helpers."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("fgait_jax", "data_prep", "configs")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py")) + sorted(ROOT.glob("run_*.py"))
BESIDE = sorted(p for package in ("tests", "benchmarks") for p in (ROOT / package).rglob("*.py"))

# What each place may import of the project, beside itself. A name ends at a package or a module.
BASE = {"fgait_jax.typing", "fgait_jax.errors", "fgait_jax.mappings", "fgait_jax.rng", "fgait_jax.paths",
        "fgait_jax.npz"}
BELOW_TRAINING = BASE | {"fgait_jax.parallel", "fgait_jax.kernels", "fgait_jax.models", "fgait_jax.objectives",
                         "fgait_jax.data"}
# The rooms of evaluation, and what each may use of evaluation beside itself. Records are what rooms hand each other.
RECORDS = {"columns", "labels", "plain", "results"}
ROOMS = {
  "plain": set(),
  "columns": set(),
  "labels": set(),
  "results": {"columns", "metrics.pairing", "plain"},
  "metrics": set(),
  "features": {"labels", "metrics"},
  "protocols": {"labels", "metrics", "plain"},
  "report": {*RECORDS, "metrics"},
  "provenance": {*RECORDS},
  "registry": {"results"},
  "targets": {"labels", "metrics", "protocols"},
  "validation": {"labels", "protocols"},
  "setup": {*RECORDS, "features", "metrics", "protocols", "provenance", "registry"},
  "scoring": {*RECORDS, "features", "protocols"},
  "pictures": {"features", "labels", "metrics", "protocols", "report"},
  "during_training": {"features", "labels", "metrics", "protocols"},
  "tasks": {*RECORDS, "features", "metrics", "pictures", "protocols", "provenance", "registry", "report", "scoring",
            "setup", "targets", "validation"},
}
ALLOWED = {
  "fgait_jax.typing": set(),
  "fgait_jax.errors": set(),
  "fgait_jax.rng": {"fgait_jax.typing"},
  "fgait_jax.paths": {"fgait_jax.errors"},
  "fgait_jax.npz": {"fgait_jax.errors"},
  "fgait_jax.mappings": set(),
  "fgait_jax.defaults": {"fgait_jax.mappings"},
  "fgait_jax.config_files": {"fgait_jax.errors"},
  "fgait_jax.parallel": BASE,
  "fgait_jax.data": BASE | {"fgait_jax.parallel"},
  "fgait_jax.kernels": BASE,
  "fgait_jax.models": BASE | {"fgait_jax.parallel", "fgait_jax.kernels"},
  "fgait_jax.objectives": BASE | {"fgait_jax.parallel", "fgait_jax.kernels"},
  "fgait_jax.training": BELOW_TRAINING | {"fgait_jax.defaults"},
  "fgait_jax.evaluation": BELOW_TRAINING | {"fgait_jax.training"},
  **{f"fgait_jax.evaluation.{name}": BELOW_TRAINING | {"fgait_jax.training"} | {
    f"fgait_jax.evaluation.{other}" for other in others} for name, others in ROOMS.items()},
  "fgait_jax.interop": BELOW_TRAINING | {"fgait_jax.defaults", "fgait_jax.training", "fgait_jax.evaluation",
                                         "fgait_jax.config_files"},
  "fgait_jax.interop.check_networks": BELOW_TRAINING | {"fgait_jax.training", "fgait_jax.interop",
                                                         "fgait_jax.evaluation.metrics"},
  # Masks and videos that nobody has built are read as a build reads them.
  "fgait_jax.evaluation.features.walks": BASE | {"fgait_jax.data", "fgait_jax.evaluation.labels", "data_prep"},
  "fgait_jax.data.rendered": BASE | {"fgait_jax.data", "data_prep"},  # renders as a build does
  "configs": {"fgait_jax.defaults", "fgait_jax.configs"},  # the latter is a link to the former
  "data_prep": {"data_prep", "fgait_jax.data.schema", "fgait_jax.data.normalise", "fgait_jax.data.workers",
                "fgait_jax.errors", "fgait_jax.mappings", "fgait_jax.npz", "fgait_jax.paths"},
  "data_prep.preview": {"data_prep", "fgait_jax.data.schema", "fgait_jax.data.normalise", "fgait_jax.data.source",
                        "fgait_jax.errors", "fgait_jax.mappings", "fgait_jax.npz", "fgait_jax.paths"},
  "fgait_jax.commands": BELOW_TRAINING | {"fgait_jax.defaults", "fgait_jax.config_files", "fgait_jax.training",
                                          "fgait_jax.evaluation", "fgait_jax.interop"},
  "run_pretrain": {"fgait_jax.commands"},
  "run_eval": {"fgait_jax.commands"},
}


# The package's own page: the Python door, which imports late.
DOOR = {"fgait_jax.interop.embedder", "fgait_jax.evaluation.features.walks"}


def module_name(path: pathlib.Path) -> str:
  return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: pathlib.Path) -> set[str]:
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import; write the full name"
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return {name for name in found if name.split(".")[0] in PACKAGES}


def within(name: str, place: str) -> bool:
  return name == place or name.startswith(f"{place}.")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path):
  name = module_name(path)
  place = max((p for p in ALLOWED if within(name, p)), key=len, default=None)
  if place is None:
    assert name == "fgait_jax", f"{name} has no place in the house; add it to ALLOWED"
  allowed = DOOR if place is None else ALLOWED[place] | {place}
  upward = sorted(i for i in imports(path) - {"fgait_jax"} if not any(within(i, a) for a in allowed))
  assert not upward, f"{name} imports {upward}; {place} may import only {sorted(allowed)}"


@pytest.mark.parametrize("path", FILES + BESIDE, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_open_with_a_purpose(path):
  text = path.read_text()
  assert len(text.splitlines()) < 400, f"{path} is too long; split it by purpose"
  assert path.stem not in {"utils", "helpers", "misc", "common"}
  if text.strip():
    assert ast.get_docstring(ast.parse(text)), f"{path} has no module docstring"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_configuration_is_never_read_with_a_default(path):
  assert not re.search(r"config(\.\w+)*\.get\(", path.read_text()), f"{path}: put the key in fgait_jax/defaults"
