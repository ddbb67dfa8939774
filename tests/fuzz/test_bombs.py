"""Small files that declare, or unpack to, more than a machine holds are refused by name, before they take it.

Each case was seen to end a program: by a signal, by gigabytes of memory, or by minutes.
"""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from data_prep.sources import limits, masks, pickles, rates, trees
from data_prep.sources.base import Dropped
from data_prep.sources.limits import Limits
from fgait_jax import npz
from fgait_jax.data import schema
from fgait_jax.data.normalise import FrameRefused, normalise_frame
from fgait_jax.errors import DataError
from fgait_jax.evaluation import results
from fgait_jax.evaluation.features import files

pytestmark = pytest.mark.usefixtures("little_memory")
DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1K\x00K\x01tR"  # as numpy begins to pickle one
FROM_BYTES = b"cnumpy._core.numeric\n_frombuffer\n(C\x01a"
# A tuple of a tuple twice, of a tuple twice, ...: 2^60 of them when printed or hashed.
HALVES = b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60))

PICKLES = {
  # numpy's C code takes over such states unchecked.
  "a dtype's names": (DTYPE + b"(K\x03X\x01\x00\x00\x00|NX\x01\x00\x00\x00a\x85NK\x01tb.", "that of plain numbers"),
  "a dtype's fields": (DTYPE + b"(K\x03X\x01\x00\x00\x00|NX\x01\x00\x00\x00a\x85}K\x01K\x01K\x00tb.", "holds a dict"),
  "a dtype's items": (DTYPE + b"(K\x03X\x01\x00\x00\x00|K\x01K\x02\x86NNK\x01K\x01K\x00tb.", "that of plain numbers"),
  "a short state": (DTYPE + b"(X\x01\x00\x00\x00|NNtb.", "that of plain numbers"),
  "objects by flag": (
    FROM_BYTES + DTYPE + b"(K\x03X\x01\x00\x00\x00|NNNK\x08K\x08K\x3ftbK\x08\x85X\x01\x00\x00\x00CtR.",
    r"an array of shape \(8,\) and type uint8 in 1 bytes"),
  "a place in the memo": (b"\x80\x04Nr\xff\xff\xff\x1f.", "without an array: x.pkl: holds NoneType"),
  "a frame": (b"\x80\x04\x95" + b"\xff" * 7 + b"\x0fN.", "holds NoneType"),
  "bytes": (b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f.", "unreadable pickle"),
  "tuples in tuples": (HALVES + b".", "without an array: x.pkl: holds tuple"),
  "tuples as a dtype": (HALVES + b"cnumpy\ndtype\nh\x3c\x85R.", "dtype tuple, expected a number type"),
  "tuples as a key": (b"}" + HALVES + b"Ns.", "without an array: x.pkl: holds a dict"),
  "tuples as a kind": (HALVES + b"cnumpy.core.multiarray\n_reconstruct\nh\x3cNN\x87R.", "array of kind tuple"),
  "a long number": (b"I" + b"9" * 100_000 + b"\n.", "unreadable pickle"),
  "long lengths": (
    FROM_BYTES + DTYPE + b"(\x8b\x00\x00\x01\x00" + b"\x7f" * 65_536 + b"tX\x01\x00\x00\x00CtR.",
    "unreadable pickle"),
  "a shape": (
    FROM_BYTES + DTYPE + b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftX\x01\x00\x00\x00CtR.",
    r"an array of shape \(2147483647, 2147483647\) and type uint8 in 1 bytes"),
  "instructions": (b"N" * 100_000 + b".", "more than 1000 instructions"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_pickles(name):
  data, message = PICKLES[name]
  with pytest.raises(Dropped, match=message):
    pickles.load_array(data, "x.pkl")


def png(width, height):
  """A PNG of one colour: at most a thousandth of its pixels in bytes."""
  def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

  packer, rows = zlib.compressobj(9), []
  for _ in range(height):
    rows.append(packer.compress(bytes(1 + width)))
  head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  data = b"".join(rows) + packer.flush()
  return masks.PNG + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_picture_is_refused_by_its_header_and_the_limit_can_be_set():
  small = png(300, 300)
  large = small.replace(struct.pack(">II", 300, 300), struct.pack(">II", 30_000, 30_000))
  with pytest.raises(FrameRefused, match="more than 67,108,864 pixels, the --limit-pixels"):
    masks.open_image(large)
  assert masks.open_image(small).shape == (300, 300)
  with limits.using(Limits(pixels=300 * 300 - 1)), pytest.raises(FrameRefused, match="more than 89,999 pixels"):
    masks.open_image(small)


@pytest.mark.parametrize(
  "content",
  [
    b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 1 << 20, 1 << 20, 1, 24, 0, 0, 0, 0, 0, 0),
    b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xd9",
  ],
  ids=["bmp", "jpeg"],
)  # fmt: skip
def test_so_are_pictures_of_other_formats(content):
  with pytest.raises(FrameRefused, match="more than 67,108,864 pixels"):
    masks.open_image(content)


@pytest.mark.parametrize(
  "content", [b"II*\x00" + bytes(60), b"GIF89a" + b"\xff" * 30, b"P5 99999 99999 255\n", b"#?RADIANCE\n"]
)
def test_only_three_formats_are_decoded(content):
  with pytest.raises(FrameRefused, match="unreadable image"):
    masks.open_image(content)


def test_a_line_of_pixels_is_no_body():
  line = np.zeros((3, 1 << 20), np.uint8)
  line[1] = 255
  with pytest.raises(FrameRefused, match="too wide"):
    normalise_frame(line)


def zipped(path, declared, name="001/nm/000/a.pkl"):
  """A zip of 3 MB whose member is 3 GB of zeros and is said to be `declared` bytes."""
  packer = zlib.compressobj(9, zlib.DEFLATED, -15)
  piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # such pieces stand for themselves
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr(name, piece * 3000 + packer.flush())
  content = bytearray(path.read_bytes())
  for at, method, size in ((0, 8, 22), (content.rindex(b"PK\x01\x02"), 10, 24)):
    content[at + method : at + method + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    content[at + size : at + size + 4] = struct.pack("<I", declared)
  path.write_bytes(content)
  return path


def test_a_member_of_a_zip_is_refused_by_the_size_that_it_declares(tmp_path):
  (read,) = trees.open_tree(zipped(tmp_path / "raw.zip", 3000 << 20)).values()
  with pytest.raises(Dropped, match=r"larger than --limit-bytes: .*a.pkl: 3,145,728,000 bytes, the limit"):
    read()


def test_and_gives_no_more_than_it_declares(tmp_path):
  (read,) = trees.open_tree(zipped(tmp_path / "raw.zip", 1000)).values()
  with pytest.raises(Dropped, match="unreadable member of an archive: .*Bad CRC-32"):
    read()


def test_methods_that_python_unpacks_whole_are_refused(tmp_path):
  for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    with zipfile.ZipFile(tmp_path / f"{method}.zip", "w", method) as archive:
      archive.writestr("001/nm/000/a.pkl", bytes(1000))
    (read,) = trees.open_tree(tmp_path / f"{method}.zip").values()
    with pytest.raises(Dropped, match="packed by another method than deflate; unpack the zip"):
      read()


def headed(name, size, kind=tarfile.REGTYPE):
  info = tarfile.TarInfo(name)
  info.size, info.type = size, kind
  return info.tobuf(tarfile.GNU_FORMAT)


def test_a_compressed_tar_is_refused_by_what_its_headers_declare(tmp_path):
  with gzip.open(tmp_path / "raw.tar.gz", "wb") as file:
    file.write(headed("001/nm/000/a.pkl", 3 << 30) + bytes(1 << 20))
  with pytest.raises(DataError, match="more than 536,870,912 bytes once unpacked.* unpack it, or raise --limit-bytes"):
    trees.open_tree(tmp_path / "raw.tar.gz")


def test_and_by_what_they_declare_together(tmp_path):
  """The members that lie beyond the limit would be read as cut short."""
  with gzip.open(tmp_path / "raw.tar.gz", "wb") as file:
    for name in "abc":
      file.write(headed(f"001/nm/000/{name}.pkl", 1 << 20) + bytes(1 << 20))
    file.write(bytes(1024))
  assert len(trees.open_tree(tmp_path / "raw.tar.gz")) == 3
  message = "more than 2,097,152 bytes once unpacked, all of which"
  with limits.using(Limits(bytes=2 << 20)), pytest.raises(DataError, match=message):
    trees.open_tree(tmp_path / "raw.tar.gz")


def test_and_by_what_follows_its_end(tmp_path):
  with gzip.open(tmp_path / "raw.tgz", "wb", compresslevel=1) as file:
    file.write(headed("001/a.pkl", 0))
    for _ in range(5):
      file.write(bytes(1 << 20))
  with limits.using(Limits(bytes=4 << 20)), pytest.raises(DataError, match="more than 4,194,304 bytes once unpacked"):
    trees.open_tree(tmp_path / "raw.tgz")


def test_a_member_of_a_tar_is_refused_by_its_size(tmp_path):
  with open(tmp_path / "raw.tar", "wb") as file:
    file.write(headed("001/nm/000/a.pkl", 8 << 30))
    file.truncate(512 + (8 << 30))  # a file of a few bytes on disk
    file.seek(0, io.SEEK_END)
    file.write(bytes(1024))
  (read,) = trees.open_tree(tmp_path / "raw.tar").values()
  with pytest.raises(Dropped, match=r"larger than --limit-bytes: .*raw.tar, at byte 512: 8,589,934,592 bytes"):
    read()


def test_a_sparse_member_of_a_tar_is_refused(tmp_path):
  header = bytearray(headed("001/nm/000/a.pkl", 512, tarfile.GNUTYPE_SPARSE))
  header[386:398] = header[398:410] = b"00000000000\0"
  header[483:495] = b"100000000000"[:12]  # the size that it stands for: 8 GB in octal
  header[148:156] = b" " * 8
  header[148:156] = b"%06o\0 " % sum(header)
  (tmp_path / "raw.tar").write_bytes(bytes(header) + bytes(512 + 1024))
  (read,) = trees.open_tree(tmp_path / "raw.tar").values()
  with pytest.raises(Dropped, match="001/nm/000/a.pkl is a sparse file; unpack the archive"):
    read()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [8 << 30, -512])
def test_a_long_header_is_refused(kind, size, tmp_path):
  (tmp_path / "raw.tar").write_bytes(headed("a", size, kind) + bytes(4096))
  with pytest.raises(DataError, match="raw.tar: not a readable tar archive .*a header of"):
    trees.open_tree(tmp_path / "raw.tar")


def test_a_tar_that_leads_back_is_refused(tmp_path):
  (tmp_path / "raw.tar").write_bytes(headed("a", 0) + headed("b", -1024, b"Z") + bytes(4096))
  with pytest.raises(DataError, match="raw.tar: .*download it again"):
    trees.open_tree(tmp_path / "raw.tar")


def test_a_file_is_refused_by_its_size(tmp_path):
  (tmp_path / "001").mkdir()
  with open(tmp_path / "001/a.pkl", "wb") as file:
    file.truncate(8 << 30)
  (read,) = trees.open_tree(tmp_path).values()
  with pytest.raises(Dropped, match="larger than --limit-bytes: .*001/a.pkl: 8,589,934,592 bytes"):
    read()


def test_numbers_in_names_may_be_long():
  names = [f"{'1' * 5000}.png", "2.png", "0010.png"]
  assert sorted(names, key=trees.natural) == ["2.png", "0010.png", names[0]]


def header(shape, kind="<f4"):
  file = io.BytesIO()
  np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
  return file.getvalue()


def packed(path, method=zipfile.ZIP_STORED, **members):
  with zipfile.ZipFile(path, "w", method) as archive:
    for name, content in members.items():
      archive.writestr(f"{name}.npy", content)
  return path


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (header((10**12,)), r"declares an array of \[1000000000000\] float32, 4,000,000,000,000 bytes, and holds 0"),
    (header((10**12,), "|S0"), "embeddings declares an array of"),
    (header((-1, -4)) + bytes(16), r"embeddings declares the shape \[-1, -4\]"),
    (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, "not a readable .npz of plain arrays"),
    (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 8999 + b"1", "not a readable .npz of plain arrays"),
    (b"\x93NUMPY\x03\x00" + bytes(100), "an .npy of version"),
    (b"hello", "not a readable .npz of plain arrays"),
  ],
  ids=["large", "no bytes", "negative", "parentheses", "signs", "version", "text"],
)  # fmt: skip
def test_arrays_that_declare_more_than_they_hold_are_refused(content, message, tmp_path):
  for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    path = packed(tmp_path / "x.npz", method, embeddings=content)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match=f"x.npz: .*{message}"):
      files.load(path)


def test_a_member_that_declares_more_than_can_be_packed_is_refused(tmp_path):
  path = zipped(tmp_path / "x.npz", (1 << 32) - 1, name="embeddings.npy")
  with pytest.raises(DataError, match=r"embeddings declares 4,294,967,295 bytes, packed into 3,"):
    files.load(path)


def test_many_arrays_together_are_refused_by_what_they_unpack_to(tmp_path, monkeypatch):
  """Also those that nobody asked for: a file of a few megabytes may hold a hundred members of four gigabytes."""
  arrays = {name: np.zeros((8, 64, 4), np.float32) for name in ("embeddings", "x", "y")}
  np.savez_compressed(tmp_path / "packed.npz", **arrays)
  np.savez(tmp_path / "plain.npz", **arrays)
  monkeypatch.setattr(npz, "PACKED", 20_000)
  with pytest.raises(DataError, match=r"packed.npz: its arrays unpack to 24,9\d\d bytes, at most 20,000 are read"):
    npz.read(tmp_path / "packed.npz")
  assert list(npz.read(tmp_path / "packed.npz", ["x", "y"])) == ["x", "y"]
  assert len(npz.read(tmp_path / "plain.npz")) == 3


def test_encrypted_and_damaged_arrays_are_named(tmp_path):
  np.savez(path := tmp_path / "x.npz", embeddings=np.zeros((2, 3, 4)))
  whole = path.read_bytes()
  at = whole.index(b"PK\x01\x02")
  for place, value, message in ((at + 8, 1, "is encrypted"), (200, 7, "Bad CRC-32"), (at + 10, 99, "packed by")):
    path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
    with pytest.raises(npz.Unreadable, match=f"x.npz: not a readable .npz of plain arrays .*{message}"):
      npz.read(path)
  path.write_bytes(whole[:-30])
  with pytest.raises(npz.Unreadable, match="not a readable .npz"):
    npz.read(path)


DEEP = "[" * 100_000 + "]" * 100_000


def test_lists_in_lists_in_lists_are_refused(tmp_path):
  (tmp_path / "x.json").write_text(DEEP)
  with pytest.raises(DataError, match="x.json: not a readable result file"):
    results.read(tmp_path / "x.json")
  with pytest.raises(ValueError, match="is not readable"):
    schema.parse_manifest(DEEP.encode())
  with pytest.raises(DataError, match="video.json: not as data_prep.video writes it"):
    rates.read_facts(DEEP.encode, "video.json")
  for rate in ("1e999", "NaN", "-1", "9" * 400, "[]", "null"):
    with pytest.raises(DataError, match="video.json: not as data_prep.video writes it"):
      rates.read_facts(f'{{"frame_rate": {rate}}}'.encode, "video.json")


def test_arrays_of_any_pickle_are_whole():
  """The reader's own machine: what numpy writes, it reads."""
  for protocol in range(2, 6):
    for array in (np.zeros((0, 64, 64), np.uint8), np.ones((), np.float64), np.arange(6, dtype="<u2").reshape(1, 2, 3)):
      np.testing.assert_array_equal(pickles.load_array(pickle.dumps(array, protocol), "x.pkl"), array)
