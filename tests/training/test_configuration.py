"""Values that cannot work together end in one message that names the keys, before anything compiles."""

import jax
import pytest

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
    ({"student__crop_list": (16,)}, r"crop_list=\(16,\): each must be a number of strips, 1, 2, 4 or 8"),
    ({"objectives__contrastive__label_smoothing": 1.5},
     r"config.objectives.contrastive.label_smoothing=1.5 must be from 0 to 1"),
    ({"objectives__contrastive__weight": -1.0}, r"config.objectives.contrastive.weight=-1.0 must be at least 0"),
    ({"model__channels": 3}, r"config.model.channels=3: silhouettes have one channel; set config.model.pixels=maps"),
    ({"model__pixels": "labels"}, r"config.model.pixels='labels'; known: silhouettes, maps"),
    ({"model__pixels": "maps", "model__facing": True}, r"config.model.facing=True turns walks by their silhouettes"),
    ({"model__pixels": "maps", "model__facing": False, "augment__blur": 0.1},
     r"config.augment.dilate=0.2 takes frames for masks of bodies; with config.model.pixels=maps set it to 0"),
    ({"model__pixels": "maps", "model__facing": False, "augment__blur": 0.0, "augment__dilate": 0.0,
      "model__discriminant": 4, "discriminant__walks": 64, "discriminant__segmenter": 0.5},
     r"config.discriminant.segmenter=0.5 takes frames for masks of bodies"),
    ({"seed": 2**33}, r"config.seed=8589934592 must be from 0 to 2\*\*32 - 1 = 4294967295"),
    ({"seed": -1}, r"config.seed=-1 must be from 0"),
    ({"optim__schedule": "step", "optim__step_at": (2, 9)}, r"step_at=\(2, 9\): each must .*config.train.steps=4"),
    ({"augment__width": 43}, r"config.augment.width=43 must be an even number up to 64"),
    ({"augment__flip": 50.0}, r"config.augment.flip=50.0 is a probability, from 0 \(never\) to 1"),
    ({"student__crop_list": (8, 4, 2, 1, 1)}, r"config.data.batch_size=8 does not divide into the 10 equal groups"),
    ({"student__crop_list": (3,)}, r"config.student.crop_list=\(3,\): each must be a number of strips"),
    ({"data__sets": defaults.data_sets("")}, r"config.data.sets is empty; .* --config.data.sets=walkers,kth$"),
    ({"data__sets__walkers__factor": 0.0}, r"config.data.sets.walkers.factor=0.0 must be above 0; to leave a data set"),
    ({"data__sets__walkers__factor": float("nan")}, r"config.data.sets.walkers.factor=nan must be above 0"),
    ({"data__sets__walkers__positives": "person"}, r"walkers.positives='person'; known: sequence, walk, subject"),
    ({"discriminant__sets": defaults.discriminant_sets("kth:who")}, r"config.discriminant.sets.kth.positives='who'"),
    ({"model__name": "resnet"}, r"config.model.name='resnet' is not known; known: transformer, p3d"),
    ({"data__batch_size": 4, "student__crop_list": (4, 2, 1, 1)}, r"into the 8 equal groups .*; take 8$"),
    ({"data__exponent": float("nan")}, r"config.data.exponent=nan must be a finite number"),
    ({"objectives__reconstruction__weight": float("inf")}, r"reconstruction.weight=inf must be at least 0"),
    ({"model__variant": "vast"}, r"config.model.variant='vast' is not known; known: test, tiny"),
    ({"optim__warmup_steps": 4}, r"config.optim.warmup_steps=4 must be at least 0 and below config.train.steps=4"),
    ({"data__clips": 1}, r"config.data.clips=1: pretraining takes 2 clips"),
    ({"data__clip_frames": 6}, r"config.data.clip_frames=6 must be from 1 to config.data.window_frames=5"),
    ({"model__attention_frames": 0}, r"config.model.attention_frames=0 must be at least 1"),
    ({"model__attention_frames": -1, "model__name": "p3d"}, r"config.model.attention_frames=-1 must be at least 1"),
    ({"model__discriminant": 4, "discriminant__walks": 64, "discriminant__step": 0},
     r"config.discriminant.step=0 must be from 1 to config.discriminant.frames=32"),
    ({"model__discriminant": 4, "discriminant__walks": 64, "discriminant__step": 33},
     r"config.discriminant.step=33 must be from 1 to config.discriminant.frames=32"),
    ({"model__attention_frames": 2}, r"config.data.clip_frames=4 is more than config.model.attention_frames=2: .*=4$"),
    ({"data__clip_frames": 3}, r"data.clip_frames=3 must be a multiple of 2: .*'test' makes a token of 2 frames"),
    ({"student__masked_fractions": (0.0, 1.0)}, r"student.masked_fractions=\(0.0, 1.0\): each must be at least 0"),
    ({"student__masked_fractions": (0.5,) * 3}, r"fractions=\(0.5, 0.5, 0.5\) must have one share, or one for each"),
    ({"model__name": "p3d"}, r"fractions=\(0.5,\): config.model.name='p3d' cannot leave tokens out"),
    ({"objectives__contrastive__queue": 12},
     r"config.objectives.contrastive.queue=12 must be 0 or a multiple of config.data.batch_size=8"),
    ({"objectives__contrastive__temperature": 0.0}, r"config.objectives.contrastive.temperature=0.0 must be above 0"),
    ({"student__masked_fractions": (0.0, 0.0)}, r"weight is above 0, but .*student.masked_fractions=\(0.0, 0.0\) hide"),
    ({"teacher__ema_start": 1.5}, r"config.teacher.ema_start=1.5 must be from 0 to 1"),
    ({"train__steps": 0}, r"config.train.steps=0 must be at least 1"),
    ({"train__stop_at": 5}, r"config.train.stop_at=5 must be -1 or at most config.train.steps=4"),
    ({"train__keep": 0}, r"config.train.keep must be at least 1"),
  ],
)
def test_what_cannot_work_is_refused(values, message):
  with pytest.raises(ConfigError, match=message):
    configuration.check(changed(**values), make_mesh(devices=jax.devices()[:4]))


def test_heads_of_attention_are_not_cut_in_two():
  """Widths may divide where heads do not, and every device would then compute them all."""
  mesh = make_mesh(tensor=8)
  with pytest.raises(ConfigError, match=r"config.mesh.tensor=8 must divide the 12 heads of .*'base'"):
    configuration.check(pretrain.get_config("base"), mesh)
  hides = pretrain.get_config("giant").copy_and_resolve_references().unlock()
  hides.student.masked_fractions, hides.objectives.reconstruction.weight = (0.0,), 0.0
  with pytest.raises(ConfigError, match="must divide the 28 heads"):
    configuration.check(hides, mesh)
  configuration.check(hides, make_mesh(tensor=4))


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
