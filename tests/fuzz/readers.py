"""Every reader of a file that may come from a stranger, as a function of the file's bytes, with small good files to
start from. What a reader may raise for a bad file are the errors that it promises; anything else is a finding.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import pathlib
import random
import sys
from collections.abc import Callable

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))  # as a program it is started by its path

import seeds  # noqa: E402

from data_prep.datasets import own  # noqa: E402
from data_prep.sources import masks, mocap, opengait, rates, skeletons, trees  # noqa: E402
from data_prep.sources.base import Dropped  # noqa: E402
from fgait_jax.data import schema  # noqa: E402
from fgait_jax.data.normalise import FrameRefused, normalise_frame  # noqa: E402
from fgait_jax.errors import CheckpointError, DataError  # noqa: E402
from fgait_jax.evaluation.features import files  # noqa: E402
from fgait_jax.evaluation.report import page, sources, strips, tables  # noqa: E402
from fgait_jax.interop import import_opengait, networks  # noqa: E402
from fgait_jax.training import weights  # noqa: E402

NUMBERS = [np.array(value, kind).tobytes() for value in (0, 1, -1, 2**14) for kind in ("<i2", "<i4", "<i8", ">i4")]
TEXT = [b"-1", b"1e308", b"nan", b"999999999999", b"0", b"\n", b" ", b"\xff", b"'", b"9" * 5000]
JSON = [b"null", b"[]", b"{}", b"1e999", b'""', b"true", b"NaN", b",", b":", b"[" * 2000, b'"a":1,', b"\\ud800", *TEXT]


@dataclasses.dataclass(frozen=True)
class Reader:
  """`read(content, folder)` reads a file's bytes; `refusals` are its errors for a bad one; `seeds()` are good files.
  `tokens` are pieces of the format. `repair` makes checksums true again that would hide the rest from the fuzzer.
  `rebuilt(content, rng)` changes a file in its own terms."""

  read: Callable[[bytes, pathlib.Path], object]
  refusals: tuple[type[Exception], ...]
  seeds: Callable[[], list[bytes]]
  tokens: tuple[bytes, ...] = ()
  repair: Callable[[bytes], bytes] = bytes
  rebuilt: Callable[[bytes, random.Random], bytes] | None = None
  seldom: bool = False  # too slow for the tests


def _other_json(content: bytes, rng: random.Random) -> bytes:
  """The same JSON with one value in place of another, or left out."""
  try:
    holder = [json.loads(content)]
  except (ValueError, RecursionError):
    return content
  places = [(holder, 0)]
  for container, key in places:  # grows on the way
    inner = container[key]
    if len(places) < 10_000 and isinstance(inner, (dict, list)):
      places += [(inner, key) for key in (inner if isinstance(inner, dict) else range(len(inner)))]
  container, key = rng.choice(places)
  values = [None, True, -1, 0, 2**70, 10**400, 1.5, float("inf"), float("nan"), "", "a", "\ud800", [], {}, [[]], ["a"]]
  other, name = rng.choice(places)
  if rng.random() < 0.2 and isinstance(container, dict):
    del container[key]
  else:
    container[key] = rng.choice([*values, json.loads(json.dumps(other[name]))])
  return json.dumps(holder[0]).encode()


def _read_pickle(content: bytes, folder: pathlib.Path) -> None:
  opengait.read_walk([lambda: content], ["x.pkl"])


def _read_image(content: bytes, folder: pathlib.Path) -> None:
  normalise_frame(masks.made_binary(masks.decode(content, own=True)))
  masks.decode(content)


def _with_checksums(content: bytes) -> bytes:
  content = bytearray(content)
  for at in range(0, len(content) - 511, 512):
    if content[at + 257 : at + 262] == b"ustar":
      content[at + 148 : at + 156] = b" " * 8
      content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
  return bytes(content)


def _read_archive(path: pathlib.Path) -> None:
  for cache in (trees._zip, trees._tar_bytes, trees._is_gzip):  # by the path, which is always the same
    cache.cache_clear()
  for member, read in trees.open_tree(path).items():
    trees.natural(member)
    with contextlib.suppress(Dropped):
      read()


def _read_acclaim(content: bytes, folder: pathlib.Path, *, changed: str) -> None:
  for name, usual in (("x.asf", seeds.ASF), ("x.amc", seeds.AMC)):
    (folder / name).write_bytes(content if name.endswith(changed) else usual)
  skeletons.read_amc(folder / "x.amc", folder / "x.asf").resampled(25.0)


def _read_bvh(path: pathlib.Path) -> None:
  mocap._resampled.cache_clear()
  mocap.read_walk(mocap.Trial(skeletons.read_bvh, (path,)), "1", "a", "090", "1/a/090")


def _read_manifest(content: bytes, folder: pathlib.Path) -> None:
  try:
    schema.parse_manifest(content)
  except ValueError as error:
    if not str(error).startswith("is "):
      raise AssertionError(f"not a sentence about the file: {error!r}") from error


def _read_packed(content: bytes, folder: pathlib.Path) -> None:
  count, *shape = np.frombuffer(content[:16].ljust(16, b"\0"), "<i4").tolist()
  height, width, channels = shape
  schema.unpack_frames(content[16:], num_frames=count, height=height, width=width, channels=channels)


def _read_results(path: pathlib.Path) -> None:
  """What `run_eval.py` prints of a folder of results."""
  for shown in sources.read(path.parent, flag="--report").results:
    tables.table(shown.result)


def _read_report(path: pathlib.Path) -> None:
  page.render([sources.read(path.parent, flag="--report")])


def _read_strips(content: bytes, folder: pathlib.Path) -> None:
  try:
    decoded = json.loads(content)
  except (ValueError, RecursionError):
    return
  if isinstance(decoded, dict):
    strips.check(decoded, origin="x.json")


def _read_weights(path: pathlib.Path) -> None:
  networks.recognise(import_opengait.read_state(path))


def _with_settings_digest(content: bytes) -> bytes:
  try:
    facts = json.loads(content)
    return json.dumps(facts | {"settings_sha256": weights._settings_digest(facts)}).encode()
  except (ValueError, TypeError, KeyError, RecursionError):
    return content


def _read_subjects(path: pathlib.Path) -> None:
  own.partition(str(path), {"001", "002"}, where=path.parent)


def _read_facts(content: bytes, folder: pathlib.Path) -> None:
  rates.read_facts(lambda: content, "video.json")


_READ = (DataError, Dropped)
_PICKLE = (
  b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"numpy._core.multiarray", b"_reconstruct", b"\x93",
  b"\x8c\x05numpy", b"K\x01", b"h\0", b"u1", b"V8", b"O8",
  *(bytes([code]) for code in b"()RbtN.r}]\x85\x86\x87\x8e\x94\x95\x96"), *NUMBERS,
)  # fmt: skip
_TORCH = (
  b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nHalfStorage\n", b"ctorch\nFloatStorage\n", b"cbuiltins\ngetattr\n",
  b"ctorch\nSize\n", b"ccollections\nOrderedDict\n", b"storage", b"cpu", b"data.pkl", b"byteorder", b"ctorch\ndevice\n",
  b"ctorch._utils\n_rebuild_parameter\n", b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch._tensor\n", b"Q", b"0",
)  # fmt: skip
_ZIP = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"../", b"C:/", b"\x08\0", b"\x0c\0", *NUMBERS)
_TAR = (
  b"ustar\x0000", *b"0 1 2 5 L K x g S".split(), b"GNU.sparse.major=1\n", b"../", b"77777777777\0", b"\xff" * 12,
  b"\x80\0\0\0\0\0\0\1\0\0\0\0", *NUMBERS,
)  # fmt: skip
_ASF = (b":root", b"begin", b"end", b"dof", b"axis", b"root", b"shin", b"length", b"tx", *TEXT)
_BVH = (b"{", b"}", b"JOINT", b"End Site", b"OFFSET", b"CHANNELS 3", b"MOTION", b"Xrotation", b"Frames:", *TEXT)
_NPZ = (
  b"PK\1\2", b"'descr': '<f4'", b"(1000000000000,)", b"()", b"|O", b"|S0", b"<U9", b"\x93NUMPY\2\0", b"-" * 5000,
  *NUMBERS,
)  # fmt: skip
_RESULT = (b'"rows": []', b'"columns": []', b'"nm": {}', *JSON)
_WEIGHTS = (b'"BF16"', b'"F64"', b'"I8"', b'"BOOL"', b'"F8_E4M3"', b'"C64"', *JSON, *NUMBERS)


def _file(name: str, read: Callable, **options) -> Callable[[bytes, pathlib.Path], object]:
  """`read` of a file called `name`, as a function of its content."""
  def of_content(content: bytes, folder: pathlib.Path):
    (path := folder / name).write_bytes(content)
    return read(path, **options)

  return of_content


READERS: dict[str, Reader] = {
  "pickle": Reader(_read_pickle, (Dropped,), seeds.pickles, _PICKLE),
  "image": Reader(_read_image, (FrameRefused,), seeds.images, tuple(NUMBERS)),
  "zip": Reader(_file("x.zip", _read_archive), (DataError,), seeds.zips, _ZIP),
  "tar": Reader(_file("x.tar", _read_archive), (DataError,), seeds.tars, _TAR, _with_checksums),
  "tar.gz": Reader(_file("x.tgz", _read_archive), (DataError,), seeds.packed_tars, tuple(NUMBERS)),
  "asf": Reader(functools.partial(_read_acclaim, changed="asf"), _READ, lambda: [seeds.ASF], _ASF),
  "amc": Reader(functools.partial(_read_acclaim, changed="amc"), _READ, lambda: [seeds.AMC], (b":radians", *_ASF)),
  "bvh": Reader(_file("x.bvh", _read_bvh), _READ, lambda: [seeds.bvh()], _BVH),
  "video.json": Reader(_read_facts, (DataError,), lambda: [seeds.FACTS], tuple(JSON), rebuilt=_other_json),
  "npz": Reader(_file("x.npz", files.load), (DataError,), seeds.embeddings, _NPZ),
  "manifest": Reader(
    _read_manifest, (), lambda: [json.dumps(seeds.MANIFEST).encode()], (b'"a"', b'"../a"', *JSON), rebuilt=_other_json
  ),
  "packed frames": Reader(_read_packed, (DataError,), seeds.packed, tuple(NUMBERS)),
  "results": Reader(_file("x.json", _read_results), (DataError,), seeds.results_of_a_run, _RESULT, rebuilt=_other_json),
  "report": Reader(
    _file("x.json", _read_report), (DataError,), seeds.results_of_a_run, _RESULT, rebuilt=_other_json, seldom=True
  ),
  "played walks": Reader(_read_strips, (DataError,), seeds.strips, tuple(JSON), rebuilt=_other_json),
  "safetensors": Reader(_file("x.safetensors", _read_weights), (CheckpointError,), seeds.weights, _WEIGHTS),
  **({
    "pt": Reader(_file("x.pt", _read_weights), (CheckpointError,), seeds.torch_weights, (*_PICKLE, *_ZIP, *_TORCH)),
  } if importlib.util.find_spec("torch") else {}),
  "config.json of weights": Reader(
    _file(weights.ABOUT, lambda path: weights.about(path.parent)), (CheckpointError,), seeds.about, tuple(JSON),
    _with_settings_digest, rebuilt=_other_json
  ),
  "subjects": Reader(_file("x.txt", _read_subjects), (DataError,), lambda: [b"001\n", b"\xff\xfe0\0"], tuple(TEXT)),
}


def attempt(name: str, content: bytes, folder: pathlib.Path) -> None:
  """Has a reader read `content`; raises what is a finding: an error that it does not promise, or want of memory."""
  reader = READERS[name]
  try:
    reader.read(reader.repair(content), folder)
  except reader.refusals as error:
    cause: BaseException | None = error
    while cause is not None:
      if isinstance(cause, MemoryError) and name != "npz":  # NumPy parses a header as Python, which wants it for depth
        raise AssertionError(f"wanted more memory than it is given for {len(content)} bytes") from error
      cause = cause.__cause__
