"""Pretrains a gait network.

  python run_pretrain.py --config=configs/pretrain.py:tiny --workdir=runs/first --config.data.batch_size=128

  python run_pretrain.py --replay=runs/first/bad_batches/123.json   runs a batch that stopped a run again, alone

The same command again continues a run that was stopped. Several processes: --distributed where SLURM, Open MPI or a
cloud TPU says who they are, or --coordinator=host:port --processes=N --process=I on each. Where the package is
installed this program is `fgait-pretrain`, and configs/NAME.py the package's own where the current folder has none.
"""

import os
import sys

from absl import flags, logging
from ml_collections import config_flags

from fgait_jax.commands import start, stopped_status
from fgait_jax.errors import FgaitError, ReaderHangs

CONFIG = config_flags.DEFINE_config_file("config", help_string="file:variant, such as configs/pretrain.py:tiny")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, metrics, config.json")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "join the other processes that the cluster names")
COORDINATOR = flags.DEFINE_string("coordinator", "", "host:port of process 0, with --processes and --process")
PROCESSES = flags.DEFINE_integer("processes", 0, "number of processes")
PROCESS = flags.DEFINE_integer("process", -1, "number of this process, from 0")
REPLAY = flags.DEFINE_string("replay", None, "file in bad_batches/ of a run: says what that batch holds and gives;"
                              " with --config, on its mesh and from its data.dir")


def main(_):
  if REPLAY.value is None and None in (CONFIG.value, WORKDIR.value):
    sys.exit("error: give --config=configs/pretrain.py:tiny (or another file) and --workdir=FOLDER")
  from fgait_jax.evaluation import during_training  # late: importing takes seconds, and a wrong flag should not
  from fgait_jax.interop import publish
  from fgait_jax.parallel import hosts
  from fgait_jax.training import pretraining

  logging.set_verbosity(logging.FATAL)  # Orbax tells every file it opens, and logs what it raises
  try:
    hosts.initialize(
      distributed=DISTRIBUTED.value, coordinator=COORDINATOR.value, processes=PROCESSES.value, process=PROCESS.value
    )
    if REPLAY.value is not None:
      print(*pretraining.replay(REPLAY.value, CONFIG.value), sep="\n")
      return
    config = CONFIG.value
    evaluators = hosts.together(lambda: during_training.evaluators(config))
    ended = pretraining.run(config, WORKDIR.value, evaluators=evaluators)
    if ended.complete:
      publish.at_end(config, WORKDIR.value)
    elif ended.stopped:
      sys.exit(stopped_status(ended.stopped))
  except FgaitError as error:
    if isinstance(error.__cause__, ReaderHangs):  # Python would wait for its threads, too
      print(f"error: {error}", file=sys.stderr, flush=True)
      os._exit(1)
    sys.exit(f"error: {error}")


def run() -> None:
  """The command line, `fgait-pretrain`."""
  start(main, __name__)
