"""Configuration files are found, and wrong words of a command line end in one line that says what was meant."""

import pytest
from absl import flags
from ml_collections import config_flags

from fgait_jax import config_files
from fgait_jax.commands import arguments
from fgait_jax.errors import ConfigError

PATH = "configs/pretrain.py"


def test_load_names_what_is_missing():
  assert config_files.load(f"{PATH}:test").data.batch_size == 8
  with pytest.raises(ConfigError, match="there is no file configs/nowhere.py"):
    config_files.load("configs/nowhere.py:tiny")
  with pytest.raises(ConfigError, match="unknown variant 'x'; known: test, tiny"):
    config_files.load(f"{PATH}:x")
  with pytest.raises(ConfigError, match="README.md is no Python file with a get_config, as those of configs/ are"):
    config_files.load("README.md")
  with pytest.raises(ConfigError, match="configs/compare.py has no variants; leave out :walkers"):
    config_files.load("configs/compare.py:walkers")


def test_the_packages_own_files_are_found_where_the_current_folder_has_none(tmp_path, monkeypatch):
  own = str(config_files.SHIPPED / "pretrain.py") + ":test"
  monkeypatch.chdir(tmp_path)
  assert config_files.load(f"{PATH}:test").data.batch_size == 8
  with pytest.raises(ConfigError, match="no file configs/nowhere.py; the package has configs/baselines.py, "):
    config_files.locate("configs/nowhere.py:tiny")
  with pytest.raises(ConfigError, match="there is no file other/pretrain.py"):
    config_files.locate("other/pretrain.py")
  for given in ([f"--config={PATH}:test"], [f"-config={PATH}:test"], ["--config", f"{PATH}:test"]):
    argv = ["fgait-pretrain", *given, "--config.data.batch_size=24"]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    monkeypatch.setattr(flags, "FLAGS", values)
    arguments.parse_flags(argv)
    assert values.config.data.batch_size == 24
  (tmp_path / "configs").mkdir()
  (tmp_path / PATH).touch()
  assert config_files.locate(f"{PATH}:test") == f"{PATH}:test" != own == config_files.locate(own)


@pytest.mark.parametrize("config", [[f"--config={PATH}:test"], ["--config", f"{PATH}:test"]], ids=["equals", "space"])
@pytest.mark.parametrize(
  "word, message",
  [
    ("--config.data.bacth_size=4", r"unknown key config.data.bacth_size; did you mean config.data.batch_size\?"),
    ("--config.objectives.contrastive=0", r"config.objectives.contrastive is a section, .* --config.objectives.contr"),
    ("--config.data.sets.walkers=2", r"config.data.sets.walkers is a section, .* such as --config.data.sets.walkers."),
    ("--config.batch_size=4", r"unknown key config.batch_size; did you mean config.data.batch_size\?"),
    ("--config.data.set=kth", r"unknown key config.data.set; did you mean config.data.sets\?"),
    ("--config.discriminant.set=kth", r"unknown key config.discriminant.set; did you mean config.discriminant.sets\?"),
    ("--config.sets=kth", r"unknown key config.sets; did you mean config.data.sets\?"),
    ("--config.eval=kth", r"unknown key config.eval; did you mean config.evals\?"),
    ("--config.dta.mix=x", r"unknown key config.dta.mix; did you mean config.data.mix\?"),
    ("--config.data.batch_size=many", r"flag --config.data.batch_size=many: invalid literal for int"),
    ("--confg.seed=1", r"Unknown command line flag 'confg.seed'"),
    ("config.train.steps=7", r"steps=7: every word must begin with --; did you mean --config.train.steps=7\?"),
    ("tiny", r"^error: tiny: every word must begin with --$"),
    ("--config.data.sets=kth:much", r"^error: --config.data.sets=kth:much: 'kth:much': factor 'much' is not a number"
                                    r" \(float\); the form is name\[:factor\[:positives\[:split\]\]\],...$"),
    ("--config.data.sets=kth,kth:2", r"--config.data.sets=kth,kth:2: 'kth,kth:2' names kth twice"),
    ("--config.data.sets=kth,,walkers", r"'': '' is not a name of letters, digits and _"),
    ('--config.data.sets=("kth",)', r"""is not a name of letters, digits and _; the form is name\[:factor"""),
    ("--config.data.sets", r"--config.data.sets has no value; write --config.data.sets=NAME,NAME"),
    ("--config.data.sets.kth.factor=2", r"config.data.sets has walkers; --config.data.sets=NAME,NAME,... names others"),
    ("--config.evals.kth.every=2", r"config.evals has walkers; --config.evals=NAME,NAME,... names others in their pla"),
    ("--config.evals=kth:often", r"every 'often' is not a number \(int\); the form is name\[:every\[:protocol\]\],..."),
    ("--config.data.sets.walkers.facter=2", r"unknown key config.data.sets.walkers.facter; did you mean .*s.factor\?"),
    ("--config.discriminant.sets.kth.split=x", r"config.discriminant.sets has no entries; --config.discriminant.sets="),
    ("--config.discriminant.sets.kth.factor=2", r"config.discriminant.sets has no entries"),
    ("--config.student.masked_fractions=x", r"config.student.masked_fractions: 'x' among \('x',\); expected numbers$"),
    ("--config.student.crop_list=2,1.5", r"--config.student.crop_list: 1.5 among \(2, 1.5\); expected whole numbers$"),
    ("--config.student.crop_list=2.0,1", r"--config.student.crop_list: 2.0 among \(2.0, 1\); expected whole numbers$"),
    ("--noconfig.model.fcing", r"unknown key config.model.fcing; did you mean config.model.facing\?"),
    ("--config.optim.step_at=x", r"--config.optim.step_at: 'x' among \('x',\); expected whole numbers$"),
    ("--config.evals.walkers.mirror_views=5", r"--config.evals.walkers.mirror_views: 5 among \(5,\); expected text$"),
  ],
)
def test_wrong_words_on_the_command_line_end_in_one_line(config, word, message, monkeypatch):
  with pytest.raises(SystemExit, match=message):
    parsed([*config, word], monkeypatch)


def test_lists_of_text_are_written_with_commas(monkeypatch):
  for written, want in (("*-l,r", ("*-l", "r")), ("*-l", ("*-l",)), ("('a','b')", ("a", "b"))):
    config = parsed([f"--config={PATH}:test", f"--config.evals.walkers.mirror_views={written}"], monkeypatch)
    assert tuple(config.evals.walkers.mirror_views) == want


@pytest.mark.parametrize("words, want", [
  (["--config.data.sets=gaitlu_1m:0.1:walk,walkers::subject"],
   {"gaitlu_1m": (0.1, "walk", "train"), "walkers": (1.0, "subject", "train")}),
  (["--config.data.sets", "kth:::train[:10%]", "--config.data.sets.kth.factor", "3"],
   {"kth": (3.0, "sequence", "train[:10%]")}),
  (["--config.data.sets=kth", "-config.data.sets= mine , kth :2"],  # the last counts
   {"mine": (1.0, "sequence", "train"), "kth": (2.0, "sequence", "train")}),
  (["--config.data.sets.walkers.positives=subject"], {"walkers": (1.0, "subject", "train")}),
])
def test_data_sets_in_short_form_replace_those_of_the_configuration(words, want, monkeypatch):
  config = parsed([f"--config={PATH}:test", *words, "--config.seed=3"], monkeypatch)
  assert {name: (s.factor, s.positives, s.split) for name, s in config.data.sets.items()} == want
  assert config.seed == 3
  assert config.data.is_locked
  assert config.data.sets.is_locked


def test_a_short_form_stands_before_its_fields(monkeypatch):
  config = parsed([f"--config={PATH}:test", "--config.discriminant.sets=kth:subject"], monkeypatch)
  assert config.discriminant.sets.to_dict() == {"kth": {"positives": "subject", "split": "train"}}
  words = [f"--config={PATH}:test", "--config.data.sets.kth.factor=2", "--config.data.sets=kth"]
  with pytest.raises(SystemExit, match=r"data.sets is provided after --config.data.sets.kth.factor"):
    parsed(words, monkeypatch)


def test_evaluations_in_short_form_have_the_data_set_and_protocol_of_their_name(monkeypatch):
  words = ["--config.evals=kth,mine:20:own", "--config.evals.kth.max_sequences=9"]
  config = parsed([f"--config={PATH}:test", *words], monkeypatch)
  kept = ("dataset", "protocol", "every", "max_sequences")
  assert {name: tuple(e[key] for key in kept) for name, e in config.evals.items()} == {
    "kth": ("kth", "kth", 500, 9), "mine": ("mine", "own", 20, 512)}
  assert parsed([f"--config={PATH}:test", "--config.evals="], monkeypatch).evals.to_dict() == {}


def test_an_evaluation_has_no_data_sets_to_learn_from(monkeypatch):
  with pytest.raises(SystemExit, match=r"unknown key config.data.sets; did you mean"):
    parsed(["--config=configs/zero_shot.py", "--config.data.sets=kth"], monkeypatch)


def parsed(words, monkeypatch):
  """The configuration that a program given `words` gets."""
  argv = ["run_pretrain.py", *words]
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  monkeypatch.setattr(flags, "FLAGS", values)
  arguments.parse_flags(argv)
  return values.config
