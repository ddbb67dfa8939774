"""Evaluates a pretrained network, or embeddings made by any tool.

  python run_eval.py --config=configs/zero_shot.py --config.checkpoint=runs/first --out=runs/first/results
  python run_eval.py --config=configs/linear_probe.py:kth --config.checkpoint=runs/first --out=runs/first/results
  python run_eval.py --config=configs/score.py --config.embeddings=FILE.npz --config.protocol=casia_b --out=DIR
  python run_eval.py --config=configs/robustness.py --config.checkpoint=runs/first --out=runs/first/results
  python run_eval.py --config=configs/compare.py --config.compare.first=A.json --config.compare.second=B.json --out=DIR
  python run_eval.py --config=configs/embed.py --config.checkpoint=runs/first --config.dataset=NAME --out=DIR
  python run_eval.py --config=configs/identify.py --config.probes=P.npz --config.gallery=G.npz --out=DIR
  python run_eval.py --show=runs/first/results     prints the tables of finished evaluations again
  python run_eval.py --report=runs/first/results [--report=runs/other/results] --out=report.html

An evaluation writes a JSON file, and pictures, into --out, and prints the tables of it. A report is one HTML file made
from such files, with their tables as Markdown, LaTeX and CSV beside it. Where the package is installed this program is
`fgait-eval`, and configs/NAME.py the package's own where the current folder has none.
"""

import sys

from absl import flags, logging
from ml_collections import config_flags

from fgait_jax.commands import start, stopped_status
from fgait_jax.errors import ConfigError, FgaitError

CONFIG = config_flags.DEFINE_config_file("config", help_string="file:variant, such as configs/zero_shot.py:kth")
OUT = flags.DEFINE_string("out", None, "folder for result files and pictures; with --report the .html file")
SHOW = flags.DEFINE_string("show", None, "folder or file of results: print its tables and do nothing else")
REPORT = flags.DEFINE_multi_string("report", None, "folder of results to report on; give it twice to compare two")


def main(_):
  from fgait_jax.evaluation import results  # late: importing takes seconds, and a wrong flag should not
  from fgait_jax.evaluation.report import sources, tables

  logging.set_verbosity(logging.FATAL)  # Orbax tells every file it opens, and logs what it raises
  try:
    if SHOW.value is not None:
      source = sources.read(SHOW.value, flag="--show")
      tables.show(shown.result for shown in source.results)
      for name, reason in source.passed_over:
        print(f"passed over: {name}: {reason}")
      return
    if REPORT.value:
      from fgait_jax.evaluation.report import page

      print("written:", *page.write(REPORT.value, OUT.value), sep="\n  ")
      return
    if CONFIG.value is None or OUT.value is None:
      raise ConfigError("give --config=configs/zero_shot.py (or another file) and --out=FOLDER, or --show=FOLDER, or"
                        " --report=FOLDER and --out=FILE.html")
    from fgait_jax.evaluation import program
    from fgait_jax.training import preflight
    from fgait_jax.training.session import Stopped

    preflight.configure_jax()
    preflight.use_compilation_cache(CONFIG.value.compilation_cache)
    try:
      written = program.run(CONFIG.value, OUT.value)
    except Stopped as stop:  # in fine-tuning; it has said how to go on
      sys.exit(stopped_status(str(stop)))
    found = {path: results.read(path) for path in written if path.suffix == ".json"}
    tables.show(found.values())
    pictures = [path.parent / name for path, result in found.items() for name in result.pictures]
    print("written:", *written, *pictures, sep="\n  ")
  except FgaitError as error:
    sys.exit(f"error: {error}")


def run() -> None:
  """The command line, `fgait-eval`."""
  start(main, __name__)
