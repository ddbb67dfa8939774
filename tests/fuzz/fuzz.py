"""Fuzzes the readers of strangers' files, each in a process of its own with little memory and little time for a file,
so that a signal, a hang and want of memory are findings as an unexpected error is.

  make fuzz                                        every reader for a minute, guided by coverage
  python tests/fuzz/fuzz.py pickle zip --seconds 600

Atheris (libFuzzer) guides by coverage; where it is not installed, files are damaged at random. Files that were found
stay in runs/fuzz/<reader>; `--replay FILE` reads one again and shows the error. Exits 1 where there are findings.
"""

import argparse
import faulthandler
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings

ROOM = 1 << 30  # bytes of memory for a file, beyond what the process holds at the start
SECONDS = 20  # for one file
OUT = pathlib.Path("runs/fuzz")


def limit_memory() -> None:
  """From now on the process gets `ROOM` more memory."""
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  most = pages * resource.getpagesize() + ROOM
  resource.setrlimit(resource.RLIMIT_AS, (most, most))


def damaged(seeds: list[bytes], tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
  """One of `seeds` with up to four changes."""
  content = bytearray(rng.choice(seeds))
  for _ in range(rng.randint(1, 4)):
    place = rng.randint(0, len(content))
    piece = rng.choice(tokens) if tokens and rng.random() < 0.5 else rng.randbytes(rng.randint(0, 4))
    content[place : place + rng.choice((0, 1, len(piece), len(piece), 64))] = piece
  return bytes(content)


def by_chance(readers, name: str, folder: pathlib.Path, seconds: float) -> None:
  reader, rng, end, done = readers.READERS[name], random.Random(time.time_ns()), time.monotonic() + seconds, 0
  seeds = reader.seeds()
  for content in seeds:
    readers.attempt(name, content, folder)
  while time.monotonic() < end:
    content = damaged(seeds, reader.tokens, rng)
    (folder / "last").write_bytes(content)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    readers.attempt(name, content, folder)
    done += 1
  print(f"stat::number_of_executed_units: {done}")


def by_coverage(atheris, readers, name: str, folder: pathlib.Path, seconds: float) -> None:
  reader, out = readers.READERS[name], OUT / name
  (corpus := folder / "corpus").mkdir()
  for number, content in enumerate(reader.seeds()):
    (corpus / f"{number}").write_bytes(content)
  words = ["".join(f"\\x{byte:02x}" for byte in token[:60]) for token in reader.tokens]
  (folder / "words").write_text("\n".join(f'"{word}"' for word in words))
  atheris.Setup(
    [sys.argv[0], str(corpus), f"-dict={folder / 'words'}", f"-artifact_prefix={out}/", f"-timeout={SECONDS}",
     f"-max_total_time={max(1, round(seconds))}", "-rss_limit_mb=0", "-max_len=20000", "-print_final_stats=1"],
    lambda content: readers.attempt(name, content, folder),
  )  # fmt: skip
  atheris.Fuzz()


def child(name: str, seconds: float, replay: pathlib.Path | None) -> None:
  """Fuzzes one reader in this process until time is up or something is found."""
  warnings.simplefilter("ignore")  # of numbers that overflow, thousands
  try:
    import atheris
  except ImportError:
    atheris = None
  if atheris is None or replay is not None:
    import readers
  else:
    with atheris.instrument_imports(include=["data_prep", "fgait_jax", "tarfile", "zipfile", "pickletools"]):
      import readers
  faulthandler.enable()
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for content in readers.READERS[name].seeds():  # what is loaded on first use is loaded before memory is short
      readers.attempt(name, content, folder)
    limit_memory()
    if replay is not None:
      readers.attempt(name, replay.read_bytes(), folder)
    elif atheris is None:
      by_chance(readers, name, folder, seconds)
    else:
      by_coverage(atheris, readers, name, folder, seconds)


def fuzzed(name: str, seconds: float) -> dict:
  """What came of fuzzing one reader: {executions, finding}; `finding` is "" where there is none."""
  (out := OUT / name).mkdir(parents=True, exist_ok=True)
  before = set(out.iterdir())
  command = [sys.executable, __file__, name, "--child", "--seconds", str(seconds)]
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "TMPDIR": "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"}
  try:
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60 + seconds + 2 * SECONDS)
    status, log = done.returncode, (done.stdout + done.stderr).decode(errors="replace")
  except subprocess.TimeoutExpired as late:
    status, log = -signal.SIGKILL, ((late.stdout or b"") + (late.stderr or b"")).decode(errors="replace")
  count = re.findall(r"stat::number_of_executed_units: (\d+)|^#(\d+)", log, re.M)
  executions = max((int(a or b) for a, b in count), default=0)
  if not status:
    return {"executions": executions, "finding": ""}
  (out / "log.txt").write_text(log)
  errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*$|^==\d+== ?ERROR.*$", log, re.M)
  what = f"signal {signal.Signals(-status).name}" if status < 0 else errors[-1] if errors else f"exit {status}"
  found = sorted(path.name for path in set(out.iterdir()) - before if path.name != "log.txt")
  return {"executions": executions, "finding": f"{what[:200]} ({', '.join(found) or 'log.txt'} in {out})"}


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("readers", nargs="*", help="default: all")
  parser.add_argument("--seconds", type=float, default=60, help="for each reader (default: %(default)s)")
  parser.add_argument("--replay", type=pathlib.Path, help="a file that was found, read by the one reader named")
  parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.child or options.replay:
    child(options.readers[0], options.seconds, options.replay)
    return 0
  import readers

  if unknown := set(options.readers) - readers.READERS.keys():
    parser.error(f"no reader {', '.join(sorted(unknown))}; there are {', '.join(readers.READERS)}")
  findings = 0
  print(f"{'reader':<14} {'executions':>12}  findings", flush=True)
  for name in options.readers or readers.READERS:
    found = fuzzed(name, options.seconds)
    findings += bool(found["finding"])
    print(f"{name:<14} {found['executions']:>12,}  {found['finding'] or 'none'}", flush=True)
  return int(findings > 0)


if __name__ == "__main__":
  sys.exit(main())
