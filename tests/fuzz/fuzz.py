"""Fuzzes the readers of strangers' files, each in a process of its own with little memory and little time for a file,
so that a signal, a hang and want of memory are findings as an unexpected error is.

  make fuzz                                        every reader for a minute, guided by coverage
  python tests/fuzz/fuzz.py pickle zip --seconds 600

Atheris (libFuzzer) guides by coverage; where it is not installed, files are damaged at random. Files that were found
stay in runs/fuzz/<reader>; `--replay FILE` reads one again and shows the error. Exits 1 where there are findings.
"""

import argparse
import faulthandler
import functools
import hashlib
import mmap
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
SECONDS = 20  # of a processor, for one file
LONGEST = 20_000  # bytes of a file
KEPT = "last"  # the file that was read last
TRIES = 5  # processes that may end without a file that repeats it
OUT = pathlib.Path("runs/fuzz")


def limit_memory() -> None:
  """From now on the process gets `ROOM` more memory."""
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  most = pages * resource.getpagesize() + ROOM
  resource.setrlimit(resource.RLIMIT_AS, (most, most))


def limit_time() -> None:
  """From now on the process has `SECONDS` of a processor, until this is called again; then a signal ends it, whatever
  it is doing, after showing where it was."""
  faulthandler.register(signal.SIGPROF, chain=True)
  signal.setitimer(signal.ITIMER_PROF, SECONDS)


class Watch:
  """Reads files one after the other, each within the time. The last one is kept in `kept`, from where it can be had
  after a signal."""

  def __init__(self, readers, name: str, folder: pathlib.Path, kept: pathlib.Path):
    self._read = functools.partial(readers.attempt, name, folder=folder)
    kept.write_bytes(bytes(8 + LONGEST))
    with open(kept, "r+b") as file:
      self._kept = mmap.mmap(file.fileno(), 0)

  def __call__(self, content: bytes) -> None:
    content = content[:LONGEST]
    self._kept[: 8 + len(content)] = len(content).to_bytes(8) + content
    limit_time()
    self._read(content)

  @staticmethod
  def last(kept: pathlib.Path) -> bytes:
    content = kept.read_bytes()
    return content[8 : 8 + int.from_bytes(content[:8])]


def damaged(reader, seeds: list[bytes], rng: random.Random) -> bytes:
  """One of `seeds` with up to four changes."""
  content, tokens = bytearray(rng.choice(seeds)), reader.tokens
  if reader.rebuilt and rng.random() < 0.7:
    return reader.rebuilt(bytes(content), rng)
  for _ in range(rng.randint(1, 4)):
    place = rng.randint(0, len(content))
    piece = rng.choice(tokens) if tokens and rng.random() < 0.5 else rng.randbytes(rng.randint(0, 4))
    content[place : place + rng.choice((0, 1, len(piece), len(piece), 64))] = piece
  return bytes(content)


def by_chance(watch: Watch, reader, seeds: list[bytes], seconds: float) -> None:
  rng, end, done = random.Random(time.time_ns()), time.monotonic() + seconds, 0
  while time.monotonic() < end:
    watch(damaged(reader, seeds, rng))
    done += 1
  print(f"stat::number_of_executed_units: {done}")


def by_coverage(
  atheris, watch: Watch, reader, seeds: list[bytes], seconds: float, *, folder: pathlib.Path, out: pathlib.Path
) -> None:
  def changed(content: bytes, most: int, seed: int) -> bytes:
    """Atheris's own change, or one of pieces of the format."""
    rng = random.Random(seed)
    return atheris.Mutate(content, most) if rng.random() < 0.5 else damaged(reader, [content], rng)[:most]

  (corpus := folder / "corpus").mkdir()
  for number, content in enumerate(seeds):
    (corpus / f"{number}").write_bytes(content)
  options = {
    "artifact_prefix": f"{out}/", "max_total_time": max(1, round(seconds)), "max_len": LONGEST, "print_final_stats": 1,
    "rss_limit_mb": 0, "timeout": 100 * SECONDS,  # both are watched here; to Atheris a timeout of 0 is one of a second
  }  # fmt: skip
  arguments = [sys.argv[0], str(corpus), *(f"-{name}={value}" for name, value in options.items())]
  atheris.Setup(arguments, watch, custom_mutator=changed)
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
  reader, out = readers.READERS[name], OUT / name
  seeds = reader.seeds()
  out.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for content in seeds:  # what is loaded on first use is loaded before memory is short
      readers.attempt(name, content, folder)
    watch = Watch(readers, name, folder, out / KEPT)
    limit_memory()
    if replay is not None:
      watch(replay.read_bytes())
    elif atheris is None:
      by_chance(watch, reader, seeds, seconds)
    else:
      by_coverage(atheris, watch, reader, seeds, seconds, folder=folder, out=out)


def run_child(name: str, seconds: float, *more: str) -> tuple[int, str]:
  """Exit status of a process that fuzzes one reader, negative for a signal, and what it printed."""
  command = [sys.executable, __file__, name, "--seconds", str(seconds), *more]
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "TMPDIR": "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"}
  try:
    done = subprocess.run(command, capture_output=True, env=environment, timeout=300 + 3 * seconds)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")
  except subprocess.TimeoutExpired as late:
    return -signal.SIGKILL, ((late.stdout or b"") + (late.stderr or b"")).decode(errors="replace")


def fuzzed(name: str, seconds: float) -> tuple[int, str, str]:
  """(executions, finding, note) of one reader. A finding is a file that, read again, does it again; where a process
  ended and no file repeats it, the note says how often and how, and its log is kept; the rest of the time is given to
  another."""
  (out := OUT / name).mkdir(parents=True, exist_ok=True)
  executions, lost, end = 0, [], time.monotonic() + seconds
  while (left := end - time.monotonic()) > 0 and len(lost) < TRIES:
    before = set(out.iterdir())
    status, log = run_child(name, min(left, seconds), "--child")
    count = re.findall(r"stat::number_of_executed_units: (\d+)|^#(\d+)", log, re.M)
    executions += max((int(a or b) for a, b in count), default=0)
    if not status:
      break
    found = [path for path in set(out.iterdir()) - before if path.suffix != ".txt" and path.name != KEPT]
    if not found:  # ended by a signal
      content = Watch.last(out / KEPT)
      found = [out / f"killed-{hashlib.sha256(content).hexdigest()[:16]}"]
      found[0].write_bytes(content)
    again, told = run_child(name, seconds, "--replay", str(found[0]))
    if again:
      (out / "log.txt").write_text(log + told)
      return executions, f"{_end(again, told)} ({found[0]})", ""
    found[0].unlink()
    lost.append(_end(status, log))
    (out / f"lost-{len(lost)}.txt").write_text(log)
  return executions, "", f", {len(lost)} ends that no file repeats: {', '.join(sorted(set(lost)))}" if lost else ""


def _end(status: int, log: str) -> str:
  """How a process ended, in a few words."""
  errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*$", log, re.M)
  what = f"signal {signal.Signals(-status).name}" if status < 0 else errors[-1] if errors else f"exit {status}"
  return what[:200]


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
    executions, finding, note = fuzzed(name, options.seconds)
    findings += bool(finding)
    print(f"{name:<14} {executions:>12,}  {finding or 'none'}{note}", flush=True)
  return int(findings > 0)


if __name__ == "__main__":
  sys.exit(main())
