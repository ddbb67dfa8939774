"""What each task says of itself holds: its configuration, its sections, its file and its place in the docs."""

import pathlib

import pytest
from ml_collections import ConfigDict

from fgait_jax import defaults
from fgait_jax.errors import ConfigError
from fgait_jax.evaluation import program, registry

ROOT = pathlib.Path(__file__).parents[2]
TASKS = sorted(registry.TASKS)


def test_every_file_of_the_folder_registers_a_task_of_its_name():
  files = {path.stem for path in (ROOT / "fgait_jax" / "evaluation" / "tasks").glob("*.py")} - {"__init__"}
  assert files == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_a_configuration_of_its_name_and_a_place_in_the_docs(name):
  assert (ROOT / "configs" / f"{name}.py").is_file()
  docs = "".join((ROOT / "docs" / page).read_text() for page in ("evaluation.md", "finetuning.md"))
  assert f"--config=configs/{name}.py" in docs


def test_every_section_of_the_configuration_is_read_by_a_task():
  sections = {key for key, value in defaults.evaluation().items() if isinstance(value, ConfigDict)}
  assert {section for task in registry.TASKS.values() for section in task.sections} == sections


def test_no_two_tasks_write_the_same_file():
  config = defaults.evaluation()
  paths = [task.path(config, pathlib.Path("out"), evaluation="a") for task in registry.TASKS.values()]
  assert len(set(paths)) == len(paths)
  assert all(path.parent == pathlib.Path("out") for path in paths)


@pytest.mark.parametrize("name", [name for name in TASKS if registry.TASKS[name].checkpoint])
def test_a_task_on_a_checkpoint_wants_one(name, tmp_path):
  config = defaults.evaluation().unlock()
  config.task = name
  with pytest.raises(ConfigError, match="config.checkpoint is empty; give --config.checkpoint=FOLDER"):
    program.run(config, tmp_path)
