"""The command line that builds data sets: recordings in, array_record shards, index and manifest out.

  python -m data_prep.build --list
  python -m data_prep.build --about casia_b
  python -m data_prep.build walkers --out built
  python -m data_prep.build crowd --out built --name crowd10k --people 10000
  python -m data_prep.build kth --raw recordings/kth --out built
  python -m data_prep.build own --raw masks --out built --name ward_3 --train-subjects 0.7
  python -m data_prep.build kth --raw /shared/kth --out /shared/built --runner DirectRunner \
      --runner-options "--direct_running_mode=multi_processing --direct_num_workers=4"
"""

import argparse
import contextlib
import functools
import shlex
import sys
import time
from collections.abc import Iterator

from rich import progress as bars
from rich.console import Console
from rich.table import Table

from data_prep import arguments, beam, builder, catalogue, datasets
from data_prep.sources import limits
from fgait_jax.errors import DataError, FgaitError


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  console = Console()
  try:
    args = _parse(argv)
    if args.list:
      console.print(catalogue.table())
      return 0
    if args.about:
      console.print(catalogue.about(datasets.get(args.about)), highlight=False, markup=False)
      return 0
    choices = {flag: value for flag in CHOICES if (value := getattr(args, flag)) is not None}
    record = datasets.choose(args.dataset, choices)
    with _progress(console, record.name) as progress:
      built = builder.build(
        record, raw=args.raw, out=args.out, workers=args.workers, limit_dropped=args.limit_dropped,
        overwrite=args.overwrite, writer=_writer(args), progress=progress,
        limit=limits.Limits(bytes=args.limit_bytes, pixels=args.limit_pixels),
      )  # fmt: skip
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except OSError as error:  # its text names the file, but where one that is open cannot be written
    print(f"error: {error}" + ("" if error.filename else f", in {args.out}"), file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("stopped; the same command continues from the finished shards", file=sys.stderr)
    return 130
  for warning in built.warnings:
    print(f"warning: {warning}", file=sys.stderr)
  if built.read_as:
    console.print(built.read_as, soft_wrap=True, markup=False, highlight=False)
  if not built.fresh:
    same = "is built already from recordings of the same names and sizes; nothing to do (--overwrite builds it anew)"
    console.print(f"{built.folder} {same}", soft_wrap=True)
  else:
    _print_summary(console, built)
  return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog="python -m data_prep.build", description=__doc__.split("\n\n")[0])
  parser.add_argument("dataset", nargs="?", help="data set; --list shows them")
  parser.add_argument("--list", action="store_true", help="print the table of data sets and leave")
  parser.add_argument("--about", metavar="NAME", help="print what is known of one data set (terms, layout) and leave")
  parser.add_argument("--raw", type=arguments.path("--raw"), help="folder or archive of the recordings")
  parser.add_argument("--out", type=arguments.path("--out"), default="built", help="folder of built data sets")
  cores = builder.usable_cores()
  parser.add_argument(
    "--workers", type=arguments.whole(1), default=cores, help="processes (default: %(default)s, the cores)"
  )
  parser.add_argument(
    "--limit-dropped", type=float, default=0.01, help="share of walks that may be dropped (default: %(default)s)"
  )
  parser.add_argument(
    "--limit-bytes", type=arguments.whole(1), default=limits.DEFAULT.bytes, metavar="BYTES",
    help="of a file, of an archive's member unpacked, of a compressed tar unpacked (default: %(default)s)",
  )  # fmt: skip
  parser.add_argument(
    "--limit-pixels", type=arguments.whole(1), default=limits.DEFAULT.pixels, metavar="PIXELS",
    help="of an image; larger ones are refused before they are decoded (default: %(default)s)",
  )  # fmt: skip
  parser.add_argument("--overwrite", action="store_true", help="build anew what is already there")
  _add_choices(parser.add_argument_group("for your own walks, motion capture and crowds"))
  parser.add_argument("--runner", help="Apache Beam's engine instead of --workers, such as DirectRunner, FlinkRunner")
  parser.add_argument("--runner-options", default="", help="that engine's own flags, in one quoted string")
  argv = list(sys.argv[1:] if argv is None else argv)
  if "--runner-options" in argv[:-1]:  # argparse would take a value that is one flag for a flag of ours
    at = argv.index("--runner-options")
    argv[at : at + 2] = [f"--runner-options={argv[at + 1]}"]
  args = parser.parse_args(argv)
  if args.dataset is None and not args.list and not args.about:
    parser.error("name a data set, or pass --list or --about NAME")
  if args.runner_options and args.runner is None:
    parser.error("--runner-options needs --runner")
  if not 0 <= args.limit_dropped <= 1:
    parser.error(f"--limit-dropped {args.limit_dropped}: a share from 0 to 1, 0.01 is one percent")
  return args


def _add_choices(group: argparse._ArgumentGroup) -> None:
  group.add_argument("--name", help="the data set's name, for `own`, `own_mocap` and `crowd` (default: the same)")
  group.add_argument(
    "--train-subjects", metavar="FILE_OR_SHARE",
    help="subjects of the split train: a text file with one a line, or a share such as 0.7 (default: none)",
  )  # fmt: skip
  group.add_argument(
    "--population", metavar="NAME", help="data set that holds the same people, such as scoliosis1k (default: none)"
  )
  group.add_argument(
    "--modalities", help="of `own`: folders, or parts of pickles' names, that become channels, such as sil,parsing"
  )
  group.add_argument(
    "--frame-rate", type=arguments.positive, metavar="RATE", help="frames a second, where the recordings do not say it"
  )
  group.add_argument(
    "--unit", help="of motion capture: m, cm, mm, inch, cmu, or metres (default: the .asf's own, or cm in a .bvh)"
  )
  group.add_argument("--people", type=arguments.whole(1), help="of the crowd (default: 960)")
  group.add_argument("--walks", type=arguments.whole(1), help="of each of the crowd's people (default: 8)")
  group.add_argument("--up", metavar="AXIS", help="of motion capture: its axis that points up (default: y)")


CHOICES = ("name", "train_subjects", "population", "modalities", "frame_rate", "unit", "up", "people", "walks")


def _writer(args: argparse.Namespace) -> builder.Writer | None:
  if args.runner is None:
    return None
  try:
    options = shlex.split(args.runner_options)
  except ValueError as error:
    raise DataError(f"--runner-options {args.runner_options}: {error}".rstrip(".")) from error
  return functools.partial(beam.run, runner=args.runner, options=options)


@contextlib.contextmanager
def _progress(console: Console, name: str) -> Iterator[builder.Progress]:
  """A bar with rate and time left; plain lines where the output is not a terminal."""
  if not console.is_terminal:
    yield _Lines(name)
    return
  columns = (
    bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
    bars.TextColumn("{task.fields[rate]}"), bars.TimeElapsedColumn(), bars.TimeRemainingColumn(),
  )  # fmt: skip
  with bars.Progress(*columns, console=console) as bar:
    task = bar.add_task(name, total=None, rate="")

    def update(done: int, total: int) -> None:
      speed = bar.tasks[0].speed
      bar.update(task, completed=done, total=total, rate=f"{speed:,.0f} sequences/s" if speed else "")

    yield update


class _Lines:
  """Progress as plain lines: every ten seconds at most."""

  def __init__(self, name: str):
    self._name = name
    self._started = self._printed = time.monotonic()
    self._first = None

  def __call__(self, done: int, total: int) -> None:
    if self._first is None:  # walks that an earlier build has finished do not count for the rate
      self._first = done
    now = time.monotonic()
    if now - self._printed < 10:
      return
    self._printed = now
    rate = (done - self._first) / (now - self._started)
    left = f"{(total - done) / rate:,.0f} s left" if rate else "no rate yet"
    print(f"{self._name}: {done:,} of {total:,} sequences, {rate:,.1f} sequences/s, {left}", flush=True)


def _print_summary(console: Console, built: builder.Built) -> None:
  manifest = built.manifest
  table = Table(title=f"{manifest['name']} {manifest['version']} ({manifest['kind']})")
  table.add_column("split")
  for column in ("subjects", "sequences", "frames", "bytes"):
    table.add_column(column, justify="right")
  for split, facts in manifest["splits"].items():
    size = sum(shard["bytes"] for shard in manifest["shards"].values() if shard["split"] == split)
    table.add_row(split, *(f"{facts[name]:,}" for name in ("subjects", "sequences", "frames")), f"{size:,}")
  console.print(table)
  sequences = sum(facts["sequences"] for facts in manifest["splits"].values())
  for reason, facts in manifest["dropped"].items():
    console.print(f"dropped {facts['count']}: {reason}, such as {facts['examples'][0]}", soft_wrap=True, markup=False)
  if not manifest["dropped"]:
    console.print("dropped none")
  frames = sum(facts["frames"] for facts in manifest["splits"].values())
  for what, extra in (("refused", True), ("altered", False)):  # altered frames are stored, refused ones are extra
    for reason, facts in manifest[f"{what}_frames"].items():
      counts = f"{facts['count']:,} frames of {frames + extra * facts['count']:,} in the stored walks"
      console.print(f"{what} {counts}: {reason}, such as {facts['examples'][0]}", soft_wrap=True, markup=False)
  rate = sequences / max(built.seconds, 1e-9)
  console.print(f"{built.folder}: {built.seconds:.1f} s, {rate:,.1f} sequences/s", soft_wrap=True, highlight=False)


if __name__ == "__main__":
  sys.exit(main())
