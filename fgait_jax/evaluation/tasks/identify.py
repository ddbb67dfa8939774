"""The task "identify": which gallery subjects each probe is nearest to, and whether it is near enough to be one.

From embeddings on file, or from folders of masks and videos, which are embedded here. The open-set threshold comes from
people who are not in the gallery: the share of their walks that it lets be taken for somebody is what was asked for, at
this very gallery.
"""

import csv
import dataclasses
import hashlib
import pathlib

import numpy as np

from fgait_jax.errors import ConfigError, DataError
from fgait_jax.evaluation import columns, provenance, registry, results
from fgait_jax.evaluation.columns import Column
from fgait_jax.evaluation.features import extraction, files, salt, walks
from fgait_jax.evaluation.labels import Features
from fgait_jax.evaluation.metrics import retrieval
from fgait_jax.evaluation.metrics.distances import check_metric, pairwise
from fgait_jax.evaluation.results import Candidate, Condition, Data, Match, Result, Row
from fgait_jax.evaluation.setup import check_embedding, check_fits, embedding_of
from fgait_jax.paths import local_path
from fgait_jax.training import folders
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.pretrained import Pretrained

_SIDES = ("gallery", "probes", "validation")  # the last may be empty
NOBODY = "unknown"
NAMELESS = ("", NOBODY, "probe")  # labels of walks whose person is not known: "probe" is that of servers' data sets
_CSV = ("probe", "label", "type", "view", "answer", "rank", "subject", "distance")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold:
  """A probe farther than `distance` from every gallery walk is nobody's.

  false_accept: share of other strangers' walks that is to be expected within it. within: share of the strangers' walks
  by which it was chosen. false_reject: measured share of validation walks farther than it from the walks of their own
  person (nan where no person has two). impostors, genuine: walks behind each; in_gallery: validation walks left out,
  their person is in the gallery.
  """

  distance: float
  false_accept: float
  within: float
  false_reject: float
  impostors: int
  impostor_subjects: int
  genuine: int
  in_gallery: int


@registry.task("identify", writes="identify.json", checkpoint=False)
def run(config, out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `identify.json` and `identify.csv`; raises `ConfigError` and `DataError` that name the key and the file."""
  if config.top_k < 1:
    raise ConfigError(f"config.top_k={config.top_k} must be at least 1")
  if not 0 < config.false_accept < 1:
    raise ConfigError(f"config.false_accept={config.false_accept} must lie between 0 and 1, such as 0.01")
  check_metric(config.metric)
  check_embedding(config)
  path = registry.claim(config, out)
  for side in _SIDES:
    _check_there(config, side)
  network = _network(config)
  salted = salt.load(config.salt) if config.salt else None
  if salted and network is None:
    raise ConfigError("config.salt turns what is embedded here, but every side is a file of embeddings: leave it out;"
                      " task embed salts them")
  gallery, origin = _load(config, "gallery", network, salted)
  _check_named(gallery, config.gallery, "gallery")
  probes, probe_origin = _load(config, "probes", network, salted)
  _check_alike((probes, config.probes, probe_origin), (gallery, config.gallery, origin))
  threshold = None
  if config.validation:
    validation, validation_origin = _load(config, "validation", network, salted)
    _check_named(validation, config.validation, "validation")
    _check_alike((validation, config.validation, validation_origin), (gallery, config.gallery, origin))
    threshold = calibrate(validation, gallery, false_accept=config.false_accept, metric=config.metric,
                          origin=config.validation)
  subjects, distances = nearest_subjects(probes, gallery, count=config.top_k, metric=config.metric)
  reach = np.inf if threshold is None else threshold.distance
  answers = np.where(distances[:, 0] <= reach, subjects[:, 0], NOBODY)
  matches = [
    Match(probe=str(probes.keys[n]), label=str(probes.subjects[n]), type=str(probes.conditions[n]),
          view=str(probes.views[n]), answer=str(answers[n]),
          candidates=[Candidate(subject=str(s), distance=round(float(d), 6))
                      for s, d in zip(subjects[n], distances[n], strict=True) if s])
    for n in range(len(probes))]
  measured = measure(probes.subjects, gallery.subjects, subjects[:, 0], answers)
  notes = _notes(config, gallery, threshold)
  notes += [f"{line}." for found in (origin, probe_origin) for line in found.get("notes", ())]
  notes += _unlike((probe_origin, "probes"), (origin, "the gallery"))
  if shared := int(_shared((probes, probe_origin), (gallery, origin)).sum()):
    notes.append(f"Caution: {shared} of the probes are walks of the gallery, and find themselves: their figures say"
                 " nothing of other walks.")
  if twice := _twice(gallery, origin):
    notes.append(f"Caution: the gallery holds one and the same walk for two people, as {twice[0]} and {twice[1]}: which"
                 " of them is named means nothing.")
  result = _result(config, (probes, probe_origin), origin, measured, notes=notes, matches=matches, details={
    "threshold": None if threshold is None else dataclasses.asdict(threshold), "weights": origin.get("weights", "")})
  return [results.write(path, result), _write_csv(path.with_suffix(".csv"), matches)]


def nearest_subjects(probes: Features, gallery: Features, *, count: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
  """The `count` nearest gallery subjects of each probe, str [n, k], and distances to the nearest walk of each, float
  [n, k]; nearest first. Where the gallery has fewer subjects k is their number."""
  names, number, walks = np.unique(gallery.subjects, return_inverse=True, return_counts=True)
  count = min(count, len(names))
  # However the walks of the count - 1 nearest subjects fill the first places, the next subject's lies behind them.
  wanted = int(np.sort(walks)[::-1][: count - 1].sum()) + 1
  index, distance = retrieval.nearest(probes.embeddings, gallery.embeddings, count=wanted, metric=metric)
  subjects, distances = np.empty((len(probes), count), names.dtype), np.empty((len(probes), count), np.float32)
  for row, found in enumerate(number[index]):
    first = np.sort(np.unique(found, return_index=True)[1])[:count]
    subjects[row], distances[row] = names[found[first]], distance[row, first]
  return subjects, distances


def calibrate(validation: Features, gallery: Features, *, false_accept: float, metric: str, origin: str) -> Threshold:
  """The largest distance within which at most a share `false_accept` of other strangers' walks will find a gallery
  walk, or where there are too few walks for that share, just below their smallest.

  Strangers are the validation subjects who are not in the gallery. A new stranger's walk is as likely to be the nearest
  as any of their n: it lies below their j-th distance with probability j / (n + 1) (as in conformal prediction), if
  walks are drawn alike, which those of one person are only in part. Their own walks give the false-reject rate: each is
  sought among the person's walks of other types, or among the other ones where there is one type. Raises `DataError`
  where nobody in validation is a stranger.
  """
  strangers = ~np.isin(validation.subjects, np.unique(gallery.subjects))
  if not strangers.any():
    raise DataError(f"{origin}: no validation impostors: all {len(np.unique(validation.subjects))} subjects are in the"
                    " gallery; config.validation wants people who are not")
  outside = validation.take(strangers)
  _, impostor = retrieval.nearest(outside.embeddings, gallery.embeddings, count=1, metric=metric)
  ordered = np.sort(impostor[:, 0])
  place = min(max(int(np.floor(false_accept * (len(ordered) + 1) + 1e-9)), 1), len(ordered))  # j
  distance = float(np.nextafter(ordered[place - 1], np.float32(-np.inf)))
  own = _own_distances(outside, metric)
  return Threshold(
    distance=distance, false_accept=place / (len(ordered) + 1), within=float(np.mean(ordered <= distance)),
    false_reject=float(np.mean(own > distance)) if len(own) else float("nan"), impostors=len(ordered),
    impostor_subjects=len(np.unique(outside.subjects)), genuine=len(own), in_gallery=int((~strangers).sum()))


def _own_distances(found: Features, metric: str) -> np.ndarray:
  """Of each walk that has another of its person: the distance to the nearest, of another type where there is one."""
  distances = []
  for name in np.unique(found.subjects):
    own = found.take(found.subjects == name)
    if len(own) < 2:
      continue
    apart = pairwise(own.embeddings, own.embeddings, metric=metric)
    for row in range(len(own)):
      others = own.conditions != own.conditions[row]
      if not others.any():
        others = np.arange(len(own)) != row
      distances.append(apart[row, others].min())
  return np.array(distances)


def measure(labels: np.ndarray, known: np.ndarray, nearest: np.ndarray, answers: np.ndarray) -> dict:
  """What the probes' own labels say, in per cent (None where there is no such probe): of probes in the gallery `rank1`,
  `identified` (rightly named), `rejected`; of the others `accepted` (named as somebody). Of probes without a name
  nothing can be said: they are only counted."""
  named = ~np.isin(labels, NAMELESS)
  labels, nearest, answers = labels[named], nearest[named], answers[named]
  inside = np.isin(labels, np.unique(known))

  def share(rows: np.ndarray) -> float | None:
    return float(100 * rows.mean()) if len(rows) else None

  return {
    "probes_in_gallery": int(inside.sum()), "probes_not_in_gallery": int((~inside).sum()),
    "probes_without_label": int((~named).sum()),
    "rank1": share(nearest[inside] == labels[inside]), "identified": share(answers[inside] == labels[inside]),
    "rejected": share(answers[inside] == NOBODY), "accepted": share(answers[~inside] != NOBODY),
  }


def _network(config) -> Pretrained | None:
  """What embeds sides that are no .npz; None where all are."""
  raw = [side for side in _SIDES if config[side] and _is_raw(config[side])]
  if raw and not config.checkpoint:
    raise ConfigError(f"config.{raw[0]}={config[raw[0]]} is not embedded yet; give --config.checkpoint=RUN to embed it"
                      " by, or the name of weights that come with the package, such as walkers-tiny")
  return load_network(config.checkpoint, which=config.network) if raw else None


def _is_raw(path: str) -> bool:
  """Whether it is a folder (or archive) of masks or a video, as its name says; anything else is to be an .npz."""
  path = pathlib.Path(path).expanduser()
  return path.is_dir() or path.name.lower().endswith((*walks.ENDINGS, *walks.ARCHIVES))


def _check_there(config, side: str) -> None:
  """Raises `ConfigError` or `DataError` where a side is not given or not there, before any is embedded."""
  path = config[side]
  if not path and side != "validation":
    raise ConfigError(f"config.{side} is empty; give --config.{side}=embeddings.npz, as task embed writes it, or a"
                      " folder of masks <person>/<type>/<view>/*.png")
  if path and not local_path(path, f"config.{side}").exists():
    raise DataError(f"config.{side}={path}: there is no such file or folder")


def _load(config, side: str, network: Pretrained | None, salted: salt.Salt | None) -> tuple[Features, dict]:
  """Checked embeddings of a side, and what is known of their origin: of another tool's their `walks` alone, by which
  those of equal content are told, their frames' or where these are not at hand their embedding's."""
  path = config[side]
  if not _is_raw(path):
    found, origin = files.load(local_path(path, f"config.{side}"))
    return found, origin | {"walks": [_digest(one) for one in found.embeddings]}
  given, embedding = walks.from_path(path), embedding_of(config, network)
  check_fits(config, network, given, name=f"config.{side}={path}")
  found = extraction.extract_by(
    network, given, embedding=embedding, max_frames=config.max_frames, batch_frames=config.batch_frames,
    mirror=config.mirror_views, few_shapes=True, progress=f"{side} {path}")
  found.check()
  if side == "probes":  # whose names are answers to check, where somebody gave them
    found = dataclasses.replace(found, subjects=np.where(given.named, found.subjects, NAMELESS[0]))
  if salted:
    found = salted.apply(found)
  datasets, label_use, _ = provenance.learnt_from(network)
  return found, {
    "weights": network.identity, "embedding": embedding, "salt": salted.name if salted else "",
    "data": given.content_hash, "kind": "given", "notes": given.notes, "mirror": list(config.mirror_views),
    "max_frames": config.max_frames, "walks": [_digest(frames) for frames in given.stored],
    "one_frame": int((np.minimum(given.num_frames, config.max_frames) == 1).sum()),
    "pretraining": {"datasets": datasets, "label_use": label_use, "content_hashes": network.data,
                    "steps": network.step}}


def _check_named(found: Features, path: str, side: str) -> None:
  """Raises `DataError` where a walk has no name: in a gallery it would answer for somebody, and in validation it would
  be taken for a stranger, whom the threshold has to keep out."""
  called = np.char.lower(np.char.strip(found.subjects))
  if (rows := np.isin(called, NAMELESS)).any():
    first = int(rows.argmax())
    raise DataError(f"{path}: {rows.sum()} of {len(rows)} {side} walks are of a subject called"
                    f" {str(found.subjects[first])!r}, the first in row {first} (key {found.keys[first]}); here that is"
                    " what nobody is called: label them otherwise, or leave them out")


def _digest(array: np.ndarray) -> str:
  return hashlib.sha256(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def _shared(probes: tuple[Features, dict], gallery: tuple[Features, dict]) -> np.ndarray:
  """Which probes are walks of the gallery: those of equal content, or of one build of the data with the same key."""
  shared = np.isin(probes[1]["walks"], gallery[1]["walks"])
  if probes[1].get("data") and probes[1]["data"] == gallery[1].get("data"):
    shared |= np.isin(probes[0].keys, gallery[0].keys)
  return shared


def _twice(gallery: Features, origin: dict) -> tuple[str, str] | None:
  """The keys of two walks of the gallery that are equal, and of two people; None where there are none."""
  first: dict[str, int] = {}
  for row, walk in enumerate(origin["walks"]):
    other = first.setdefault(walk, row)
    if gallery.subjects[other] != gallery.subjects[row]:
      return str(gallery.keys[other]), str(gallery.keys[row])
  return None


def _unlike(*sides: tuple[dict, str]) -> list[str]:
  """What was done to the walks of one of two sides alone, as far as their origins tell."""
  (one, _), (other, _) = sides
  notes = []
  for name, says in (("mirror", lambda views: f"those of views {', '.join(views) or 'none'} were mirrored"),
                     ("max_frames", lambda count: f"{count} frames of each were seen at most")):
    if one.get(name) != other.get(name) and None not in (one.get(name), other.get(name)):
      notes.append("Caution: the walks of the two sides were not treated alike: "
                   + ", ".join(f"of {side} {says(origin[name])}" for origin, side in sides) + ".")
  return notes


def _check_alike(one: tuple, other: tuple) -> None:
  """Raises `DataError` unless both were made by the same network in the same way, as far as the files tell."""
  (first, path, origin), (second, second_path, second_origin) = one, other
  shapes = first.embeddings.shape[1:], second.embeddings.shape[1:]
  if shapes[0] != shapes[1]:
    raise DataError(f"{path}: embeddings are [N, {shapes[0][0]}, {shapes[0][1]}], those of {second_path} [N,"
                    f" {shapes[1][0]}, {shapes[1][1]}]; embed both with the same checkpoint and config.embedding")
  for name in ("weights", "embedding"):
    came, wanted = origin.get(name), second_origin.get(name)
    if came != wanted and None not in (came, wanted):
      raise DataError(f"{path} was embedded with {name} {came}, {second_path} with {wanted}: their distances mean"
                      " nothing; embed both with one checkpoint")
  if origin.get("map") != second_origin.get("map") and "weights" in origin and "weights" in second_origin:
    raise DataError(f"{path} and {second_path} are not under the same linear map: their distances mean nothing; take"
                    " both from task linear_maps with the same settings, or neither")
  salts = [None if (name := found.get("salt")) is None else name or "none" for found in (origin, second_origin)]
  if None not in salts and salts[0] != salts[1]:
    raise DataError(f"{path} was embedded with the salt {salts[0]}, {second_path} with {salts[1]}: they are of two"
                    " deployments, and do not match; embed both with the same config.salt")


def _notes(config, gallery: Features, threshold: Threshold | None) -> list[str]:
  enrolled = len(np.unique(gallery.subjects))
  notes = [f"Gallery {config.gallery}: {len(gallery)} walks of {enrolled} subjects; {config.metric} distance to the"
           " nearest walk of a subject."]
  if threshold is None:
    notes.append("No config.validation was given: every probe is taken for somebody.")
  else:
    beyond = f"{100 * threshold.false_reject:.2f} % lie beyond (false rejects)" if threshold.genuine else "none is left"
    notes.append(
      f"A probe farther than {threshold.distance:.4g} is unknown. Of {threshold.impostors} walks of"
      f" {threshold.impostor_subjects} validation people outside the gallery, by whom it was chosen,"
      f" {100 * threshold.within:.2f} % lie within it, of other strangers' walks {100 * threshold.false_accept:.2f} %"
      f" are expected to ({100 * config.false_accept:g} % asked); of {threshold.genuine} walks sought among others of"
      f" their own person {beyond}.")
    if threshold.false_accept > config.false_accept:
      notes.append(f"{threshold.impostors} walks cannot show a rate of {config.false_accept:g}: the threshold is just"
                   " below their smallest distance.")
  return notes


def _result(config, given: tuple[Features, dict], gallery: dict, measured: dict, **fields) -> Result:
  """`given` are the probes and their origin, `gallery` is that of the gallery, whose network it is, too."""
  probes, origin = given
  titles = {"identified": "identified %", "rejected": "rejected %", "accepted": "accepted %"}
  counts = f"{measured['probes_in_gallery']} probes by label in the gallery, {measured['probes_not_in_gallery']} not"
  if measured["probes_without_label"]:
    counts += f", {measured['probes_without_label']} without a label in no share"
  return Result(
    task="identify", title=f"Probes {config.probes} in the gallery", config=config.to_dict(),
    data=Data(name=pathlib.Path(config.probes).name, split="as given", kind=origin.get("kind", "embeddings"),
              walks=len(probes), subjects=len(set(probes.subjects.tolist()) - set(NAMELESS)),
              content_hash=str(origin.get("data", "")), one_frame=origin.get("one_frame", 0),
              mirrored_views=origin.get("mirror", [])),
    pretraining=results.seen_of(gallery, origin=config.gallery),
    conditions=[Condition(name="probes", title=counts)],
    columns=[dataclasses.replace(columns.RANK1, interval=False), *(Column(key=k, title=v) for k, v in titles.items())],
    rows=[Row(name=results.MODEL, title="nearest neighbour", figures=results.figures_of({"probes": measured}))],
    **fields)


def _write_csv(path: pathlib.Path, matches: list[Match]) -> pathlib.Path:
  with folders.whole(path) as half, half.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(_CSV)
    for match in matches:
      for rank, near in enumerate(match.candidates, start=1):
        writer.writerow([match.probe, match.label, match.type, match.view, match.answer, rank, near.subject,
                         near.distance])
  return path
