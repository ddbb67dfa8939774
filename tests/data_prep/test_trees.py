"""One tree of files, whatever holds them; archives are never trusted with paths."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from data_prep.sources.trees import fingerprint, natural, open_tree
from fgait_jax.errors import DataError

FILES = {"001/nm-01/000/a.png": b"first", "001/nm-01/000/b ü.png": b"second", "002/bg-01/090/a.png": b""}


def as_folder(path):
  for name, content in FILES.items():
    file = path / "raw" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
  return path / "raw"


def as_zip(path, names=FILES):
  with zipfile.ZipFile(path / "raw.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for name in names:
      archive.writestr(name, FILES.get(name, b"x"))
  return path / "raw.zip"


def as_tar(path, mode="w", names=FILES, file="raw.tar"):
  with tarfile.open(path / file, mode) as archive:
    for name in names:
      info = tarfile.TarInfo(name)
      info.size = len(FILES.get(name, b"x"))
      archive.addfile(info, io.BytesIO(FILES.get(name, b"x")))
  return path / file


@pytest.mark.parametrize(
  "make",
  [as_folder, as_zip, as_tar, lambda p: as_tar(p, "w:gz", file="raw.tar.gz")],
  ids=["folder", "zip", "tar", "tgz"],
)
def test_every_form_gives_the_same_tree_and_pickles(make, tmp_path):
  tree = open_tree(make(tmp_path))
  assert list(tree) == sorted(FILES)
  assert {name: pickle.loads(pickle.dumps(read))() for name, read in tree.items()} == FILES


def test_archives_inside_a_folder_stand_for_their_folder(tmp_path):
  (tmp_path / "silhouettes").mkdir()
  as_tar(tmp_path / "silhouettes", "w:gz", names=["001/nm-01/000/a.png"], file="001.tar.gz")
  as_zip(tmp_path / "silhouettes", names=["002/bg-01/090/a.png"])
  tree = open_tree(tmp_path)
  assert list(tree) == ["silhouettes/001/nm-01/000/a.png", "silhouettes/002/bg-01/090/a.png"]
  assert tree["silhouettes/001/nm-01/000/a.png"]() == b"first"


@pytest.mark.parametrize("make", [as_zip, as_tar])
@pytest.mark.parametrize(
  "name", ["../evil.png", "/etc/evil.png", "001/../../evil.png", "..\\evil.png", "\\etc\\evil.png", "C:\\evil.png"]
)
def test_a_member_that_climbs_out_is_refused(make, name, tmp_path):
  with pytest.raises(DataError, match=r"raw\.(zip|tar): member .*evil.* climbs out"):
    open_tree(make(tmp_path, names=[name]))


def test_a_zip_of_windows_has_backslashes_for_separators(tmp_path):
  with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
    for name in ("001\\nm-01\\090\\", "001\\nm-01\\090\\1.png", "001/nm-01/090/2.png"):
      info = zipfile.ZipInfo("x")
      info.filename = name  # the constructor would change it on Windows alone
      archive.writestr(info, name)
  tree = open_tree(tmp_path / "raw.zip")
  assert list(tree) == ["001/nm-01/090/1.png", "001/nm-01/090/2.png"]
  assert tree["001/nm-01/090/1.png"]() == b"001\\nm-01\\090\\1.png"


def test_what_systems_keep_for_themselves_is_not_seen(tmp_path):
  for name in ("001/nm-01/090/@eaDir/1.png/SYNO.png", "#recycle/1.png", "$RECYCLE.BIN/1.png", "001/nm-01/090/._1.png",
               "__MACOSX/1.png", "001/nm-01/090/1.png"):  # fmt: skip
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
  assert list(open_tree(tmp_path)) == ["001/nm-01/090/1.png"]


@pytest.mark.parametrize("make", [as_zip, as_tar])
def test_nor_is_it_in_an_archive(make, tmp_path):
  shown = "001/nm-01/090/1.png"
  assert list(open_tree(make(tmp_path, names=["__MACOSX/001/nm-01/090/1.png", ".cache/1.png", shown]))) == [shown]


def test_a_missing_folder_a_foreign_file_and_a_broken_archive_are_named(tmp_path):
  with pytest.raises(DataError, match="nowhere: no such folder or archive; --raw"):
    open_tree(tmp_path / "nowhere")
  (tmp_path / "notes.txt").write_text("hello")
  with pytest.raises(DataError, match=r"notes\.txt: neither a folder nor one of \.zip"):
    open_tree(tmp_path / "notes.txt")
  (tmp_path / "broken.zip").write_bytes(b"PK nonsense")
  with pytest.raises(DataError, match=r"broken\.zip: not a readable zip"):
    open_tree(tmp_path / "broken.zip")
  (tmp_path / "broken.tar").write_bytes(b"nonsense" * 100)
  with pytest.raises(DataError, match=r"broken\.tar: not a readable tar"):
    open_tree(tmp_path / "broken.tar")


def test_one_name_in_two_places_is_an_error(tmp_path):
  as_zip(tmp_path, names=["001/nm-01/000/a.png"])
  as_tar(tmp_path, names=["001/nm-01/000/a.png"])
  with pytest.raises(DataError, match=r"001/nm-01/000/a\.png is found twice, in .*raw\.tar and in .*raw\.zip"):
    open_tree(tmp_path)


def large_tar(path, mode="w"):
  rng = np.random.default_rng(0)
  with tarfile.open(path, mode) as archive:
    for number in range(6):
      info = tarfile.TarInfo(f"001/nm/{number}/a.png")
      info.size = 700
      archive.addfile(info, io.BytesIO(rng.bytes(700)))
  return path


@pytest.mark.parametrize("cut", [3 * 1536, 3 * 1536 + 100, 3 * 1536 + 600], ids=["between", "in a header", "in a file"])
def test_a_tar_cut_short_is_an_error(tmp_path, cut):
  path = large_tar(tmp_path / "raw.tar")
  path.write_bytes(path.read_bytes()[:cut])
  with pytest.raises(DataError, match=r"raw.tar: .*download it again"):
    open_tree(path)


def test_a_damaged_header_is_an_error_and_so_is_a_damaged_gzip(tmp_path):
  path = large_tar(tmp_path / "raw.tar")
  content = bytearray(path.read_bytes())
  content[3 * 1536 + 5] ^= 1
  path.write_bytes(content)
  with pytest.raises(DataError, match=f"raw.tar: damaged or cut short at byte {3 * 1536}; download it again"):
    open_tree(path)
  path = large_tar(tmp_path / "raw.tar.gz", "w:gz")
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 16
  path.write_bytes(content)
  with pytest.raises(DataError, match="raw.tar.gz: not a readable tar archive"):
    open_tree(path)


def test_compression_is_told_by_content(tmp_path):
  whole = open_tree(large_tar(tmp_path / "a.tar"))
  for name in ("b.TGZ", "c.tar"):
    tree = open_tree(large_tar(tmp_path / name, "w:gz"))
    assert {key: read() for key, read in tree.items()} == {key: read() for key, read in whole.items()}


def test_a_zip_with_a_password_is_named(tmp_path):
  content = bytearray(as_zip(tmp_path).read_bytes())
  content[content.index(b"PK\x01\x02") + 8] |= 1  # the first file of the archive's table is encrypted
  (tmp_path / "raw.zip").write_bytes(content)
  tree = open_tree(tmp_path / "raw.zip")
  with pytest.raises(DataError, match=r"raw\.zip: 001/nm-01/000/a\.png cannot be read .*unpack with the .* password"):
    tree["001/nm-01/000/a.png"]()


def test_links_are_followed_or_told(tmp_path):
  raw = as_folder(tmp_path)
  (raw / "003").symlink_to(raw / "002")
  (raw / "002" / "up").symlink_to(raw)  # a circle
  (raw / ".unfinished").mkdir()
  (raw / ".unfinished" / "a.png").write_bytes(b"x")
  assert list(open_tree(raw)) == [*sorted(FILES), "003/bg-01/090/a.png"]
  (raw / "001" / "lost.png").symlink_to(raw / "nowhere")
  with pytest.raises(DataError, match=r"001/lost.png is a link that leads nowhere"):
    open_tree(raw)


def test_links_inside_a_tar_are_read_or_told(tmp_path):
  with tarfile.open(tmp_path / "raw.tar", "w") as archive:
    info = tarfile.TarInfo("001/a.png")
    info.size = 5
    archive.addfile(info, io.BytesIO(b"first"))
    for name, kind in (("001/b.png", tarfile.LNKTYPE), ("001/c.png", tarfile.SYMTYPE)):
      link = tarfile.TarInfo(name)
      link.type, link.linkname = kind, "001/a.png"
      archive.addfile(link)
  tree = open_tree(tmp_path / "raw.tar")
  assert tree["001/b.png"]() == b"first"
  with pytest.raises(OSError, match="001/c.png is a symbolic link; unpack the archive"):
    tree["001/c.png"]()


def test_names_are_ordered_by_the_value_of_their_numbers():
  names = ["1.png", "2.png", "10.png", "1700000000123456788.png", "1700000000123456789.png", "a1b2.png", "a1b10.png"]
  assert sorted(sorted(names, reverse=True), key=natural) == names


def test_recordings_of_other_sizes_or_names_are_others(tmp_path):
  raw = as_folder(tmp_path)
  first = fingerprint(raw)
  (raw / "002/bg-01/090/a.png").touch()
  assert fingerprint(raw) == first != fingerprint(raw, "a choice")
  (raw / "002/bg-01/090/a.png").write_bytes(b"!")
  grown = fingerprint(raw)
  (raw / "002/bg-01/090/a.png").rename(raw / "002/bg-01/090/b.png")
  assert len({first, grown, fingerprint(raw)}) == 3
