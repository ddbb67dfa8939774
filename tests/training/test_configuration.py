"""Values that cannot work together end in one message that names the keys, before anything compiles."""

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from configs import pretrain
from fgait_jax import defaults
from fgait_jax.errors import ConfigError
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.training import configuration

PATH = "configs/pretrain.py"


def changed(**values):
  config = pretrain.get_config("test")
  config.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})
  return config


@pytest.mark.parametrize("variant", pretrain.VARIANTS)
def test_every_variant_is_accepted(variant):
  configuration.check(pretrain.get_config(variant), make_mesh(devices=jax.devices()[:4]))


@pytest.mark.parametrize(
  "values, message",
  [
    ({"data__batch_size": 6}, r"config.data.batch_size=6 does not divide over config.mesh.data x config.mesh.fsdp = 4"),
    ({"data__batch_size": 0}, r"config.data.batch_size=0 does not divide over .*; take a multiple of 4"),
    ({"data__mix": "per_subject"}, r"config.data.mix='per_subject'; pretraining knows \"per_batch\" and"),
    ({"objective__crop_list": (16,)}, r"crop_list=\(16,\): each must be a number of strips, 1, 2, 4 or 8"),
    ({"objective__label_smoothing": 1.5}, r"config.objective.label_smoothing=1.5 must be from 0 to 1"),
    ({"objective__contrastive_weight": -1.0}, r"config.objective.contrastive_weight=-1.0 must be at least 0"),
    ({"seed": 2**33}, r"config.seed=8589934592 must be from 0 to 2\*\*32 - 1 = 4294967295"),
    ({"seed": -1}, r"config.seed=-1 must be from 0"),
    ({"optim__schedule": "step", "optim__step_at": (2, 9)}, r"step_at=\(2, 9\): each must .*config.train.steps=4"),
    ({"augment__width": 43}, r"config.augment.width=43 must be an even number up to 64"),
    ({"augment__flip": 50.0}, r"config.augment.flip=50.0 is a probability, from 0 \(never\) to 1"),
    ({"objective__crop_list": (8, 4, 2, 1, 1)}, r"config.data.batch_size=8 does not divide into the 10 equal groups"),
    ({"objective__crop_list": (3,)}, r"config.objective.crop_list=\(3,\): each must be a number of strips"),
    ({"data__sets": defaults.data_sets("")}, r"config.data.sets is empty; .* --config.data.sets=walkers,kth$"),
    ({"data__sets__walkers__factor": 0.0}, r"config.data.sets.walkers.factor=0.0 must be above 0; to leave a data set"),
    ({"data__sets__walkers__factor": float("nan")}, r"config.data.sets.walkers.factor=nan must be above 0"),
    ({"data__sets__walkers__positives": "person"}, r"walkers.positives='person'; known: sequence, walk, subject"),
    ({"discriminant__sets": defaults.discriminant_sets("kth:who")}, r"config.discriminant.sets.kth.positives='who'"),
    ({"model__name": "resnet"}, r"model.name='resnet' is not known; known: transformer, p3d"),
    ({"data__batch_size": 4, "objective__crop_list": (4, 2, 1, 1)}, r"into the 8 equal groups .*; take 8$"),
    ({"data__clips": 1}, r"config.data.clips=1: pretraining takes 2 clips"),
    ({"data__clip_frames": 6}, r"config.data.clip_frames=6 must be from 1 to config.data.window_frames=5"),
    ({"data__clip_frames": 3}, r"data.clip_frames=3 must be a multiple of 2: .*'test' makes a token of 2 frames"),
    ({"objective__masked_fraction": 1.0}, r"config.objective.masked_fraction=1.0 must be at least 0 and below 1"),
    ({"model__name": "p3d"}, r"config.objective.masked_fraction=0.5: config.model.name='p3d' cannot leave tokens out"),
    ({"objective__queue": 12}, r"config.objective.queue=12 must be 0 or a multiple of config.data.batch_size=8"),
    ({"objective__temperature": 0.0}, r"config.objective.temperature=0.0 must be above 0"),
    ({"objective__ema_start": 1.5}, r"config.objective.ema_start=1.5 must be from 0 to 1"),
    ({"train__steps": 0}, r"config.train.steps=0 must be at least 1"),
    ({"train__stop_at": 5}, r"config.train.stop_at=5 must be -1 or at most config.train.steps=4"),
    ({"train__keep": 0}, r"config.train.keep must be at least 1"),
  ],
)
def test_what_cannot_work_is_refused(values, message):
  with pytest.raises(ConfigError, match=message):
    configuration.check(changed(**values), make_mesh(devices=jax.devices()[:4]))


def test_a_restart_may_change_what_does_not_alter_the_run():
  before = changed()
  now = changed(train__log_every=3, train__stop_at=2, data__workers=1, mesh__fsdp=2, evals__walkers__every=7)
  assert configuration.changes(before, now) == []
  assert configuration.changes(before, changed(evals=defaults.evals(""))) == []
  assert configuration.changes(before.to_dict(), changed(optim__peak_rate=0.5, seed=3)) == [
    "config.optim.peak_rate: 0.001 -> 0.5", "config.seed: 0 -> 3"
  ]


def test_a_restart_may_not_change_its_data_sets():
  both = changed(data__sets=defaults.data_sets("kth,walkers"))
  assert configuration.changes(both, changed(data__sets=defaults.data_sets("walkers,kth"))) == []
  found = configuration.changes(both, changed(discriminant__sets=defaults.discriminant_sets("walkers")))
  assert "config.data.sets.kth.factor: 1.0 -> 'absent'" in found
  assert "config.discriminant.sets.walkers.positives: 'absent' -> 'sequence'" in found


def test_load_names_what_is_missing():
  assert configuration.load(f"{PATH}:test").data.batch_size == 8
  with pytest.raises(ConfigError, match="there is no file configs/nowhere.py"):
    configuration.load("configs/nowhere.py:tiny")
  with pytest.raises(ConfigError, match="unknown variant 'x'; known: test, tiny"):
    configuration.load(f"{PATH}:x")


def test_the_packages_own_files_are_found_where_the_current_folder_has_none(tmp_path, monkeypatch):
  own = str(configuration.SHIPPED / "pretrain.py") + ":test"
  monkeypatch.chdir(tmp_path)
  assert configuration.load(f"{PATH}:test").data.batch_size == 8
  with pytest.raises(ConfigError, match="there is no file configs/nowhere.py; the package has configs/compare.py, "):
    configuration.locate("configs/nowhere.py:tiny")
  with pytest.raises(ConfigError, match="there is no file other/pretrain.py"):
    configuration.locate("other/pretrain.py")
  for given in ([f"--config={PATH}:test"], [f"-config={PATH}:test"], ["--config", f"{PATH}:test"]):
    argv = ["fgait-pretrain", *given, "--config.data.batch_size=24"]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    monkeypatch.setattr(flags, "FLAGS", values)
    configuration.parse_flags(argv)
    assert values.config.data.batch_size == 24
  (tmp_path / "configs").mkdir()
  (tmp_path / PATH).touch()
  assert configuration.locate(f"{PATH}:test") == f"{PATH}:test" != own == configuration.locate(own)


@pytest.mark.parametrize("config", [[f"--config={PATH}:test"], ["--config", f"{PATH}:test"]], ids=["equals", "space"])
@pytest.mark.parametrize(
  "word, message",
  [
    ("--config.data.bacth_size=4", r"unknown key config.data.bacth_size; did you mean config.data.batch_size\?"),
    ("--config.batch_size=4", r"unknown key config.batch_size; did you mean config.data.batch_size\?"),
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
  ],
)
def test_wrong_words_on_the_command_line_end_in_one_line(config, word, message, monkeypatch):
  with pytest.raises(SystemExit, match=message):
    parsed([*config, word], monkeypatch)


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
  configuration.parse_flags(argv)
  return values.config
