"""Has every quick reader read damaged files that Hypothesis makes, and shrinks what it finds; `test_fuzz.py` starts it
as a process of its own. Prints a line of JSON before and after each reader.
"""

import faulthandler
import json
import pathlib
import random
import sys
import tempfile
import warnings

import fuzz
import readers
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def damaged(draw, reader: readers.Reader, seeds: list[bytes]) -> bytes:
  """One of `seeds` with up to four pieces put in, or in place of others."""
  content = bytearray(draw(st.sampled_from(seeds)))
  if reader.rebuilt and draw(st.integers(0, 3)):
    return reader.rebuilt(bytes(content), random.Random(draw(st.integers(0, 1 << 32))))
  pieces = st.sampled_from(reader.tokens) | st.binary(max_size=4)
  for piece in draw(st.lists(pieces, min_size=1, max_size=4)):
    place = draw(st.integers(0, len(content)))
    content[place : place + draw(st.sampled_from((len(piece), 0, 1, 64)))] = piece
  return bytes(content)


def try_reader(name: str, examples: int, folder: pathlib.Path) -> None:
  reader = readers.READERS[name]

  @settings(max_examples=examples, derandomize=True, database=None, deadline=None, print_blob=False)
  @given(content=damaged(reader, reader.seeds()))
  def test(content):
    (folder / "last").write_bytes(content)
    fuzz.limit_time()
    readers.attempt(name, content, folder)

  test()


def main() -> None:
  folder, examples, *names = sys.argv[1:]
  warnings.simplefilter("ignore")
  faulthandler.enable()
  with tempfile.TemporaryDirectory() as scratch:
    for name in names:
      for content in readers.READERS[name].seeds():  # what is loaded on first use is loaded before memory is short
        readers.attempt(name, content, pathlib.Path(scratch))
  fuzz.limit_memory()
  for name in names:
    print(json.dumps({"reader": name}), flush=True)
    try:
      try_reader(name, int(examples), pathlib.Path(folder))
      finding = ""
    except Exception as error:
      each = error.exceptions if isinstance(error, ExceptionGroup) else [error]
      finding = "\n".join(f"{type(one).__name__}: {one}\n" + "\n".join(getattr(one, "__notes__", [])) for one in each)
    print(json.dumps({"reader": name, "finding": finding}), flush=True)


if __name__ == "__main__":
  main()
