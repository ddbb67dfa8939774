"""Configurations as they are checked, compared and stored; `fgait_jax/config_files.py` reads them.

Values that cannot work together are refused here, before anything compiles, in words that name the keys.
"""

import copy
import json
import math
from collections.abc import Iterable

from jax.sharding import Mesh
from ml_collections import ConfigDict

from fgait_jax import defaults, objectives
from fgait_jax.data import schema
from fgait_jax.data.pipeline import POSITIVES
from fgait_jax.errors import ConfigError, require
from fgait_jax.models import backbones, crops
from fgait_jax.parallel.hosts import check_batch_size

# Keys that say where a run computes and where its data lie.
PLACE = ("data.dir", "data.threads", "data.workers", "data.prefetch", "model.remat", "mesh.*")
# Keys that may differ between a run and its restart: they do not change what is learned (beyond rounding).
FREE = (
  *PLACE, "train.stop_at", "train.log_every", "train.save_every", "train.keep", "train.compilation_cache",
  "train.profile_at", "evals.*",
  "fine_tune.rates", "fine_tune.refit", "fine_tune.scratch", "fine_tune.log_every", "fine_tune.threads",
  "fine_tune.workers", "fine_tune.prefetch",
  "train.keep_every", "train.keep_best",
  # Nothing, until something goes wrong; a run that a bad batch has stopped may go on without it.
  *(f"{section}.{key}" for section in ("train", "fine_tune") for key in (
    "on_damage", "on_nonfinite", "skip_at_most", "spike", "watchdog", "watchdog_stops")),
)


_NETWORK = ("seed", "model.", "augment.width", "data.clip_frames", "data.window_frames")
_NAMED = ("data.sets.", "discriminant.sets.", "evals.")  # mappings whose entries the user names


def completed(config: dict) -> dict:
  """`config`, nested dicts as they were stored, with the keys that are younger than it (`defaults.EARLIER`)."""
  def fill(node, path, value):
    if not isinstance(node, dict):  # what is foreign is said where it is read
      return
    for name in list(node) if path[0] == "*" else path[:1]:
      if len(path) == 1:
        node.setdefault(name, value)
      else:
        fill(node.setdefault(name, {}), path[1:], value)

  whole = copy.deepcopy(config)
  for key, value in defaults.EARLIER.items():
    path = key.split(".")
    if len(path) == 1 or path[0] in whole:
      fill(whole, path, value)
  return whole


def flat(config) -> dict[str, object]:
  """{"data.batch_size": 32, ...} of a `ConfigDict` or of nested dicts; tuples as lists, as JSON has them. A mapping
  without entries is {}."""
  tree = config.to_dict() if isinstance(config, ConfigDict) else config

  def walk(node, prefix):
    if isinstance(node, dict) and node:
      for name, value in node.items():
        yield from walk(value, f"{prefix}{name}.")
    else:
      yield prefix[:-1], json.loads(json.dumps(node))

  return dict(walk(tree, ""))


def lines(config) -> str:
  """One sorted line a key: the golden and console form."""
  return "".join(f"{name} = {json.dumps(value)}\n" for name, value in sorted(flat(config).items()))


def changes(before, now) -> list[str]:
  """"key: old -> new" for every key outside `FREE` in which a restart differs from its run."""
  before, now = flat(before), flat(now)
  return [
    f"config.{name}: {before.get(name, 'absent')!r} -> {now.get(name, 'absent')!r}"
    for name in sorted(before.keys() | now.keys())
    if not _is_among(name, FREE) and before.get(name) != now.get(name)
  ]


def place(config) -> dict[str, object]:
  """The keys of `config` in `PLACE`, flat."""
  return {name: value for name, value in flat(config).items() if _is_among(name, PLACE)}


def _is_among(name: str, keys: tuple[str, ...]) -> bool:
  return any(name == key or (key.endswith("*") and f"{name}.".startswith(key[:-1])) for key in keys)


def lacking(config: dict, keys: tuple[str, ...] = _NETWORK) -> list[str]:
  """Keys that begin with one of `keys`, by default what a network is made and fed by, and that `config`, nested dicts
  as of a pretraining run, lacks or has of another kind. Entries that the user names are left out."""
  def kind(value):
    return float if type(value) is int else type(value)

  found, wanted = flat(config), flat(defaults.pretrain())
  return [name for name, value in sorted(wanted.items())
          if name.startswith(keys) and not f"{name}.".startswith(_NAMED)
          and (name not in found or kind(found[name]) is not kind(value))]


def check_seed(seed: int) -> None:
  """Raises `ConfigError` for a seed that jax or scikit-learn would cut or refuse."""
  if not 0 <= seed < 2**32:
    raise ConfigError(f"config.seed={seed} must be from 0 to 2**32 - 1 = {2**32 - 1}")


def chance_needs(section, names: Iterable[str], key: str) -> list[tuple[bool, str]]:
  """(whether it holds, what to say where it does not) of the probabilities `names` of a section named `key`."""
  return [
    (0 <= section[name] <= 1, f"{key}.{name}={section[name]} is a probability, from 0 (never) to 1 (every clip)")
    for name in names
  ]


def augment_needs(augment, key: str) -> list[tuple[bool, str]]:
  """The same of a section `augment`."""
  needs, width = chance_needs(augment, [name for name in augment if name != "width"], key), augment.width
  return [*needs, (0 < width <= 64 and width % 2 == 0, f"{key}.width={width} must be an even number up to 64")]


def pixel_needs(model, augment, key: str) -> list[tuple[bool, str]]:
  """The same of a section `augment` named `key` for a network of the section `model`: what takes frames for masks of
  bodies is for silhouettes alone."""
  masks = model.pixels == schema.SILHOUETTES
  return [
    (model.pixels in schema.PIXELS, f"config.model.pixels={model.pixels!r}; known: {', '.join(schema.PIXELS)}"),
    (masks <= (model.channels == 1),
     f"config.model.channels={model.channels}: silhouettes have one channel; set config.model.pixels=maps"),
    (masks or not model.facing,
     "config.model.facing=True turns walks by their silhouettes; with config.model.pixels=maps set it to False"),
    *((masks or augment[name] == 0,
       f"{key}.{name}={augment[name]} takes frames for masks of bodies; with config.model.pixels=maps set it to 0")
      for name in ("dilate", "blur", "segmenter")),
  ]


def mishap_needs(section, key: str) -> list[tuple[bool, str]]:
  """The same of what the section `section` named `key` says to do when something goes wrong."""
  return [
    (section.on_damage in ("stop", "previous"), f'{key}.on_damage={section.on_damage!r}; known: "stop", "previous"'),
    (section.on_nonfinite in ("stop", "skip"), f'{key}.on_nonfinite={section.on_nonfinite!r}; known: "stop", "skip"'),
    (section.skip_at_most > 0, f"{key}.skip_at_most={section.skip_at_most} must be at least 1"),
    (section.spike == 0 or section.spike > 1, f"{key}.spike={section.spike} must be above 1, or 0 for no such limit"),
    (section.watchdog >= 0, f"{key}.watchdog={section.watchdog} minutes must be above 0, or 0 for never"),
    (section.watchdog > 0 or not section.watchdog_stops,
     f"{key}.watchdog_stops=True stops nothing where {key}.watchdog is 0; give it minutes"),
  ]


def schedule_needs(optim, steps: int, key: str, steps_key: str) -> list[tuple[bool, str]]:
  """The same of when the schedule of a section `optim` named `key` changes, in `steps` steps."""
  warmup = optim.warmup_steps
  return [
    (warmup == 0 or 0 < warmup < steps,
     f"{key}.warmup_steps={warmup} must be at least 0 and below {steps_key}={steps}"),
    (optim.schedule != "step" or all(warmup < at < steps for at in optim.step_at),
     f"{key}.step_at={tuple(optim.step_at)}: each must come after {key}.warmup_steps={warmup} and before"
     f" {steps_key}={steps}"),
  ]


def closing_needs(config) -> list[tuple[bool, str]]:
  """The same of what learns the discriminant."""
  closing, least = config.discriminant, config.data.batch_size * config.data.clips
  return [
    (closing.walks >= least,
     f"config.discriminant.walks={closing.walks} must be at least a batch's {least} clips (config.data.batch_size x"
     " config.data.clips)"),
    (0 <= closing.shrinkage <= 1, f"config.discriminant.shrinkage={closing.shrinkage} must be from 0 to 1"),
    (min(closing.frames, closing.components) > 0,
     f"config.discriminant.frames={closing.frames} and config.discriminant.components={closing.components} must be at"
     " least 1"),
    (0 < closing.step <= closing.frames,
     f"config.discriminant.step={closing.step} must be from 1 to config.discriminant.frames={closing.frames}"),
    *chance_needs(closing, ("segmenter", "holes"), "config.discriminant"),
    (config.model.pixels == schema.SILHOUETTES or closing.segmenter == 0,
     f"config.discriminant.segmenter={closing.segmenter} takes frames for masks of bodies; with"
     " config.model.pixels=maps set it to 0"),
  ]


def positives_needs(key: str, sets) -> list[tuple[bool, str]]:
  """The same of the data sets `sets` of the section `key`."""
  return [(taught.positives in POSITIVES,
           f"config.{key}.{name}.positives={taught.positives!r}; known: {', '.join(POSITIVES)}")
          for name, taught in sets.items()]


def check(config, mesh: Mesh) -> None:
  """Raises `ConfigError` for values of a pretraining configuration that cannot work together."""
  data, train = config.data, config.train
  hidden, momentum = tuple(config.student.masked_fractions), config.teacher.ema_start
  backbone = backbones.find(config.model.name)  # before what depends on it
  if min(config.model.body_heads, config.model.discriminant) < 0:
    raise ConfigError(f"config.model.body_heads={config.model.body_heads} and config.model.discriminant="
                      f"{config.model.discriminant} must be 0 or more")
  if config.model.attention_frames < 1:
    raise ConfigError(f"config.model.attention_frames={config.model.attention_frames} must be at least 1")
  check_seed(config.seed)
  check_batch_size(data.batch_size, mesh)
  crops.check_batch(data.batch_size, config.student.crop_list)
  size = backbone.size(config.model.variant)
  slot, tensor = size.frames_per_token, mesh.shape["tensor"]
  best = train.keep_best.removeprefix("-").partition("/")[0]
  every = config.evals[best].every if best in config.evals else 0
  needs = [
    (len(data.sets) > 0,
     "config.data.sets is empty; name what to pretrain on, as in --config.data.sets=walkers,kth"),
    *((0 < taught.factor < math.inf,
       f"config.data.sets.{name}.factor={taught.factor} must be above 0; to leave a data set out, name only the others"
       " in --config.data.sets=...") for name, taught in data.sets.items()),
    *positives_needs("data.sets", data.sets),
    *positives_needs("discriminant.sets", config.discriminant.sets),
    (data.clips == 2,
     f"config.data.clips={data.clips}: pretraining takes 2 clips, one for the teacher and one for the student"),
    (data.mix in ("per_batch", "per_sequence"),
     f'config.data.mix={data.mix!r}; pretraining knows "per_batch" and "per_sequence"'),
    (math.isfinite(data.exponent), f"config.data.exponent={data.exponent} must be a finite number"),
    (0 < data.clip_frames <= data.window_frames,
     f"config.data.clip_frames={data.clip_frames} must be from 1 to config.data.window_frames={data.window_frames}"),
    (data.clip_frames % slot == 0,
     f"config.data.clip_frames={data.clip_frames} must be a multiple of {slot}: config.model.variant="
     f"{config.model.variant!r} makes a token of {slot} frames, and those left over at the end would never be seen"),
    (not backbone.windows or data.clip_frames <= config.model.attention_frames,
     f"config.data.clip_frames={data.clip_frames} is more than config.model.attention_frames="
     f"{config.model.attention_frames}: a clip would be cut into windows that do not see each other; set"
     f" config.model.attention_frames={data.clip_frames}"),
    (len(hidden) in (1, len(config.student.crop_list)),
     f"config.student.masked_fractions={hidden} must have one share, or one for each group of config.student.crop_list="
     f"{tuple(config.student.crop_list)}"),
    (all(0 <= share < 1 for share in hidden),
     f"config.student.masked_fractions={hidden}: each must be at least 0 and below 1"),
    (backbone.masks or not any(hidden),
     f"config.student.masked_fractions={hidden}: config.model.name={config.model.name!r} cannot leave tokens out; set"
     " them and config.objectives.reconstruction.weight to 0"),
    (0 <= momentum <= 1, f"config.teacher.ema_start={momentum} must be from 0 to 1"),
    (train.steps > 0, f"config.train.steps={train.steps} must be at least 1"),
    (-1 <= train.stop_at <= train.steps,
     f"config.train.stop_at={train.stop_at} must be -1 or at most config.train.steps={train.steps}"),
    (min(train.log_every, train.save_every, train.keep) > 0,
     "config.train.log_every, config.train.save_every and config.train.keep must be at least 1"),
    (train.keep_every >= 0 and train.keep_every % train.save_every == 0,
     f"config.train.keep_every={train.keep_every} must be a multiple of config.train.save_every={train.save_every}, or"
     " 0 to keep none for this reason"),
    (train.profile_at < train.steps,
     f"config.train.profile_at={train.profile_at} never comes: it must be below config.train.steps={train.steps}, or -1"
     " for no trace"),
    (not train.keep_best or (every > 0 and every % train.save_every == 0),
     f"config.train.keep_best={train.keep_best}: config.evals.{best}.every={every} must be a multiple of"
     f" config.train.save_every={train.save_every}, above 0, or what is evaluated is not saved"),
    *((heads % tensor == 0,
       f"config.mesh.tensor={tensor} must divide the {heads} heads of attention of config.model.variant="
       f"{config.model.variant!r}, encoder and decoder alike: of heads cut in two every device would do all")
      for heads in (part["heads"] for part in (size.encoder, size.decoder if any(hidden) else {}) if "heads" in part)),
    *mishap_needs(train, "config.train"),
    *schedule_needs(config.optim, train.steps, "config.optim", "config.train.steps"),
    *augment_needs(config.augment, "config.augment"),
    *pixel_needs(config.model, config.augment, "config.augment"),
  ]
  if config.model.discriminant:
    needs += closing_needs(config)
  require(needs)
  objectives.check(config.objectives, config, key="config.objectives")
